//! An address that clients connect to.

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{tls::ListenerTls, units::Millis};

/// An address that clients connect to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listener {
    /// Where to listen.
    pub address: SocketAddr,
    /// Whether HTTP/2 is spoken too: over TLS where the client offers it, else with a client that
    /// begins with it.
    pub http2: bool,
    /// Whether each connection begins with a PROXY protocol header, which trusted proxies send.
    pub proxy_protocol: bool,
    /// Peers whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether every request is sent to the same address with `https://`.
    pub redirect_to_https: bool,
    /// For how long browsers are told to come over TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Millis>,
    /// Largest request head, in bytes.
    pub max_header_bytes: usize,
    /// Connections at most. Each worker keeps to its part; whoever comes then waits to be let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Connections of one client at most, over all workers; an IPv6 client is its /64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections_per_client: Option<u32>,
    /// Time limits towards clients.
    pub timeouts: ListenerTimeouts,
    /// TLS, if it is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// Time limits towards clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ListenerTimeouts {
    /// From the first byte of a request's head to its last; for a TLS handshake as well.
    pub header: Millis,
    /// Between requests of a connection, and before its first.
    pub keepalive: Millis,
    /// Between two reads of a request body.
    pub body: Millis,
    /// For one write of a response to make progress.
    pub write: Millis,
}

impl Listener {
    /// One with every default, at an address.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            http2: true,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            redirect_to_https: false,
            hsts: None,
            max_header_bytes: 32 << 10,
            max_connections: None,
            max_connections_per_client: None,
            timeouts: ListenerTimeouts::default(),
            tls: None,
        }
    }
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            header: Millis::from_secs(10),
            keepalive: Millis::from_secs(75),
            body: Millis::from_secs(30),
            write: Millis::from_secs(30),
        }
    }
}
