//! How long a send may take, and how often and for how long a notice is tried.

use std::time::Duration;

use super::failure::Retry;

/// All limits of time and tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// To be connected.
    pub connect: Duration,
    /// For one send as a whole.
    pub whole: Duration,
    /// The wait after the first failure; it doubles from one to the next.
    pub first: Duration,
    /// The longest wait, also if the receiver asks for more.
    pub longest: Duration,
    /// After so many tries a notice is given up.
    pub tries_max: u32,
    /// After this long a notice is given up.
    pub span_max: Duration,
}

impl Patience {
    /// What is in force outside tests.
    pub const DEFAULT: Self = Self {
        connect: Duration::from_secs(5),
        whole: Duration::from_secs(10),
        first: Duration::from_secs(1),
        longest: Duration::from_secs(60),
        tries_max: 8,
        span_max: Duration::from_secs(10 * 60),
    };

    /// How long to wait after `tries` failed tries, the first of them `spent` ago. `None`: the notice
    /// is given up. `draw` is between 0 and 1: waits are shortened by up to a quarter, so that many
    /// proxies that lost the same receiver do not come back in step.
    pub fn wait(&self, tries: u32, spent: Duration, retry: Retry, draw: f64) -> Option<Duration> {
        let wait = match retry {
            Retry::Never => return None,
            Retry::Later => self.back_off(tries).mul_f64(1.0 - draw.clamp(0.0, 1.0) / 4.0),
            // One that asks for no wait at all would be asked in a row.
            Retry::After(span) => span.clamp(self.first, self.longest),
        };
        (tries < self.tries_max && spent + wait <= self.span_max).then_some(wait)
    }

    fn back_off(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_tries() {
        let patience = Patience::DEFAULT;
        let wait = |tries| patience.wait(tries, secs(0), Retry::Later, 0.0);
        let waits: Vec<_> = (1..=8).map(wait).collect();
        let expected = [1, 2, 4, 8, 16, 32, 60].map(|n| Some(secs(n)));
        assert_eq!((waits[..7].as_ref(), waits[7]), (expected.as_ref(), None));
        assert_eq!(wait(u32::MAX), None);
    }

    #[test]
    fn chance_shortens_a_wait_by_a_quarter_at_most() {
        let wait = |draw| Patience::DEFAULT.wait(3, secs(0), Retry::Later, draw).unwrap();
        assert_eq!((wait(0.0), wait(1.0)), (secs(4), secs(3)));
    }

    #[test]
    fn the_receiver_may_name_the_wait_but_not_a_longer_one_than_ours() {
        let wait = |n| Patience::DEFAULT.wait(1, secs(0), Retry::After(secs(n)), 0.5);
        assert_eq!((wait(7), wait(3600)), (Some(secs(7)), Some(secs(60))));
    }

    #[test]
    fn a_notice_is_given_up_when_its_time_is_over_or_trying_is_of_no_use() {
        let wait = |spent, retry| Patience::DEFAULT.wait(2, secs(spent), retry, 0.0);
        assert_eq!(wait(598, Retry::Later), Some(secs(2)));
        assert_eq!(wait(599, Retry::Later), None);
        assert_eq!(wait(0, Retry::Never), None);
    }
}
