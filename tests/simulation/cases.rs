//! The releases that the guard must take back, and what it must not be fooled by.

use std::sync::Arc;

use fastrand::Rng;
use lbd::model::{Share, guard::Terms};

use super::{
    crowd::{Crowd, Variety},
    trial::{Judging, Pace, Shift},
    world::{Fault, Incident, Storm, World},
};

/// A named scenario.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What happens.
    pub name: &'static str,
    /// What the guard must say.
    pub expected: Expected,
    /// Makes it happen in an even world in which the candidate gets so many requests a second.
    happens: fn(&mut World, f64),
    /// What the guard judges by.
    terms: fn() -> Terms,
    /// Whether it takes thousands of requests to be found.
    is_subtle: bool,
}

/// What the guard must say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// No-go.
    NoGo,
    /// Anything but no-go.
    Spared,
    /// No-go or not: it is worse than it may be, but hardly.
    Either,
    /// Both degraded, and never no-go.
    BothDegraded,
}

/// The share of the candidate in all cases.
pub const SHARE: Share = Share::from_basis_points(500);

macro_rules! fault {
    ($($what:ident: $how:expr),+) => {
        |world, _| world.candidate = Fault { $($what: $how,)+ ..Fault::NONE }
    };
}

/// All of them, in the order of the table.
pub const CASES: [Case; 22] = {
    use Expected::{BothDegraded, Either, NoGo, Spared};
    let ordinary: fn() -> Terms = Terms::default;
    [
        case("all requests fail", NoGo, fault!(fails: 1.0), ordinary),
        case("50 % fail", NoGo, fault!(fails: 0.5), ordinary),
        case("20 % fail", NoGo, fault!(fails: 0.2), ordinary),
        case("5 % fail", NoGo, fault!(fails: 0.045), ordinary),
        case("2 % fail", NoGo, fault!(fails: 0.015), ordinary),
        case("all answers take 5×", NoGo, fault!(slower: 5.0), ordinary),
        case("all answers take 2×", NoGo, fault!(slower: 2.0), ordinary),
        case("all answers take 1.2×", Spared, fault!(slower: 1.2), ordinary),
        subtle(case("all answers take 1.2×, tolerance 5 %", NoGo, fault!(slower: 1.2), strict)),
        subtle(case("p99 is 5×", NoGo, fault!(tail_slower: 5.0), ordinary)),
        subtle(case("p99 is 2×", NoGo, fault!(tail_slower: 2.0), ordinary)),
        case("p99 is 1.2×", Spared, fault!(tail_slower: 1.2), ordinary),
        case("p99 is 1.2×, tolerance 5 %", Either, fault!(tail_slower: 1.2), strict),
        case("it hangs", NoGo, fault!(hangs: 1.0), ordinary),
        case("one endpoint of four fails", NoGo, fault!(fails: 0.25), ordinary),
        case("one route of ten fails", NoGo, fault!(fails: 0.1), ordinary),
        case("nothing is wrong", Spared, |_, _| {}, ordinary),
        case("20 % fail on both sides", Spared, |world, _| world.fails = 0.2, ordinary),
        case(
            "20 % fail on both sides, limit 1 %",
            BothDegraded,
            |world, _| world.fails = 0.2,
            limited,
        ),
        case("both sides take 5×", Spared, both_slow, ordinary),
        case("noon: 4× the requests, 2.5× as slow, 3 % fail", Spared, noon, ordinary),
        case("one client of the candidate retries in a storm", Spared, storm, ordinary),
    ]
};

const fn case(
    name: &'static str,
    expected: Expected,
    happens: fn(&mut World, f64),
    terms: fn() -> Terms,
) -> Case {
    Case { name, expected, happens, terms, is_subtle: false }
}

const fn subtle(case: Case) -> Case {
    Case { is_subtle: true, ..case }
}

fn strict() -> Terms {
    let mut terms = Terms::default();
    terms.tolerance.latency = Share::from_basis_points(500);
    terms
}

fn limited() -> Terms {
    Terms { error_rate: Some(Share::from_basis_points(100)), ..Terms::default() }
}

fn both_slow(world: &mut World, _: f64) {
    let slow = Incident { from: 20.0, until: f64::MAX, rate: 1.0, times: 5.0, fails: 0.0 };
    world.incidents.push(slow);
}

fn noon(world: &mut World, _: f64) {
    let noon = Incident { from: 30.0, until: 600.0, rate: 4.0, times: 2.5, fails: 0.03 };
    world.incidents.push(noon);
}

/// As many failing requests as a quarter of what the candidate serves otherwise, but at least 2 a second.
fn storm(world: &mut World, rate: f64) {
    world.storm = Some(Storm { from: 20.0, rate: (rate / 4.0).max(2.0) });
}

/// How much traffic there is, for how long it is watched, and how finely.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The candidate's requests a second.
    pub rate: f64,
    lead_in_secs: f64,
    length_secs: f64,
    step_ms: u64,
    judge_ms: u64,
}

impl Scale {
    /// Those of the table.
    pub const ALL: [Self; 4] = [
        Self { rate: 1.0, lead_in_secs: 120.0, length_secs: 14_400.0, step_ms: 50, judge_ms: 100 },
        Self { rate: 10.0, lead_in_secs: 60.0, length_secs: 3600.0, step_ms: 10, judge_ms: 100 },
        Self { rate: 100.0, lead_in_secs: 30.0, length_secs: 900.0, step_ms: 5, judge_ms: 100 },
        Self { rate: 1000.0, lead_in_secs: 15.0, length_secs: 300.0, step_ms: 1, judge_ms: 100 },
    ];
    const SHORT: Self =
        Self { rate: 4.0, lead_in_secs: 60.0, length_secs: 600.0, step_ms: 100, judge_ms: 1000 };
    const SHORT_BUT_MANY: Self = Self { rate: 40.0, length_secs: 500.0, ..Self::SHORT };

    /// That of the short form.
    pub const fn short(case: &Case) -> Self {
        if case.is_subtle { Self::SHORT_BUT_MANY } else { Self::SHORT }
    }
}

impl Case {
    /// The shift in which it happens.
    pub fn shift(&self, scale: Scale) -> Shift {
        let crowd = Arc::new(Crowd::known(&mut Rng::with_seed(2), Variety::ORDINARY));
        let mut world = World::even(scale.rate / SHARE.ratio(), crowd);
        (self.happens)(&mut world, scale.rate);
        let judge = Judging::Every(scale.judge_ms);
        Shift {
            world: Arc::new(world),
            stages: vec![(0.0, SHARE)],
            lead_in: scale.lead_in_secs,
            length: scale.length_secs,
            pace: Pace { step: scale.step_ms..=scale.step_ms, judge },
            terms: (self.terms)(),
        }
    }
}
