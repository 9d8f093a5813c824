//! What a service lets in, and what it changes in requests and responses. What is off is `None`, and
//! costs a request one look.

use serde::Serialize;

pub mod networks;
pub mod rate;

pub use networks::Networks;
pub use rate::{RateKey, RateLimit};

/// The policy of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Policy {
    /// Largest request body, in bytes; absent: not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
    /// Which clients are let in; absent: all.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Networks>,
    /// How often a client may ask; absent: as often as they like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

impl Policy {
    /// Whether a body of `bytes` is too large.
    pub fn is_too_large(&self, bytes: u64) -> bool {
        self.max_body_bytes.is_some_and(|max| bytes > max)
    }
}
