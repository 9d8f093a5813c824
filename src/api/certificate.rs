//! What goes over the wire of certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Moment, units::ListenerName};

/// All certificates in force.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CertificateList {
    /// By listener, in the order of the config.
    pub certificates: Vec<CertificateView>,
}

/// A certificate in force.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CertificateView {
    /// The listener that shows it.
    pub listener: ListenerName,
    /// Its host names.
    pub names: Vec<String>,
    /// Where lbd has it from.
    pub source: CertificateSource,
    /// Who signed it.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: Moment,
    /// Until when.
    pub not_after: Moment,
    /// Whole days until then; 0 also if it has expired.
    pub days_left: u64,
    /// Whether it has expired.
    pub expired: bool,
    /// The file with the certificate.
    pub cert: String,
    /// The file with its key.
    pub key: String,
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateSource {
    /// The operator put it there.
    File,
    /// lbd got it by itself.
    Acme,
}

impl CertificateSource {
    /// How much of a life of `life` is left when a certificate must be looked after, and when it is
    /// urgent; in the unit of `life`, of which `day` is one. What lbd renews by itself is not late
    /// before half the time for that has passed.
    pub fn thresholds(self, life: u64, day: u64) -> (u64, u64) {
        let (soon, very_soon) = (30 * day, 7 * day);
        match self {
            Self::File => (soon, very_soon),
            Self::Acme => (soon.min(life / 6), very_soon.min(life / 12)),
        }
    }

    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Acme => "acme",
        }
    }
}
