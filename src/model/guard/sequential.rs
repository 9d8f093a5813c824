//! The sequential test of one measure: whom what was bad befell.

use serde::{Deserialize, Serialize};

use super::{
    sample::{Fate, Sample},
    trial::Side,
    variety::Variety,
    voices::Voices,
    wealth::Wealth,
};

/// How many eligible answers the running part of the candidate remembers, about.
const MEMORY: f64 = 2_000.0;
/// How many answers the share that was set weighs as.
const PRIOR: f64 = 20.0;
/// Parts are kept away from nothing and everything by this much.
pub const EDGE: f64 = 1e-4;
/// By how many standard deviations the users of one side may be unlike those of the other.
const UNLIKE: f64 = 4.0;

/// A sequential test of one measure.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Test {
    /// Beside the baseline.
    pub wealth: Wealth,
    /// Against its profile.
    pub alone: Wealth,
    /// Bad answers that counted, of both sides.
    pub bad: u64,
    /// Those of the candidate.
    pub bad_candidate: u64,
    voices: Voices,
    variety: Variety,
    users: Part,
    strangers: Part,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// The candidate's part of what it and the baseline serve, as it was set.
    pub share: f64,
    /// Known users of the candidate.
    pub candidate: u32,
    /// Known users of both.
    pub all: u32,
}

/// The candidate's running part of the answers that can count.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Part {
    candidate: f64,
    all: f64,
}

impl Test {
    /// A test that has seen nothing.
    pub fn new(grid: &'static [f64]) -> Self {
        Self {
            wealth: Wealth::new(grid),
            alone: Wealth::new(grid),
            bad: 0,
            bad_candidate: 0,
            voices: Voices::default(),
            variety: Variety::default(),
            users: Part::default(),
            strangers: Part::default(),
        }
    }

    /// Takes an answer in, beside the baseline, or against its profile where a part `allowed` of
    /// answers may be bad. True if it was bad and counted.
    pub fn take(
        &mut self,
        side: Side,
        sample: Sample,
        bad: bool,
        crowd: Crowd,
        allowed: Option<f64>,
    ) -> bool {
        let voice = bad && self.voices.may_speak(sample.user);
        match allowed {
            None => self.compare(side, sample, bad, crowd),
            Some(allowed) if voice || !bad => {
                self.alone.answer(allowed, bad);
                if bad {
                    self.speak(sample, side, crowd);
                }
            }
            Some(_) => {}
        }
        voice
    }

    /// Takes an answer in, beside the baseline.
    pub fn compare(&mut self, side: Side, sample: Sample, bad: bool, crowd: Crowd) {
        if let (Side::Baseline, Some(user)) = (side, sample.user) {
            self.variety.add(user, bad);
        }
        if !self.voices.may_speak(sample.user) {
            return;
        }
        if bad {
            if let Some(part) = self.part(sample, crowd) {
                self.wealth.attribute(part, side == Side::Candidate);
            }
            self.speak(sample, side, crowd);
        }
        if sample.fate != Fate::Broke {
            let part = if sample.user.is_some() { &mut self.users } else { &mut self.strangers };
            part.add(side);
        }
    }

    /// A bad answer that counts.
    pub fn speak(&mut self, sample: Sample, side: Side, crowd: Crowd) {
        self.bad += 1;
        self.bad_candidate += u64::from(side == Side::Candidate);
        self.voices.speak(sample.user, crowd.all);
    }

    /// The candidate's part of the answers that could be bad as this one is: the larger of what was set
    /// and what was lately seen. Heavy users and small crowds make them differ, and every factor falls
    /// as the part grows, so that the larger is on the safe side of both.
    ///
    /// A user who was bad before is so on the same side again: there, the part is as large as it would
    /// be if the candidate had got the worse users. `None`: how unlike users are is not known yet.
    pub fn part(&self, sample: Sample, crowd: Crowd) -> Option<f64> {
        let seen = if sample.user.is_some() { &self.users } else { &self.strangers };
        let running = (seen.candidate + PRIOR * crowd.share) / (seen.all + PRIOR);
        let part = running.max(crowd.share).clamp(EDGE, 1.0 - EDGE);
        if !self.voices.has_spoken(sample.user) {
            return Some(part);
        }
        let worse = 1.0 + UNLIKE * self.variety.coefficient()? * crowd.spread();
        Some((part * worse / (part * worse + 1.0 - part)).min(1.0 - EDGE))
    }

    /// Whether a bad answer of this user counts.
    pub fn may_speak(&self, sample: Sample) -> bool {
        self.voices.may_speak(sample.user)
    }
}

impl Crowd {
    /// The standard deviation of the difference of the sides' means, where that of one user is 1.
    fn spread(self) -> f64 {
        let part = |n: u32| 1.0 / f64::from(n.max(1));
        (part(self.candidate) + part(self.all.saturating_sub(self.candidate))).sqrt()
    }
}

impl Part {
    fn add(&mut self, side: Side) {
        const FADE: f64 = 1.0 - 1.0 / MEMORY;
        self.candidate = self.candidate * FADE + f64::from(u8::from(side == Side::Candidate));
        self.all = self.all * FADE + 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Draw, UserHash,
        guard::{Epoch, PoolTag, wealth::BEYOND_P50},
    };

    const CROWD: Crowd = Crowd { share: 0.05, candidate: 10, all: 200 };

    fn sample(user: u32) -> Sample {
        let user = Some(UserHash(user));
        Sample { pool: PoolTag(0), epoch: Epoch(0), user, fate: Fate::Good, latency: 0 }
    }

    #[test]
    fn what_befalls_the_same_user_again_weighs_less_the_more_users_differ() {
        let part_of_repeated = |parts: [u64; 2]| {
            let (mut draw, mut test) = (Draw(1), Test::new(BEYOND_P50));
            for n in 0..4_000 {
                let user = n * 7 % 190;
                draw = draw.another();
                let bad = (draw.0 >> 11) % 10 < parts[usize::from(user < 95)];
                test.compare(Side::Baseline, sample(user), bad, CROWD);
            }
            assert!(test.voices.has_spoken(sample(0).user));
            let first = test.part(sample(9_999), CROWD).unwrap();
            test.part(sample(0), CROWD).unwrap() / first
        };
        let (alike, unlike) = (part_of_repeated([5, 5]), part_of_repeated([1, 9]));
        assert!((1.0..1.9).contains(&alike), "{alike}");
        assert!(unlike > alike + 0.3, "{unlike}, {alike}");
    }

    #[test]
    fn until_it_is_known_how_users_differ_each_counts_once() {
        let mut test = Test::new(BEYOND_P50);
        test.compare(Side::Candidate, sample(1), true, CROWD);
        let once = test.wealth.ln();
        // Two others have spoken twice, so that the first may again.
        for user in 2..=5 {
            test.compare(Side::Candidate, sample(user), true, Crowd { all: 4, ..CROWD });
        }
        let many = test.wealth.ln();
        test.compare(Side::Candidate, sample(1), true, CROWD);
        assert!(test.may_speak(sample(9)) && many > once);
        assert_eq!(test.wealth.ln(), many);
    }
}
