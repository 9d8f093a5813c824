//! How long lbd waits for endpoints, and how often it tries.

use std::collections::BTreeMap;

use toml::Value;

use super::{
    document::{Section, table},
    parser::Place,
    scope::{Context, Scope, span_within},
};

/// The longest time limit of a service, in seconds.
const SECONDS_MAX: u64 = 24 * 3600;

/// The time limits towards endpoints, and further attempts.
pub fn patience(
    context: &Context<'_>,
    scope: &Scope<'_>,
    section: &mut Section,
    keepalive: Option<&(String, Place)>,
) {
    let ledger = context.ledger;
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    let mut places: Vec<String> = Vec::new();
    let upgrades =
        scope.nearest("proxy_set_header").iter().any(|h| h.arg(0).eq_ignore_ascii_case("upgrade"));
    let read: &[&str] =
        if upgrades { &["first_byte", "idle", "tunnel"] } else { &["first_byte", "idle"] };
    for (name, limits) in [
        ("proxy_connect_timeout", &["connect"][..]),
        ("grpc_connect_timeout", &["connect"]),
        ("proxy_read_timeout", read),
        ("grpc_read_timeout", &["first_byte", "idle"]),
    ] {
        let Some(directive) = scope.one(name) else { continue };
        let Some((span, as_it_is)) = span_within(directive.arg(0), SECONDS_MAX) else {
            ledger.left(directive, "it is no span of time");
            continue;
        };
        match as_it_is {
            true => ledger.carry(directive),
            false => ledger.differs(directive, format!("lbd takes {span}, its limit")),
        }
        places.push(directive.at.to_string());
        for limit in limits {
            keys.insert((*limit).into(), span.as_str().into());
        }
    }
    if let Some((span, at)) = keepalive {
        keys.insert("keepalive".into(), span.as_str().into());
        places.push(at.to_string());
    }
    if !keys.is_empty() {
        section.set_because("timeouts", table(keys), places.join(", "));
    }
    let next = scope.one("proxy_next_upstream");
    let tries = scope.one("proxy_next_upstream_tries");
    if let Some(next) = next.filter(|next| next.arg(0) == "off") {
        ledger.carry(next);
        section.set("retries", 0, &next.at);
    } else if let Some(next) = next {
        ledger.unneeded(next, "lbd retries where nothing was answered and a replay is safe");
    }
    if let Some(tries) = tries {
        match tries.arg(0).parse::<i64>() {
            Ok(number @ 1..) if next.is_none_or(|next| next.arg(0) != "off") => {
                ledger.carry(tries);
                section.set("retries", (number - 1).min(10), &tries.at);
            }
            _ => ledger.unneeded(tries, "lbd always has a bound"),
        }
    }
}
