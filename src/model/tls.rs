//! TLS of a listener: its certificates as they were read, and who may connect.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;

use super::{
    settings::Secret,
    units::{Millis, Moment},
};

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerTls {
    /// The certificates, at least one unless `acme` names some. The name that the client asks for
    /// picks; the first is for who asks for none or for another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Names that lbd gets a certificate for by itself, all in one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acme: Vec<String>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Clients must show a certificate that one of these signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<TrustAnchors>,
    /// A preflight does not pass if a certificate ends sooner; absent: 7 days, or what is urgent of
    /// one that lbd renews itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_life: Option<Millis>,
}

impl ListenerTls {
    /// The names in `acme` that no certificate from a file covers.
    pub fn uncovered(&self) -> Vec<String> {
        let covered = |name: &str| self.certificates.iter().any(|one| one.facts.covers(name));
        self.acme.iter().filter(|name| !covered(name)).cloned().collect()
    }
}

/// A certificate with its chain and its key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// The file with the certificate, then those that lead to a root; in PEM.
    pub cert: PathBuf,
    /// The file with its private key, in PEM.
    pub key: PathBuf,
    /// The content of `cert`.
    #[serde(skip)]
    pub cert_pem: Arc<str>,
    /// The content of `key`.
    #[serde(skip)]
    pub key_pem: Secret,
    /// What the certificate says.
    #[serde(skip)]
    pub facts: CertificateFacts,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CertificateFacts {
    /// Host names, in lower case; `*.` for one more label.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Moment,
    /// Until when.
    pub not_after: Moment,
    /// Who signed it.
    pub issuer: String,
}

impl CertificateFacts {
    /// Whether it is for a name, which is in lower case.
    pub fn covers(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let is_for = |own: &String| {
            own == name || own.strip_prefix("*.").is_some_and(|own| Some(own) == parent)
        };
        self.names.iter().any(is_for)
    }
}

/// Certificates of those who sign others, read from a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct TrustAnchors {
    /// The file, in PEM.
    pub file: PathBuf,
    /// Its content.
    #[serde(skip)]
    pub pem: Arc<str>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}
