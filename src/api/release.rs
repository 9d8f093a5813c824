//! What goes over the wire about rollouts, the guard, preflight and notices, as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Millis, Moment, PoolName, Revision, ServiceName, Share,
    command::PlanChanges,
    guard::{Finding, Measure, Terms, Verdict},
    rollout::Rollout,
    state::{Alarm, Lockout},
    units::{PlanName, ReceiverName},
};

/// `POST /v1/rollouts` and `POST /v1/rollouts/plan`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutBody {
    /// The candidate.
    pub pool: PoolName,
    /// Only these services; empty: every one that has the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// Which plan; absent: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanName>,
    /// What to do otherwise than the plan.
    #[serde(default)]
    pub changes: PlanChanges,
    /// Take a new salt, so that not the same users are first as always.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fresh_cohort: bool,
    /// Without the candidate's preflight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_checks: bool,
}

/// `POST /v1/rollouts/current/promote`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteBody {
    /// Pass over all stages that are left.
    #[serde(default)]
    pub full: bool,
}

/// A body with nothing in it.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NoBody {}

/// `GET /v1/rollouts/current`, and a part of the status.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct RolloutStatus {
    /// The rollout.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// The candidate's share now.
    pub share: Share,
    /// What it does, in words: `holds stage 2 of 5: green at 10%`.
    pub text: String,
    /// What it waits for, in words; absent when over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// When time will next move it, if the guard agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Moment>,
    /// What the guard makes of it, by service.
    pub findings: BTreeMap<ServiceName, Finding>,
}

/// `GET /v1/rollouts`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct RolloutList {
    /// Latest first.
    pub rollouts: Vec<RolloutSummary>,
}

/// One rollout of the history.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct RolloutSummary {
    /// Its number.
    pub id: u64,
    /// The candidate.
    pub candidate: PoolName,
    /// The services.
    pub services: Vec<ServiceName>,
    /// The plan.
    pub plan: String,
    /// Who started it.
    pub by: String,
    /// When.
    pub began: Moment,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// Its phase, as one word.
    pub phase: String,
    /// What became of it, in words.
    pub text: String,
}

/// `POST /v1/rollouts/{id}/simulate`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateBody {
    /// Terms to judge by instead, by their keys in `[guard]`; `null` takes a limit away.
    #[serde(default)]
    pub terms: serde_json::Map<String, serde_json::Value>,
}

/// What other terms would have made of stored evidence.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Simulated {
    /// The service.
    pub service: ServiceName,
    /// What was found then.
    pub then: Option<Verdict>,
    /// What these terms would have found, and when; absent where no evidence was kept.
    pub now: Option<Verdict>,
    /// When they would first have found it.
    pub at: Option<Moment>,
    /// The terms.
    pub terms: Terms,
}

/// `POST /v1/rollouts/plan`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct PlanOutlook {
    /// The candidate.
    pub pool: PoolName,
    /// The plan.
    pub plan: String,
    /// By service.
    pub services: Vec<ServiceOutlook>,
    /// What to mind, in words.
    pub warnings: Vec<String>,
}

/// What a service's stages can notice.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ServiceOutlook {
    /// The service.
    pub service: ServiceName,
    /// Its requests per second now.
    pub rps: f64,
    /// Its baseline's failed part now.
    pub error_ratio: f64,
    /// The stages.
    pub stages: Vec<StageOutlook>,
}

/// What one stage can notice.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct StageOutlook {
    /// The candidate's share.
    pub share: Share,
    /// Its requests per second, at the present rate.
    pub rps: f64,
    /// How long it is held.
    pub hold: Millis,
    /// How many requests it gets in that time.
    pub requests: u64,
    /// How long it takes to have enough requests for a verdict, in seconds; absent: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_to_judge: Option<f64>,
    /// How long it takes to notice what.
    pub notices: Vec<Notice>,
    /// Whether the hold is long enough for a verdict.
    pub is_long_enough: bool,
}

/// How long it takes to notice a regression.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Notice {
    /// What, in words: `5% of requests fail`, `p95 doubles`.
    pub what: String,
    /// What is measured.
    pub measure: Measure,
    /// The candidate's requests that it takes; absent: it is within the tolerance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// The same in seconds, at the present rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// `POST /v1/checks`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CheckBody {
    /// The pool.
    pub pool: PoolName,
    /// Only these services; empty: every one that has the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
}

/// What a preflight found.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CheckReport {
    /// The pool.
    pub pool: PoolName,
    /// Whether everything passed.
    pub passed: bool,
    /// One row for each check of each endpoint.
    pub rows: Vec<CheckRow>,
}

/// One check of one endpoint.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct CheckRow {
    /// The service.
    pub service: ServiceName,
    /// The endpoint; absent for what concerns the whole pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// What was checked: `health`, `POST /login`.
    pub check: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was found, in words.
    pub text: String,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}

/// `GET /v1/guard`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct GuardList {
    /// The revision in force.
    pub revision: Revision,
    /// By service.
    pub services: Vec<GuardStatus>,
}

/// The guard of one service.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct GuardStatus {
    /// The service.
    pub service: ServiceName,
    /// The pool that is trusted.
    pub baseline: PoolName,
    /// What candidates are judged by.
    pub terms: Terms,
    /// Whether these are other terms than the config file's.
    pub differs_from_file: bool,
    /// Findings on the candidates that are on trial.
    pub findings: Vec<Finding>,
    /// What it objects to and does not act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// Pools that it took back.
    pub lockouts: BTreeMap<PoolName, Lockout>,
}

/// `PUT /v1/guard`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GuardBody {
    /// Only these services; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// What to change, by the keys of `[guard]`; `null` takes a limit away. Empty: back to the file.
    #[serde(default)]
    pub terms: serde_json::Map<String, serde_json::Value>,
}

/// The guard's test of one service against itself.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SelfTestStatus {
    /// The service.
    pub service: ServiceName,
    /// Since when the halves of its baseline are compared.
    pub since: Moment,
    /// Comparisons that ended, each as long as a shift.
    pub runs: u64,
    /// Those that ended with an accusation, which is false.
    pub alarms: u64,
    /// Requests judged.
    pub samples: u64,
    /// The part of comparisons that may accuse.
    pub alpha: f64,
}

/// `POST /v1/pause`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PauseBody {
    /// Only these services; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// How long requests are held at most, as in `"30s"`, which is also what is meant where it is
    /// absent; 5 minutes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Millis>,
}

/// `GET /v1/notify`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ReceiverList {
    /// The receivers.
    pub receivers: Vec<ReceiverStatus>,
}

/// A receiver of notices.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ReceiverStatus {
    /// Its name.
    pub name: ReceiverName,
    /// Its kind.
    pub kind: String,
    /// Notices that it took.
    pub sent: u64,
    /// Notices given up.
    pub failed: u64,
    /// Notices that had no room to wait.
    pub dropped: u64,
    /// Notices that wait.
    pub waiting: u64,
    /// What went wrong last; empty if nothing did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// `POST /v1/notify/{name}/test`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct NotifyTest {
    /// Whether the receiver took it.
    pub sent: bool,
    /// What went wrong, if it did not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}
