//! `[[service.NAME.rewrite]]` and `[[service.NAME.redirect]]`.

use super::super::{places::is_authority, reader::Value};
use crate::model::policy::{
    pattern::{Pattern, Replacement},
    rewrite::{Redirect, Rewrite},
};

const STATUSES: [i64; 5] = [301, 302, 303, 307, 308];

/// A rule for the path that endpoints are asked for.
pub(super) fn rewrite(value: &Value<'_>) -> Option<Rewrite> {
    let mut section = value.section("a section [[service.NAME.rewrite]] with match and to")?;
    let pattern = section.required("match", "\"^/old/(.*)$\"", pattern);
    let to = section.required("to", "\"/new/$1\"", |value| {
        let text = text(value)?;
        if !text.starts_with('/') || text.contains('?') {
            return value.is_not("a path", "one that begins with / and has no ?: the query stays");
        }
        replacement(value, pattern.as_ref()?)
    });
    section.finish();
    Some(Rewrite { pattern: pattern?, to: to? })
}

/// A rule for where clients are sent.
pub(super) fn redirect(value: &Value<'_>) -> Option<Redirect> {
    let mut section = value.section("a section [[service.NAME.redirect]] with match and to")?;
    let pattern = section.required("match", "\"^/old/(.*)$\"", pattern);
    let to = section.required("to", "\"https://www.example.com/$1\"", |value| {
        let text = text(value)?;
        if !is_destination(text) {
            let write = "a path that begins with one /, or http:// or https:// with a whole host \
                         and a / before the first $, as in \"https://www.example.com/$1\"";
            return value.is_not("an address", write);
        }
        replacement(value, pattern.as_ref()?)
    });
    let status = section.or("status", 302, |value| match value.whole() {
        Some(status) if STATUSES.contains(&status) => u16::try_from(status).ok(),
        _ => value.is_not("the status of a redirect", "301, 302, 303, 307 or 308"),
    });
    section.finish();
    Some(Redirect { pattern: pattern?, to: to?, status })
}

fn text<'t>(value: &Value<'t>) -> Option<&'t str> {
    value.text().or_else(|| value.is_not("a text", "it in quotes"))
}

fn pattern(value: &Value<'_>) -> Option<Pattern> {
    match Pattern::new(text(value)?) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            // Its last line says what is wrong; those before show where, which one line cannot.
            let error = error.to_string();
            let error = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
            value.problem(format!(
                "{} is not a regular expression: {error}; write one as in \"^/old/(.*)$\"",
                value.shown()
            ))
        }
    }
}

fn replacement(value: &Value<'_>, pattern: &Pattern) -> Option<Replacement> {
    match Replacement::new(text(value)?, pattern) {
        Ok(replacement) => Some(replacement),
        Err(wrong) => value.problem(format!(
            "{} {wrong}; write groups as $1 or ${{name}}, and other characters percent-encoded",
            value.shown()
        )),
    }
}

/// Whether what is captured cannot choose the host.
fn is_destination(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) => {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            rest.get(..end).is_some_and(|host| !host.contains('$') && is_authority(host))
        }
        None => text.starts_with('/') && !text.starts_with("//"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::super::reader::read_one, *};

    #[test]
    fn rules_are_compiled() {
        let rule = read_one("{ match = '^/a/(?<x>.*)$', to = '/b/${x}' }", rewrite).unwrap();
        assert_eq!(rule.to.to_string(), "/b/${x}");
        let rule = |to: &str| read_one(&format!("{{ match = '^/(.*)$', to = '{to}' }}"), redirect);
        for to in ["/b/$1", "/$1", "https://x.test/$1", "http://x.test:80", "https://x.test/?q=$1"]
        {
            assert_eq!(rule(to).unwrap().status, 302, "{to}");
        }
        for to in [
            "$1",
            "//$1",
            "https://$1",
            "https://x$1",
            "https://x.test$1/",
            "ftp://x/",
            "x",
            "https://",
            "https://u@x.test/",
        ] {
            assert!(rule(to).unwrap_err().contains("is not an address; write a path"), "{to}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("match = '(', to = '/'", "\"(\" is not a regular expression: unclosed group; write"),
            ("match = 'a{9999}{9999}', to = '/'", "\"a{9999}{9999}\" is not a regular expression:"),
            ("match = '^/$', to = '/$1'", "\"/$1\" names the group ${1}, which `match` does not"),
            ("match = '^/$', to = '/$'", "\"/$\" has a dollar sign that names no group"),
            ("match = '^/$', to = '/a b'", "\"/a b\" has a space"),
            ("match = '^/$', to = '/a#b'", "\"/a#b\" has a space, or another character"),
            ("match = '^/$', to = 'x'", "\"x\" is not a path; write one that begins with /"),
            ("match = '^/$', to = '/?a'", "\"/?a\" is not a path; write one"),
            ("match = '^/$'", "is missing; write to ="),
            ("match = 1, to = '/'", "1 is not a text; write it in quotes"),
        ] {
            let message = read_one(&format!("{{ {text} }}"), rewrite).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
        }
        let status = "{ match = '^/$', to = '/x', status = 304 }";
        assert!(read_one(status, redirect).unwrap_err().contains("write 301, 302"));
    }
}
