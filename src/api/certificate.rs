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
