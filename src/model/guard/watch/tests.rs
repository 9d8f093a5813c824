//! What the guard makes of traffic, told as it would be by workers.

use super::*;
use crate::model::{
    Draw, UserHash,
    guard::{
        Fate, Lacking, Measure, Verdict, rejudge,
        verdict::{Breach, Detector},
    },
    histogram::bucket_of,
    units::Millis,
};

/// A service with blue and green, its users and the guard.
struct World {
    watch: Watch,
    terms: Terms,
    now: u64,
    draw: Draw,
    share: f64,
    /// How many users there are; 0: nobody is known.
    users: u64,
    epoch: Epoch,
    asked: u64,
}

/// What a pool does: the part that fails, and how much slower it is than usual.
#[derive(Clone, Copy)]
struct Health {
    fails: f64,
    slow: f64,
}

const GOOD: Health = Health { fails: 0.005, slow: 1.0 };

fn fails(part: f64) -> Health {
    Health { fails: part, ..GOOD }
}

fn green() -> PoolName {
    "green".parse().unwrap()
}

impl World {
    fn new(percent: u16, users: u64) -> Self {
        let mut world = Self {
            watch: Watch::default(),
            terms: Terms::default(),
            now: 1_000_000,
            draw: Draw(7),
            share: 0.0,
            users,
            epoch: Epoch(0),
            asked: 0,
        };
        world.shift(0);
        world.serve(3_000, GOOD, GOOD);
        world.shift(percent);
        world
    }

    fn shift(&mut self, percent: u16) {
        let share = Share::from_basis_points(percent * 100);
        let blue: PoolName = "blue".parse().unwrap();
        let split = vec![(blue.clone(), share.rest()), (green(), share)].try_into().unwrap();
        self.watch.divide(Moment(self.now), &blue, &split);
        self.share = share.ratio();
        self.epoch = self.watch.epoch();
        self.asked = 0;
    }

    fn uniform(&mut self) -> f64 {
        self.draw = self.draw.another();
        (self.draw.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn user(&mut self) -> (Option<UserHash>, bool) {
        if self.users == 0 {
            return (None, self.uniform() < self.share);
        }
        let n = (self.uniform() * self.users as f64) as u64;
        let user = UserHash::of("lbd", &n.to_string());
        let share = Share::from_basis_points((self.share * 10_000.0) as u16);
        (Some(user), user.bucket().below(share))
    }

    fn sample(&self, is_green: bool, user: Option<UserHash>, fate: Fate, ms: f64) -> Sample {
        let pool = self.watch.find_tag(&if is_green { green() } else { "blue".parse().unwrap() });
        let latency = bucket_of((ms * 1000.0) as u64) as u16;
        Sample { pool: pool.unwrap(), epoch: self.epoch, user, fate, latency }
    }

    /// One request at 2,000 a second.
    fn request(&mut self, blue: Health, green: Health) -> Sample {
        let (user, is_green) = self.user();
        let health = if is_green { green } else { blue };
        let fate = if self.uniform() < health.fails { Fate::Failed } else { Fate::Good };
        // Log-normal about 10 ms, by Box and Muller.
        let (a, b) = (self.uniform().max(1e-12), self.uniform());
        let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
        let ms = 10.0 * (0.5 * normal).exp() * health.slow;
        self.asked += u64::from(is_green);
        self.sample(is_green, user, fate, ms)
    }

    fn take(&mut self, samples: &[Sample]) {
        self.watch.take(Moment(self.now), samples, &self.terms);
    }

    fn judge(&mut self) -> Option<Verdict> {
        self.judge_with(&[])
    }

    fn judge_with(&mut self, waiting: &[Sample]) -> Option<Verdict> {
        let finding = self.watch.judge(Moment(self.now), &green(), &self.terms, 1, waiting);
        finding.map(|finding| finding.verdict)
    }

    /// So many requests, judged every 10 ms. The first no-go and how many requests green had got.
    fn serve(&mut self, count: usize, blue: Health, green: Health) -> Option<(Breach, u64)> {
        for _ in 0..count / 20 {
            let samples: Vec<_> = (0..20).map(|_| self.request(blue, green)).collect();
            self.now += 10;
            self.take(&samples);
            if let Some(Verdict::NoGo(breach)) = self.judge() {
                return Some((breach, self.asked));
            }
        }
        None
    }
}

#[test]
fn what_fails_is_found_about_as_soon_as_the_simulated_method_finds_it() {
    for (percent, part, median) in [
        (5, 1.0, 4u64),
        (5, 0.5, 8),
        (5, 0.2, 24),
        (5, 0.05, 170),
        (25, 1.0, 8),
        (25, 0.2, 42),
        (50, 1.0, 15),
        (50, 0.5, 30),
    ] {
        let mut counts: Vec<u64> = (0..9)
            .map(|seed| {
                let mut world = World::new(percent, 100_000);
                world.draw = Draw(seed * 977 + 1);
                world.serve(200_000, GOOD, fails(part)).expect("a no-go").1
            })
            .collect();
        counts.sort_unstable();
        // Judged every 20 requests: the candidate gets some more meanwhile.
        let slack = u64::from(percent) * 20 / 100 + 1;
        let limit = median * 3 / 2 + slack;
        assert!(counts[4] <= limit, "{percent} % {part}: {counts:?}, limit {limit}");
    }
}

#[test]
fn a_release_that_fails_on_a_large_scale_is_a_gross_failure_even_without_comparison() {
    for compare in [true, false] {
        let mut world = World::new(5, 0);
        world.terms.compare = compare;
        let (breach, _) = world.serve(40_000, GOOD, fails(0.5)).unwrap();
        assert_eq!((breach.detector, breach.measure), (Detector::GrossFailure, Measure::Errors));
        assert!(breach.measured > 0.2 && breach.text.contains("fell on green"), "{breach:?}");
    }
    let mut world = World::new(5, 0);
    world.terms.compare = false;
    assert!(world.serve(100_000, GOOD, fails(0.05)).is_none());
}

#[test]
fn a_healthy_release_goes_and_is_never_accused() {
    for users in [0, 50, 100_000] {
        let mut world = World::new(5, users);
        for percent in [10, 25, 50] {
            assert!(world.serve(30_000, GOOD, GOOD).is_none(), "{users} users");
            world.shift(percent);
        }
        assert!(world.serve(30_000, GOOD, GOOD).is_none());
        let verdict = world.judge().unwrap();
        assert!(
            matches!(verdict, Verdict::Go | Verdict::Undecided(Lacking::Certainty { .. })),
            "{verdict:?}"
        );
    }
}

#[test]
fn false_accusations_stay_within_the_budget() {
    let mut accused = 0;
    for seed in 0..200 {
        let mut world = World::new(10, if seed % 2 == 0 { 0 } else { 3_000 });
        world.draw = Draw(seed + 40);
        world.terms.alpha = 0.01;
        world.terms.tolerance =
            crate::model::guard::Tolerance { errors: Share::NONE, latency: Share::NONE };
        accused += u32::from(world.serve(4_000, fails(0.02), fails(0.02)).is_some());
    }
    assert!(accused <= 8, "{accused} of 200 at alpha 1 %");
}

#[test]
fn too_few_requests_are_undecided_and_none_are_no_failure() {
    let mut world = World::new(5, 0);
    assert_eq!(world.judge(), Some(Verdict::Undecided(Lacking::Requests { have: 0, need: 50 })));
    world.serve(400, GOOD, fails(0.0));
    assert!(matches!(world.judge(), Some(Verdict::Undecided(Lacking::Requests { need: 50, .. }))));
    world.serve(4_000, fails(0.0), fails(0.0));
    let Some(Verdict::Undecided(Lacking::Certainty { more, .. })) = world.judge() else {
        panic!("{:?}", world.judge())
    };
    assert!((100..2_000).contains(&more), "{more}");
    world.serve(60_000, fails(0.0), fails(0.0));
    assert_eq!(world.judge(), Some(Verdict::Go));
}

#[test]
fn slowness_is_found_beyond_the_tolerance_and_not_within() {
    let slow = |factor| Health { slow: factor, ..GOOD };
    let (breach, asked) = World::new(5, 100_000).serve(100_000, GOOD, slow(5.0)).unwrap();
    assert_eq!(breach.detector, Detector::Regression);
    assert!(asked <= 40, "{asked}");
    let (breach, asked) = World::new(5, 100_000).serve(100_000, GOOD, slow(2.0)).unwrap();
    assert!(asked <= 150 && breach.measure != Measure::Errors, "{asked} {breach:?}");
    assert!(World::new(5, 100_000).serve(100_000, GOOD, slow(1.15)).is_none());
}

#[test]
fn a_hang_is_seen_before_any_request_ends() {
    let mut world = World::new(5, 0);
    world.serve(4_000, GOOD, GOOD);
    let mut waiting = Vec::new();
    for n in 1..=200u64 {
        world.now += 10;
        let samples: Vec<_> = (0..19).map(|_| world.request(GOOD, GOOD)).collect();
        let blue: Vec<_> = samples
            .into_iter()
            .filter(|s| s.pool != world.watch.find_tag(&green()).unwrap())
            .collect();
        world.take(&blue);
        waiting.push(world.now);
        let now = world.now;
        let aged: Vec<_> = waiting
            .iter()
            .map(|since| world.sample(true, None, Fate::Waiting, (now - since) as f64))
            .collect();
        if let Some(Verdict::NoGo(breach)) = world.judge_with(&aged) {
            assert!(n < 60, "after {n} requests");
            assert!(breach.text.contains("wait"), "{}", breach.text);
            return;
        }
    }
    panic!("a hang was not seen");
}

#[test]
fn one_user_who_tries_again_and_again_proves_nothing() {
    let mut world = World::new(5, 100_000);
    world.serve(20_000, GOOD, GOOD);
    let user = (0..)
        .map(|n| UserHash::of("lbd", &format!("x{n}")))
        .find(|user| user.bucket().below(Share::from_basis_points(500)));
    for _ in 0..3_000 {
        world.now += 10;
        let storm = world.sample(true, user, Fate::Failed, 1.0);
        let other = world.request(GOOD, GOOD);
        world.take(&[storm, storm, other]);
        assert!(!matches!(world.judge(), Some(Verdict::NoGo(_))));
    }
}

#[test]
fn users_who_fail_always_are_no_ones_fault() {
    let mut world = World::new(50, 2_000);
    let broken: Vec<_> = (0..6)
        .map(|n| UserHash::of("lbd", &format!("bot{n}")))
        .filter(|user| user.bucket().below(Share::from_basis_points(5_000)))
        .collect();
    for n in 0..10_000usize {
        world.now += 50;
        let mut samples = vec![world.request(fails(0.001), fails(0.001))];
        if n % 5 == 0 {
            samples.push(world.sample(true, Some(broken[n / 5 % broken.len()]), Fate::Failed, 1.0));
        }
        world.take(&samples);
        assert!(!matches!(world.judge(), Some(Verdict::NoGo(_))), "{:?}", world.judge());
    }
}

#[test]
fn when_the_baseline_is_as_bad_going_back_would_not_help() {
    let mut world = World::new(25, 0);
    world.serve(20_000, GOOD, GOOD);
    assert!(world.serve(20_000, fails(0.4), fails(0.4)).is_none());
    let verdict = world.judge().unwrap();
    assert!(matches!(verdict, Verdict::BothDegraded(_)), "{verdict:?}");
}

#[test]
fn limits_have_a_window_a_sample_a_bound_and_can_be_sustained() {
    let limited = |terms: fn(&mut Terms)| {
        let mut world = World::new(5, 0);
        world.terms.compare = false;
        terms(&mut world.terms);
        world
    };
    let errors = |terms: &mut Terms| terms.error_rate = Some(Share::from_basis_points(100));
    let (breach, asked) = limited(errors).serve(100_000, GOOD, fails(0.05)).unwrap();
    assert_eq!((breach.detector, breach.limit), (Detector::Limit, 0.01));
    assert!(asked >= 50, "not below min_requests: {asked}");
    assert!(limited(errors).serve(100_000, GOOD, fails(0.008)).is_none(), "below the limit");

    let none = |terms: &mut Terms| terms.error_rate = Some(Share::NONE);
    assert!(limited(none).serve(100_000, fails(0.0), fails(0.01)).is_some(), "one is too many");
    let few = limited(none).serve(100_000, fails(0.005), fails(0.01));
    assert!(few.is_some(), "though the baseline has failures of its own");

    let p95 = |terms: &mut Terms| terms.p95 = Some(Millis(30));
    let slow = Health { slow: 3.0, ..GOOD };
    let (breach, _) = limited(p95).serve(100_000, GOOD, slow).unwrap();
    assert_eq!((breach.measure, breach.limit), (Measure::P95, 30.0));
    assert!(breach.measured > 30.0, "{breach:?}");
    assert!(limited(p95).serve(20_000, GOOD, GOOD).is_none());

    let mut world = limited(|terms| {
        terms.error_rate = Some(Share::from_basis_points(100));
        terms.sustain = Millis(5_000);
    });
    let begun = world.now;
    world.serve(100_000, GOOD, fails(0.05)).unwrap();
    assert!(world.now - begun >= 5_000, "{}", world.now - begun);
}

#[test]
fn a_limit_that_the_baseline_breaks_too_is_both_degraded() {
    let mut world = World::new(25, 0);
    world.terms.p95 = Some(Millis(30));
    let slow = Health { slow: 3.0, ..GOOD };
    assert!(world.serve(20_000, slow, slow).is_none());
    let verdict = world.judge().unwrap();
    assert!(matches!(verdict, Verdict::BothDegraded(_)), "{verdict:?}");
}

#[test]
fn with_everything_on_the_candidate_the_profile_from_before_is_the_measure() {
    let mut world = World::new(25, 100_000);
    world.serve(20_000, GOOD, GOOD);
    world.shift(100);
    assert!(world.serve(60_000, GOOD, GOOD).is_none());
    let (breach, asked) = world.serve(60_000, GOOD, fails(0.06)).unwrap();
    assert_eq!(breach.detector, Detector::Profile);
    assert!(breach.text.contains("nothing") || breach.text.contains("no traffic"), "{breach:?}");
    assert!(asked > 0);
    let mut world = World::new(25, 100_000);
    world.serve(20_000, GOOD, GOOD);
    world.shift(100);
    let (breach, _) = world.serve(60_000, GOOD, fails(1.0)).unwrap();
    assert_eq!(breach.detector, Detector::GrossFailure);
}

#[test]
fn late_failures_are_judged_by_the_split_they_began_under() {
    let mut world = World::new(50, 0);
    world.serve(10_000, GOOD, GOOD);
    let old = world.epoch;
    world.shift(5);
    world.serve(2_000, GOOD, GOOD);
    // Both sides hung before the change: half of each, and they end only now.
    for n in 0..400 {
        world.now += 10;
        let late = Sample { epoch: old, ..world.sample(n % 2 == 0, None, Fate::Failed, 60_000.0) };
        world.take(&[late]);
    }
    assert!(!matches!(world.judge(), Some(Verdict::NoGo(_))), "{:?}", world.judge());
}

#[test]
fn what_begins_after_a_long_good_time_is_still_found_soon() {
    let mut world = World::new(5, 0);
    for _ in 0..300 {
        assert!(world.serve(1_000, GOOD, GOOD).is_none());
        world.now += 60_000;
    }
    let before = world.asked;
    let (_, asked) = world.serve(100_000, GOOD, fails(0.5)).unwrap();
    assert!(asked - before <= 40, "{}", asked - before);
}

#[test]
fn what_takes_long_while_we_are_held_up_is_no_evidence() {
    let mut world = World::new(5, 0);
    world.serve(10_000, GOOD, GOOD);
    world.watch.distrust(Moment(world.now + 60_000));
    let slow = Health { slow: 50.0, ..GOOD };
    assert!(world.serve(8_000, GOOD, slow).is_none());
    world.now += 60_000;
    assert!(world.serve(8_000, GOOD, slow).is_some());
}

#[test]
fn stored_evidence_can_be_judged_again_by_other_terms() {
    let mut world = World::new(5, 0);
    world.serve(20_000, GOOD, GOOD);
    world.serve(40_000, GOOD, fails(0.2)).unwrap();
    let tape = world.watch.tape(&green());
    let again = rejudge(&tape, &world.terms, &green()).unwrap();
    assert!(matches!(again.verdict, Verdict::NoGo(_)), "{again:?}");
    let mild = Terms {
        compare: false,
        tolerance: crate::model::guard::Tolerance {
            errors: Share::from_basis_points(5_000),
            ..world.terms.tolerance
        },
        ..world.terms.clone()
    };
    let mild = rejudge(&tape, &mild, &green()).unwrap();
    assert!(!matches!(mild.verdict, Verdict::NoGo(_)), "{mild:?}");
    assert_eq!(rejudge(&Tape::default(), &world.terms, &green()), None);
}

#[test]
fn the_guard_tests_itself_on_the_baseline() {
    let mut world = World::new(5, 0);
    for _ in 0..10 {
        world.serve(20_000, GOOD, GOOD);
        world.now += 600_000;
    }
    let report = world.watch.selftest().unwrap();
    assert!(report.runs >= 1 && report.samples > 100_000, "{report:?}");
    assert_eq!(report.alarms, 0);
}

#[test]
fn a_profile_survives_a_restart() {
    let world = World::new(5, 0);
    let profile = world.watch.profile().unwrap();
    let text = serde_json::to_string(&profile).unwrap();
    let mut next = Watch::default();
    next.set_profile(Moment(5), &serde_json::from_str(&text).unwrap());
    assert_eq!(next.profile().unwrap(), profile);
    assert_eq!(Watch::default().profile(), None);
}

#[test]
fn a_few_users_with_slow_accounts_are_no_slow_release() {
    // Ten users on the candidate, all of them with slow accounts, among two hundred.
    let mut world = World::new(5, 200);
    let slow = Health { slow: 3.0, ..GOOD };
    assert!(world.serve(40_000, GOOD, slow).is_none());
    // With more users it cannot be they.
    let mut world = World::new(25, 2_000);
    assert!(world.serve(40_000, GOOD, slow).is_some());
}
