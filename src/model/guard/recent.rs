//! What the baseline has been like lately, and what follows for single answers.

#![cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "indexes of the same arrays"))]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::terms::Terms;
use crate::model::{
    histogram::{BUCKETS, Counts, bucket_of},
    units::{Millis, Moment},
};

/// The percentiles that are compared.
pub const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
/// So many answers must be known for a percentile to be one.
const ENOUGH: [u64; 3] = [100, 200, 1_000];
/// The tolerance is at least that of so long an answer, in microseconds: below, it matters to nobody,
/// and on a busy machine it is where processes happen to run.
const BRIEF: u64 = 25_000;
/// A generation of answers is closed when it has so many, or when it is so old and has a few.
const MANY: u64 = 5_000;
const FEW: u64 = 500;
const OLD: Millis = Millis::from_secs(60);

/// The baseline's latest answers, in two generations.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Recent {
    now: Generation,
    before: Generation,
    began: Moment,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Generation {
    latencies: Counts,
    requests: u64,
    failed: u64,
}

/// What a baseline was like, to be kept over a restart.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Profile {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    /// Response times: bucket of [`crate::model::histogram`] and how many.
    pub latencies: Vec<(u16, u64)>,
}

/// Beyond which bucket an answer is slow, for each of [`QUANTILES`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Marks(pub [Option<Mark>; 3]);

/// Beyond which bucket an answer is slow.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// For the baseline: beyond its own percentile.
    pub baseline: u16,
    /// For the candidate: beyond that with the tolerance.
    pub candidate: u16,
    /// The baseline's percentile in microseconds.
    pub micros: u64,
}

impl Recent {
    /// An answer of the baseline.
    pub fn add(&mut self, latency: u16, failed: bool) {
        self.now.requests += 1;
        if failed {
            self.now.failed += 1;
        } else {
            self.now.latencies.buckets[usize::from(latency).min(BUCKETS - 1)] += 1;
        }
    }

    /// Closes the generation if it is time.
    pub fn turn(&mut self, now: Moment) {
        let age = now.since(self.began);
        let n = self.now.requests;
        // Few answers never take the place of many: a baseline that falls silent keeps its profile.
        if n >= MANY || (n >= FEW && age >= OLD) {
            self.before = std::mem::take(&mut self.now);
            self.began = now;
        }
    }

    /// Where answers are slow, and where they are with `stretch` times the tolerance of `terms`.
    pub fn marks(&self, terms: &Terms, stretch: f64) -> Marks {
        let all = self.latencies();
        let count = all.count();
        let tolerance = terms.tolerance.latency.ratio() * stretch;
        let mark = |n: usize| {
            let micros = all.quantile(QUANTILES[n]).filter(|_| count >= ENOUGH[n])?;
            let most = micros + (micros.max(BRIEF) as f64 * tolerance) as u64;
            let candidate = bucket_of(most) as u16;
            Some(Mark { baseline: bucket_of(micros) as u16, candidate, micros })
        };
        Marks([mark(0), mark(1), mark(2)])
    }

    /// Requests and failures.
    pub fn failures(&self) -> (u64, u64) {
        (self.now.requests + self.before.requests, self.now.failed + self.before.failed)
    }

    fn latencies(&self) -> Counts {
        let mut sum = self.now.latencies.clone();
        let pairs = sum.buckets.iter_mut().zip(&self.before.latencies.buckets);
        pairs.for_each(|(sum, n)| *sum += n);
        sum
    }

    /// To be kept.
    pub fn profile(&self) -> Profile {
        let (requests, failed) = self.failures();
        let all = self.latencies();
        let latencies = (0..).zip(all.buckets.iter().copied()).filter(|(_, n)| *n > 0).collect();
        Profile { requests, failed, latencies }
    }

    /// From what was kept.
    pub fn of(profile: &Profile, now: Moment) -> Self {
        let mut before = Generation {
            requests: profile.requests,
            failed: profile.failed,
            ..Generation::default()
        };
        for (bucket, n) in &profile.latencies {
            before.latencies.buckets[usize::from(*bucket).min(BUCKETS - 1)] += n;
        }
        Self { now: Generation::default(), before, began: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::upper_bound;

    #[test]
    fn percentiles_need_a_sample_and_have_the_tolerance() {
        let mut recent = Recent::default();
        let ms = |n: u64| bucket_of(n * 1000) as u16;
        (1..=100).for_each(|n| recent.add(ms(n), false));
        let marks = recent.marks(&Terms::default(), 1.0).0;
        assert!(marks[0].is_some() && marks[1].is_none() && marks[2].is_none());
        let mark = marks[0].unwrap();
        let near = |bucket: u16, ms: f64| {
            (upper_bound(bucket.into()) as f64 / 1000.0 / ms - 1.0).abs() < 0.04
        };
        assert!(near(mark.baseline, 50.0) && near(mark.candidate, 60.0), "{mark:?}");
    }

    #[test]
    fn old_answers_are_forgotten_and_a_profile_keeps_the_rest() {
        let mut recent = Recent::default();
        (0..MANY).for_each(|_| recent.add(10, true));
        recent.turn(Moment(1));
        (0..MANY).for_each(|_| recent.add(20, false));
        assert_eq!(recent.failures(), (2 * MANY, MANY));
        recent.turn(Moment(2));
        assert_eq!(recent.failures(), (MANY, 0));
        let kept = Recent::of(&recent.profile(), Moment(3));
        assert_eq!(kept.profile(), recent.profile());
    }
}
