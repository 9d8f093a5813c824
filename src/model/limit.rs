//! How many requests a pool is given at a time.

use serde::Serialize;

use super::units::Millis;

/// A pool's limit on requests that run at the same time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Limit {
    /// Requests in flight at most.
    pub in_flight: u32,
    /// Further ones at most that wait for a place.
    pub queue: u32,
    /// How long each of them waits at most.
    pub wait: Millis,
    /// The pool is given fewer while more than a tenth of its answers take longer than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Millis>,
}

/// What was seen of a pool since its limit was last looked at.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Requests that were answered, or given up later than they should have been answered.
    pub answers: u32,
    /// How many of them took longer than they should.
    pub slow: u32,
    /// The most that were in flight at a time.
    pub peak: u32,
    /// Whether a request found no place.
    pub was_full: bool,
}

impl Limit {
    /// So many answers tell whether a tenth of them is slow.
    pub const SAMPLE: u32 = 20;

    /// How many requests may be in flight from now on, after `current`: a tenth fewer than there were
    /// while answers are slow, and a few more while they are not and there is need. So the number
    /// settles where the pool just keeps up (additive increase, multiplicative decrease: Chiu and
    /// Jain, 1989). Never less than a tenth of the limit: even a pool that is only slow is not starved.
    pub fn next(&self, current: u32, seen: Seen) -> u32 {
        let least = (self.in_flight / 10).max(1);
        if seen.slow.saturating_mul(10) > seen.answers {
            let tried = current.min(seen.peak);
            return (tried - tried.div_ceil(10)).max(least).min(current);
        }
        let step = if seen.was_full { (self.in_flight / 50).max(1) } else { 0 };
        current.saturating_add(step).clamp(least, self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Limit =
        Limit { in_flight: 100, queue: 0, wait: Millis(0), latency: Some(Millis(100)) };

    fn after(current: u32, answers: u32, slow: u32, peak: u32, was_full: bool) -> u32 {
        LIMIT.next(current, Seen { answers, slow, peak, was_full })
    }

    #[test]
    fn slow_answers_lower_it_from_what_was_in_flight() {
        assert_eq!(after(100, 20, 3, 100, true), 90);
        assert_eq!(after(100, 20, 3, 40, false), 36, "what was never used is no measure");
        assert_eq!(after(100, 20, 20, 1, false), 10, "but not below a tenth");
        assert_eq!(after(10, 20, 20, 10, true), 10);
    }

    #[test]
    fn it_grows_again_where_there_is_need() {
        assert_eq!(after(50, 20, 2, 50, true), 52, "a tenth may be slow");
        assert_eq!(after(50, 20, 0, 30, false), 50, "nobody asks for more");
        assert_eq!(after(99, 20, 0, 99, true), 100, "the limit stays one");
    }

    /// Method: a pool that keeps up with 40 requests at a time, and is asked for 100.
    #[test]
    fn it_settles_where_the_pool_keeps_up() {
        let mut current = 100;
        let mut settled = Vec::new();
        for round in 0..200 {
            let slow = if current > 40 { 20 } else { 0 };
            current = after(current, 20, slow, current, true);
            if round >= 50 {
                settled.push(current);
            }
        }
        assert!(settled.iter().all(|n| (34..=42).contains(n)), "{settled:?}");
    }

    proptest! {
        #[test]
        fn it_is_never_zero_nor_more_than_the_limit(
            in_flight in 1u32..10_000, current in 1u32..10_000, answers in 0u32..100,
            slow in 0u32..100, peak in 0u32..10_000, was_full: bool,
        ) {
            let limit = Limit { in_flight, ..LIMIT };
            let seen = Seen { answers, slow, peak, was_full };
            let next = limit.next(current.min(in_flight), seen);
            prop_assert!((1..=in_flight).contains(&next));
        }
    }
}
