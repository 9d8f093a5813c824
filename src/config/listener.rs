//! `[listener.NAME]`.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    sync::Arc,
};

use super::{
    places::{network, socket_address},
    reader::{Section, Value},
    values::{Limits, size, span},
};
use crate::model::{
    Millis,
    settings::{Listener, ListenerTimeouts},
    units::ListenerName,
};

const TIMEOUT_LIMITS: Limits = (Millis(10), Millis::from_secs(3600));
const HEADER_BYTES: usize = 32 << 10;
const HEADER_BYTES_MIN: usize = 1 << 10;
const HEADER_BYTES_MAX: usize = 256 << 10;

/// Reads all listeners. None may have the address of another or of `admin.http`.
pub(super) fn listeners(
    section: Section<'_>,
    admin: Option<SocketAddr>,
) -> Option<BTreeMap<ListenerName, Arc<Listener>>> {
    if section.is_empty() {
        section
            .missing::<()>("", "is missing; write [listener.http] with address = \"0.0.0.0:80\"")?;
    }
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    taken.extend(admin.map(|address| (address, "admin.http".to_owned())));
    let read = section.named::<ListenerName>().into_iter().filter_map(|(name, value)| {
        let listener = listener(&value)?;
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
    Some(read.collect())
}

fn listener(value: &Value<'_>) -> Option<Listener> {
    let mut section = value.section("[listener.NAME] with address = \"0.0.0.0:80\"")?;
    let networks = "a list of networks, as in [\"10.0.0.0/8\"]";
    let address = section.required("address", "\"0.0.0.0:80\"", socket_address);
    let trusted = section.list("trusted_proxies", networks, network);
    let head = size(HEADER_BYTES_MIN..=HEADER_BYTES_MAX);
    let max_header_bytes = section.or("max_header_bytes", HEADER_BYTES, head);
    let timeouts = timeouts(section.section("timeouts"));
    section.finish();
    Some(Listener {
        address: address?,
        trusted_proxies: trusted.unwrap_or_default(),
        max_header_bytes,
        timeouts,
    })
}

fn timeouts(mut section: Section<'_>) -> ListenerTimeouts {
    let mut limit =
        |name, default| section.or(name, Millis::from_secs(default), span(TIMEOUT_LIMITS));
    let timeouts = ListenerTimeouts {
        header: limit("header", 10),
        keepalive: limit("keepalive", 75),
        body: limit("body", 30),
        write: limit("write", 30),
    };
    section.finish();
    timeouts
}
