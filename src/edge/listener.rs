//! Listening sockets: bound all at once, before anything is served.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    model::{settings::Listener, units::ListenerName},
    tally::ListenerTally,
};

/// How many connections may wait to be accepted, for each worker.
const BACKLOG: i32 = 4096;

/// A listener with a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens; a port 0 of the config has become a real one.
    pub address: SocketAddr,
    /// Its settings at start; those in force are in the view.
    pub settings: Arc<Listener>,
    /// Its sockets, by worker.
    pub sockets: Vec<TcpListener>,
    /// Its connections.
    pub tally: Arc<ListenerTally>,
}

/// Binds a listener for so many workers.
///
/// # Errors
///
/// If the address cannot be had, in particular if another process listens there: sockets of several
/// workers share a port, so without a check of our own another lbd would silently share it too.
pub fn bind(name: &ListenerName, settings: &Arc<Listener>, workers: usize) -> io::Result<Bound> {
    if settings.address.port() != 0 {
        drop(open(settings.address, Sharing::Alone)?);
    }
    let first = open(settings.address, Sharing::WithOtherWorkers)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open(address, Sharing::WithOtherWorkers)?);
    }
    Ok(Bound {
        name: name.clone(),
        address,
        settings: settings.clone(),
        sockets,
        tally: Arc::new(ListenerTally::new(workers)),
    })
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
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, settings::ListenerTimeouts};

    fn settings(address: SocketAddr) -> Arc<Listener> {
        let span = Millis(1000);
        Arc::new(Listener {
            address,
            trusted_proxies: Vec::new(),
            max_header_bytes: 1024,
            timeouts: ListenerTimeouts { header: span, keepalive: span, body: span, write: span },
        })
    }

    #[test]
    fn workers_share_a_port_but_nobody_else_does() {
        let name = "http".parse().unwrap();
        let bound = bind(&name, &settings("127.0.0.1:0".parse().unwrap()), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        assert!(bound.sockets.iter().all(|s| s.local_addr().unwrap() == bound.address));
        let error = bind(&name, &settings(bound.address), 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
