//! `[tracing]`: where spans of requests go.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;

use super::{
    Read,
    link::pem,
    notify::secret,
    places::web_address,
    reader::{Section, Value},
    values::{Limits, share, span, text},
};
use crate::{
    model::{Millis, link::Pem, settings::Secret, spans::Tracing},
    tls,
};

const TIMEOUT: Limits = (Millis(100), Millis::from_secs(60));
const SERVICE_NAME_MAX: usize = 255;
/// What belongs to the send itself.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "transfer-encoding",
    "user-agent",
];

/// Reads `[tracing]`.
pub(super) fn tracing(read: Read<'_>) -> impl Fn(&Value<'_>) -> Option<Arc<Tracing>> {
    move |value| tracing_of(value, read)
}

fn tracing_of(value: &Value<'_>, read: Read<'_>) -> Option<Arc<Tracing>> {
    let mut section = value.section("it as a section [tracing]")?;
    let usual = Tracing::default();
    let endpoint = section.or("endpoint", usual.endpoint, endpoint);
    let tracing = Tracing {
        ca: ca(&mut section, &endpoint, read),
        endpoint,
        sample: section.or("sample", usual.sample, share),
        service_name: section
            .optional("service_name", text(SERVICE_NAME_MAX))
            .map_or(usual.service_name, Arc::from),
        timeout: section.or("timeout", usual.timeout, span(TIMEOUT)),
        headers: section.or("headers", usual.headers, headers),
    };
    section.finish();
    Some(Arc::new(tracing))
}

/// A collector's base address: `/v1/traces` comes behind it.
fn endpoint(value: &Value<'_>) -> Option<Arc<str>> {
    let address = web_address(value)?;
    if address.contains('?') {
        return value.problem("has a query; write the address without ? and what follows");
    }
    if address.trim_end_matches('/').ends_with("/v1/traces") {
        return value.problem("has the path of OTLP in it; write it without /v1/traces");
    }
    Some(address)
}

/// Those who vouch for the collector. A mistake is reported, and nobody's certificate taken meanwhile.
fn ca(section: &mut Section<'_>, endpoint: &str, read: Read<'_>) -> Option<Pem> {
    let ca = pem(section, "ca", read, |text| tls::roots(text).map(drop))??;
    if endpoint.starts_with("https://") {
        return Some(ca);
    }
    section.missing(
        "ca",
        "means nothing without TLS; write an endpoint that begins with https://, or leave this key \
         out",
    )
}

fn headers(value: &Value<'_>) -> Option<BTreeMap<Box<str>, Secret>> {
    let section = value.section("it as in { authorization = \"Bearer ...\" }")?;
    let read: Vec<_> = section.entries().into_iter().map(|(name, v)| header(name, &v)).collect();
    let mut headers = BTreeMap::new();
    for header in read {
        let (name, secret) = header?;
        if headers.insert(name, secret).is_some() {
            return value.problem("has a header twice; write each once");
        }
    }
    Some(headers)
}

fn header(name: &str, value: &Value<'_>) -> Option<(Box<str>, Secret)> {
    let Ok(name) = name.parse::<HeaderName>() else {
        return value
            .problem("is not the name of a header; write letters, digits and - in its place");
    };
    if OWN_HEADERS.contains(&name.as_str()) {
        return value.problem("is a header that lbd sets itself; leave it out");
    }
    let secret = secret(value)?;
    if !secret.0.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return value.problem("has characters that a header cannot have; write it in ASCII");
    }
    Some((name.as_str().into(), secret))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<Arc<Tracing>, String> {
        let made = rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap();
        let file = |path: &Path| match path.to_str().unwrap() {
            "ca.pem" => Ok(made.cert.pem()),
            "junk.pem" => Ok("junk".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        read_one(text, tracing(&file))
    }

    #[test]
    fn everything_has_a_default() {
        assert_eq!(*read("{}").unwrap(), Tracing::default());
        let text = "{ endpoint = 'https://otel.example.com/in/', sample = '0.1%', service_name = 'edge', \
                    timeout = '2s', headers = { X-Key = 'k', authorization = 'Bearer t' } }";
        let read = self::read(text).unwrap();
        assert_eq!(
            (&*read.endpoint, &*read.service_name),
            ("https://otel.example.com/in/", "edge")
        );
        assert_eq!((read.sample.basis_points(), read.timeout), (10, Millis(2000)));
        let headers: Vec<_> = read.headers.iter().map(|(n, v)| (&**n, &*v.0)).collect();
        assert_eq!(headers, [("authorization", "Bearer t"), ("x-key", "k")]);
    }

    #[test]
    fn a_collectors_own_authority_is_read_with_the_config() {
        let read = read("{ endpoint = 'https://otel.internal', ca = 'ca.pem' }").unwrap();
        let ca = read.ca.as_ref().unwrap();
        assert_eq!(ca.path, Path::new("ca.pem"));
        assert!(ca.text.0.starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (text, expected) in [
            ("1", "1 is not a table; write it as a section [tracing]"),
            ("{ endpoint = 'collector:4318' }", "is not a web address; write "),
            ("{ endpoint = 'http://a/?x=1' }", "has a query; write "),
            ("{ endpoint = 'http://a/v1/traces' }", "has the path of OTLP in it; write "),
            ("{ ca = 'ca.pem' }", "means nothing without TLS; write an endpoint that"),
            ("{ endpoint = 'http://a', ca = 'ca.pem' }", "means nothing without TLS; write an "),
            ("{ endpoint = 'https://a', ca = 'gone.pem' }", "\"gone.pem\" cannot be read: "),
            ("{ endpoint = 'https://a', ca = 'junk.pem' }", "\"junk.pem\" holds no certificate; "),
            ("{ endpoint = 'https://a', ca = 1 }", "1 is not "),
            ("{ sample = '101%' }", "\"101%\" is not a percentage; write "),
            ("{ service_name = '' }", "is empty; write "),
            ("{ timeout = '2m' }", "\"2m\" is too long; write 100ms to 1m"),
            ("{ headers = ['hunter2'] }", "an array is not a table; write it as in {"),
            ("{ headers = { 'a b' = 'hunter2' } }", "is not the name of a header; write "),
            ("{ headers = { a = 'hunter2é' } }", "has characters that a header cannot have; write"),
            ("{ headers = { a = '' } }", "is empty; write the secret"),
            ("{ headers = { A = 'x', a = 'hunter2' } }", "has a header twice; write each once"),
            ("{ headers = { Content-Type = 'x' } }", "is a header that lbd sets itself; leave it"),
            ("{ samples = 1 }", "unknown key; did you mean sample?"),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.starts_with(expected), "{text}: {message}");
            assert!(!message.contains("hunter"), "{text}: {message}");
        }
    }
}
