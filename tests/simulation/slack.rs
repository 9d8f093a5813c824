//! When a judgement may be left out, because it cannot be no-go.
//!
//! Between two judgements the wealth of a test grows only by bad answers of the candidate, each by a
//! known factor at most, and by stakes that begin meanwhile. So after a judgement it is known how much
//! must happen on the candidate before any test could accuse it; until then the guard need not be asked.
//! A day that is judged so has the no-go of one that is judged all the time, or none as that has none.

use lbd::model::{
    guard::{
        Fate, Finding, Measure, Sample,
        wealth::{BEYOND_P50, BEYOND_P95, BEYOND_P99},
    },
    histogram::bucket_of,
};

/// What the stakes that begin meanwhile add at most, as a logarithm.
const STAKES: f64 = 0.25;
/// The 95th percentile of ordinary times is twice this, and on the quickest day not below it, even if
/// it were taken for the 83rd: with the tolerance, an answer within this is beyond neither it nor the
/// 99th.
const QUICK_MICROS: u64 = 60_000;

/// How much may happen on the candidate before a test could accuse it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slack {
    answers: f64,
    slow: f64,
}

/// What has happened on the candidate since a judgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    answers: u64,
    slow: u64,
    failed: u64,
}

impl Slack {
    /// What `finding` leaves room for. Limits are not considered.
    pub fn of(finding: &Finding) -> Self {
        let evidence = &finding.evidence;
        if !evidence.concurrent || evidence.candidate.failed >= evidence.candidate.requests {
            return Self::default();
        }
        let s = evidence.share.ratio();
        let mut slack = Self { answers: f64::INFINITY, slow: f64::INFINITY };
        for test in &evidence.tests {
            let (rates, count) = match test.measure {
                // Judged at once after each failure.
                Measure::Errors => continue,
                Measure::P50 => (BEYOND_P50, &mut slack.answers),
                Measure::P95 => (BEYOND_P95, &mut slack.slow),
                Measure::P99 => (BEYOND_P99, &mut slack.slow),
            };
            let room = test.needed_ln - test.wealth_ln.max(0.0) - STAKES;
            let most = rates.iter().copied().fold(1.0, f64::max);
            *count = count.min(room / (most / (s * most + 1.0 - s)).ln());
        }
        slack
    }

    /// Whether no test can accuse the candidate yet.
    pub fn lasts(&self, happened: Happened) -> bool {
        let Happened { answers, slow, failed } = happened;
        failed == 0 && (answers as f64) < self.answers && (slow as f64) < self.slow
    }
}

impl Happened {
    /// One of the candidate's requests ended, or waits.
    pub fn add(&mut self, sample: &Sample) {
        self.answers += 1;
        self.slow += u64::from(usize::from(sample.latency) >= bucket_of(QUICK_MICROS));
        self.failed += u64::from(matches!(sample.fate, Fate::Failed | Fate::Broke));
    }
}
