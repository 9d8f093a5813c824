//! The rivals: what Flagger and Argo Rollouts would have done about the same traffic, by their
//! defaults.
//!
//! | | Flagger | Argo Rollouts |
//! |---|---|---|
//! | looks every | 60 s (`interval: 1m`) | 60 s (`interval: 60s`, the first time after 60 s) |
//! | at | the last minute | the last minute |
//! | asks for | `request-success-rate` ≥ 99 %, `request-duration` p99 ≤ 500 ms | success rate ≥ 95 %, the template its documentation begins with |
//! | rolls back | at the look after `threshold: 1` failed check; failed checks are never forgotten | at the first failed measurement (`failureLimit: 0`) |
//! | no data | is a failed check | is inconclusive (`inconclusiveLimit: 0`): pauses, and waits for a person |
//!
//! They judge the candidate alone, by what has ended: who is still waiting is in no metric, a client who
//! left is no 5xx, and a response that breaks after its status 200 is none either. Percentiles are exact here, which is kinder to Flagger than the buckets of its
//! metrics are.

use lbd::model::{
    guard::{Fate, Sample},
    histogram::Counts,
};

/// How often both look, in seconds, and over how long.
pub const INTERVAL: f64 = 60.0;

/// Both, listening to the candidate's traffic.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    minute: Minute,
    looks: u32,
    flagger_failed_checks: u32,
    /// What Flagger did.
    pub flagger: Option<Act>,
    /// What Argo Rollouts did.
    pub argo: Option<Act>,
}

/// What a rule did, and when, in seconds since the beginning of the shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// It took the candidate back.
    RollsBack(f64),
    /// It stopped where it was, and judges no more.
    Pauses(f64),
}

/// What ended on the candidate since the last look.
#[derive(Clone, Debug, Default)]
struct Minute {
    requests: u64,
    failed: u64,
    times: Counts,
}

impl Rules {
    /// Hears of a request of the candidate that has ended.
    pub fn hear(&mut self, sample: &Sample) {
        match sample.fate {
            Fate::Good | Fate::Left => self.minute.add(sample, 0),
            Fate::Failed => self.minute.add(sample, 1),
            // Its status was counted when the response began.
            Fate::Broke | Fate::Waiting => {}
        }
    }

    /// Looks, if it is time to.
    pub fn pass(&mut self, secs: f64) {
        let due = f64::from(self.looks + 1) * INTERVAL;
        if secs >= due {
            self.looks += 1;
            self.look(due);
            self.minute = Minute::default();
        }
    }

    /// Whether both have done all they ever do.
    pub fn are_done(&self) -> bool {
        self.flagger.is_some() && self.argo.is_some()
    }

    fn look(&mut self, secs: f64) {
        let Minute { requests, .. } = self.minute;
        if self.flagger.is_none() {
            if self.flagger_failed_checks > 0 {
                self.flagger = Some(Act::RollsBack(secs));
            } else if requests == 0 || self.minute.success() < 0.99 || self.minute.p99_ms() > 500.0
            {
                self.flagger_failed_checks += 1;
            }
        }
        if self.argo.is_none() {
            if requests == 0 {
                self.argo = Some(Act::Pauses(secs));
            } else if self.minute.success() < 0.95 {
                self.argo = Some(Act::RollsBack(secs));
            }
        }
    }
}

impl Minute {
    fn add(&mut self, sample: &Sample, failed: u64) {
        self.requests += 1;
        self.failed += failed;
        self.times.buckets[usize::from(sample.latency)] += 1;
    }

    fn success(&self) -> f64 {
        1.0 - self.failed as f64 / self.requests as f64
    }

    fn p99_ms(&self) -> f64 {
        self.times.quantile(0.99).map_or(0.0, |micros| micros as f64 / 1000.0)
    }
}

impl Act {
    /// When it rolled back; `None` if it paused.
    pub fn rollback_secs(self) -> Option<f64> {
        match self {
            Self::RollsBack(secs) => Some(secs),
            Self::Pauses(_) => None,
        }
    }
}

/// What both do by the end of each of three minutes in which so many of 100 requests fail.
fn acts(minutes: [Option<u64>; 3]) -> (Option<Act>, Option<Act>) {
    let mut rules = Rules::default();
    for (minute, failed) in (1..).zip(minutes) {
        if let Some(failed) = failed {
            rules.minute.requests = 100;
            rules.minute.failed = failed;
            rules.minute.times.buckets[0] = 100;
        }
        rules.pass(INTERVAL * f64::from(minute));
    }
    (rules.flagger, rules.argo)
}

#[test]
fn flagger_takes_back_at_the_look_after_the_one_that_failed() {
    assert_eq!(acts([Some(1), Some(1), Some(1)]), (None, None));
    assert_eq!(acts([Some(1), Some(2), Some(0)]).0, Some(Act::RollsBack(180.0)));
}

#[test]
fn argo_takes_back_at_the_first_measurement_that_fails() {
    assert_eq!(acts([Some(5), Some(6), Some(0)]).1, Some(Act::RollsBack(120.0)));
}

#[test]
fn without_data_flagger_takes_back_and_argo_pauses() {
    let expected = (Some(Act::RollsBack(120.0)), Some(Act::Pauses(60.0)));
    assert_eq!(acts([None, Some(50), None]), expected);
}
