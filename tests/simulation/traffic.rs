//! The traffic itself: requests arrive, take their time and end, and are told to the guard as workers
//! tell them.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use fastrand::Rng;
use lbd::model::{
    Share, UserHash,
    guard::{Epoch, Fate, PoolTag, Sample},
    histogram::bucket_of,
};

use super::{
    chance::{Time, exponential, gap_micros},
    crowd::Person,
    world::{Fault, Weather, World, either},
};

/// When a request without an answer is given up, in microseconds.
pub const TIMEOUT: u64 = 60_000_000;
/// How long every client waits; beyond it, each for an exponential time with the mean below.
const PATIENCE_LEAST: f64 = 5e6;
const PATIENCE_MORE: f64 = 15e6;
/// The part of failures that come only after the response began.
const LATE: f64 = 0.1;
/// How long after its first byte a response breaks then, in microseconds.
const BREAKS_AFTER: u64 = 50_000;

/// Requests under way.
#[derive(Clone, Debug)]
pub struct Traffic {
    world: Arc<World>,
    rng: Rng,
    /// Microseconds since the beginning of the shift; it begins at [`Traffic::EPOCH`].
    now: u64,
    next: f64,
    sides: Sides,
    share: Share,
    epoch: Epoch,
    flights: BinaryHeap<Reverse<Flight>>,
    /// How many requests were sent to the candidate.
    pub sent: u64,
}

/// The two pools.
#[derive(Clone, Copy, Debug)]
pub struct Sides {
    /// The trusted one.
    pub baseline: PoolTag,
    /// The new one.
    pub candidate: PoolTag,
}

/// A request that has not ended, by when it will.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Flight {
    ends: u64,
    begun: u64,
    end: Sample,
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.ends.cmp(&other.ends)
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Traffic {
    /// The moment at which the shift begins, in microseconds: there is room for traffic before it.
    pub const EPOCH: u64 = 86_400_000_000;

    /// Traffic that begins `lead_in` seconds before the shift.
    pub fn new(world: Arc<World>, sides: Sides, lead_in: f64, seed: u64) -> Self {
        let now = Self::EPOCH - (lead_in * 1e6) as u64;
        Self {
            world,
            rng: Rng::with_seed(seed),
            now,
            next: now as f64,
            sides,
            share: Share::NONE,
            epoch: Epoch::default(),
            flights: BinaryHeap::new(),
            sent: 0,
        }
    }

    /// Goes on with other chances, as `seed` has them.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = Rng::with_seed(seed);
    }

    /// Seconds since the beginning of the shift.
    pub fn secs(&self) -> f64 {
        (self.now as f64 - Self::EPOCH as f64) / 1e6
    }

    /// Requests from now on go to the candidate by this share.
    pub fn divide(&mut self, share: Share, epoch: Epoch) {
        (self.share, self.epoch) = (share, epoch);
    }

    /// From now on there is traffic to the candidate alone, as far as it can be told who that is. It is
    /// what it would have been: Poisson processes of different users do not know of each other.
    pub fn forget_baseline(&mut self) {
        if let Some((crowd, part)) = self.world.crowd.of_candidate(self.share) {
            let rate = self.world.rate * part;
            self.world = Arc::new(World { crowd: crowd.into(), rate, ..World::clone(&self.world) });
        }
    }

    /// Lets `millis` pass, and adds to `told` the requests that end meanwhile.
    pub fn pass(&mut self, millis: u64, told: &mut Vec<Sample>) {
        self.now += millis * 1000;
        let weather = self.world.weather(self.secs());
        while self.next < self.now as f64 {
            self.arrive(weather, told);
            self.next += gap_micros(&mut self.rng, weather.rate + weather.storm);
        }
        while self.flights.peek().is_some_and(|flight| flight.0.ends <= self.now) {
            told.extend(self.flights.pop().map(|flight| flight.0.end));
        }
    }

    /// The requests without an answer, as they stand.
    pub fn waiting(&self) -> Vec<Sample> {
        let waits = |flight: &&Flight| flight.end.fate != Fate::Broke;
        let flights = self.flights.iter().map(|flight| &flight.0).filter(waits);
        let now = |flight: &Flight| Sample {
            fate: Fate::Waiting,
            latency: bucket_of(self.now - flight.begun) as u16,
            ..flight.end
        };
        flights.map(now).collect()
    }

    /// Whether the sample is one of the candidate's.
    pub fn is_candidate(&self, sample: &Sample) -> bool {
        sample.pool == self.sides.candidate
    }

    fn arrive(&mut self, weather: Weather, told: &mut Vec<Sample>) {
        if weather.storm > 0.0 && self.rng.f64() * (weather.rate + weather.storm) < weather.storm {
            return self.storm(told);
        }
        let world = self.world.clone();
        let (person, candidate) = world.crowd.draw(&mut self.rng, self.share);
        let fault = if candidate { &world.candidate } else { &Fault::NONE };
        let (lasts, fate) = self.fortune(weather, person.as_ref(), fault);
        self.begin(candidate, person.map(|p| p.hash), lasts, fate, told);
    }

    /// The client in a storm is the user in the very first bucket.
    fn storm(&mut self, told: &mut Vec<Sample>) {
        let lasts = self.world.times.draw(&mut self.rng).micros as u64;
        let candidate = self.share > Share::NONE;
        self.begin(candidate, Some(UserHash(0)), lasts, Fate::Failed, told);
    }

    /// How long a request lasts, and how it ends.
    fn fortune(&mut self, weather: Weather, person: Option<&Person>, fault: &Fault) -> (u64, Fate) {
        let rng = &mut self.rng;
        let Time { micros, slowest } = self.world.times.draw(rng);
        let (slower, failing) = person.map_or((1.0, 0.0), |p| (f64::from(p.slower), p.failing));
        let tail = if slowest { fault.tail_slower } else { 1.0 };
        let drags = fault.drags > 0.0 && rng.f64() < fault.drags;
        let micros = if drags { micros.max(Fault::DRAG_MICROS) } else { micros };
        let answered = micros * weather.times * slower * fault.slower * tail;
        let hangs = fault.hangs > 0.0 && rng.f64() < fault.hangs;
        let lasts = if hangs { TIMEOUT as f64 } else { answered.min(TIMEOUT as f64) };
        if lasts > PATIENCE_LEAST {
            let patience = PATIENCE_LEAST + PATIENCE_MORE * exponential(rng);
            if patience < lasts {
                return (patience as u64, Fate::Left);
            }
        }
        let fails = either(either(weather.fails, f64::from(failing)), fault.fails);
        if lasts >= TIMEOUT as f64 {
            (TIMEOUT, Fate::Failed)
        } else if rng.f64() < fails {
            let late = rng.f64() < LATE;
            (lasts as u64, if late { Fate::Broke } else { Fate::Failed })
        } else {
            (lasts as u64, Fate::Good)
        }
    }

    fn begin(
        &mut self,
        candidate: bool,
        user: Option<UserHash>,
        lasts: u64,
        fate: Fate,
        told: &mut Vec<Sample>,
    ) {
        self.sent += u64::from(candidate);
        let Sides { baseline, candidate: new } = self.sides;
        let pool = if candidate { new } else { baseline };
        let latency = bucket_of(lasts) as u16;
        let end = Sample { pool, epoch: self.epoch, user, fate, latency };
        let begun = self.next as u64;
        if fate == Fate::Broke {
            // Told as good first.
            self.end(
                Flight { ends: begun + lasts, begun, end: Sample { fate: Fate::Good, ..end } },
                told,
            );
            self.end(Flight { ends: begun + lasts + BREAKS_AFTER, begun, end }, told);
        } else {
            self.end(Flight { ends: begun + lasts, begun, end }, told);
        }
    }

    fn end(&mut self, flight: Flight, told: &mut Vec<Sample>) {
        if flight.ends <= self.now {
            told.push(flight.end);
        } else {
            self.flights.push(Reverse(flight));
        }
    }
}
