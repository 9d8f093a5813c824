//! Preflight: what a candidate must pass before it gets traffic, `[[service.NAME.check]]`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{settings::Expect, units::Millis};

/// One request that every endpoint of a candidate must answer as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The HTTP method.
    pub method: Box<str>,
    /// The path, with its query.
    pub path: Box<str>,
    /// Headers to send; `Host` is the endpoint's address if it is not among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<Box<str>, Box<str>>,
    /// The body to send, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<str>>,
    /// Which statuses pass.
    pub expect: Expect,
    /// What the body of the answer must contain, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<str>>,
    /// How long the whole answer may take, if limited. In any case it is given up after ten seconds,
    /// or after this if it is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_latency: Option<Millis>,
}
