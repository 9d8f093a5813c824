//! The evidence second by second, for limits, for the size of an effect, and to be stored.

#![cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "the second was just put there"))]

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{
    terms::WINDOW_MAX,
    verdict::{Second, Tally, Tape},
};
use crate::model::{
    histogram::Counts,
    units::{Millis, Moment, Share},
};

/// The latest seconds of a trial, oldest first; those without any request are not there.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Seconds(VecDeque<Second>);

/// What was counted of one side over some seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// Judged requests.
    pub requests: u64,
    /// Those that failed.
    pub failed: u64,
    latencies: Vec<(u16, u32)>,
}

impl Seconds {
    /// The second that runs.
    pub fn at(&mut self, now: Moment, share: Share) -> &mut Second {
        let begin = Moment(now.0 - now.0 % 1000);
        if self.0.back().is_none_or(|last| last.at < begin) {
            self.0.push_back(Second { at: begin, share, ..Second::default() });
        }
        while self.0.front().is_some_and(|first| now.since(first.at) > WINDOW_MAX) {
            self.0.pop_front();
        }
        let last = self.0.len() - 1;
        let second = &mut self.0[last];
        second.share = share;
        second
    }

    /// Candidate and baseline over the last `span`.
    pub fn over(&self, now: Moment, span: Millis) -> (Sum, Sum) {
        let from = Moment(now.0.saturating_sub(span.0));
        let (mut candidate, mut baseline) = (Sum::default(), Sum::default());
        for second in self.0.iter().rev().take_while(|second| second.at.0 + 1000 > from.0) {
            candidate.add(&second.candidate);
            baseline.add(&second.baseline);
        }
        (candidate, baseline)
    }

    /// Requests and failures of candidate and baseline over the last `span`.
    pub fn counts(&self, now: Moment, span: Millis) -> [(u64, u64); 2] {
        let from = Moment(now.0.saturating_sub(span.0));
        let mut sums = [(0, 0); 2];
        for second in self.0.iter().rev().take_while(|second| second.at.0 + 1000 > from.0) {
            for (sum, tally) in sums.iter_mut().zip([&second.candidate, &second.baseline]) {
                *sum = (sum.0 + tally.requests, sum.1 + tally.failed);
            }
        }
        sums
    }

    /// To be stored.
    pub fn tape(&self, since: Moment) -> Tape {
        let first = self.0.front().map_or(since, |second| second.at);
        Tape { seconds: self.0.iter().cloned().collect(), before: first.since(since) }
    }
}

impl Tally {
    /// Counts a response time.
    pub fn latency(&mut self, bucket: u16) {
        match self.latencies.binary_search_by_key(&bucket, |(b, _)| *b) {
            Ok(at) => {
                if let Some((_, n)) = self.latencies.get_mut(at) {
                    *n += 1;
                }
            }
            Err(at) => self.latencies.insert(at, (bucket, 1)),
        }
    }
}

impl Sum {
    fn add(&mut self, tally: &Tally) {
        self.requests += tally.requests;
        self.failed += tally.failed;
        self.latencies.extend_from_slice(&tally.latencies);
    }

    /// How many response times lie beyond a bucket, and how many are known.
    pub fn beyond(&self, bucket: u16) -> (u64, u64) {
        self.latencies.iter().fold((0, 0), |(beyond, all), (b, n)| {
            let n = u64::from(*n);
            (if *b > bucket { beyond + n } else { beyond }, all + n)
        })
    }

    /// The part that failed; 0 of nothing.
    pub fn rate(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.failed as f64 / self.requests as f64 }
    }

    /// A percentile in milliseconds; `None` of nothing.
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        let mut counts = Counts::default();
        for (bucket, n) in &self.latencies {
            if let Some(count) = counts.buckets.get_mut(usize::from(*bucket)) {
                *count += u64::from(*n);
            }
        }
        counts.quantile(q).map(|micros| micros as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::histogram::bucket_of;

    fn at(seconds: &mut Seconds, ms: u64) -> &mut Tally {
        &mut seconds.at(Moment(ms), Share::NONE).candidate
    }

    #[test]
    fn a_window_has_the_seconds_that_it_touches() {
        let mut seconds = Seconds::default();
        for ms in [500, 1_500, 1_900, 9_100] {
            at(&mut seconds, ms).requests += 1;
        }
        let count = |now, span| seconds.over(Moment(now), Millis(span)).0.requests;
        assert_eq!(count(9_900, 1_000), 1);
        assert_eq!(count(9_900, 8_500), 3);
        assert_eq!(count(9_900, 60_000), 4);
    }

    #[test]
    fn old_seconds_go_and_latencies_are_counted() {
        let mut seconds = Seconds::default();
        at(&mut seconds, 1_000).requests += 1;
        let later = 1_000 + WINDOW_MAX.0 + 1_000;
        let tally = at(&mut seconds, later);
        for ms in [10, 20, 20, 400] {
            tally.latency(bucket_of(ms * 1000) as u16);
        }
        assert_eq!(seconds.tape(Moment(0)).seconds.len(), 1);
        let (sum, _) = seconds.over(Moment(later), Millis(1_000));
        assert_eq!(sum.beyond(bucket_of(20_000) as u16), (1, 4));
        let p50 = sum.quantile_ms(0.5).unwrap();
        assert!((p50 / 20.0 - 1.0).abs() < 0.04, "{p50}");
        assert_eq!(Sum::default().quantile_ms(0.5), None);
    }
}
