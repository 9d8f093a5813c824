//! One mail through one server, with an end to every wait.
//!
//! lettre's own transport limits single reads only, and gives up a mail if one of its recipients is
//! refused. So its connection is driven here: the rest of the time is set before every step, and
//! who can be reached is.

use std::{
    error::Error as _,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use http::Uri;
use lettre::{
    Address,
    address::Envelope,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{SmtpConnection, TlsParameters, TlsParametersBuilder},
        commands::{Data, Mail, Rcpt},
        extension::ClientId,
    },
};

use super::{failure::Failure, patience::Patience};

/// Where mail is handed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Server {
    host: String,
    port: u16,
    tls: Tls,
}

/// How a connection becomes secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tls {
    /// From the start.
    Wrapper,
    /// By STARTTLS, or not at all.
    Required,
    /// By STARTTLS if it is offered.
    Offered,
}

impl Server {
    /// Reads `smtp://HOST:PORT` or `smtps://HOST:PORT`. A server that is shown a password must show a
    /// certificate before.
    ///
    /// # Errors
    ///
    /// If it is neither.
    pub fn parse(text: &str, login: Option<&Credentials>) -> Result<Self, Failure> {
        let refuse = || Failure::lasting(format!("`{text}` is no smtp:// or smtps:// server"));
        let uri: Uri = text.parse().map_err(|_| refuse())?;
        let (tls, port) = match (uri.scheme_str(), login) {
            (Some("smtps"), _) => (Tls::Wrapper, 465),
            (Some("smtp"), Some(_)) => (Tls::Required, 587),
            (Some("smtp"), None) => (Tls::Offered, 25),
            _ => return Err(refuse()),
        };
        let host = uri.host().ok_or_else(refuse)?.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(port), tls })
    }

    fn parameters(&self) -> Result<TlsParameters, Failure> {
        let builder = TlsParametersBuilder::new(self.host.clone());
        let builder = match self.tls {
            Tls::Wrapper | Tls::Required => builder,
            // Who could show a false certificate could as well not offer STARTTLS: to check it here
            // would only refuse the mail servers next door, most of which sign their own.
            Tls::Offered => builder
                .dangerous_accept_invalid_certs(true)
                .dangerous_accept_invalid_hostnames(true),
        };
        builder.build().map_err(|error| Failure::lasting(error.to_string()))
    }

    /// Asks the system for the addresses, on a thread of its own because it sets its own limits.
    fn addresses(&self, limit: Duration) -> Result<Vec<SocketAddr>, Failure> {
        let (tell, answer) = mpsc::channel();
        let (host, port) = (self.host.clone(), self.port);
        let ask = move || {
            let addresses = (host.as_str(), port).to_socket_addrs().map(Vec::from_iter);
            // Nobody waits for a late answer.
            let _ = tell.send(addresses);
        };
        let thread = thread::Builder::new().name("notify-resolve".into()).spawn(ask);
        thread.map_err(|error| Failure::passing(error.to_string()))?;
        match answer.recv_timeout(limit) {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(Failure::passing(error.to_string())),
            Err(_) => Err(Failure::timeout(limit)),
        }
    }
}

/// A connection, and when its time is over.
pub struct Session {
    connection: SmtpConnection,
    until: Instant,
    whole: Duration,
}

impl Session {
    /// Connects, as secretly as the server's settings say, and logs in.
    ///
    /// # Errors
    ///
    /// If the server cannot be reached, or does not want us.
    pub fn open(
        server: &Server,
        hello: &ClientId,
        login: Option<&Credentials>,
        patience: Patience,
    ) -> Result<Self, Failure> {
        let until = Instant::now() + patience.whole;
        let tls = server.parameters()?;
        let connection = connect(server, hello, &tls, until, patience)?;
        let mut session = Self { connection, until, whole: patience.whole };
        session.secure(server, hello, &tls)?;
        if let Some(login) = login {
            session.step(|c| c.auth(&[Mechanism::Plain, Mechanism::Login], login))?;
        }
        Ok(session)
    }

    fn secure(
        &mut self,
        server: &Server,
        hello: &ClientId,
        tls: &TlsParameters,
    ) -> Result<(), Failure> {
        match server.tls {
            Tls::Wrapper => Ok(()),
            Tls::Offered if !self.connection.can_starttls() => Ok(()),
            Tls::Offered | Tls::Required => self.step(|c| c.starttls(tls, hello)),
        }
    }

    /// Hands in a mail for all recipients.
    ///
    /// # Errors
    ///
    /// If it was not taken. A lasting failure that says so if it was taken, but not for everybody.
    pub fn mail(&mut self, envelope: &Envelope, mail: &[u8]) -> Result<(), Failure> {
        let sender = envelope.from().cloned();
        self.step(|c| c.command(Mail::new(sender, Vec::new())))?;
        let (mut taken, mut refused) = (0_usize, None);
        for address in envelope.to() {
            match self.recipient(address)? {
                Ok(()) => taken += 1,
                Err(failure) => refused = Some(failure),
            }
        }
        if let (0, Some(failure)) = (taken, &refused) {
            return Err(failure.clone());
        }
        self.step(|c| c.command(Data))?;
        self.step(|c| c.message(mail))?;
        // The mail is on its way: a farewell that fails is no failure.
        let _ = self.step(SmtpConnection::quit);
        match refused {
            None => Ok(()),
            Some(Failure { text, .. }) => {
                Err(Failure::lasting(format!("sent, but not to everybody: {text}")))
            }
        }
    }

    /// Names a recipient. The inner error: the server does not want it, but the session goes on.
    fn recipient(&mut self, address: &Address) -> Result<Result<(), Failure>, Failure> {
        self.limit()?;
        match self.connection.command(Rcpt::new(address.clone(), Vec::new())) {
            Ok(_) => Ok(Ok(())),
            Err(error) => {
                let goes_on = error.status().is_some();
                let mut failure = failure(&error, self.whole);
                failure.text = format!("{address}: {}", failure.text);
                if goes_on { Ok(Err(failure)) } else { Err(failure) }
            }
        }
    }

    fn step<T>(
        &mut self,
        act: impl FnOnce(&mut SmtpConnection) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        self.limit()?;
        act(&mut self.connection).map_err(|error| failure(&error, self.whole))
    }

    /// Leaves the next step only the time that is left.
    fn limit(&mut self) -> Result<(), Failure> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(Failure::timeout(self.whole));
        }
        let set = self.connection.set_timeout(Some(rest));
        set.map_err(|error| Failure::passing(error.to_string()))
    }
}

/// Connects to the first address that answers.
fn connect(
    server: &Server,
    hello: &ClientId,
    tls: &TlsParameters,
    until: Instant,
    patience: Patience,
) -> Result<SmtpConnection, Failure> {
    let wrapper = (server.tls == Tls::Wrapper).then_some(tls);
    let mut last = Failure::passing("the host has no address");
    for address in server.addresses(patience.connect)? {
        let limit = patience.connect.min(until.saturating_duration_since(Instant::now()));
        if limit.is_zero() {
            break;
        }
        match SmtpConnection::connect(address, Some(limit), hello, wrapper, None) {
            Ok(connection) => return Ok(connection),
            Err(error) if limit < patience.connect => last = failure(&error, patience.whole),
            Err(error) => last = failure(&error, patience.connect),
        }
    }
    Err(last)
}

fn failure(error: &Error, limit: Duration) -> Failure {
    if is_timeout(error) {
        return Failure::timeout(limit);
    }
    if error.is_permanent() || error.is_client() {
        Failure::lasting(error.to_string())
    } else {
        Failure::passing(error.to_string())
    }
}

/// Whether a wait was too long; lettre itself does not know how sockets say so on Linux.
fn is_timeout(error: &Error) -> bool {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    io.is_some_and(|e| matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_with_the_usual_ports() {
        let login = Credentials::new("u".into(), "p".into());
        let table = [
            ("smtp://mail:2525", None, ("mail", 2525, Tls::Offered)),
            ("smtp://mail", None, ("mail", 25, Tls::Offered)),
            ("smtp://mail", Some(&login), ("mail", 587, Tls::Required)),
            ("smtps://mail", Some(&login), ("mail", 465, Tls::Wrapper)),
            ("smtps://[::1]:4650", None, ("::1", 4650, Tls::Wrapper)),
        ];
        for (text, login, (host, port, tls)) in table {
            let expected = Server { host: host.into(), port, tls };
            assert_eq!(Server::parse(text, login), Ok(expected), "{text}");
        }
        for text in ["mail:25", "http://mail", "smtp://", ""] {
            assert!(Server::parse(text, None).is_err(), "{text}");
        }
    }
}
