//! `[[notify]]`: who is told of events.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    places::{mail_address, mail_server, web_address},
    reader::{NAME_FORM, Section, Value},
    values::{parsed, text, word},
};
use crate::model::{
    Severity,
    notify::{Channel, Receiver},
    settings::Secret,
    units::ReceiverName,
};

const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest secret in bytes.
const SECRET_MAX: usize = 1024;
/// What settings print in place of a secret.
const STARS: &str = "***";
const USERNAME_MAX: usize = 255;
/// As many recipients as every server must take (RFC 5321, section 4.5.3.1.8).
const RECIPIENTS_MAX: usize = 100;
const SEVERITIES: &[(&str, Severity)] =
    &[("info", Severity::Info), ("warning", Severity::Warning), ("critical", Severity::Critical)];
const KINDS: &[(&str, Kind)] = &[
    (Kind::Webhook.as_str(), Kind::Webhook),
    (Kind::Slack.as_str(), Kind::Slack),
    (Kind::Pagerduty.as_str(), Kind::Pagerduty),
    (Kind::Email.as_str(), Kind::Email),
];
const RECIPIENTS: &str = "[\"ops@example.com\"]";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Webhook,
    Slack,
    Pagerduty,
    Email,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Pagerduty => "pagerduty",
            Self::Email => "email",
        }
    }

    /// The keys that it takes besides those of every receiver.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Webhook => &["url", "secret", "token"],
            Self::Slack => &["url"],
            Self::Pagerduty => &["routing_key", "url"],
            Self::Email => &["server", "from", "to", "username", "password"],
        }
    }
}

/// Reads all receivers. No two may have one name.
pub(super) fn receivers(root: &mut Section<'_>) -> Vec<Receiver> {
    let Some(value) = root.take("notify") else { return Vec::new() };
    let Some(items) = value.items() else {
        // The value is not repeated, here and below: it may be an address that is a secret.
        let message = "is not a list; write each receiver as a section [[notify]]";
        return value.problem(message).unwrap_or_default();
    };
    let mut names = BTreeSet::new();
    items.iter().filter_map(|item| receiver(item, &mut names)).collect()
}

fn receiver(value: &Value<'_>, names: &mut BTreeSet<ReceiverName>) -> Option<Receiver> {
    if !value.is_table() {
        return value.problem("is not a table; write a section [[notify]] with name and kind");
    }
    let mut section = value.section("")?;
    let name = section.required("name", "\"ops\"", |value| name(value, names));
    let kind = section.required("kind", "\"webhook\"", word(KINDS));
    let severity = section.or("severity", Severity::Warning, word(SEVERITIES));
    let channel = match kind {
        Some(Kind::Webhook) => webhook(&mut section),
        Some(Kind::Slack) => slack(&mut section),
        Some(Kind::Pagerduty) => pagerduty(&mut section),
        Some(Kind::Email) => email(&mut section),
        None => None,
    };
    others(&mut section, kind);
    section.finish();
    Some(Receiver { name: name?, severity, channel: channel? })
}

/// Deals with the keys that only receivers of other kinds have.
fn others(section: &mut Section<'_>, kind: Option<Kind>) {
    let keys = KINDS.iter().flat_map(|(_, kind)| kind.keys()).copied();
    let Some(kind) = kind else {
        // Which of them belong here is not known, so none is to blame.
        return keys.for_each(|key| _ = section.take(key));
    };
    let others: Vec<_> = keys.filter(|key| !kind.keys().contains(key)).collect();
    let takes = kind.keys().join(", ");
    section
        .refuse(&others, &format!("unknown key for kind \"{}\"; it takes {takes}", kind.as_str()));
}

fn name(value: &Value<'_>, names: &mut BTreeSet<ReceiverName>) -> Option<ReceiverName> {
    let name: ReceiverName = parsed(value, "a name", NAME_FORM)?;
    if names.insert(name.clone()) {
        return Some(name);
    }
    value.problem(format!("{} is the name of another receiver; write another", value.shown()))
}

fn webhook(section: &mut Section<'_>) -> Option<Channel> {
    let url = section.required("url", "\"https://hooks.example.com/lbd\"", web_address);
    let secret = section.optional("secret", secret);
    let token = section.optional("token", token);
    Some(Channel::Webhook { url: url?, secret, token })
}

fn slack(section: &mut Section<'_>) -> Option<Channel> {
    let example = "\"https://hooks.slack.com/services/...\"";
    let url = section.required("url", example, web_address)?;
    Some(Channel::Slack { url: Secret(url) })
}

fn pagerduty(section: &mut Section<'_>) -> Option<Channel> {
    let routing_key = section.required("routing_key", "\"the key of the integration\"", token);
    let url = section.optional("url", web_address);
    let url = url.unwrap_or_else(|| PAGERDUTY_URL.into());
    Some(Channel::Pagerduty { routing_key: routing_key?, url })
}

fn email(section: &mut Section<'_>) -> Option<Channel> {
    let server = section.required("server", "\"smtp://mail.example.com:587\"", mail_server);
    let from = section.required("from", "\"lbd@example.com\"", mail_address);
    let to = section.required("to", RECIPIENTS, recipients);
    let (username, password) = (section.take("username"), section.take("password"));
    match (&username, &password) {
        (Some(_), None) => section
            .missing("password", "is missing; write password = \"...\" too, or leave username out"),
        (None, Some(_)) => section
            .missing("username", "is missing; write username = \"...\" too, or leave password out"),
        _ => Some(()),
    };
    let username = username.and_then(|value| text(USERNAME_MAX)(&value)).map(Arc::from);
    let password = password.and_then(|value| secret(&value));
    Some(Channel::Email { server: server?, from: from?, to: to?, username, password })
}

fn recipients(value: &Value<'_>) -> Option<Vec<Arc<str>>> {
    let to = value.list(&format!("a list, as in {RECIPIENTS}"), mail_address)?;
    match to.len() {
        0 => value.problem(format!("is empty; write who gets the mail, as in {RECIPIENTS}")),
        1..=RECIPIENTS_MAX => Some(to),
        many => value.problem(format!("has {many} recipients; write at most {RECIPIENTS_MAX}")),
    }
}

/// A text that is never repeated.
pub(super) fn secret(value: &Value<'_>) -> Option<Secret> {
    match value.text() {
        None => value.problem("is not a text; write the secret in quotes"),
        Some("") => value.problem("is empty; write the secret, or leave the key out"),
        Some(STARS) => value.problem(
            "is only what lbd shows in place of the secret; write the secret itself in quotes",
        ),
        Some(text) if text.len() > SECRET_MAX => {
            value.problem(format!("is {} bytes long; write at most {SECRET_MAX}", text.len()))
        }
        Some(text) if text.contains(char::is_control) => {
            value.problem("has a line break or control character in it; write the secret without")
        }
        Some(text) => Some(Secret(text.into())),
    }
}

/// A secret that is sent in a header.
fn token(value: &Value<'_>) -> Option<Secret> {
    let secret = secret(value)?;
    if secret.0.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(secret);
    }
    value.problem("has characters that a token cannot have; write it in ASCII without spaces")
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<Receiver, String> {
        read_one(&format!("{{ name = 'ops', {text} }}"), |value| {
            receiver(value, &mut BTreeSet::new())
        })
    }

    fn channel(text: &str) -> Channel {
        read(text).unwrap().channel
    }

    fn secret_of(text: &str) -> Secret {
        Secret(text.into())
    }

    #[test]
    fn every_kind_is_read() {
        let url: Arc<str> = "https://a/b".into();
        let webhook = Channel::Webhook { url: url.clone(), secret: None, token: None };
        assert_eq!(channel("kind = 'webhook', url = 'https://a/b'"), webhook);
        let webhook = Channel::Webhook {
            url: url.clone(),
            secret: Some(secret_of("sign me")),
            token: Some(secret_of("tok")),
        };
        let text = "kind = 'webhook', url = 'https://a/b', secret = 'sign me', token = 'tok'";
        assert_eq!(channel(text), webhook);
        let slack = Channel::Slack { url: secret_of("https://a/b") };
        assert_eq!(channel("kind = 'slack', url = 'https://a/b'"), slack);
        let text = "kind = 'pagerduty', routing_key = 'key'";
        let pagerduty = |url| Channel::Pagerduty { routing_key: secret_of("key"), url };
        assert_eq!(channel(text), pagerduty(PAGERDUTY_URL.into()));
        assert_eq!(channel(&format!("{text}, url = 'https://a/b'")), pagerduty(url));
        let text = "kind = 'email', server = 'smtps://m:465', from = 'a@b', to = ['c@d', 'e@f']";
        let email = |username, password| Channel::Email {
            server: "smtps://m:465".into(),
            from: "a@b".into(),
            to: vec!["c@d".into(), "e@f".into()],
            username,
            password,
        };
        assert_eq!(channel(text), email(None, None));
        let login = format!("{text}, username = 'me', password = 'my pass'");
        assert_eq!(channel(&login), email(Some("me".into()), Some(secret_of("my pass"))));
    }

    #[test]
    fn warnings_are_told_unless_it_says_otherwise() {
        let severity = |text| read(&format!("kind = 'slack', url = 'https://a'{text}"));
        assert_eq!(severity("").unwrap().severity, Severity::Warning);
        assert_eq!(severity(", severity = 'info'").unwrap().severity, Severity::Info);
        assert_eq!(severity(", severity = 'critical'").unwrap().severity, Severity::Critical);
        assert!(severity(", severity = 'error'").is_err());
    }

    #[test]
    fn mistakes_are_named() {
        let email = "kind = 'email', server = 'smtp://m:25', from = 'a@b'";
        for (text, expected) in [
            ("url = 'https://a'", "is missing; write kind = \"webhook\""),
            ("kind = 'sms'", "\"sms\" is not known here; write \"webhook\" or \"slack\" or"),
            ("kind = 'webhook'", "is missing; write url = \"https://hooks.example.com/lbd\""),
            ("kind = 'slack'", "is missing; write url = \"https://hooks.slack.com/"),
            ("kind = 'pagerduty'", "is missing; write routing_key ="),
            (
                "kind = 'slack', url = 'https://a', token = 'x'",
                "unknown key for kind \"slack\"; it takes url",
            ),
            (
                "kind = 'webhook', url = 'https://a', to = ['x']",
                "unknown key for kind \"webhook\"; it takes url, secret, token",
            ),
            (
                "kind = 'slack', url = 'https://a', zebra = 1",
                "unknown key; known here: name, kind, severity, url",
            ),
            (email, "is missing; write to = [\"ops@example.com\"]"),
            (&format!("{email}, to = []"), "is empty; write who gets the mail"),
            (&format!("{email}, to = 'a@b'"), "\"a@b\" is not a list; write a list, as in ["),
            (&format!("{email}, to = ['a']"), "\"a\" is not a mail address; write one with"),
            (
                &format!("{email}, to = ['a@b'], username = 'x'"),
                "is missing; write password = \"...\" too, or leave username out",
            ),
            (
                &format!("{email}, to = ['a@b'], password = 'x'"),
                "is missing; write username = \"...\" too, or leave password out",
            ),
            (
                &format!("{email}, to = [{}]", "'a@b',".repeat(101)),
                "has 101 recipients; write at most 100",
            ),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert_eq!(message.lines().count(), 1, "{text}: {message}");
        }
    }

    #[test]
    fn names_are_unique_and_plain() {
        let list = "[{ name = 'a', kind = 'slack', url = 'https://a' }, { name = 'a' }, \
                    { name = 'b c' }, {}]";
        let message = read_one(list, |value| {
            let mut names = BTreeSet::new();
            Some(value.items()?.iter().filter_map(|item| receiver(item, &mut names)).count())
        });
        let message = message.unwrap_err();
        for expected in [
            "\"a\" is the name of another receiver; write another",
            "\"b c\" is not a name; write up to 63 letters",
            "is missing; write name = \"ops\"",
        ] {
            assert_eq!(message.matches(expected).count(), 1, "{message}");
        }
    }

    #[test]
    fn secrets_are_never_repeated() {
        for text in [
            "kind = 'slack', url = 'hooks.slack.com/hunter2'",
            "kind = 'slack', url = ['https://hunter2']",
            "kind = 'webhook', url = 'https://a:hunter2@b/'",
            "kind = 'webhook', url = 'https://a', token = 'hunter2 hunter2'",
            "kind = 'webhook', url = 'https://a', secret = \"hunter2\\n\"",
            "kind = 'webhook', url = 'https://a', secret = ['hunter2']",
            "kind = 'pagerduty', routing_key = 'hunter2é'",
            "kind = 'pagerduty', routing_key = { hunter2 = 1 }",
            "kind = 'slack', url = 'https://a', password = 'hunter2'",
            "kind = 'email', from = 'a@b', to = ['a@b'], server = 'smtp://a:hunter2@b:25'",
        ] {
            let message = read(text).unwrap_err();
            assert!(!message.contains("hunter") && message.contains("; "), "{message}");
        }
        let plain = read_one("['https://hunter2']", |value| {
            receiver(value.items()?.first()?, &mut BTreeSet::new())
        });
        assert!(!plain.unwrap_err().contains("hunter"));
        let stars = read("kind = 'pagerduty', routing_key = '***'").unwrap_err();
        assert!(stars.contains("; write the secret itself"), "{stars}");
        let long = format!("kind = 'pagerduty', routing_key = '{}'", "x".repeat(SECRET_MAX + 1));
        assert_eq!(read(&long).unwrap_err(), "is 1025 bytes long; write at most 1024");
        let printed = format!("{:?}", read("kind = 'slack', url = 'https://hunter2'").unwrap());
        assert!(!printed.contains("hunter"), "{printed}");
    }
}
