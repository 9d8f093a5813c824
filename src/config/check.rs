//! `[[service.NAME.check]]`: what a candidate must answer before it gets traffic.

use std::collections::BTreeMap;

use super::{
    places::{host_header, request_path},
    reader::{Section, Value},
    values::{Limits, expect, span, text},
};
use crate::model::{Millis, preflight::Check, settings::Expect};

const LATENCY_LIMITS: Limits = (Millis(1), Millis::from_secs(60));
/// Longest text in bytes that is looked for in an answer.
const BODY_MAX: usize = 1024;
/// Longest body in bytes that is sent.
const DATA_MAX: usize = 64 << 10;
/// Longest method in letters.
const METHOD_MAX: usize = 32;
/// Headers that say how a message is sent, which is not for the file to say. Sorted.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads all checks of a service.
pub(super) fn checks(service: &mut Section<'_>) -> Vec<Check> {
    service.list("check", "each as a section [[service.NAME.check]]", check).unwrap_or_default()
}

fn check(value: &Value<'_>) -> Option<Check> {
    let mut section = value.section("a section [[service.NAME.check]] with path = \"/healthz\"")?;
    let method = section.or("method", "GET".into(), method);
    let path = section.required("path", "\"/healthz\"", request_path);
    let headers = section.or("headers", BTreeMap::new(), headers);
    let data = section.optional("data", data);
    let expect = section.or("expect", Expect(vec![(200, 299)]), expect);
    let body = section.optional("body", |value| match &*method {
        "HEAD" => value.problem(
            "cannot be found: the answer to HEAD has no body; write method = \"GET\", or leave \
             this key out",
        ),
        _ => text(BODY_MAX)(value).map(Into::into),
    });
    let max_latency = section.optional("max_latency", span(LATENCY_LIMITS));
    section.finish();
    Some(Check { method, path: path?, headers, data, expect, body, max_latency })
}

fn method(value: &Value<'_>) -> Option<Box<str>> {
    let is_method = |text: &&str| {
        (1..=METHOD_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
            // Its target is a host and not a path.
            && *text != "CONNECT"
    };
    value.text().filter(is_method).map(Into::into).or_else(|| {
        value.is_not("a method for a path", "it in capital letters, as in \"GET\" or \"POST\"")
    })
}

/// Names in lower case, as they are compared.
fn headers(value: &Value<'_>) -> Option<BTreeMap<Box<str>, Box<str>>> {
    let section = value.section("{ accept = \"application/json\" }")?;
    let mut headers = BTreeMap::new();
    for (name, value) in section.entries() {
        let Some((name, text)) = header_name(name, &value).zip(header_value(name, &value)) else {
            continue;
        };
        if headers.insert(name, text).is_some() {
            value.problem::<()>("is there in other letters too; write each header once");
        }
    }
    Some(headers)
}

fn header_name(name: &str, value: &Value<'_>) -> Option<Box<str>> {
    match name.parse::<http::HeaderName>() {
        Ok(name) if FRAMING.contains(&name.as_str()) => {
            value.problem("is for lbd to say; leave this header out")
        }
        Ok(name) => Some(name.as_str().into()),
        Err(_) => value.problem("is not the name of a header; write letters, digits and -"),
    }
}

/// The messages do not repeat what was typed: it may be a token.
fn header_value(name: &str, value: &Value<'_>) -> Option<Box<str>> {
    if name.eq_ignore_ascii_case("host") {
        return host_header(value);
    }
    let typed = value.text().filter(|text| text.parse::<http::HeaderValue>().is_ok());
    typed.map(Into::into).or_else(|| {
        value.problem("is not the value of a header; write one line of ASCII text in quotes")
    })
}

/// The messages do not repeat what was typed: it may be a password.
fn data(value: &Value<'_>) -> Option<Box<str>> {
    match value.text() {
        None => value.problem("is not a text; write the body to send in quotes"),
        Some(_) => text(DATA_MAX)(value).map(Into::into),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<Check, String> {
        read_one(&format!("{{ {text} }}"), check)
    }

    #[test]
    fn every_key_is_read() {
        let text = "method = 'POST', path = '/login?x=1', data = '{\"user\": 1}', \
                    headers = { Host = 'app:80', X-Token = 'a b', 'content-type' = '' }, \
                    expect = [201, '300-302'], body = 'welcome', max_latency = '250ms'";
        let headers = [("host", "app:80"), ("x-token", "a b"), ("content-type", "")];
        let expected = Check {
            method: "POST".into(),
            path: "/login?x=1".into(),
            headers: headers.into_iter().map(|(name, text)| (name.into(), text.into())).collect(),
            data: Some("{\"user\": 1}".into()),
            expect: Expect(vec![(201, 201), (300, 302)]),
            body: Some("welcome".into()),
            max_latency: Some(Millis(250)),
        };
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn only_the_path_is_required() {
        let expected = Check {
            method: "GET".into(),
            path: "/".into(),
            headers: BTreeMap::new(),
            data: None,
            expect: Expect(vec![(200, 299)]),
            body: None,
            max_latency: None,
        };
        assert_eq!(read("path = '/'"), Ok(expected));
        assert_eq!(read(""), Err("is missing; write path = \"/healthz\"".into()));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("method = 'get'", "\"get\" is not a method for a path; write it in capital letters"),
            ("method = ''", "\"\" is not a method for a path; write"),
            ("method = 'CONNECT'", "\"CONNECT\" is not a method for a path; write"),
            ("method = 'G T'", "\"G T\" is not a method for a path; write"),
            ("path = 'x'", "\"x\" is not a request path; write one that begins with /"),
            ("headers = 'x'", "\"x\" is not a table; write { accept ="),
            ("headers = { 'a b' = 'x' }", "is not the name of a header; write letters"),
            ("headers = { '' = 'x' }", "is not the name of a header; write letters"),
            ("headers = { Content-Length = '5' }", "is for lbd to say; leave this header out"),
            ("headers = { x = 1 }", "is not the value of a header; write one line"),
            ("headers = { x = \"a\\r\\nb: c\" }", "is not the value of a header; write one line"),
            ("headers = { host = 'a b' }", "\"a b\" is not a host; write HOST or HOST:PORT"),
            ("headers = { X-A = '1', x-a = '2' }", "is there in other letters too; write each"),
            ("data = ''", "is empty; write a text, or leave the key out"),
            ("expect = [600]", "600 is not an HTTP status; write"),
            ("body = 1", "1 is not a text; write it in quotes"),
            ("method = 'HEAD', body = 'ok'", "cannot be found: the answer to HEAD has no body;"),
            ("max_latency = '0s'", "\"0s\" is too short; write 1ms to 1m"),
            ("max_latency = '61s'", "\"61s\" is too long; write 1ms to 1m"),
            ("header = {}", "unknown key; did you mean headers?"),
        ] {
            let path = if text.starts_with("path") { "" } else { ", path = '/'" };
            let message = read(&format!("{text}{path}")).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert_eq!(message.lines().count(), 1, "{text}: {message}");
        }
        let long = read(&format!("path = '/', data = '{}'", "x".repeat(DATA_MAX + 1))).unwrap_err();
        assert_eq!(long, "is 65537 bytes long; write at most 65536");
        assert!(FRAMING.is_sorted());
    }

    #[test]
    fn headers_and_data_are_not_repeated() {
        let text = "path = '/', data = 4711, headers = { a = 4711, b = \"4711\\u0000\" }";
        let message = read(text).unwrap_err();
        assert!(message.lines().count() == 3 && !message.contains("4711"), "{message}");
    }
}
