//! The guard in a simulated world: a virtual clock, seeds, and rivals that hear the same traffic.
//!
//! - `world` says what traffic is like, `crowd` who asks, `traffic` lets requests come and end;
//!   `chance` is where the draws come from.
//! - `trial` leads the real guard and its rivals (`rules`) through one shift.
//! - `healthy` draws shifts in which nobody must be accused, `cases` are named releases with the verdict
//!   they deserve; `census` and `table` run them and write down what came of it.
//!
//! `make test` runs the short form below. `make simulate` runs the long one: 10,000 healthy days and the
//! table of the README. Its environment: `SHIFTS` and `DAYS` (how many, and how long each), `RUNS` (of
//! each case at each rate), `ALPHA`, `SEED`.

#![allow(clippy::disallowed_methods, reason = "what to simulate is said in the environment")]

use std::{env, str::FromStr, sync::Arc, time::Instant};

use fastrand::Rng;
use lbd::model::{Share, guard::Terms};

mod cases;
mod census;
mod chance;
mod crowd;
mod healthy;
mod rules;
mod slack;
mod table;
mod traffic;
mod trial;
mod world;

use cases::{CASES, Scale};
use census::{binomial_bound, census};
use chance::log_uniform;
use crowd::{Crowd, Variety};
use healthy::{Healthy, Users, healthy};
use table::{cell, compact, enough_runs, full, in_parallel, quantile};
use trial::{Judging, Pace, Shift, Trial};
use world::{Fault, Incident, World};

const DAY_SECS: f64 = 86_400.0;
/// How often each case of a short test is run.
const RUNS: u64 = 15;

/// Method: 240 healthy shifts of 15 minutes with all kinds of users, each through all stages; by chance
/// more than the bound are accused once in a thousand such tests.
#[test]
fn healthy_releases_are_hardly_ever_accused() {
    let (shifts, alpha) = (240, 0.01);
    let shift = |n: usize| {
        let users = Users::ALL[n % Users::ALL.len()];
        let rate = log_uniform(&mut Rng::with_seed(n as u64), 2.0, 16.0);
        healthy(users, rate, 900.0, alpha, pace_of(n), n as u64)
    };
    let census = census(shifts, shift);
    let bound = binomial_bound(shifts, alpha, 0.001);
    assert!(census.accused() <= bound, "more than {bound}:\n{}", census.table());
}

/// Method: the table of the method's simulation, in requests of the candidate; the baseline fails 0.5 %,
/// users are unknown.
#[test]
fn failures_are_found_in_as_few_requests_as_promised() {
    let promised = [
        (1.0, [4.0, 8.0, 15.0]),
        (0.5, [8.0, 16.0, 30.0]),
        (0.2, [24.0, 42.0, 79.0]),
        (0.05, [170.0, 255.0, 443.0]),
        (0.02, [858.0, 1271.0, 2094.0]),
    ];
    let percents = [500, 2500, 5000];
    let cells: Vec<_> = promised
        .iter()
        .flat_map(|(fails, requests)| {
            percents.iter().zip(requests).map(move |(p, r)| (*fails, *p, *r))
        })
        .collect();
    let misses = in_parallel(cells.len(), |n| {
        let (fails, share, promised) = cells[n];
        let fault = Fault { fails: (fails - 0.005) / 0.995, ..Fault::NONE };
        miss(fault, Share::from_basis_points(share), Terms::default(), promised)
    });
    let misses: Vec<_> = misses.into_iter().flatten().collect();
    assert!(misses.is_empty(), "{misses:#?}");
}

/// Method: the same for answers beyond the baseline's p95 at a share of 5 %, without any tolerance.
#[test]
fn slow_answers_are_found_in_as_few_requests_as_promised() {
    let promised = [(0.9, 13.0), (0.3, 52.0), (0.1, 614.0)];
    let misses = in_parallel(promised.len(), |n| {
        let (beyond, promised) = promised[n];
        let fault = Fault { drags: (beyond - 0.05) / 0.95, ..Fault::NONE };
        let mut terms = Terms::default();
        terms.tolerance.latency = Share::NONE;
        miss(fault, cases::SHARE, terms, promised)
    });
    let misses: Vec<_> = misses.into_iter().flatten().collect();
    assert!(misses.is_empty(), "{misses:#?}");
}

/// Method: each case of the table, at a few requests of the candidate a second, subtle ones at more.
#[test]
fn each_case_gets_the_verdict_it_deserves() {
    let wrong: Vec<_> = CASES
        .iter()
        .map(|case| cell(*case, Scale::short(case), 1))
        .filter(|cell| !cell.is_as_expected())
        .map(|cell| full(&[cell]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Method: all the traffic after a minute at 5 %; after five minutes half of it fails, or nothing does.
#[test]
fn at_a_share_of_100_percent_the_profile_from_before_is_the_measure() {
    let outcome = |fails: f64| {
        let fault = Incident { from: 300.0, until: f64::MAX, rate: 1.0, times: 1.0, fails };
        let world = World {
            incidents: vec![fault],
            ..World::even(20.0, Crowd::known(&mut Rng::with_seed(3), Variety::ORDINARY).into())
        };
        let shift = Shift {
            world: Arc::new(world),
            stages: vec![(0.0, cases::SHARE), (60.0, Share::WHOLE)],
            lead_in: 300.0,
            length: 900.0,
            pace: Pace { step: 100..=100, judge: Judging::Every(500) },
            terms: Terms::default(),
        };
        Trial::about_to_begin(&shift, 5).run()
    };
    assert!(outcome(0.0).no_go.is_none());
    let no_go = outcome(0.5).no_go.expect("half of all requests fail");
    assert!((300.0..310.0).contains(&no_go.secs), "{no_go:?}");
}

/// Method: the same seed twice.
#[test]
fn a_shift_can_be_repeated_by_its_seed() {
    let outcome = || {
        let shift = CASES[3].shift(Scale::short(&CASES[3]));
        Trial::about_to_begin(&shift, 7).run()
    };
    let (one, other) = (outcome(), outcome());
    assert_eq!(one.answered, other.answered);
    assert_eq!(one.no_go.map(|n| n.breach), other.no_go.map(|n| n.breach));
    assert_eq!(one.rules.flagger, other.rules.flagger);
}

/// The long form; `make simulate`.
#[test]
#[ignore = "takes an hour or two; make simulate"]
fn long() {
    let begun = Instant::now();
    let (runs, seed) = (setting("RUNS", 100), setting("SEED", 1));
    let (shifts, days) = (setting("SHIFTS", 10_000), setting("DAYS", 1.0));
    let cells: Vec<_> = CASES
        .iter()
        .flat_map(|case| {
            let runs = enough_runs(case, runs);
            Scale::ALL.map(|scale| cell(*case, scale, runs))
        })
        .collect();
    println!("{}\n{}\n{:.0?} so far\n", compact(&cells), full(&cells), begun.elapsed());
    let alpha = setting("ALPHA", Terms::default().alpha);
    let census = census(shifts, |n| healthy_day(n, days, alpha, seed));
    println!("{}\n{:.0?} in all", census.table(), begun.elapsed());
    let wrong = cells.iter().filter(|cell| !cell.is_as_expected()).count();
    assert_eq!(wrong, 0, "cells that are not as expected in every run");
    // One where one is to be expected; more only where chance brings more in a thousandth of all cases.
    let bound = binomial_bound(shifts, alpha, 0.27).max(1);
    assert!(census.accused() <= bound, "{} of {shifts} accused", census.accused());
}

/// A healthy day.
fn healthy_day(n: usize, days: f64, alpha: f64, seed: u64) -> Healthy {
    let users = Users::ALL[n % Users::ALL.len()];
    let seed = (seed << 32) + n as u64;
    healthy(users, rate_of_day(n, seed), days * DAY_SECS, alpha, pace_of(n), seed)
}

/// The pace of most shifts spares what cannot matter; some are judged all the time.
fn pace_of(n: usize) -> Pace {
    if n.is_multiple_of(101) { Pace::DENSE } else { Pace::SPARSE }
}

/// Requests a second of both sides: few on most days, about a hundred on one of two hundred, a thousand on
/// one of five thousand. The numbers are prime, so that all kinds of users get their share of all.
fn rate_of_day(n: usize, seed: u64) -> f64 {
    let mut rng = Rng::with_seed(!seed);
    match n {
        _ if n % 4999 == 1 => 1000.0,
        _ if n % 199 == 2 => log_uniform(&mut rng, 50.0, 150.0),
        _ => log_uniform(&mut rng, 1.0, 16.0),
    }
}

/// The number in an environment variable.
fn setting<T: FromStr>(name: &str, otherwise: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Whether the median of the requests until no-go misses what was promised by more than half, in words.
fn miss(fault: Fault, share: Share, terms: Terms, promised: f64) -> Option<String> {
    let rate = 10.0;
    let world =
        World { candidate: fault, ..World::even(rate / share.ratio(), Crowd::Anonymous.into()) };
    let shift = Shift {
        world: Arc::new(world),
        stages: vec![(0.0, share)],
        lead_in: 30.0,
        length: promised * 5.0 / rate + 10.0,
        pace: Pace { step: 50..=50, judge: Judging::Every(100) },
        terms,
    };
    let trial = Trial::about_to_begin(&shift, 1);
    let outcomes = (0..RUNS).map(|seed| trial.with_chances(seed).run());
    let requests: Vec<_> = outcomes.map(|o| o.no_go.map(|no_go| no_go.answered as f64)).collect();
    let median = quantile(requests, 0.5).unwrap_or(f64::INFINITY);
    println!("{share} of the traffic, {fault:?}: {median}, promised {promised}");
    let text = || format!("{share} of the traffic, {fault:?}: {median} instead of {promised}");
    (median > 1.5 * promised).then(text)
}
