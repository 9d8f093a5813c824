//! Shifts to candidates that are exactly as good as their baseline, in all the ways in which traffic
//! may be unruly: users who are unlike each other, days with noons and nights, surges and slow
//! databases that befall both sides, stages that move users over.
//!
//! Nothing is thinned or scaled: every request of every day is drawn and told to the guard. What is
//! chosen is how much traffic there is; most days have little of it, as they are the cheaper ones.

use std::sync::Arc;

use fastrand::Rng;
use lbd::model::{Share, guard::Terms};

use super::{
    chance::{log_uniform, one_of},
    crowd::{Crowd, Variety},
    trial::{Pace, Shift},
    world::{Day, Incident, World},
};

/// Who the users of a healthy shift are.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Users {
    /// Unknown: each request is drawn.
    Unknown,
    /// Known, and alike.
    Alike,
    /// Few of them ask for most.
    Uneven,
    /// Some are always slow, some often fail, and some ask for more than others.
    Unequal,
    /// Half of them are always slow.
    Torn,
}

/// A healthy shift.
#[derive(Clone, Debug)]
pub struct Healthy {
    /// Who the users are.
    pub users: Users,
    /// What it is drawn from.
    pub seed: u64,
    /// The shift.
    pub shift: Shift,
}

impl Users {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Alike, Self::Uneven, Self::Unequal, Self::Torn];

    /// In a word or two.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Alike => "known, all alike",
            Self::Uneven => "known, few ask for most",
            Self::Unequal => "known, some slow, some failing",
            Self::Torn => "known, half of them slow",
        }
    }

    fn crowd(self, rng: &mut Rng) -> Crowd {
        let people = log_uniform(rng, 20.0, 50_000.0) as usize;
        let variety = match self {
            Self::Unknown => return Crowd::Anonymous,
            Self::Alike => Variety { people, ..Variety::ALIKE },
            Self::Uneven => Variety { people, zipf: 1.0, ..Variety::ALIKE },
            Self::Unequal => Variety { people, zipf: 0.7, slow: (0.05, 3.0), failing: (0.01, 0.5) },
            Self::Torn => Variety { people, zipf: 0.5, slow: (0.5, 3.0), ..Variety::ALIKE },
        };
        Crowd::known(rng, variety)
    }
}

/// A healthy shift of `length` seconds with about `rate` requests a second, judged by `alpha`.
pub fn healthy(users: Users, rate: f64, length: f64, alpha: f64, pace: Pace, seed: u64) -> Healthy {
    let mut rng = Rng::with_seed(seed);
    let crowd = Arc::new(users.crowd(&mut rng));
    let world = World {
        fails: one_of(&mut rng, &[0.0, 0.0005, 0.002, 0.005, 0.02]),
        day: Day { rate: 0.7, times: 0.3, begins: rng.f64() },
        incidents: incidents(&mut rng, length),
        ..World::even(rate, crowd)
    };
    let shift = Shift {
        world: Arc::new(world),
        stages: stages(&mut rng, length),
        lead_in: 300.0,
        length,
        pace,
        terms: Terms { alpha, ..Terms::default() },
    };
    Healthy { users, seed, shift }
}

/// 5 %, 10 %, 25 % and 50 %, entered at any times.
fn stages(rng: &mut Rng, length: f64) -> Vec<(f64, Share)> {
    let mut from = [0.0, rng.f64(), rng.f64(), rng.f64()];
    from.sort_by(f64::total_cmp);
    let shares = [500, 1000, 2500, 5000].map(Share::from_basis_points);
    from.iter().map(|part| part * length).zip(shares).collect()
}

/// Up to three things that happen to both sides.
fn incidents(rng: &mut Rng, length: f64) -> Vec<Incident> {
    let count = one_of(rng, &[0, 0, 1, 3]);
    let mut incident = || {
        let from = rng.f64() * length;
        Incident {
            from,
            until: from + log_uniform(rng, 10.0, 1800.0),
            rate: 1.0 + 3.0 * rng.f64(),
            times: 1.0 + 2.0 * rng.f64(),
            fails: one_of(rng, &[0.0, 0.05, 0.3]),
        }
    };
    (0..count).map(|_| incident()).collect()
}
