//! Who gets in: what a service's policy says of a request before it is served, in this order: the
//! client's network, its rate, the redirects, name and password, the body's announced length.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};
use pingora_core::Result;
use pingora_proxy::Session;
use tokio::sync::Semaphore;

use super::{
    answer::refuse,
    buckets::{Buckets, Key},
    changes::location,
    door::{Door, Word, turns},
    exchange::Exchange,
};
use crate::model::{
    Facts, Headers,
    policy::{
        BasicAuth,
        rate::{RateKey, network_of, retry_after},
    },
    snapshot::Service,
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

/// What the gates of all workers share.
#[derive(Debug)]
pub struct Common {
    buckets: Buckets,
    turns: Arc<Semaphore>,
}

impl Default for Common {
    fn default() -> Self {
        Self { buckets: Buckets::default(), turns: turns() }
    }
}

/// One worker's gate.
#[derive(Debug)]
pub struct Gate {
    common: Arc<Common>,
    door: Door,
}

impl Gate {
    /// A worker's gate.
    pub fn new(common: Arc<Common>) -> Self {
        Self { door: Door::new(common.turns.clone()), common }
    }

    /// What the policy of `service` says of a request with these facts and an announced `length` of its
    /// body in bytes: `None` if it may pass.
    pub async fn denial<H: Headers>(
        &self,
        service: &Service,
        facts: &Facts<'_, H>,
        length: Option<u64>,
    ) -> Option<Denial> {
        if let Some(denial) = denial(service, facts, &self.common.buckets) {
            return Some(denial);
        }
        let policy = &service.settings.policy;
        if let Some(auth) = &policy.basic_auth {
            let authorization = facts.headers.first("authorization");
            let network = network_of(facts.client);
            let word = self.door.ask(auth, authorization, network).await;
            if let Some(denial) = turned_away(auth, word) {
                return Some(denial);
            }
        }
        length.filter(|length| policy.is_too_large(*length)).map(|_| Denial::of(413))
    }
}

fn turned_away(auth: &BasicAuth, word: Word) -> Option<Denial> {
    let soon = || (header::RETRY_AFTER, HeaderValue::from_static("1"));
    let (status, header) = match word {
        Word::Welcome => return None,
        Word::Stranger => {
            let challenge = format!("Basic realm=\"{}\", charset=\"UTF-8\"", auth.realm);
            let challenge = HeaderValue::try_from(challenge);
            let plain = HeaderValue::from_static("Basic");
            (401, (header::WWW_AUTHENTICATE, challenge.unwrap_or(plain)))
        }
        Word::Patience => (429, soon()),
        Word::Crowded => (503, soon()),
    };
    Some(Denial { status, headers: vec![header] })
}

/// The part of it that takes no time.
fn denial<H: Headers>(
    service: &Service,
    facts: &Facts<'_, H>,
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
    let (status, to) = moved?;
    Some(Denial { status, headers: location(to).into_iter().collect() })
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
    refuse(session, exchange, denial.status, &denial.headers).await
}
