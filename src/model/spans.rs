//! Where spans of requests go, `[tracing]`.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    link::Pem,
    settings::Secret,
    units::{Millis, Share},
};

/// The export of spans to an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracing {
    /// The collector's base address, `http://` or `https://`.
    pub endpoint: Arc<str>,
    /// Who vouches for a collector behind `https://`; `None`: those who vouch for public sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Pem>,
    /// The part of the traces that begin here.
    pub sample: Share,
    /// What this lbd is called in them.
    pub service_name: Arc<str>,
    /// For one send as a whole.
    pub timeout: Millis,
    /// What the collector wants besides, as an authorization; the values are secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<Box<str>, Secret>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:4318".into(),
            ca: None,
            sample: Share::from_basis_points(100),
            service_name: "lbd".into(),
            timeout: Millis::from_secs(10),
            headers: BTreeMap::new(),
        }
    }
}
