//! `[listener.NAME]`.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    Read,
    places::{network, socket_address},
    reader::{Section, Value},
    tls::tls,
    values::{Limits, size, span, truth, whole},
};
use crate::model::{
    Millis,
    listener::{Listener, ListenerTimeouts},
    units::ListenerName,
};

const TIMEOUT_LIMITS: Limits = (Millis(10), Millis::from_secs(3600));
const HSTS_LIMITS: Limits = (Millis::from_secs(1), Millis::from_secs(10 * 365 * 24 * 3600));
const CONNECTIONS_MAX: u32 = 10_000_000;
const HEADER_BYTES_MIN: usize = 1 << 10;
const HEADER_BYTES_MAX: usize = 256 << 10;

/// Reads all listeners. None may have the address of another or of `admin.http`.
pub(super) fn listeners(
    section: Section<'_>,
    admin: Option<SocketAddr>,
    read: Read<'_>,
) -> Option<BTreeMap<ListenerName, Arc<Listener>>> {
    if section.is_empty() {
        section
            .missing::<()>("", "is missing; write [listener.http] with address = \"0.0.0.0:80\"")?;
    }
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    taken.extend(admin.map(|address| (address, "admin.http".to_owned())));
    let listeners = section.named::<ListenerName>().into_iter().filter_map(|(name, value)| {
        let listener = listener(&value, read)?;
        if listener.address.port() != 0 {
            match taken.entry(listener.address) {
                Entry::Vacant(free) => _ = free.insert(value.key().to_owned()),
                Entry::Occupied(owner) => value.problem(format!(
                    "has the address {} of {}; write another port or IP address",
                    listener.address,
                    owner.get()
                ))?,
            }
        }
        Some((name?, Arc::new(listener)))
    });
    Some(listeners.collect())
}

fn listener(value: &Value<'_>, read: Read<'_>) -> Option<Listener> {
    let mut section = value.section("[listener.NAME] with address = \"0.0.0.0:80\"")?;
    let networks = "a list of networks, as in [\"10.0.0.0/8\"]";
    let address = section.required("address", "\"0.0.0.0:80\"", socket_address);
    let usual = Listener::at(SocketAddr::from(([0, 0, 0, 0], 0)));
    let head = size(HEADER_BYTES_MIN..=HEADER_BYTES_MAX);
    let tls_value = section.take("tls");
    let tls = tls_value.as_ref().map(|value| tls(value, read));
    let trusted = section.list("trusted_proxies", networks, network);
    let listener = Listener {
        http2: section.or("http2", usual.http2, truth),
        proxy_protocol: section.or("proxy_protocol", usual.proxy_protocol, truth),
        redirect_to_https: section.or("redirect_to_https", usual.redirect_to_https, truth),
        hsts: section.optional("hsts", span(HSTS_LIMITS)),
        max_header_bytes: section.or("max_header_bytes", usual.max_header_bytes, head),
        max_connections: section.optional("max_connections", whole(1..=CONNECTIONS_MAX)),
        max_connections_per_client: section
            .optional("max_connections_per_client", whole(1..=CONNECTIONS_MAX)),
        timeouts: timeouts(section.section("timeouts")),
        trusted_proxies: trusted.unwrap_or_default(),
        ..usual
    };
    contradictions(&section, &listener, tls.is_some());
    section.finish();
    // A section with a mistake is none; what else is wrong has been told.
    let tls = tls.map_or(Some(None), |read| read.map(Some))?;
    Some(Listener { address: address?, tls, ..listener })
}

fn contradictions(section: &Section<'_>, listener: &Listener, has_tls: bool) {
    if has_tls && listener.redirect_to_https {
        section.problem::<()>(
            "has tls and redirect_to_https: requests would be sent in a circle; take one away",
        );
    }
    if !has_tls && listener.hsts.is_some() {
        section
            .problem::<()>("has hsts but no tls, where browsers ignore it; write it where tls is");
    }
    if listener.proxy_protocol && listener.trusted_proxies.is_empty() {
        section.problem::<()>(
            "has proxy_protocol but no trusted_proxies: nobody could connect; \
             write the networks of the proxies in front, as in [\"10.0.0.0/8\"]",
        );
    }
}

fn timeouts(mut section: Section<'_>) -> ListenerTimeouts {
    let usual = ListenerTimeouts::default();
    let mut limit = |name, default| section.or(name, default, span(TIMEOUT_LIMITS));
    let timeouts = ListenerTimeouts {
        header: limit("header", usual.header),
        keepalive: limit("keepalive", usual.keepalive),
        body: limit("body", usual.body),
        write: limit("write", usual.write),
    };
    section.finish();
    timeouts
}
