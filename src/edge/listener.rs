//! Listening sockets: bound all at once, before anything is served.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::clients::Clients;
use crate::{
    handover::predecessor::Given,
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
    /// Its sockets: at least one for each worker.
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
    /// Its socket is systemd's too, which keeps it open: who waits there is not lost.
    pub is_foreign: bool,
}

/// Goes on with the sockets of a listener that another process opened, for so many workers. All of them
/// stay in use, since clients may wait at each.
///
/// # Errors
///
/// If the sockets cannot be used.
pub fn adopt(
    name: &ListenerName,
    settings: &Arc<Listener>,
    tls: Arc<Holder>,
    workers: usize,
    given: Vec<Given>,
) -> io::Result<Bound> {
    let is_foreign = given.iter().any(|given| given.is_foreign);
    let mut sockets: Vec<TcpListener> = given.into_iter().map(|given| given.socket).collect();
    for socket in &sockets {
        prepare(&SockRef::from(socket))?;
    }
    let first = sockets.first().ok_or(io::ErrorKind::NotFound)?;
    let address = first.local_addr()?;
    // Where there are more workers now, some accept from the same: a new socket would have clients wait at it
    // before anybody accepts there, and lose them if the upgrade fails.
    let lacking = workers.saturating_sub(sockets.len());
    let more = sockets.iter().cycle().take(lacking).map(TcpListener::try_clone);
    let mut more = more.collect::<io::Result<Vec<_>>>()?;
    sockets.append(&mut more);
    Ok(bound(name, settings, tls, workers, (address, is_foreign), sockets))
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
    Ok(bound(name, settings, tls, workers, (address, false), sockets))
}

fn bound(
    name: &ListenerName,
    settings: &Arc<Listener>,
    tls: Arc<Holder>,
    workers: usize,
    (address, is_foreign): (SocketAddr, bool),
    sockets: Vec<TcpListener>,
) -> Bound {
    let entrance = Arc::new(Entrance {
        address,
        name: name.clone(),
        settings: settings.clone(),
        tally: Arc::new(ListenerTally::new(workers)),
        tls,
        clients: Arc::default(),
        is_foreign,
    });
    Bound { entrance, sockets }
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
    prepare(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that are accepted have these from their listener. Without the first small answers would
/// wait for acknowledgements; by the second a slow reader's progress is seen in small steps.
fn prepare(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)?;
    socket.set_nonblocking(true)
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

    #[test]
    fn all_sockets_that_were_given_stay_in_use() {
        let name = "http".parse().unwrap();
        let tls = Arc::<Holder>::default;
        let at = settings("127.0.0.1:0".parse().unwrap());
        let old = bind(&name, &at, tls(), 2).unwrap();
        let give = |is_foreign| {
            let clones = old.sockets.iter().map(|socket| socket.try_clone().unwrap());
            clones.map(|socket| Given { socket, is_foreign }).collect::<Vec<_>>()
        };
        for (workers, foreign, sockets) in
            [(1, false, 2), (2, false, 2), (5, false, 5), (3, true, 3)]
        {
            let new = adopt(&name, &at, tls(), workers, give(foreign)).unwrap();
            assert_eq!((new.sockets.len(), new.entrance.is_foreign), (sockets, foreign));
            assert_eq!(new.entrance.address, old.entrance.address);
        }
    }
}
