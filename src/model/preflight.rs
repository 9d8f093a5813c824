//! Preflight: what a candidate must pass before it gets traffic, `[[service.NAME.check]]`.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{settings::Expect, units::Millis};

/// One request that every endpoint of a candidate must answer as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The HTTP method.
    pub method: Box<str>,
    /// The path, with its query.
    pub path: Box<str>,
    /// Headers to send; `Host` is the endpoint's address if it is not among them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "without_secrets")]
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

/// Headers as viewers may see them: those that prove who asks are stars.
fn without_secrets<S: Serializer>(
    headers: &BTreeMap<Box<str>, Box<str>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["auth", "cookie", "token", "secret", "key"].iter().any(|word| name.contains(word))
    };
    let shown = headers.iter().map(|(name, value)| {
        let value: &str = if is_secret(name) { "***" } else { value };
        (name, value)
    });
    to.collect_map(shown)
}
