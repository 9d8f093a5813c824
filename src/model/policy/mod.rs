//! What a service lets in, and what it changes in requests and responses. What is off is `None`, and
//! costs a request one look.

use serde::Serialize;

pub mod encoding;
pub mod error_page;
pub mod headers;
pub mod networks;
pub mod password;
pub mod pattern;
pub mod rate;
pub mod rewrite;
pub mod template;
pub mod trace;

pub use encoding::Compression;
pub use error_page::ErrorPages;
pub use headers::HeaderEdits;
pub use networks::Networks;
pub use password::BasicAuth;
pub use rate::{RateKey, RateLimit};
pub use rewrite::{Redirect, Rewrite};

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
    /// Who may come in with a password; absent: everybody without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// What clients see where lbd itself answers with an error.
    #[serde(skip_serializing_if = "ErrorPages::is_empty")]
    pub error_pages: ErrorPages,
    /// What is changed in the headers of requests, besides what lbd always sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<HeaderEdits>,
    /// What is changed in the headers of endpoints' responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_headers: Option<HeaderEdits>,
    /// Whether endpoints are told of the client in a `Forwarded` header too (RFC 7239).
    #[serde(skip_serializing_if = "is_false")]
    pub forwarded: bool,
    /// What is cut off the path before an endpoint is asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<Box<str>>,
    /// Under which path endpoints know the rest; the first that matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rewrite: Vec<Rewrite>,
    /// Which responses are compressed; absent: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Where clients are sent instead; the first that matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redirect: Vec<Redirect>,
}

impl Policy {
    /// Whether requests and answers pass as they are, but for the size of their bodies.
    pub fn is_plain(&self) -> bool {
        let Self { networks, rate_limit, basic_auth, request_headers, response_headers, .. } = self;
        let Self { forwarded, strip_prefix, rewrite, compression, redirect, .. } = self;
        let lets_in = networks.is_none() && rate_limit.is_none() && basic_auth.is_none();
        let keeps_heads = request_headers.is_none() && response_headers.is_none() && !forwarded;
        let keeps_paths = strip_prefix.is_none() && rewrite.is_empty() && redirect.is_empty();
        lets_in && keeps_heads && keeps_paths && compression.is_none()
    }

    /// Whether a body of `bytes` is too large.
    pub fn is_too_large(&self, bytes: u64) -> bool {
        self.max_body_bytes.is_some_and(|max| bytes > max)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !value
}
