//! What the traffic is like: how much of it, how it changes over the day, what goes wrong with it.

use std::sync::Arc;

use super::{chance::Times, crowd::Crowd};

/// Everything about the traffic but its chance. Seconds count from the beginning of the shift;
/// before it, the baseline serves everything.
#[derive(Clone, Debug)]
pub struct World {
    /// Requests a second, both sides together, on the average of a day.
    pub rate: f64,
    /// Who asks.
    pub crowd: Arc<Crowd>,
    /// How long answers take.
    pub times: Times,
    /// The part of requests that fails on either side.
    pub fails: f64,
    /// How the day goes.
    pub day: Day,
    /// What happens to both sides alike.
    pub incidents: Vec<Incident>,
    /// What is wrong with the candidate.
    pub candidate: Fault,
    /// A client of the candidate that repeats a request which fails for it alone.
    pub storm: Option<Storm>,
}

/// A sinusoid over 24 hours.
#[derive(Clone, Copy, Debug, Default)]
pub struct Day {
    /// By which part the rate rises and falls.
    pub rate: f64,
    /// By which part response times rise and fall.
    pub times: f64,
    /// Where in the day the shift begins, in parts of it.
    pub begins: f64,
}

/// Something that happens to both sides: a surge, a slow database.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    /// From when on, in seconds.
    pub from: f64,
    /// Until when, in seconds.
    pub until: f64,
    /// How many times as many requests come.
    pub rate: f64,
    /// How many times as long answers take.
    pub times: f64,
    /// The part of requests that fails besides.
    pub fails: f64,
}

/// What is wrong with a release.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// The part of requests that fails besides those that fail anyway.
    pub fails: f64,
    /// How many times as long all answers take.
    pub slower: f64,
    /// How many times as long the slowest 2 % of answers take besides, so that the p99 is that many
    /// times as long.
    pub tail_slower: f64,
    /// The part of answers that take at least [`Fault::DRAG_MICROS`], which is beyond the ordinary p95.
    pub drags: f64,
    /// The part of requests that is never answered.
    pub hangs: f64,
}

/// A client that repeats a failing request.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// From when on, in seconds.
    pub from: f64,
    /// Requests a second.
    pub rate: f64,
}

/// What the traffic is like at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Requests a second, without those of the storm.
    pub rate: f64,
    /// Requests a second of the storm.
    pub storm: f64,
    /// How many times as long answers take.
    pub times: f64,
    /// The part of requests that fails on either side.
    pub fails: f64,
}

impl Fault {
    /// Nothing is wrong.
    pub const NONE: Self =
        Self { fails: 0.0, slower: 1.0, tail_slower: 1.0, drags: 0.0, hangs: 0.0 };
    /// How long an answer takes at least that drags: between the ordinary p95 and p99.
    pub const DRAG_MICROS: f64 = 160_000.0;
}

impl World {
    /// An even day at `rate` requests a second from `crowd`: 0.5 % fail, and the candidate is good.
    pub fn even(rate: f64, crowd: Arc<Crowd>) -> Self {
        Self {
            rate,
            crowd,
            times: Times::ordinary(),
            fails: 0.005,
            day: Day::default(),
            incidents: Vec::new(),
            candidate: Fault::NONE,
            storm: None,
        }
    }

    /// What it is like `secs` seconds after the beginning of the shift.
    pub fn weather(&self, secs: f64) -> Weather {
        let angle = std::f64::consts::TAU * (self.day.begins + secs / 86_400.0);
        let storm = self.storm.filter(|storm| secs >= storm.from).map_or(0.0, |storm| storm.rate);
        let calm = Weather {
            rate: self.rate * (1.0 + self.day.rate * angle.sin()),
            storm,
            times: 1.0 + self.day.times * angle.sin(),
            fails: self.fails,
        };
        let now = |incident: &&Incident| (incident.from..incident.until).contains(&secs);
        self.incidents.iter().filter(now).fold(calm, |weather, incident| Weather {
            rate: weather.rate * incident.rate,
            times: weather.times * incident.times,
            fails: either(weather.fails, incident.fails),
            ..weather
        })
    }
}

/// The chance that at least one of two independent things happens.
pub fn either(one: f64, other: f64) -> f64 {
    one + other - one * other
}
