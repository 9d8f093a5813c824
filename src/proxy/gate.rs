//! Who gets in: what a service's policy says of a request before it is served, in this order: the
//! client's network, its rate, the redirects, the body's announced length.

use http::{HeaderName, HeaderValue, header};
use pingora_core::Result;
use pingora_proxy::Session;

use super::{
    answer::answer,
    buckets::{Buckets, Key},
    changes::location,
    exchange::Exchange,
};
use crate::{
    model::{
        Facts, Headers,
        policy::rate::{RateKey, network_of, retry_after},
        snapshot::Service,
    },
    page::Page,
};

/// A request that the policy answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The status.
    pub status: u16,
    /// Headers besides those of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Denial {
    fn of(status: u16) -> Self {
        Self { status, headers: Vec::new() }
    }
}

/// What the policy of `service` says of a request with these facts and an announced `length` of its body
/// in bytes: `None` if it may pass.
pub fn denial<H: Headers>(
    service: &Service,
    facts: &Facts<'_, H>,
    length: Option<u64>,
    buckets: &Buckets,
) -> Option<Denial> {
    let policy = &service.settings.policy;
    if policy.networks.as_ref().is_some_and(|networks| !networks.admit(facts.client)) {
        return Some(Denial::of(403));
    }
    if let Some(limit) = &policy.rate_limit {
        let user = match limit.by {
            RateKey::UserId => facts.user_id(&service.settings.user_id),
            RateKey::ClientIp => None,
        };
        let client = || Key::Client(network_of(facts.client));
        let key = user.as_deref().map_or_else(client, Key::User);
        if let Err(wait) = buckets.take(limit, service.name.as_str(), key) {
            let seconds = (header::RETRY_AFTER, HeaderValue::from(retry_after(wait)));
            return Some(Denial { status: 429, headers: vec![seconds] });
        }
    }
    let moved = policy
        .redirect
        .iter()
        .find_map(|rule| Some((rule.status, rule.location(facts.path, facts.query)?)));
    if let Some((status, to)) = moved {
        return Some(Denial { status, headers: location(to).into_iter().collect() });
    }
    length.filter(|length| policy.is_too_large(*length)).map(|_| Denial::of(413))
}

/// Answers a request that does not pass.
///
/// # Errors
///
/// If the client cannot be written to.
pub async fn deny(session: &mut Session, exchange: &Exchange, denial: &Denial) -> Result<()> {
    if denial.status == 413 {
        // A client that is about to send what nobody wants had better stop.
        session.set_keepalive(None);
    }
    let page = Page::of_status(denial.status);
    answer(session, exchange, denial.status, &page, &denial.headers).await
}
