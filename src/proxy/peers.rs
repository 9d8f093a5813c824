//! pingora's form of endpoints: how each is connected to.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pingora_core::{
    Error, ErrorType, Result,
    protocols::{ALPN, TcpKeepalive, tls::CaType},
    upstreams::peer::HttpPeer,
    utils::tls::{CertKey, WrappedX509, parse_x509},
};

use crate::{
    model::{
        Target,
        link::{Link, Protocol},
        settings::ServiceTimeouts,
        snapshot::Endpoint,
    },
    tls,
};

/// How many requests share an HTTP/2 connection to an endpoint, unless it wants fewer.
const STREAMS_MAX: usize = 100;
/// How much of one response an HTTP/2 endpoint may send ahead, in bytes.
const STREAM_WINDOW: u32 = 128 * 1024;
/// How much of all responses on a connection, in bytes: so much that clients who do not read theirs
/// never stop the others'.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * (STREAMS_MAX as u32 + 28);
/// When an HTTP/2 connection that is silent is asked whether it is still there. Pings would do it too,
/// but gRPC servers close connections that ping.
const ALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(15),
    interval: Duration::from_secs(5),
    count: 3,
    user_timeout: Duration::from_secs(30),
};

/// A worker's own: what pingora needs to know of pools that are not plain HTTP/1. Kept by the address
/// of the link, which is kept beside it and so is nobody else's.
#[derive(Debug, Default)]
pub struct Peers(Mutex<HashMap<usize, Known>>);

type Known = (Arc<Link>, Arc<Prepared>);

/// A link as pingora wants it.
#[derive(Debug)]
struct Prepared {
    ca: Option<Arc<CaType>>,
    own: Option<Arc<CertKey>>,
    /// Connections are shared within a group only: a pool that trusts others, or speaks something
    /// else, makes its own.
    group: u64,
}

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Need {
    /// Any that is there.
    Any,
    /// A new one, because one that was kept was stale.
    Fresh,
    /// A new one of HTTP/1.1, whose place another protocol can take (RFC 9110, section 7.8).
    Upgrade,
}

impl Peers {
    /// pingora's form of an endpoint, with every time limit set: its defaults are none.
    ///
    /// # Errors
    ///
    /// If the path of a Unix socket is none, or a file that was found good with the config is not.
    pub fn peer(
        &self,
        endpoint: &Endpoint,
        link: &Arc<Link>,
        timeouts: &ServiceTimeouts,
        need: Need,
        announcement: Option<&[u8]>,
    ) -> Result<HttpPeer> {
        let tls = link.protocol.is_tls();
        let name = if tls { link.server_name(&endpoint.address).unwrap_or_default() } else { "" };
        if tls && name.is_empty() {
            // pingora would trust anybody then.
            return Error::e_explain(ErrorType::InvalidCert, "the endpoint has no name");
        }
        let mut peer = match &endpoint.target {
            Target::Tcp(address) => HttpPeer::new(*address, tls, name.to_owned()),
            Target::Unix(path) => HttpPeer::new_uds(&path.to_string_lossy(), tls, name.to_owned())?,
        };
        let options = &mut peer.options;
        options.connection_timeout = Some(timeouts.connect.duration());
        options.total_connection_timeout = Some(timeouts.connect.duration());
        // The client's deadline tells first byte and idle apart; this only catches what escapes it.
        let (mut read, mut write) = (timeouts.first_byte.max(timeouts.idle), timeouts.idle);
        if need == Need::Upgrade {
            (read, write) = (read.max(timeouts.tunnel), write.max(timeouts.tunnel));
        }
        options.read_timeout = Some(read.duration() * 2);
        options.write_timeout = Some(write.duration());
        options.idle_timeout = Some(timeouts.keepalive.duration());
        if link.protocol != Protocol::Http1 {
            let prepared = self.prepared(link)?;
            let is_upgrade = need == Need::Upgrade && link.protocol == Protocol::HttpsH2;
            if link.protocol.is_http2() && !is_upgrade {
                options.alpn = ALPN::H2;
                options.max_h2_streams = STREAMS_MAX;
                options.h2_stream_window_size = Some(STREAM_WINDOW);
                options.h2_connection_window_size = Some(CONNECTION_WINDOW);
                options.tcp_keepalive = Some(ALIVE);
            }
            options.ca = prepared.ca.clone();
            peer.client_cert_key = prepared.own.clone();
            peer.group_key = prepared.group;
        }
        if let Some(announcement) = announcement {
            // A connection that was announced for one client is nobody else's.
            let mut hasher = DefaultHasher::new();
            (peer.group_key, announcement).hash(&mut hasher);
            peer.group_key = hasher.finish().max(1);
        }
        if matches!(need, Need::Fresh | Need::Upgrade) {
            // No kept connection has this key.
            peer.group_key = fastrand::u64(1..);
        }
        Ok(peer)
    }

    fn prepared(&self, link: &Arc<Link>) -> Result<Arc<Prepared>> {
        // Only this worker's requests take the lock, one at a time on its thread.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Arc::as_ptr(link) as usize;
        if let Some((_, prepared)) = known.get(&place) {
            return Ok(prepared.clone());
        }
        // What a reload left behind goes when something new comes.
        known.retain(|_, (link, _)| Arc::strong_count(link) > 1);
        let prepared = Arc::new(Prepared::new(link)?);
        known.insert(place, (link.clone(), prepared.clone()));
        Ok(prepared)
    }
}

impl Prepared {
    fn new(link: &Link) -> Result<Self> {
        let tls = link.tls.as_ref();
        let ca = tls.and_then(|tls| tls.ca.as_ref()).map(|ca| &*ca.text.0);
        let own = tls.and_then(|tls| tls.client_cert.as_ref().zip(tls.client_key.as_ref()));
        let own = own.map(|(certificate, key)| (&*certificate.text.0, &*key.text.0));
        let mut hasher = DefaultHasher::new();
        (link.protocol, ca, own).hash(&mut hasher);
        Ok(Self {
            ca: ca.map(trusted).transpose()?,
            own: own.map(|(certificate, key)| identity(certificate, key)).transpose()?,
            // 0 is the group of those who need none.
            group: hasher.finish().max(1),
        })
    }
}

fn ders(pem: &str) -> Result<Vec<Vec<u8>>> {
    let read = tls::certificates(pem).map_err(unsound)?;
    Ok(read.iter().map(|certificate| certificate.to_vec()).collect())
}

fn trusted(pem: &str) -> Result<Arc<CaType>> {
    Ok(ders(pem)?.into_iter().map(|der| WrappedX509::new(der, parse_x509)).collect())
}

fn identity(certificates: &str, key: &str) -> Result<Arc<CertKey>> {
    let key = tls::private_key(key).map_err(unsound)?;
    Ok(Arc::new(CertKey::new(ders(certificates)?, key.secret_der().to_vec())))
}

fn unsound(fault: tls::Fault) -> Box<Error> {
    Error::because(ErrorType::InvalidCert, "a file of the config", fault)
}

#[cfg(test)]
mod tests {
    use pingora_core::upstreams::peer::Peer;

    use super::*;
    use crate::model::{
        Millis,
        health::{AdminState, Standing},
        link::{Pem, Tls},
        settings::Secret,
    };

    fn endpoint(address: &str) -> Endpoint {
        let address: crate::model::Address = address.parse().unwrap();
        let target = Target::Tcp("127.0.0.1:443".parse().unwrap());
        Endpoint {
            address,
            target,
            weight: 1,
            admin: AdminState::Ready,
            standing: Standing::Up,
            is_fresh: false,
        }
    }

    fn link(protocol: Protocol, ca: Option<&str>) -> Arc<Link> {
        let pem = |text: &str| Pem { path: "f".into(), text: Secret(text.into()) };
        let tls =
            Tls { ca: ca.map(pem), server_name: Some("app.example".into()), ..Tls::default() };
        let tls = protocol.is_tls().then_some(tls);
        Arc::new(Link { protocol, tls, ..Link::default() })
    }

    fn timeouts() -> ServiceTimeouts {
        let span = Millis(1000);
        ServiceTimeouts {
            connect: span,
            first_byte: span,
            idle: span,
            total: None,
            keepalive: span,
            tunnel: span,
        }
    }

    fn peer(peers: &Peers, link: &Arc<Link>, need: Need) -> HttpPeer {
        peers.peer(&endpoint("127.0.0.1:443"), link, &timeouts(), need, None).unwrap()
    }

    fn ca() -> String {
        rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap().cert.pem()
    }

    #[test]
    fn connections_are_shared_only_by_those_who_speak_and_trust_alike() {
        let (peers, first, second) = (Peers::default(), ca(), ca());
        let links = [
            link(Protocol::Http1, None),
            link(Protocol::H2c, None),
            link(Protocol::Https, None),
            link(Protocol::HttpsH2, None),
            link(Protocol::Https, Some(&first)),
            link(Protocol::Https, Some(&second)),
        ];
        let key = |link: &Arc<Link>| peer(&peers, link, Need::Any).reuse_hash();
        let mut keys: Vec<u64> = links.iter().map(key).collect();
        assert_eq!(keys[4], key(&link(Protocol::Https, Some(&first))), "the same files");
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), links.len());
        assert_ne!(peer(&peers, &links[0], Need::Fresh).reuse_hash(), key(&links[0]));
    }

    #[test]
    fn certificates_are_always_verified() {
        let peers = Peers::default();
        let tls = peer(&peers, &link(Protocol::HttpsH2, None), Need::Any);
        assert!(tls.tls() && tls.verify_cert() && tls.verify_hostname());
        assert_eq!((tls.sni(), tls.options.alpn.clone()), ("app.example", ALPN::H2));
        let nameless = Arc::new(Link { protocol: Protocol::Https, ..Link::default() });
        let (nobody, need) = (endpoint("127.0.0.1:1"), Need::Any);
        assert!(peers.peer(&nobody, &nameless, &timeouts(), need, None).is_err());
    }

    #[test]
    fn an_upgrade_is_asked_for_in_http1() {
        let peers = Peers::default();
        let up = peer(&peers, &link(Protocol::HttpsH2, None), Need::Upgrade);
        assert_eq!(up.options.alpn, ALPN::H1);
    }

    #[test]
    fn what_is_prepared_for_a_link_that_is_gone_goes_too() {
        let peers = Peers::default();
        for _ in 0..10 {
            peer(&peers, &link(Protocol::H2c, None), Need::Any);
        }
        assert!(peers.0.lock().unwrap().len() <= 2);
    }
}
