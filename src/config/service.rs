//! `[service.NAME]`.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Read,
    access::access_log,
    check::checks,
    guard::guard,
    health::health,
    places::{host, path_prefix},
    policy::policy,
    pool::{baseline, pools},
    reader::{Section, Value},
    values::{Limits, id_source, or_none, span, whole, word},
};
use crate::model::{
    Millis, ServiceName,
    guard::Terms,
    route::Routes,
    settings::{Anonymous, Balance, Failover, Pin, Secret, Service, ServiceTimeouts},
};

const TIMEOUT_LIMITS: Limits = (Millis(10), Millis::from_secs(24 * 3600));
const DRAIN_LIMITS: Limits = (Millis(0), Millis::from_secs(24 * 3600));
const RETRIES_MAX: u32 = 10;
const SECRET_CHARS_MIN: usize = 8;
const ANONYMOUS: &[(&str, Anonymous)] = &[
    ("random", Anonymous::Random),
    ("cookie", Anonymous::Cookie),
    ("baseline", Anonymous::Baseline),
];
const BALANCE: &[(&str, Balance)] =
    &[("least-requests", Balance::LeastRequests), ("round-robin", Balance::RoundRobin)];
const FAILOVER: &[(&str, Failover)] =
    &[("any", Failover::Any), ("weighted", Failover::Weighted), ("off", Failover::Off)];

/// Reads all services. No two may claim the same host and path; what their guards leave out is as
/// `above`, in `[guard]`. `read` reads the files that they name.
pub(super) fn services(
    section: Section<'_>,
    above: &Terms,
    read: Read<'_>,
) -> Option<BTreeMap<ServiceName, Arc<Service>>> {
    if section.is_empty() {
        section
            .missing::<()>("", "is missing; write [service.app.pool.blue] with its endpoints")?;
    }
    let mut claims = Claims::default();
    let named = section.named::<ServiceName>().into_iter();
    let services = named.filter_map(|(name, value)| {
        let service = service(name.as_ref(), &value, above, read, &mut claims)?;
        Some((name?, Arc::new(service)))
    });
    Some(services.collect())
}

fn service(
    name: Option<&ServiceName>,
    value: &Value<'_>,
    above: &Terms,
    read: Read<'_>,
    claims: &mut Claims,
) -> Option<Service> {
    let mut section = value.section("[service.NAME.pool.POOL] with its endpoints")?;
    let ids = "a list, as in [\"header:X-User-Id\", \"cookie:uid\"]";
    let hosts = section.list("hosts", "a list, as in [\"www.example.com\"]", host);
    let paths = section.list("paths", "a list, as in [\"/api\"]", path_prefix);
    if let (Some(name), Some(hosts), Some(paths)) = (name, &hosts, &paths) {
        claims.add(name, hosts, paths, &section);
    }
    let pools = pools(&mut section, read);
    let baseline = baseline(&mut section, pools.as_ref());
    let user_id = section.list("user_id", ids, id_source).unwrap_or_default();
    let anonymous = section.or("anonymous", Anonymous::default(), word(ANONYMOUS));
    let pin = section.optional("pin", pin);
    let balance = section.or("balance", Balance::default(), word(BALANCE));
    let failover = section.or("failover", Failover::default(), word(FAILOVER));
    let retries = section.or("retries", 2, whole(0..=RETRIES_MAX));
    let timeouts = timeouts(section.section("timeouts"));
    let drain = or_none(span(DRAIN_LIMITS));
    let tunnel_drain = section.or("tunnel_drain", Some(Millis::from_secs(10)), drain);
    let health = health(section.section("health"));
    let access_log = section.optional("access_log", access_log).flatten();
    let guard = guard(section.section("guard"), above);
    let check = checks(&mut section);
    let policy = policy(&mut section, read);
    section.finish();
    // Every key was looked at before the first `?`, so one run shows every mistake.
    Some(Service {
        hosts: hosts?,
        paths: paths?,
        baseline: baseline?,
        user_id,
        anonymous,
        pin,
        balance,
        failover,
        retries,
        timeouts,
        tunnel_drain,
        health,
        access_log,
        guard,
        check,
        policy,
        pool: pools?,
    })
}

fn timeouts(mut section: Section<'_>) -> ServiceTimeouts {
    let total = section.optional("total", span(TIMEOUT_LIMITS));
    let mut limit =
        |name, default| section.or(name, Millis::from_secs(default), span(TIMEOUT_LIMITS));
    let timeouts = ServiceTimeouts {
        connect: limit("connect", 2),
        first_byte: limit("first_byte", 60),
        idle: limit("idle", 60),
        total,
        keepalive: limit("keepalive", 4),
        tunnel: limit("tunnel", 3600),
    };
    section.finish();
    timeouts
}

fn pin(value: &Value<'_>) -> Option<Pin> {
    if !value.is_table() {
        // The value is not repeated either: it may be the secret.
        return value.problem("is not a table; write { name = \"x-lbd-pin\", secret = \"...\" }");
    }
    let mut section = value.section("")?;
    let name = section.required("name", "\"x-lbd-pin\"", pin_name);
    let secret = section.required("secret", "\"a long random text\"", secret);
    section.finish();
    Some(Pin { name: name?, secret: secret? })
}

/// A header name is a cookie name too: both are HTTP tokens.
fn pin_name(value: &Value<'_>) -> Option<Box<str>> {
    let typed = value.text().filter(|text| text.parse::<http::HeaderName>().is_ok());
    typed.map(Into::into).or_else(|| {
        value.is_not(
            "a name for a header and a cookie",
            "letters, digits and -, as in \"x-lbd-pin\"",
        )
    })
}

/// The messages do not repeat what was typed: it may be the secret.
fn secret(value: &Value<'_>) -> Option<Secret> {
    let Some(text) = value.text() else {
        return value.problem("is not a text; write the secret in quotes");
    };
    if text.chars().count() < SECRET_CHARS_MIN {
        return value.problem(format!(
            "is too short to be a secret; write at least {SECRET_CHARS_MIN} characters"
        ));
    }
    // It has to pass through a cookie as it is (RFC 6265, section 4.1.1).
    if !text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)) {
        return value.problem(
            "has characters that a cookie cannot carry; write letters, digits and signs other \
             than space, quote, comma, semicolon and backslash",
        );
    }
    Some(Secret(text.into()))
}

/// Which service has which hosts and paths.
#[derive(Default)]
struct Claims {
    routes: Routes,
    owners: Vec<ServiceName>,
}

impl Claims {
    fn add(
        &mut self,
        name: &ServiceName,
        hosts: &[String],
        paths: &[String],
        section: &Section<'_>,
    ) {
        let index = self.owners.len();
        self.owners.push(name.clone());
        for conflict in self.routes.add(index, hosts, paths).err().unwrap_or_default() {
            let host = match conflict.host.as_str() {
                "*" => "any host",
                host => &format!("host {host}"),
            };
            let path = &conflict.path;
            let message = match self.owners.get(conflict.first) {
                Some(owner) if owner != name => format!(
                    "claims {host} with path {path}, which service {owner} has; write other hosts \
                     or paths for {name} or {owner}"
                ),
                _ => format!("lists {host} with path {path} twice; write it once"),
            };
            section.problem::<()>(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    #[test]
    fn a_secret_is_never_repeated() {
        assert!(!read_one("'hunter22'", pin).unwrap_err().contains("hunter"));
        for text in ["'hunter2'", "12345678901", "'hunter two hunter'", "['hunter22']"] {
            let message = read_one(text, secret).unwrap_err();
            assert!(!message.contains("hunter") && !message.contains("1234"), "{message}");
            assert!(message.contains("; write "), "{message}");
        }
        assert!(read_one("'hunter22'", secret).unwrap().matches("hunter22"));
    }

    #[test]
    fn a_pin_name_is_a_token() {
        assert_eq!(&*read_one("'X-Pin'", pin_name).unwrap(), "X-Pin");
        for text in ["'a b'", "'a=b'", "''", "1"] {
            assert!(read_one(text, pin_name).is_err(), "{text}");
        }
    }
}
