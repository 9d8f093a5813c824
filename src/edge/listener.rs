//! Listening sockets: bound all at once, before anything is served.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::clients::Clients;
use crate::{
    model::{listener::Listener, units::ListenerName},
    tally::ListenerTally,
    tls::Holder,
};

/// How many connections may wait to be accepted, for each worker.
const BACKLOG: i32 = 4096;
/// How many bytes may wait unsent in a client's socket before it takes no more.
const UNSENT_MAX: u32 = 128 * 1024;

/// A listener with a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// What its sockets share.
    pub entrance: Arc<Entrance>,
    /// Its sockets, by worker.
    pub sockets: Vec<TcpListener>,
}

/// What the sockets of a listener share.
#[derive(Debug)]
pub struct Entrance {
    /// Where it listens, whatever the config says by now; a port 0 has become a real one.
    pub address: SocketAddr,
    /// The listener's name.
    pub name: ListenerName,
    /// Its settings at start; those in force are in the view.
    pub settings: Arc<Listener>,
    /// Its connections.
    pub tally: Arc<ListenerTally>,
    /// What its TLS handshakes are made with, if it has any.
    pub tls: Arc<Holder>,
    /// How many connections each client has.
    pub clients: Arc<Clients>,
}

/// Binds a listener for so many workers.
///
/// # Errors
///
/// If the address cannot be had, in particular if another process listens there: sockets of several
/// workers share a port, so without a check of our own another lbd would silently share it too.
pub fn bind(
    name: &ListenerName,
    settings: &Arc<Listener>,
    tls: Arc<Holder>,
    workers: usize,
) -> io::Result<Bound> {
    if settings.address.port() != 0 {
        drop(open(settings.address, Sharing::Alone)?);
    }
    let first = open(settings.address, Sharing::WithOtherWorkers)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, Sharing::WithOtherWorkers)?);
    }
    let entrance = Arc::new(Entrance {
        address,
        name: name.clone(),
        settings: settings.clone(),
        tally: Arc::new(ListenerTally::new(workers)),
        tls,
        clients: Arc::default(),
    });
    Ok(Bound { entrance, sockets })
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Sharing {
    Alone,
    WithOtherWorkers,
}

fn open(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if sharing == Sharing::WithOtherWorkers {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` means every address, as nginx's `listen [::]:80 ipv6only=off`.
        socket.set_only_v6(false)?;
    }
    // Connections that are accepted have these from their listener. Without the first small answers
    // would wait for acknowledgements; by the second a slow reader's progress is seen in small steps.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: SocketAddr) -> Arc<Listener> {
        Arc::new(Listener::at(address))
    }

    #[test]
    fn connections_send_at_once() {
        let tls = Arc::<Holder>::default;
        let at = settings("127.0.0.1:0".parse().unwrap());
        let bound = bind(&"http".parse().unwrap(), &at, tls(), 1).unwrap();
        let _client = std::net::TcpStream::connect(bound.entrance.address).unwrap();
        bound.sockets[0].set_nonblocking(false).unwrap();
        let (accepted, _) = bound.sockets[0].accept().unwrap();
        let accepted = socket2::SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), UNSENT_MAX);
    }

    #[test]
    fn workers_share_a_port_but_nobody_else_does() {
        let name = "http".parse().unwrap();
        let tls = Arc::<Holder>::default;
        let bound = bind(&name, &settings("127.0.0.1:0".parse().unwrap()), tls(), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        assert!(bound.sockets.iter().all(|s| s.local_addr().unwrap() == bound.entrance.address));
        let error = bind(&name, &settings(bound.entrance.address), tls(), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
