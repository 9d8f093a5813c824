//! The guard against itself: two halves of the baseline, which are equally good, are compared as if one
//! were a candidate. Whatever is found is false.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    judge::Question,
    sample::Sample,
    terms::Terms,
    trial::{Context, Side, Trial},
    verdict::Verdict,
};
use crate::model::{
    bucket::Bucket,
    units::{Millis, Moment, PoolName},
};

/// When a comparison ends without having found anything.
const LONG: Millis = Millis::from_secs(3600);
const MANY: u64 = 200_000;
/// How often it is looked at.
const PACE: Millis = Millis::from_secs(1);

/// Compares two halves of a baseline, over and over.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SelfTest {
    since: Option<Moment>,
    /// Begins anew in every process: of all services together it would be much to hand over.
    #[serde(skip)]
    trial: Option<Trial>,
    runs: u64,
    alarms: u64,
    samples: u64,
    alpha: f64,
    next: Moment,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SelfTestReport {
    /// Since when.
    pub since: Moment,
    /// Comparisons that ended.
    pub runs: u64,
    /// Those that ended with an accusation.
    pub alarms: u64,
    /// Requests.
    pub samples: u64,
    /// The part of comparisons that may.
    pub alpha: f64,
}

impl SelfTest {
    /// An answer of the baseline.
    pub fn take(&mut self, sample: Sample, context: &Context) {
        self.since.get_or_insert(context.now);
        self.samples += 1;
        let half = match sample.user {
            // Independent of the bucket, and so of who would be moved first.
            Some(user) => user.0 / u32::from(Bucket::COUNT) % 2 == 0,
            None => self.samples.is_multiple_of(2),
        };
        let side = if half { Side::Candidate } else { Side::Baseline };
        let trial = self.trial.get_or_insert_with(|| Trial::new(context.now));
        trial.take(side, sample, &Context { share: 0.5, ..*context });
    }

    /// Looks whether the halves seem to differ.
    pub fn judge(&mut self, now: Moment, terms: &Terms, context: &Context) {
        if now < self.next {
            return;
        }
        self.next = now.after(PACE);
        self.alpha = terms.alpha;
        let (Some(trial), Ok(pool)) = (&mut self.trial, "half".parse::<PoolName>()) else { return };
        trial.begin_minute(now);
        // Limits are about the baseline itself here, not about a difference.
        let terms = Terms { error_rate: None, p50: None, p95: None, p99: None, ..terms.clone() };
        let (verdict, _) = trial.judge(&Question {
            now,
            pool: &pool,
            terms: &terms,
            among: 1,
            share: 0.5,
            marks: context.marks,
            profile_marks: context.profile_marks,
            allowed: context.allowed,
            waiting: &[],
        });
        let alarm = matches!(verdict, Verdict::NoGo(_));
        let is_over = now.since(trial.since) >= LONG
            || trial.candidate.requests + trial.baseline.requests >= MANY;
        if alarm || is_over {
            self.runs += 1;
            self.alarms += u64::from(alarm);
            self.trial = None;
        }
    }

    /// What came of it; `None` before there was any traffic.
    pub fn report(&self) -> Option<SelfTestReport> {
        let Self { runs, alarms, samples, alpha, .. } = *self;
        Some(SelfTestReport { since: self.since?, runs, alarms, samples, alpha })
    }
}
