//! `[acme]`, and the names in a listener's `tls` that certificates are got for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    places::{host, mail_address, web_address},
    reader::{Section, Value},
    tls::trust_anchors,
    values::{text, word},
};
use crate::model::{
    acme::{Acme, Binding, Challenge, LETSENCRYPT, LETSENCRYPT_STAGING},
    listener::Listener,
    settings::Secret,
    units::ListenerName,
};

const CHALLENGES: &[(&str, Challenge)] =
    &[("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01)];
/// Longest directory in bytes; its folder in `state_dir` is named after it.
const DIRECTORY_MAX: usize = 80;
const KEY_ID_MAX: usize = 255;
/// Most names in one certificate; Let's Encrypt's limit.
const NAMES_MAX: usize = 100;

/// Reads `[acme]`.
pub(super) fn acme(
    mut section: Section<'_>,
    read: &dyn Fn(&Path) -> std::io::Result<String>,
) -> Option<Acme> {
    let usual = Acme::default();
    let ca = section.take("ca");
    let ca_read =
        ca.as_ref().map(|value| trust_anchors(value, "the ACME server's certificate", read));
    let eab = section.take("eab");
    let eab_read = eab.as_ref().map(binding);
    let email = section.list("email", "[\"ops@example.com\"]", mail_address);
    let acme = Acme {
        directory: section.or("directory", usual.directory, directory),
        email: email.unwrap_or_default(),
        ca: None,
        eab: None,
        challenge: section.or("challenge", usual.challenge, word(CHALLENGES)),
    };
    section.finish();
    let ca = ca_read.map_or(Some(None), |read| read.map(Some))?;
    let eab = eab_read.map_or(Some(None), |read| read.map(Some))?;
    Some(Acme { ca, eab, ..acme })
}

/// Reports what certificates could never be got for.
pub(super) fn contradictions(
    root: &Section<'_>,
    acme: &Acme,
    listeners: &BTreeMap<ListenerName, Arc<Listener>>,
) {
    let wants = |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| !tls.acme.is_empty());
    let has_plain = listeners.values().any(|listener| listener.tls.is_none());
    let Some((name, _)) = listeners.iter().find(|(_, listener)| wants(listener)) else { return };
    if acme.challenge == Challenge::Http01 && !has_plain {
        root.missing::<()>(
            &format!("listener.{name}.tls.acme"),
            "could never be proved: the challenge http-01 comes to port 80 without TLS, and no \
             listener is without tls; write one with address = \"0.0.0.0:80\", or challenge = \
             \"tls-alpn-01\" in [acme]",
        );
    }
}

/// Names to get one certificate for.
pub(super) fn names(value: &Value<'_>) -> Option<Vec<String>> {
    let names = value.list("[\"www.example.com\"]", name)?;
    if names.is_empty() {
        return value.problem("is empty; write at least one name, as in [\"www.example.com\"]");
    }
    if names.len() > NAMES_MAX {
        return value.problem(format!(
            "has {} names; write at most {NAMES_MAX}, and the others in another listener",
            names.len()
        ));
    }
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        return value.problem("has a name twice; write each once");
    }
    Some(names)
}

fn name(value: &Value<'_>) -> Option<String> {
    let name = host(value)?;
    if name.starts_with("*.") {
        return value.problem(
            "is a wildcard, which can only be proved by DNS, which lbd does not do; write each \
             name, or a certificate from elsewhere in certificates",
        );
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return value.problem("is an IP address; write host names");
    }
    Some(name)
}

fn directory(value: &Value<'_>) -> Option<Arc<str>> {
    match value.text() {
        Some("letsencrypt") => return Some(LETSENCRYPT.into()),
        Some("letsencrypt-staging") => return Some(LETSENCRYPT_STAGING.into()),
        Some(text) if text.starts_with("https://") && text.len() <= DIRECTORY_MAX => {}
        Some(_) | None => {
            let write = format!(
                "\"letsencrypt\", \"letsencrypt-staging\" or a URL that begins with https:// and \
                 has at most {DIRECTORY_MAX} characters"
            );
            return value.is_not("an ACME server", &write);
        }
    }
    web_address(value)
}

fn binding(value: &Value<'_>) -> Option<Binding> {
    let mut section = value.section("{ key_id = \"ID\", key = \"BASE64URL\" }")?;
    let key_id = section.required("key_id", "\"ID\"", text(KEY_ID_MAX));
    let key = section.required("key", "\"BASE64URL\"", key);
    section.finish();
    Some(Binding { key_id: key_id?.into(), key: key? })
}

/// The messages do not repeat it.
fn key(value: &Value<'_>) -> Option<Secret> {
    let text = value.text().map(|text| text.trim_end_matches('='));
    let is_key = |text: &&str| {
        BASE64_URL_SAFE_NO_PAD.decode(text).is_ok_and(|key| !key.is_empty() && key.len() <= 512)
    };
    match text.filter(is_key) {
        Some(text) => Some(Secret(text.into())),
        None => value.problem(
            "is not a key in Base64 for URLs; write it as the authority shows it (letters, digits, \
             - and _)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<Acme, String> {
        let absent = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
        read_one(&format!("{{ {text} }}"), |value| acme(value.section("").unwrap(), &absent))
    }

    #[test]
    fn the_server_has_a_name_or_an_address() {
        assert_eq!(read(""), Ok(Acme::default()));
        let directory = |text: &str| read(&format!("directory = '{text}'")).map(|a| a.directory);
        assert_eq!(&*directory("letsencrypt").unwrap(), LETSENCRYPT);
        assert_eq!(&*directory("letsencrypt-staging").unwrap(), LETSENCRYPT_STAGING);
        assert_eq!(&*directory("https://ca.internal/dir").unwrap(), "https://ca.internal/dir");
        for bad in ["http://ca.internal/dir", "zerossl", "", "https://", "https://u:p@ca/dir"] {
            assert!(directory(bad).unwrap_err().contains("; write "), "{bad}");
        }
    }

    #[test]
    fn the_binding_is_a_secret() {
        let bound = read("eab = { key_id = 'kid', key = 'zWNDZM6eQGHWpSRTPal5eIU=' }").unwrap();
        assert_eq!(&*bound.eab.as_ref().unwrap().key.0, "zWNDZM6eQGHWpSRTPal5eIU");
        assert!(!format!("{bound:?}").contains("zWND"));
        for bad in ["key_id = 'kid'", "key = 'AAAA'", "key_id = 'k', key = '***'"] {
            let said = read(&format!("eab = {{ {bad} }}")).unwrap_err();
            assert!(said.contains("write"), "{said}");
        }
        let said = read("eab = { key_id = 'kid', key = 'se cret' }").unwrap_err();
        assert!(!said.contains("cret"), "{said}");
    }

    #[test]
    fn names_are_hosts_that_can_be_proved() {
        let names = |text: &str| read_one(text, names);
        assert_eq!(names("['WWW.example.com', 'b']").unwrap(), ["www.example.com", "b"]);
        for (bad, why) in [
            ("['*.example.com']", "DNS"),
            ("['192.0.2.1']", "IP address"),
            ("['a', 'A']", "twice"),
            ("[]", "empty"),
            ("['a/b']", "is not a host"),
            ("'a'", "not a list"),
        ] {
            let said = names(bad).unwrap_err();
            assert!(said.contains(why) && said.contains("write "), "{bad}: {said}");
        }
    }
}
