//! What a service changes in the headers of requests and responses.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::Serialize;

use super::template::Template;

/// Changes to the headers of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeaderEdits {
    /// Headers that get this value, whatever they had.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<Box<str>, Template>,
    /// Headers that get a further value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<Box<str>, Template>,
    /// Headers that are taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Box<str>>,
}

/// One change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// Takes every value of the header out.
    Remove(HeaderName),
    /// Gives it this value alone.
    Set(HeaderName, String),
    /// Gives it this value too.
    Add(HeaderName, String),
}

impl HeaderEdits {
    /// The changes in order: first what is removed, then what is set, then what is added; values as
    /// `fill` fills them in. A header that would be set to nothing is removed, and nothing is not added.
    pub fn edits<'e>(
        &'e self,
        fill: impl Fn(&Template) -> String + Copy + 'e,
    ) -> impl Iterator<Item = Edit> + 'e {
        // Names were checked with the config.
        let named = |name: &str| HeaderName::try_from(name).ok();
        let removed = self.remove.iter().filter_map(move |name| Some(Edit::Remove(named(name)?)));
        let set = self.set.iter().filter_map(move |(name, template)| {
            let (name, value) = (named(name)?, fill(template));
            Some(if value.is_empty() { Edit::Remove(name) } else { Edit::Set(name, value) })
        });
        let added = self.add.iter().filter_map(move |(name, template)| {
            let value = fill(template);
            if value.is_empty() { None } else { Some(Edit::Add(named(name)?, value)) }
        });
        removed.chain(set).chain(added)
    }
}

/// In which message a header stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Message {
    /// Towards the endpoint.
    Request,
    /// Towards the client.
    Response,
}

/// Whose business a header is, if not the config's. Names are in lower case.
///
/// # Errors
///
/// Why the config may not change it.
pub fn changeable(name: &str, message: Message) -> Result<(), &'static str> {
    // For many applications X_Forwarded_For is the same variable.
    let name = &*name.replace('_', "-");
    if CONNECTION.contains(&name) {
        return Err("concerns one connection only, or says how a message is sent");
    }
    let own: &[&str] = match message {
        Message::Request => &OWN_IN_REQUESTS,
        Message::Response => &OWN_IN_RESPONSES,
    };
    if own.contains(&name) { Err("is set by lbd itself") } else { Ok(()) }
}

/// RFC 9110, section 7.6.1, and what frames a message.
const CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const OWN_IN_REQUESTS: [&str; 7] = [
    "forwarded",
    "traceparent",
    "tracestate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];
const OWN_IN_RESPONSES: [&str; 3] = ["content-encoding", "content-range", "x-request-id"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_come_in_order_and_empty_values_not_at_all() {
        let template = |text: &str| text.parse::<Template>().unwrap();
        let edits = HeaderEdits {
            set: [("x-a".into(), template("1")), ("x-b".into(), template("{user_id}"))].into(),
            add: [("x-c".into(), template("{user_id}")), ("x-d".into(), template("2"))].into(),
            remove: vec!["x-e".into()],
        };
        let found: Vec<_> = edits.edits(|template| template.fill(|_| "".into())).collect();
        let name = |name: &str| HeaderName::try_from(name).unwrap();
        let expected = [
            Edit::Remove(name("x-e")),
            Edit::Set(name("x-a"), "1".into()),
            Edit::Remove(name("x-b")),
            Edit::Add(name("x-d"), "2".into()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_frames_a_message_and_what_lbd_sets_is_not_changeable() {
        for name in ["connection", "transfer-encoding", "content-length", "te", "keep_alive"] {
            for message in [Message::Request, Message::Response] {
                assert!(changeable(name, message).is_err(), "{name}");
            }
        }
        for name in ["x-forwarded-for", "X_Forwarded_Proto", "traceparent", "x-request-id"] {
            let name = name.to_ascii_lowercase();
            assert!(changeable(&name, Message::Request).is_err(), "{name}");
        }
        assert!(changeable("x-request-id", Message::Response).is_err());
        assert!(changeable("x-frame-options", Message::Response).is_ok());
        assert!(changeable("authorization", Message::Request).is_ok());
    }
}
