//! What the guard finds.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::units::{Millis, Moment, PoolName, Share};

/// The guard's finding on one candidate, with everything it was drawn from.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Finding {
    /// The candidate.
    pub pool: PoolName,
    /// When.
    pub at: Moment,
    /// The verdict.
    pub verdict: Verdict,
    /// What it was drawn from.
    pub evidence: Evidence,
}

/// The guard's verdict on a candidate.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Shown to be no worse than the baseline, within the tolerance.
    Go,
    /// Worse than the baseline or than a limit allows.
    NoGo(Breach),
    /// Not enough is known.
    Undecided(Lacking),
    /// The baseline is just as bad: going back would not help.
    BothDegraded(Breach),
}

/// What a candidate did that it must not.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Breach {
    /// What found it.
    pub detector: Detector,
    /// What was measured.
    pub measure: Measure,
    /// The candidate's value: a part of all requests for failures, milliseconds for latencies.
    pub measured: f64,
    /// What would have been in order, in the same unit: the configured limit, or the baseline's value
    /// with the tolerance.
    pub limit: f64,
    /// How many of the candidate's requests were judged.
    pub sample: u64,
    /// The same in a sentence: `of 31 failures since 14:02, 19 fell on green, which served 5%`.
    pub text: String,
}

/// What found a breach.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detector {
    /// Failures on a scale that leaves no doubt.
    GrossFailure,
    /// The sequential test against the baseline's concurrent traffic.
    Regression,
    /// The sequential test against the baseline's profile from before the shift.
    Profile,
    /// A configured limit.
    Limit,
}

/// What is measured.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The part of requests that failed.
    Errors,
    /// The median response time.
    P50,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
}

/// What is lacking for a verdict.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "lacking", rename_all = "kebab-case")]
pub enum Lacking {
    /// The sample is too small.
    Requests {
        /// Judged in this stage.
        have: u64,
        /// Wanted.
        need: u64,
    },
    /// The sample is large enough and nothing is wrong, but a difference as large as the tolerance is
    /// not excluded yet.
    Certainty {
        /// About how many more of the candidate's requests that takes, if they go on as before.
        more: u64,
        /// What is not certain yet.
        measure: Measure,
    },
}

/// What a finding was drawn from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Evidence {
    /// When the shift began, and with it the evidence.
    pub since: Moment,
    /// The candidate's share of what it and the baseline serve.
    pub share: Share,
    /// Whether the baseline serves enough beside it to be compared with; else its profile from before
    /// the shift is the measure, which does not protect from changes that befall both.
    pub concurrent: bool,
    /// The candidate.
    pub candidate: Sums,
    /// The baseline.
    pub baseline: Sums,
    /// The sequential tests.
    pub tests: Vec<Test>,
}

/// What was counted of one side.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Sums {
    /// Judged requests since the shift began.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Different users who saw a failure; requests where users are unknown.
    pub users_failed: u64,
    /// Judged requests since the stage began.
    pub stage_requests: u64,
    /// Those that failed.
    pub stage_failed: u64,
    /// Recent percentiles in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The 95th.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The 99th.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// Where a sequential test stands.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Test {
    /// What it tests.
    pub measure: Measure,
    /// Bad answers that counted, of both sides.
    pub bad: u64,
    /// Those of the candidate.
    pub bad_candidate: u64,
    /// The natural logarithm of the wealth.
    pub wealth_ln: f64,
    /// The wealth at which it accuses, as a logarithm.
    pub needed_ln: f64,
}

impl Measure {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }
}

impl Detector {
    /// The word for it, as metrics have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GrossFailure => "gross-failure",
            Self::Regression => "regression",
            Self::Profile => "profile",
            Self::Limit => "limit",
        }
    }
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::NoGo(_) => "no-go",
            Self::Undecided(_) => "undecided",
            Self::BothDegraded(_) => "both-degraded",
        }
    }
}

/// One second of evidence, as it is kept for limits and stored with a finding.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Second {
    /// When it began.
    pub at: Moment,
    /// The candidate's share.
    pub share: Share,
    /// The candidate.
    pub candidate: Tally,
    /// The baseline.
    pub baseline: Tally,
}

/// What happened on one side in a second.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Tally {
    /// Judged requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Failures that counted for the sequential test: one for each user.
    pub voices: u64,
    /// Response times: bucket of [`crate::model::histogram`] and how many, in order.
    pub latencies: Vec<(u16, u32)>,
}

/// Evidence as it is stored, to judge it again.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Tape {
    /// The latest seconds, oldest first; at most 15 minutes.
    pub seconds: Vec<Second>,
    /// For how long evidence had been gathered before the first of them.
    pub before: Millis,
}
