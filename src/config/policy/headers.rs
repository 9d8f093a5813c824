//! `request_headers` and `response_headers`: what is set, added and removed.

use std::collections::BTreeMap;

use super::super::{places::host_header, reader::Value};
use crate::model::policy::{
    headers::{HeaderEdits, Message, changeable},
    template::{Template, Variable},
};

/// Reads the changes to the headers of a message.
pub(super) fn header_edits(message: Message) -> impl Fn(&Value<'_>) -> Option<HeaderEdits> {
    move |value| {
        let mut section =
            value.section("{ set = { X-Name = \"value\" }, remove = [\"X-Other\"] }")?;
        let values = |value: &Value<'_>| templates(value, message);
        let set = section.optional("set", values);
        let add = section.optional("add", values);
        if let Some(host) = add.as_ref().filter(|add| add.contains_key("host")) {
            section.problem::<()>(format!("adds a second Host ({}); write it in set", host.len()));
        }
        let names = "a list of header names, as in [\"X-Powered-By\"]";
        let remove = section.list("remove", names, |value| {
            let name = value.text().map_or_else(
                || value.is_not("a header name", "it in quotes, as in \"X-Powered-By\""),
                |text| name(text, value, message),
            )?;
            if &*name == "host" && message == Message::Request {
                return value.problem("cannot go: every request needs a Host; write it in set");
            }
            Some(name)
        });
        section.finish();
        Some(HeaderEdits {
            set: set.unwrap_or_default(),
            add: add.unwrap_or_default(),
            remove: remove.unwrap_or_default(),
        })
    }
}

fn templates(value: &Value<'_>, message: Message) -> Option<BTreeMap<Box<str>, Template>> {
    let section = value.section("{ X-Name = \"value\" }")?;
    let mut templates = BTreeMap::new();
    for (key, value) in section.entries() {
        let Some((name, template)) = name(key, &value, message).zip(template(key, &value)) else {
            continue;
        };
        if templates.insert(name, template).is_some() {
            value.problem::<()>("is there in other letters too; write each header once");
        }
    }
    Some(templates)
}

/// Names in lower case, as they are compared.
fn name(text: &str, value: &Value<'_>, message: Message) -> Option<Box<str>> {
    let Ok(name) = text.parse::<http::HeaderName>() else {
        return value.problem("is not the name of a header; write letters, digits and -");
    };
    match changeable(name.as_str(), message) {
        Ok(()) => Some(name.as_str().into()),
        Err(why) => value.problem(format!("{name} {why}; leave this header out")),
    }
}

/// The messages do not repeat what was typed: it may be a token.
fn template(name: &str, value: &Value<'_>) -> Option<Template> {
    let Some(text) = value.text() else {
        return value.problem("is not a text; write the value in quotes");
    };
    if name.eq_ignore_ascii_case("host") {
        // An endpoint must not take what a client says for the name of a host.
        host_header(value)?;
    }
    text.parse().ok().or_else(|| {
        let wrong = text.parse::<Template>().err().map(|wrong| wrong.to_string());
        let names: Vec<_> = Variable::ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
        value.problem(format!(
            "{}; write one line of ASCII text, perhaps with {}",
            wrong.unwrap_or_default(),
            names.join(" ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::{super::super::reader::read_one, *};

    #[test]
    fn names_are_compared_in_lower_case_and_values_parsed() {
        let text = "{ set = { X-A = '{client_ip}', Host = 'app.internal:80' }, remove = ['X-B'] }";
        let edits = read_one(text, header_edits(Message::Request)).unwrap();
        let names: Vec<_> = edits.set.keys().map(|name| &**name).collect();
        assert_eq!((names, &*edits.remove[0]), (vec!["host", "x-a"], "x-b"));
    }

    #[test]
    fn mistakes_are_named_and_values_not_repeated() {
        for (text, expected) in [
            ("{ set = { X-A = '{clientip} 4711' } }", "has the unknown variable {clientip}; write"),
            ("{ set = { X-A = '4711 {' } }", "has a single brace"),
            ("{ set = { X-A = \"4711\\r\\nX: y\" } }", "has a control character"),
            ("{ set = { X-A = 4711 } }", "is not a text; write"),
            ("{ set = { 'a b' = 'x' } }", "is not the name of a header; write"),
            ("{ set = { Connection = 'x' } }", "connection concerns one connection only"),
            ("{ add = { Content-Length = '1' } }", "content-length concerns one connection only"),
            ("{ set = { X-Forwarded-For = 'x' } }", "x-forwarded-for is set by lbd itself"),
            ("{ remove = ['X_Forwarded_For'] }", "x_forwarded_for is set by lbd itself"),
            ("{ remove = ['Host'] }", "cannot go: every request needs a Host; write"),
            ("{ add = { Host = 'a' } }", "adds a second Host"),
            ("{ set = { Host = '{user_id}' } }", "\"{user_id}\" is not a host; write"),
            ("{ set = { X-A = 'x', x-a = 'y' } }", "is there in other letters too; write"),
            ("{ sets = {} }", "unknown key; did you mean set?"),
            ("'x'", "\"x\" is not a table; write"),
        ] {
            let message = read_one(text, header_edits(Message::Request)).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert!(!message.contains("4711"), "{message}");
        }
        let encoding = "{ set = { Content-Encoding = 'x' } }";
        assert!(read_one(encoding, header_edits(Message::Response)).is_err());
    }
}
