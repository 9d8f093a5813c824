//! Who asks: users with fixed places, active and idle ones, lucky and unlucky ones; or anybody.

use fastrand::Rng;
use lbd::model::{Bucket, Draw, Share, UserHash};

use super::chance::Choice;

/// Who asks.
#[derive(Clone, Debug)]
pub enum Crowd {
    /// Nobody is known: the side is drawn for each request.
    Anonymous,
    /// Known users: the side follows from the user's bucket.
    Known {
        /// The users.
        people: Vec<Person>,
        /// Who asks how often.
        weights: Vec<f64>,
        /// Who asks next.
        activity: Choice,
    },
}

/// One user.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// Where they belong.
    pub hash: UserHash,
    /// How many times longer their answers take: a slow network, much data.
    pub slower: f32,
    /// The part of their requests that fails on either side: broken data, an old client.
    pub failing: f32,
}

/// What users differ in. All of it befalls a user on either side.
#[derive(Clone, Copy, Debug)]
pub struct Variety {
    /// How many users there are.
    pub people: usize,
    /// The exponent of Zipf's law: 0: all ask equally often; 1: few ask for most.
    pub zipf: f64,
    /// The part of users who are slow, and how many times slower.
    pub slow: (f64, f32),
    /// The part of users who fail, and the part of their requests that does.
    pub failing: (f64, f32),
}

impl Variety {
    /// Many users who are all alike.
    pub const ALIKE: Self =
        Self { people: 50_000, zipf: 0.0, slow: (0.0, 1.0), failing: (0.0, 0.0) };

    /// What is ordinary: some ask for much more than others.
    pub const ORDINARY: Self = Self { zipf: 0.7, ..Self::ALIKE };
}

impl Crowd {
    /// Users with drawn places and fortunes.
    pub fn known(rng: &mut Rng, variety: Variety) -> Self {
        let people: Vec<Person> = (0..variety.people).map(|_| variety.person(rng)).collect();
        // Flattened at the top, as the most active user is no outlier of all outliers.
        let weight = |n: usize| (n as f64 + 4.0).powf(-variety.zipf);
        let weights: Vec<f64> = (0..variety.people).map(weight).collect();
        let activity = Choice::among(&weights);
        Self::Known { people, weights, activity }
    }

    /// Those who belong to a candidate with this share, and which part of all requests is theirs.
    /// `None` if they cannot be told from others.
    pub fn of_candidate(&self, share: Share) -> Option<(Self, f64)> {
        let Self::Known { people, weights, .. } = self else { return None };
        let pairs = people.iter().zip(weights);
        let (theirs, own): (Vec<Person>, Vec<f64>) =
            pairs.filter(|(person, _)| person.hash.bucket().below(share)).unzip();
        let part = own.iter().sum::<f64>() / weights.iter().sum::<f64>();
        let activity = Choice::among(&own);
        (part > 0.0).then_some((Self::Known { people: theirs, weights: own, activity }, part))
    }

    /// Who sends the next request, and whether they belong to a candidate with this share.
    pub fn draw(&self, rng: &mut Rng, share: Share) -> (Option<Person>, bool) {
        match self {
            Self::Anonymous => (None, Bucket::drawn(Draw(rng.u64(..))).below(share)),
            Self::Known { people, activity, .. } => {
                let person = people[activity.draw(rng)];
                (Some(person), person.hash.bucket().below(share))
            }
        }
    }
}

impl Variety {
    fn person(&self, rng: &mut Rng) -> Person {
        let slow = rng.f64() < self.slow.0;
        let failing = rng.f64() < self.failing.0;
        Person {
            hash: UserHash(rng.u32(..)),
            slower: if slow { self.slow.1 } else { 1.0 },
            failing: if failing { self.failing.1 } else { 0.0 },
        }
    }
}
