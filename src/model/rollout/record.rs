//! What is kept of a rollout: for its report, for `why` and for `simulate`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rollout;
use crate::model::{
    event::Actor,
    guard::{Finding, Tape, Terms},
    units::{Millis, Moment, PoolName, ServiceName, Share},
};

/// Something that happened in a rollout.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Milestone {
    /// When.
    pub at: Moment,
    /// The phase that began, as one word.
    pub phase: String,
    /// The candidate's share from then on.
    pub share: Share,
    /// Who.
    pub by: Actor,
    /// What, in words.
    pub text: String,
}

/// Everything that is kept of a rollout. One file each in `state_dir/rollouts`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Record {
    /// The rollout.
    pub rollout: Rollout,
    /// When it was over; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// By service.
    pub services: BTreeMap<ServiceName, ServiceRecord>,
}

/// What is kept of one service of a rollout.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ServiceRecord {
    /// The pool that was trusted when it began.
    pub baseline: Option<PoolName>,
    /// Traffic by pool.
    pub traffic: BTreeMap<PoolName, Traffic>,
    /// What happened over time, oldest first: about 1,000 points at most, each a second or longer.
    pub points: Vec<Point>,
    /// The last finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// What the guard judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// The evidence of the last finding.
    #[serde(default)]
    pub tape: Tape,
}

/// What a pool served during a rollout.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Traffic {
    /// Requests ended.
    pub requests: u64,
    /// First attempts that failed by the pool's fault, by blame.
    pub failures: BTreeMap<String, u64>,
    /// Failed first attempts that were replayed on the baseline: their users saw nothing of it.
    pub shielded: u64,
    /// Different users whose first attempt failed; where users are unknown, requests.
    pub users_affected: u64,
    /// Whether `users_affected` stopped counting at its limit, so that there are more.
    #[serde(default)]
    pub users_affected_is_least: bool,
}

/// What happened in a span of time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Point {
    /// When it began.
    pub at: Moment,
    /// How long it is.
    pub span: Millis,
    /// The candidate's share at its end.
    pub share: Share,
    /// By pool.
    pub pools: BTreeMap<PoolName, PointOfPool>,
}

/// What a pool served in a span of time.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PointOfPool {
    /// Requests ended.
    pub requests: u64,
    /// Those that failed by the pool's fault.
    pub failed: u64,
    /// The median duration in milliseconds; absent where there was no request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

impl Record {
    /// The record without its evidence second by second, which only judging again needs.
    pub fn without_tapes(mut self) -> Self {
        for service in self.services.values_mut() {
            service.tape = Tape::default();
        }
        self
    }
}
