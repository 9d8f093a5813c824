//! How unlike each other users are.
//!
//! A user with a large account is slow on either side. That user's first bad answer fell on a side by
//! chance, but the next one falls on the same side: of few users, those of one side may be the slower
//! ones. How much so is seen in the baseline alone: where users are alike, an answer is bad after a bad
//! one of the same user as often as any; where they differ, `P(bad after bad) / P(bad) − 1` is the
//! squared coefficient of variation of their parts of bad answers.

use serde::{Deserialize, Serialize};

use super::users::Users;
use crate::model::bucket::UserHash;

/// About so many answers are remembered.
const MEMORY: f64 = 10_000.0;
/// So many answers must have followed a bad one of the same user for anything to be known.
const ENOUGH: f64 = 20.0;

/// How unlike each other users are in one measure.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Variety {
    /// Whose last answer was bad.
    bad: Users,
    /// Who has had an answer.
    known: Users,
    /// Answers of users who have had one before.
    answers: Rate,
    /// Those that follow a bad one.
    after_bad: Rate,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Rate {
    bad: f64,
    all: f64,
}

impl Variety {
    /// An answer of the baseline.
    pub fn add(&mut self, user: UserHash, bad: bool) {
        if self.bad.has(user) {
            self.after_bad.add(bad);
        }
        if self.known.has(user) {
            self.answers.add(bad);
        }
        self.known.add(user);
        if bad {
            self.bad.add(user);
        } else {
            self.bad.remove(user);
        }
    }

    /// The coefficient of variation of users' parts of bad answers; `None`: not known yet.
    pub fn coefficient(&self) -> Option<f64> {
        let known = self.after_bad.all >= ENOUGH && self.answers.bad > 0.0;
        let squared = || {
            let part = |rate: Rate| rate.bad / rate.all;
            part(self.after_bad) / part(self.answers) - 1.0
        };
        known.then(|| squared().max(0.0).sqrt())
    }
}

impl Rate {
    fn add(&mut self, bad: bool) {
        const FADE: f64 = 1.0 - 1.0 / MEMORY;
        self.bad = self.bad * FADE + f64::from(u8::from(bad));
        self.all = self.all * FADE + 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Draw;

    /// Answers of 200 users of whom every `every`th is bad with another probability.
    fn coefficient(usual: f64, every: u32, unusual: f64) -> Option<f64> {
        let (mut draw, mut variety) = (Draw(1), Variety::default());
        let mut next = || {
            draw = draw.another();
            draw.0 >> 11
        };
        for _ in 0..50_000 {
            let user = (next() % 200) as u32;
            let part = if user.is_multiple_of(every) { unusual } else { usual };
            variety.add(UserHash(user), (next() as f64) < part * (1u64 << 53) as f64);
        }
        variety.coefficient()
    }

    #[test]
    fn users_who_are_alike_do_not_vary() {
        assert!(coefficient(0.5, 1, 0.5).unwrap() < 0.15);
    }

    #[test]
    fn users_who_differ_vary_as_much_as_they_do() {
        // A fifth always, the others never: mean 0.2, deviation 0.4.
        assert!((coefficient(0.0, 5, 1.0).unwrap() - 2.0).abs() < 0.2);
        // A tenth 0.8, the others 0.1: mean 0.17, deviation 0.21.
        assert!((coefficient(0.1, 10, 0.8).unwrap() - 1.24).abs() < 0.25);
    }

    #[test]
    fn nothing_is_known_where_nothing_is_bad() {
        assert_eq!(coefficient(0.0, 1, 0.0), None);
    }
}
