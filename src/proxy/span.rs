//! What spans say, in the words of OpenTelemetry's semantic conventions for HTTP (1.37).

use std::{borrow::Cow, time::Instant};

use http::{Version, header};
use pingora_http::RequestHeader;

use super::{
    changes::target,
    exchange::Exchange,
    facts::{Map, facts},
    headers::scheme,
    record::without_link,
};
use crate::{
    model::{Address, Blame, Target},
    observe::spans::{Attribute, Value},
};

/// What a failure is called that has no better name, and a method that is not a usual one.
pub const OTHER: &str = "_OTHER";
/// Methods by their names: those of RFC 9110, PATCH and QUERY.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
/// Keys of queries whose values are signatures, which the conventions want to be left out,
/// and those of the signatures that are in use besides.
const SIGNATURES: [&str; 6] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Security-Token",
];

/// The moment `at`, which has passed, in nanoseconds since the Unix epoch.
pub fn epoch_nanos(at: Instant) -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond();
    let passed = i128::try_from(at.elapsed().as_nanos()).unwrap_or(i128::MAX);
    u64::try_from(now.saturating_sub(passed)).unwrap_or_default()
}

/// What is known of a request that a client sent.
pub fn of_request(request: &RequestHeader, exchange: &Exchange) -> Vec<Attribute> {
    let mut known = Vec::with_capacity(24);
    method(request, &mut known);
    let whole = without_link(String::from_utf8_lossy(request.raw_path()));
    let (path, query) = match whole.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*whole, None),
    };
    known.push(("url.path", Value::text(path)));
    if let Some(query) = query {
        known.push(("url.query", Value::text(&without_signatures(query))));
    }
    let version = match request.version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    };
    known.push(("network.protocol.version", Value::Word(version)));
    if let Some(agent) = request.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()) {
        known.push(("user_agent.original", Value::text(agent)));
    }
    let Some(client) = &exchange.client else { return known };
    let scheme = scheme(request, client);
    known.push(("url.scheme", Value::Word(scheme)));
    let peer = client.peer.ip().to_canonical();
    known.push(("network.peer.address", Value::text(&peer.to_string())));
    known.push(("network.peer.port", client.peer.port().into()));
    if let Some(address) = exchange.address {
        known.push(("client.address", Value::text(&address.to_string())));
        let headers = Map(&request.headers);
        let host = facts(request, &headers, address).host;
        if !host.is_empty() {
            known.push(("server.address", Value::text(without_brackets(host))));
            known.push(("server.port", port(request, scheme).into()));
        }
    }
    known
}

/// What is known of the attempt that begins.
pub fn of_attempt(request: &RequestHeader, exchange: &Exchange) -> Vec<Attribute> {
    let mut known = Vec::with_capacity(12);
    method(request, &mut known);
    if let Some(count) = exchange.attempts.checked_sub(1).filter(|count| *count > 0) {
        known.push(("http.request.resend_count", Value::Number(count.into())));
    }
    if let Some(link) = exchange.link() {
        let version = if link.protocol.is_http2() { "2" } else { "1.1" };
        known.push(("network.protocol.version", Value::Word(version)));
    }
    if let Some(endpoint) = exchange.endpoint() {
        match &endpoint.address {
            Address::Ip(address) => {
                known.push(("server.address", Value::text(&address.ip().to_string())));
                known.push(("server.port", address.port().into()));
            }
            Address::Host { host, port } => {
                known.push(("server.address", Value::text(host)));
                known.push(("server.port", (*port).into()));
            }
            Address::Unix(path) => {
                known.push(("server.address", Value::text(&path.to_string_lossy())));
            }
        }
        match &endpoint.target {
            Target::Tcp(address) => {
                known.push(("network.peer.address", Value::text(&address.ip().to_string())));
                known.push(("network.peer.port", address.port().into()));
            }
            Target::Unix(path) => {
                known.push(("network.peer.address", Value::text(&path.to_string_lossy())));
                known.push(("network.transport", Value::Word("unix")));
            }
        }
    }
    let service = exchange.field().map(|field| field.service);
    if let Some(pool) = exchange.choice().and_then(|choice| service?.pools.get(choice.pool)) {
        known.push(("lbd.pool", Value::text(pool.name.as_str())));
    }
    known.extend(url(request, exchange).map(|url| ("url.full", Value::text(&url))));
    known
}

/// Adds how it was answered. `failure` says what went wrong, if a status that is at least `failing` does
/// not say it. True if it failed.
pub fn answer(
    known: &mut Vec<Attribute>,
    status: Option<u16>,
    failure: Option<&'static str>,
    failing: u16,
) -> bool {
    if let Some(status) = status {
        known.push(("http.response.status_code", status.into()));
    }
    let kind = match status.filter(|status| *status >= failing) {
        Some(status) => Some(Value::text(&status.to_string())),
        None => failure.map(Value::Word),
    };
    let is_failed = kind.is_some();
    known.extend(kind.map(|kind| ("error.type", kind)));
    is_failed
}

/// What lbd made of the request.
pub fn of_exchange(exchange: &Exchange) -> Vec<Attribute> {
    let service = exchange.field().map(|field| field.service);
    let name = |pool: usize| Some(Value::text(service?.pools.get(pool)?.name.as_str()));
    let shielded = exchange.shielded.map(|(pool, _)| pool);
    let wanted = exchange.placement.map(|placement| placement.pool);
    let failed_over = exchange.failed_over() && shielded.is_none();
    let revision = exchange.view.as_ref().map(|view| view.snapshot.revision.0);
    let known = [
        ("lbd.request_id", exchange.id.to_str().ok().map(Value::text)),
        ("lbd.revision", revision.and_then(|n| i64::try_from(n).ok()).map(Value::Number)),
        ("lbd.service", service.map(|service| Value::text(service.name.as_str()))),
        ("lbd.pool", exchange.choice().and_then(|choice| name(choice.pool))),
        ("lbd.rule", exchange.placement.map(|placement| Value::Word(placement.rule.as_str()))),
        ("lbd.failover_from", wanted.filter(|_| failed_over).and_then(name)),
        ("lbd.shielded_from", shielded.and_then(name)),
        ("lbd.blame", exchange.blame.map(Blame::as_str).map(Value::Word)),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// The name of a span with these attributes: the method, since paths are too many.
pub fn name(known: &[Attribute]) -> Cow<'static, str> {
    match known.first() {
        Some((_, Value::Word(OTHER))) | None => "HTTP".into(),
        Some((_, Value::Word(method))) => (*method).into(),
        Some((_, Value::Text(_) | Value::Number(_))) => "HTTP".into(),
    }
}

fn method(request: &RequestHeader, known: &mut Vec<Attribute>) {
    let method = request.method.as_str();
    match METHODS.into_iter().find(|usual| *usual == method) {
        Some(usual) => known.push(("http.request.method", Value::Word(usual))),
        None => {
            known.push(("http.request.method", Value::Word(OTHER)));
            known.push(("http.request.method_original", Value::text(method)));
        }
    }
}

/// The URL that the attempt asks for.
fn url(asked: &RequestHeader, exchange: &Exchange) -> Option<String> {
    let (endpoint, link) = (exchange.endpoint()?, exchange.link()?);
    let scheme = if link.protocol.is_tls() { "https" } else { "http" };
    let authority: Cow<'_, str> = match &endpoint.address {
        Address::Unix(_) => "localhost".into(),
        address @ (Address::Ip(_) | Address::Host { .. }) => address.to_string().into(),
    };
    let policy = &exchange.field()?.service.settings.policy;
    let changed = target(asked, policy).ok()?;
    let place = changed.as_ref().unwrap_or(&asked.uri).path_and_query();
    let whole = without_link(place.map_or("/", |place| place.as_str()).into());
    Some(match whole.split_once('?') {
        Some((path, query)) => {
            format!("{scheme}://{authority}{path}?{}", without_signatures(query))
        }
        None => format!("{scheme}://{authority}{whole}"),
    })
}

/// The port that the client asked for.
fn port(request: &RequestHeader, scheme: &str) -> u16 {
    let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let named = host.and_then(|host| host.rsplit_once(':')).and_then(|(_, port)| port.parse().ok());
    named.unwrap_or(if scheme == "https" { 443 } else { 80 })
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

fn without_signatures(query: &str) -> Cow<'_, str> {
    let key = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let is_signature = |pair: &str| SIGNATURES.contains(&key(pair).as_str());
    if !query.split('&').any(is_signature) {
        return query.into();
    }
    let pairs = query.split('&').map(|pair| match is_signature(pair) {
        true => format!("{}=REDACTED", key(pair)),
        false => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_left_out_of_queries() {
        let query = "a=1&sig=abc&Signature=&b=sig&AWSAccessKeyId=x&X-Goog-Signature=y=z";
        let left = "a=1&sig=REDACTED&Signature=REDACTED&b=sig&AWSAccessKeyId=REDACTED&\
                    X-Goog-Signature=REDACTED";
        assert_eq!(without_signatures(query), left);
        assert_eq!(without_signatures("a=1&&b"), "a=1&&b");
    }

    #[test]
    fn a_status_says_more_than_a_word_if_it_is_a_failure() {
        let answer = |status, failure, failing| {
            let mut known = Vec::new();
            let failed = answer(&mut known, status, failure, failing);
            let kind = known.into_iter().find(|(key, _)| *key == "error.type");
            assert_eq!(failed, kind.is_some());
            kind.map(|(_, value)| value)
        };
        assert_eq!(answer(Some(200), None, 500), None);
        assert_eq!(answer(Some(404), None, 500), None);
        assert_eq!(answer(Some(404), None, 400), Some(Value::text("404")));
        assert_eq!(answer(Some(502), Some("reset"), 500), Some(Value::text("502")));
        assert_eq!(answer(Some(200), Some("reset"), 500), Some(Value::Word("reset")));
        assert_eq!(answer(None, Some(OTHER), 500), Some(Value::Word(OTHER)));
    }

    #[test]
    fn methods_that_are_not_usual_have_no_name_of_their_own() {
        for (method, expected) in
            [("GET", "GET"), ("QUERY", "QUERY"), ("get", "HTTP"), ("PROPFIND", "HTTP")]
        {
            let request = RequestHeader::build(method, b"/", None).unwrap();
            let mut known = Vec::new();
            super::method(&request, &mut known);
            assert_eq!(name(&known), expected);
            let original = known.get(1).map(|(_, value)| value.clone());
            assert_eq!(original, (expected == "HTTP").then(|| Value::text(method)));
        }
    }

    #[test]
    fn ports_are_those_of_the_host_or_the_scheme() {
        let port = |host: &str, scheme: &str| {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.insert_header("Host", host).unwrap();
            super::port(&request, scheme)
        };
        assert_eq!((port("a:81", "http"), port("a", "http"), port("a", "https")), (81, 80, 443));
        assert_eq!((port("[::1]:81", "http"), port("[::1]", "http")), (81, 80));
    }
}
