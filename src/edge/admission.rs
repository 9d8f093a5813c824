//! What a connection goes through before its first request.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use tokio::{net::TcpStream, time::timeout};

use super::{clients::Counted, io::EdgeIo, listener::Entrance, proxy_protocol, socket::Socket};
use crate::{
    model::{announcement::Ends, listener::Listener},
    proxy::client::Client,
};

/// A connection that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// Its bytes.
    pub io: Box<EdgeIo>,
    /// Its place among those of its client, where these are limited.
    pub counted: Option<Counted>,
}

/// Lets a connection in: finds out who the client is, whether it has too many connections, and shakes
/// hands if TLS is spoken.
///
/// # Errors
///
/// Why it is not let in, for the log; the client learns nothing.
pub async fn admit(
    mut tcp: TcpStream,
    ends: Ends,
    listener: Arc<Listener>,
    entrance: &Entrance,
    draining: Arc<AtomicBool>,
) -> io::Result<Admitted> {
    let limit = listener.timeouts.header.duration();
    let peer = match listener.proxy_protocol {
        true => timeout(limit, announced(&mut tcp, ends.client, &listener)).await??,
        false => ends.client,
    };
    let counted = match listener.max_connections_per_client {
        None => None,
        Some(most) => {
            let counted = entrance.clients.enter(peer.ip(), most);
            Some(counted.ok_or_else(|| io::Error::other("the client has too many connections"))?)
        }
    };
    let socket = match entrance.tls.current() {
        Some(handshake) => Socket::secure(tcp, &handshake, limit).await?,
        None => Socket::Plain(tcp),
    };
    let ends = Ends { client: peer, ..ends };
    let mut client = Client::new(ends, listener, draining);
    client.is_secure = socket.is_secure();
    Ok(Admitted { io: Box::new(EdgeIo::new(socket, Arc::new(client))), counted })
}

/// Who the proxy in front says its client is.
async fn announced(
    tcp: &mut TcpStream,
    peer: SocketAddr,
    listener: &Listener,
) -> io::Result<SocketAddr> {
    let address = peer.ip().to_canonical();
    if !listener.trusted_proxies.iter().any(|net| net.contains(&address)) {
        return Err(io::Error::other("the peer is none of the trusted proxies"));
    }
    Ok(proxy_protocol::read(tcp).await?.unwrap_or(peer))
}
