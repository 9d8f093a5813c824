//! Decides which pool serves a request.
//!
//! The answer depends on three values and nothing else: the [`Snapshot`] in force, the [`Facts`] read
//! from the request, and one random [`Draw`]. The first rule that applies wins:
//!
//! 1. Maintenance answers everyone who may not pass.
//! 2. A pin sends a tester to the pool of their choice.
//! 3. A user on a pool's allow list goes there; one on its deny list does not.
//! 4. A user goes to the pool that owns their bucket.
//! 5. Without a user id, the service's `anonymous` policy: a draw, a new cookie, or the baseline.
//!
//! Lists stand before the bucket, so that shifting weight never moves a listed user.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    bucket::{Bucket, Draw, UserHash},
    cohort::List,
    facts::{Facts, Headers},
    maintenance::Gate,
    route::Unrouted,
    settings::Anonymous,
    snapshot::{Service, Snapshot},
};

/// The cookie that carries the id of a user who had none.
pub const ID_COOKIE: &str = "lbd_id";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// No service takes it.
    Unrouted(Unrouted),
    /// The service (by index) is in maintenance: the page, or the secret link.
    Maintenance(usize, Gate),
    /// A pool of the service (by index) serves it.
    Serve(usize, Placement),
}

impl Outcome {
    /// The service (by index) that takes the request.
    pub fn service(self) -> Option<usize> {
        match self {
            Self::Unrouted(_) => None,
            Self::Maintenance(service, _) | Self::Serve(service, _) => Some(service),
        }
    }
}

/// Which pool serves a request, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placement {
    /// Index of the pool in the service.
    pub pool: usize,
    /// The rule that decided.
    pub rule: Rule,
    /// The user's bucket, or the drawn one; `None` where none was looked at.
    pub bucket: Option<Bucket>,
    /// The user's hash; `None` where none is known.
    pub user: Option<UserHash>,
    /// The number of the id that the response must set as a cookie.
    pub new_id: Option<u64>,
}

/// The rule that decided on a pool.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A tester chose.
    Pin,
    /// The user is on the pool's allow list.
    Allow,
    /// The user is on the deny list of the pool that owns their bucket.
    Deny,
    /// The user's bucket.
    Bucket,
    /// A random draw: no user id.
    Draw,
    /// No user id, and the policy is the baseline.
    Anonymous,
}

impl Rule {
    /// The word for it, as logs have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pin => "pin",
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Bucket => "bucket",
            Self::Draw => "draw",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Decides what becomes of a request. See the module's docs for the rules.
pub fn decide<H: Headers>(snapshot: &Snapshot, facts: &Facts<'_, H>, draw: Draw) -> Outcome {
    let at = match snapshot.routes.find(facts.host, facts.path) {
        Ok(at) => at,
        Err(why) => return Outcome::Unrouted(why),
    };
    let service = &snapshot.services[at];
    let gate = service.maintenance.as_ref().map(|m| m.gate(facts, &snapshot.always_allow));
    match gate {
        Some(gate @ (Gate::Page | Gate::Link)) => Outcome::Maintenance(at, gate),
        Some(Gate::Pass) | None => Outcome::Serve(at, place(service, facts, draw)),
    }
}

fn place<H: Headers>(service: &Service, facts: &Facts<'_, H>, draw: Draw) -> Placement {
    if let Some(pool) = pinned(service, facts) {
        return Placement { pool, rule: Rule::Pin, bucket: None, user: None, new_id: None };
    }
    if let Some(user) = facts.user_id(&service.settings.user_id) {
        return place_user(service, &user);
    }
    match service.settings.anonymous {
        Anonymous::Random => {
            let bucket = Bucket::drawn(draw);
            let pool = service.places.owner(bucket);
            Placement { pool, rule: Rule::Draw, bucket: Some(bucket), user: None, new_id: None }
        }
        Anonymous::Baseline => {
            let (pool, rule) = (service.baseline, Rule::Anonymous);
            Placement { pool, rule, bucket: None, user: None, new_id: None }
        }
        Anonymous::Cookie => match facts.cookie(ID_COOKIE).filter(|id| is_issued(id)) {
            Some(id) => place_user(service, id),
            None => {
                let placement = place_user(service, IssuedId(draw.0).write(&mut [0; 16]));
                Placement { new_id: Some(draw.0), ..placement }
            }
        },
    }
}

/// Where a user with an id belongs: by the lists, then by the bucket.
pub fn place_user(service: &Service, user: &str) -> Placement {
    let hash = UserHash::of(&service.salt, user);
    let bucket = hash.bucket();
    let (pool, rule) = match service.pools.iter().position(|pool| pool.lists(List::Allow, user)) {
        Some(pool) => (pool, Rule::Allow),
        None => match service.places.owner(bucket) {
            pool if service.pools[pool].lists(List::Deny, user) => (service.baseline, Rule::Deny),
            pool => (pool, Rule::Bucket),
        },
    };
    Placement { pool, rule, bucket: Some(bucket), user: Some(hash), new_id: None }
}

fn pinned<H: Headers>(service: &Service, facts: &Facts<'_, H>) -> Option<usize> {
    let pin = service.settings.pin.as_ref()?;
    let value = facts.headers.first(&pin.name).or_else(|| facts.cookie(&pin.name))?;
    let (pool, secret) = value.split_once(':')?;
    if pin.secret.matches(secret) { service.pool(pool) } else { None }
}

impl super::snapshot::Pool {
    fn lists(&self, list: List, user: &str) -> bool {
        self.cohort.as_ref().is_some_and(|cohort| cohort.list(list).contains(user))
    }
}

/// An id that lbd gives a user who has none: 64 random bits as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct IssuedId(pub u64);

impl IssuedId {
    /// Writes the id's 16 digits.
    pub fn write(self, digits: &mut [u8; 16]) -> &str {
        for (n, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(self.0 >> (60 - 4 * n)) as usize & 15];
        }
        std::str::from_utf8(digits).unwrap_or_default()
    }
}

fn is_issued(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())
}
