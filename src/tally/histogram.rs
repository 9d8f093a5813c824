//! Histograms with one writer each.

#![cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "bucket_of stays below BUCKETS"))]

use super::cell::Counter;
use crate::model::histogram::{BUCKETS, Counts, bucket_of};

/// A histogram with one writer.
#[derive(Debug)]
pub struct Histogram {
    counts: [Counter; BUCKETS],
    sum: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Counter::default()), sum: Counter::default() }
    }
}

impl Histogram {
    /// Counts a duration. Only the owning worker may call this.
    pub fn record(&self, micros: u64) {
        self.counts[bucket_of(micros)].add(1);
        self.sum.add(micros);
    }

    /// Adds this histogram's counts to `total`.
    pub fn add_to(&self, total: &mut Counts) {
        for (sum, count) in total.buckets.iter_mut().zip(&self.counts) {
            *sum += count.get();
        }
        total.sum += self.sum.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_a_bucket() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.record(ms * 1000));
        let mut counts = Counts::default();
        histogram.add_to(&mut counts);
        for (q, ms) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = counts.quantile(q).unwrap() as f64 / 1000.0;
            assert!((found / ms - 1.0).abs() < 0.032, "{q}: {found}");
        }
        assert_eq!(Counts::default().quantile(0.5), None);
    }
}
