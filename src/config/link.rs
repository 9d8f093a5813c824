//! `protocol`, `tls` and `proxy_protocol` of a pool: how its endpoints are spoken to.

use std::sync::Arc;

use super::{
    Read,
    places::file_content,
    reader::{Section, Value},
    values::word,
};
use crate::{
    model::{
        Address,
        announcement::ProxyProtocol,
        link::{Link, Pem, Protocol, Tls},
        settings::{EndpointSpec, Secret},
    },
    tls::{self, Fault},
};

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("http1", Protocol::Http1),
    ("h2c", Protocol::H2c),
    ("https", Protocol::Https),
    ("https-h2", Protocol::HttpsH2),
];
const ANNOUNCEMENTS: &[(&str, ProxyProtocol)] =
    &[("v1", ProxyProtocol::V1), ("v2", ProxyProtocol::V2)];
const TLS: &str = "{ ca = \"ca.pem\", server_name = \"app.internal\" }";

/// Reads how the endpoints of a pool are spoken to; `None` if anything is wrong with it.
pub(super) fn link(
    pool: &mut Section<'_>,
    endpoints: Option<&[EndpointSpec]>,
    read: Read<'_>,
) -> Option<Arc<Link>> {
    let protocol = match pool.take("protocol") {
        Some(value) => word(PROTOCOLS)(&value),
        None => Some(Protocol::default()),
    };
    let tls = match pool.take("tls") {
        Some(value) => tls(&value, protocol, read).map(Some),
        None => Some(None),
    };
    let proxy_protocol = match pool.take("proxy_protocol") {
        Some(value) => word(ANNOUNCEMENTS)(&value).map(Some),
        None => Some(None),
    };
    let link = Link { protocol: protocol?, tls: tls?, proxy_protocol: proxy_protocol? };
    if link.protocol.is_tls() {
        nameable(&link, endpoints?, pool)?;
    }
    Some(Arc::new(link))
}

/// An endpoint without a name could not be told from anybody else with a certificate.
fn nameable(link: &Link, endpoints: &[EndpointSpec], pool: &Section<'_>) -> Option<()> {
    let nameless = endpoints.iter().map(|e| &e.address).find(|a| link.server_name(a).is_none());
    let Some(address) = nameless else { return Some(()) };
    let what = match address {
        Address::Unix(_) => "a socket",
        Address::Ip(_) | Address::Host { .. } => "an IP address",
    };
    pool.missing(
        "tls",
        &format!(
            "does not say whose certificate {address} has, which is {what}; write \
             tls = {{ server_name = \"app.internal\" }} with the name in the certificate"
        ),
    )
}

fn tls(value: &Value<'_>, protocol: Option<Protocol>, read: Read<'_>) -> Option<Tls> {
    if protocol.is_some_and(|protocol| !protocol.is_tls()) {
        return value.problem(
            "means nothing without TLS; write protocol = \"https\" or \"https-h2\" too, or leave \
             this key out",
        );
    }
    let mut section = value.section(TLS)?;
    let ca = pem(&mut section, "ca", read, |text| tls::roots(text).map(drop));
    let server_name = match section.take("server_name") {
        Some(value) => name(&value).map(Some),
        None => Some(None),
    };
    let certificate =
        pem(&mut section, "client_cert", read, |text| tls::certificates(text).map(drop));
    let with = certificate.clone().flatten();
    let key = pem(&mut section, "client_key", read, |text| match &with {
        Some(certificate) => tls::belong_together(&certificate.text.0, text),
        None => tls::private_key(text).map(drop),
    });
    let (client_cert, client_key) = (certificate?, key?);
    let lacking = match (&client_cert, &client_key) {
        (Some(_), None) => Some("client_key"),
        (None, Some(_)) => Some("client_cert"),
        (Some(_), Some(_)) | (None, None) => None,
    };
    if let Some(lacking) = lacking {
        let message =
            format!("is missing; write client_cert and client_key, or neither: {lacking}");
        return section.missing(lacking, &message);
    }
    section.finish();
    Some(Tls { ca: ca?, server_name: server_name?, client_cert, client_key })
}

fn name(value: &Value<'_>) -> Option<Arc<str>> {
    let typed = value.text().filter(|text| tls::is_host_name(text));
    typed.map(|text| text.to_ascii_lowercase().into()).or_else(|| {
        value.is_not("a name that a certificate can have", "a host name, as in \"app.internal\"")
    })
}

/// A PEM file that `is_sound`. The outer `None` is a mistake that was reported.
pub(super) fn pem(
    section: &mut Section<'_>,
    key: &'static str,
    read: Read<'_>,
    is_sound: impl FnOnce(&str) -> Result<(), Fault>,
) -> Option<Option<Pem>> {
    let Some(value) = section.take(key) else { return Some(None) };
    let write = "write the path of a PEM file that lbd may read";
    let (path, text) = file_content(&value, read, write)?;
    if let Err(fault) = is_sound(&text) {
        return value.problem(format!(
            "{} {fault}; write the path of a PEM file that is whole",
            value.shown()
        ));
    }
    Some(Some(Pem { path, text: Secret(text.into()) }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::reader::read_one, *};

    fn read(text: &str) -> Result<Arc<Link>, String> {
        let made = rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let file = |path: &Path| match path.to_str().unwrap() {
            "cert.pem" => Ok(made.cert.pem()),
            "key.pem" => Ok(made.signing_key.serialize_pem()),
            "other.pem" => Ok(other.serialize_pem()),
            "junk.pem" => Ok("junk".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        };
        let addresses = ["app.internal:443".parse().unwrap(), "127.0.0.1:443".parse().unwrap()];
        let endpoint = |address| EndpointSpec { address, weight: 1 };
        let endpoints = addresses.map(endpoint);
        read_one(text, |value| {
            let mut section = value.section("")?;
            let link = link(&mut section, Some(&endpoints), &file);
            section.finish();
            link
        })
    }

    #[test]
    fn protocols_are_words() {
        assert_eq!(*read("{}").unwrap(), Link::default());
        assert_eq!(read("{ protocol = 'h2c' }").unwrap().protocol, Protocol::H2c);
        assert!(read("{ protocol = 'http2' }").unwrap_err().contains("h2c"));
    }

    #[test]
    fn clients_are_announced_in_one_of_two_forms() {
        let link = |text: &str| read(text).map(|link| link.proxy_protocol);
        assert_eq!(link("{}"), Ok(None));
        assert_eq!(link("{ proxy_protocol = 'v1' }"), Ok(Some(ProxyProtocol::V1)));
        assert_eq!(link("{ proxy_protocol = 'v2' }"), Ok(Some(ProxyProtocol::V2)));
        assert!(link("{ proxy_protocol = true }").is_err());
    }

    #[test]
    fn an_endpoint_whose_name_is_not_known_is_refused() {
        let message = read("{ protocol = 'https' }").unwrap_err();
        assert!(message.contains("127.0.0.1:443") && message.contains("server_name"), "{message}");
        let link = read("{ protocol = 'https', tls = { server_name = 'App.example' } }").unwrap();
        assert_eq!(link.server_name(&"127.0.0.1:1".parse().unwrap()), Some("app.example"));
        assert!(read("{ protocol = 'https', tls = { server_name = '10.0.0.1' } }").is_err());
        assert!(read("{ protocol = 'https', tls = { server_name = '' } }").is_err());
    }

    #[test]
    fn files_are_read_and_judged_with_the_config() {
        let with = |tls: &str| {
            read(&format!("{{ protocol = 'https', tls = {{ server_name = 'a', {tls} }} }}"))
        };
        let good =
            with("ca = 'cert.pem', client_cert = 'cert.pem', client_key = 'key.pem'").unwrap();
        assert!(good.tls.as_ref().unwrap().client_key.is_some());
        assert!(!format!("{good:?}").contains("PRIVATE"), "a key is a secret");
        for (wrong, why) in [
            ("ca = 'none.pem'", "cannot be read"),
            ("ca = 'junk.pem'", "holds no certificate"),
            ("ca = 'key.pem'", "holds no certificate"),
            ("client_cert = 'cert.pem'", "client_key"),
            ("client_key = 'key.pem'", "client_cert"),
            ("client_cert = 'cert.pem', client_key = 'other.pem'", "does not go with"),
            ("client_cert = 'cert.pem', client_key = 'cert.pem'", "holds no private key"),
            ("verify = false", "unknown key"),
        ] {
            let message = with(wrong).unwrap_err();
            assert!(message.contains(why), "{wrong}: {message}");
        }
    }

    #[test]
    fn tls_without_tls_is_refused() {
        for protocol in ["", "protocol = 'h2c', "] {
            let message = read(&format!("{{ {protocol}tls = {{ }} }}")).unwrap_err();
            assert!(message.contains("means nothing without TLS"), "{message}");
        }
    }
}
