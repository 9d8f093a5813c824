//! Log-linear histograms of durations in microseconds.
//!
//! 32 linear steps in each power of two, so that a bucket is at most 1/32 (3.2 %) wide for its value
//! (the layout of HdrHistogram: Gil Tene, hdrhistogram.org). Below 32 µs buckets are exact.

use serde::{Deserialize, Serialize};

const STEPS_LOG2: u32 = 5;
const STEPS: usize = 1 << STEPS_LOG2;
/// Durations from `2^27` µs (134 s) on share the last bucket.
const OCTAVES: usize = 22;
/// How many buckets a histogram has.
pub const BUCKETS: usize = STEPS + OCTAVES * STEPS;

/// The index of the bucket for a duration in microseconds.
pub const fn bucket_of(micros: u64) -> usize {
    if micros < STEPS as u64 {
        return micros as usize;
    }
    let octave = 63 - micros.leading_zeros() - STEPS_LOG2;
    let step = (micros >> octave) as usize - STEPS;
    let index = STEPS + octave as usize * STEPS + step;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The largest duration, in microseconds, that falls into a bucket.
pub const fn upper_bound(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (octave, step) = ((bucket - STEPS) / STEPS, (bucket - STEPS) % STEPS);
    (((STEPS + step + 1) as u64) << octave) - 1
}

/// What one or several histograms counted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// By bucket.
    pub buckets: Box<[u64]>,
    /// The sum of all durations in microseconds.
    pub sum: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), sum: 0 }
    }
}

impl Counts {
    /// How many durations were counted. Always the sum of the buckets, so quantiles stay in range
    /// even where a reading was torn.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum: self.sum.saturating_sub(earlier.sum),
        }
    }

    /// The duration in microseconds that a part `q` of all does not exceed, to a bucket's width.
    /// `None` if nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let rank = (self.count() as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reaches = |count: &u64| {
            seen += count;
            seen >= rank
        };
        self.buckets.iter().position(reaches).map(upper_bound)
    }

    /// How many durations fell into buckets that end at or below `micros`.
    pub fn at_most(&self, micros: u64) -> u64 {
        let within = self.buckets.iter().enumerate().take_while(|(n, _)| upper_bound(*n) <= micros);
        within.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_meet_without_gap() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(upper_bound(bucket)), bucket);
            assert_eq!(bucket_of(upper_bound(bucket) + 1), bucket + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn a_bucket_is_narrow(micros in 0u64..1 << 27) {
            let upper = upper_bound(bucket_of(micros));
            prop_assert!(upper >= micros);
            prop_assert!((upper - micros) as f64 <= micros as f64 / 32.0);
        }
    }
}
