//! How the endpoints of a pool are spoken to: the protocol, and over TLS or not.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::{address::Address, announcement::ProxyProtocol, settings::Secret};

/// How every connection to a pool's endpoints is made, for traffic, probes and checks alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Link {
    /// What is spoken.
    pub protocol: Protocol,
    /// How endpoints prove who they are, and lbd to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How endpoints are told which client a connection is made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What is spoken with an endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, from the first byte on (RFC 9113, section 3.3).
    H2c,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS.
    HttpsH2,
}

impl Protocol {
    /// Whether connections are encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::HttpsH2)
    }

    /// Whether it is HTTP/2.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::HttpsH2)
    }
}

/// How endpoints prove who they are, and lbd to them. There is no way not to verify.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tls {
    /// A file with the certificates of those who vouch for endpoints, in place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Pem>,
    /// The name in the endpoints' certificates; each one's own host name if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<Arc<str>>,
    /// The file with lbd's own certificate, and those in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert: Option<Pem>,
    /// The file with its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<Pem>,
}

/// A PEM file that was read with the config. Written it is the path.
#[derive(Clone, Debug, PartialEq)]
pub struct Pem {
    /// Where it is.
    pub path: PathBuf,
    /// What it says; a key is a secret.
    pub text: Secret,
}

impl Serialize for Pem {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(to)
    }
}

impl Link {
    /// The name that an endpoint's certificate must have, if the address or the config tells one.
    pub fn server_name<'a>(&'a self, address: &'a Address) -> Option<&'a str> {
        let own = self.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        own.or(match address {
            Address::Host { host, .. } => Some(host),
            Address::Ip(_) | Address::Unix(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_the_config_or_of_the_host() {
        let plain = Link { protocol: Protocol::Https, ..Link::default() };
        let tls = Tls { server_name: Some("app.example".into()), ..Tls::default() };
        let named = Link { tls: Some(tls), ..plain.clone() };
        let (host, ip) = ("db.internal:443".parse().unwrap(), "127.0.0.1:443".parse().unwrap());
        assert_eq!(plain.server_name(&host), Some("db.internal"));
        assert_eq!(plain.server_name(&ip), None);
        assert_eq!(named.server_name(&host), Some("app.example"));
        assert_eq!(named.server_name(&ip), Some("app.example"));
    }
}
