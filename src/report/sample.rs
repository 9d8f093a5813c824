//! Records to make reports of.

use std::collections::BTreeMap;

use crate::model::{
    Actor, Millis, Moment, PoolName, Share,
    guard::{
        Breach, Detector, Evidence, Finding, Lacking, Measure, Tape, Terms, Verdict,
        verdict::{Second, Sums, Tally, Test},
    },
    rollout::{
        Advance, Milestone, Phase, Plan, Point, Record, Rollout, Stage, Traffic,
        record::{PointOfPool, ServiceRecord},
    },
};

/// 2026-09-21, 14:13:20 in UTC.
pub const BEGAN: Moment = Moment(1_790_000_000_000);
/// A reason that nobody would type who means well.
pub const NASTY: &str = "v2 | \"hot\" <script>alert(1)</script>\n| fix & [go](javascript:x) `rm`";

pub fn later(secs: u64) -> Moment {
    BEGAN.after(Millis::from_secs(secs))
}

pub fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn percent(percent: u16) -> Share {
    Share::from_basis_points(percent * 100)
}

fn alice() -> Actor {
    Actor { name: "alice".into(), uid: Some(1000), pid: Some(4711) }
}

/// A rollout of green to which nothing has happened.
pub fn fresh() -> Record {
    let plan = Plan {
        stages: [5, 25, 100].map(|p| Stage::of(percent(p))).into(),
        hold: Millis::from_secs(150),
        advance: Advance::Hold,
        ..Plan::default()
    };
    let rollout = Rollout {
        id: 7,
        candidate: pool("green"),
        services: vec!["app".parse().unwrap(), "api".parse().unwrap()],
        name: "default".into(),
        plan,
        salt: None,
        by: alice(),
        reason: None,
        began: BEGAN,
        phase: Phase::Checking,
        milestones: Vec::new(),
    };
    Record { rollout, ended: None, services: BTreeMap::new() }
}

pub fn milestone(secs: u64, phase: &str, share: u16, text: &str) -> Milestone {
    let by = if secs == 0 { alice() } else { Actor::lbd() };
    Milestone { at: later(secs), phase: phase.into(), share: percent(share), by, text: text.into() }
}

/// Chance that is the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn times(&mut self, requests: u64, failed: u64, usual: f64) -> PointOfPool {
        if requests == 0 {
            return PointOfPool::default();
        }
        let p50 = usual + self.below(300) as f64 / 100.0;
        let p95 = p50 * (2.4 + self.below(80) as f64 / 100.0);
        let p99 = p95 * (1.3 + self.below(120) as f64 / 100.0);
        PointOfPool { requests, failed, p50_ms: Some(p50), p95_ms: Some(p95), p99_ms: Some(p99) }
    }

    fn point(&mut self, secs: u64, span: u64, share: u16, failing: bool) -> Point {
        let all = span * (180 + self.below(60));
        let green = all * u64::from(share) / 100;
        let blue = all - green;
        let failed = if failing { green * (30 + self.below(20)) / 100 } else { 0 };
        let mut of_green = self.times(green, failed, 14.0);
        if failing {
            of_green.p99_ms = Some(10_000.0);
        }
        let stray = u64::from(blue > 0 && self.below(9) == 0);
        let pools = [(pool("green"), of_green), (pool("blue"), self.times(blue, stray, 12.0))];
        Point {
            at: later(secs),
            span: Millis::from_secs(span),
            share: percent(share),
            pools: pools.into(),
        }
    }
}

/// Traffic that adds up to the points.
fn traffic(points: &[Point]) -> BTreeMap<PoolName, Traffic> {
    let mut traffic: BTreeMap<PoolName, Traffic> = BTreeMap::new();
    for (name, of_pool) in points.iter().flat_map(|p| &p.pools) {
        let pool = traffic.entry(name.clone()).or_default();
        pool.requests += of_pool.requests;
        let timeouts = of_pool.failed / 5;
        for (blame, n) in [("upstream-5xx", of_pool.failed - timeouts), ("timeout", timeouts)] {
            if n > 0 {
                *pool.failures.entry(blame.into()).or_default() += n;
            }
        }
    }
    traffic
}

fn sums(requests: u64, failed: u64, p99: f64) -> Sums {
    Sums {
        requests,
        failed,
        users_failed: failed / 2,
        stage_requests: requests / 2,
        stage_failed: failed,
        p50_ms: Some(13.4),
        p95_ms: Some(41.0),
        p99_ms: Some(p99),
    }
}

fn evidence() -> Evidence {
    Evidence {
        since: later(8),
        share: percent(25),
        concurrent: true,
        candidate: sums(9_012, 161, 10_000.0),
        baseline: sums(42_118, 31, 96.0),
        tests: vec![
            Test {
                measure: Measure::Errors,
                bad: 192,
                bad_candidate: 161,
                wealth_ln: 31.7,
                needed_ln: 9.9,
            },
            Test {
                measure: Measure::P95,
                bad: 2_310,
                bad_candidate: 470,
                wealth_ln: -1.2,
                needed_ln: 9.9,
            },
        ],
    }
}

/// The breach of the rollout that was rolled back.
pub const BREACH: &str = "of 31 failures since 14:18:12, 29 fell on green, which served 25%";

fn service(points: Vec<Point>, verdict: Verdict, at: Moment) -> ServiceRecord {
    ServiceRecord {
        baseline: Some(pool("blue")),
        traffic: traffic(&points),
        points,
        finding: Some(Finding { pool: pool("green"), at, verdict, evidence: evidence() }),
        terms: Some(Terms {
            error_rate: Some(percent(1)),
            p95: Some(Millis(500)),
            ..Terms::default()
        }),
        tape: Tape::default(),
    }
}

fn nogo() -> Verdict {
    Verdict::NoGo(Breach {
        detector: Detector::GrossFailure,
        measure: Measure::Errors,
        measured: 0.382,
        limit: 0.005,
        sample: 76,
        text: BREACH.into(),
    })
}

/// 5 %, 25 %, and back because green fails.
pub fn rolled_back() -> Record {
    let mut record = fresh();
    let why = format!("no-go for api: {BREACH}");
    let rollout = &mut record.rollout;
    rollout.reason = Some(NASTY.into());
    rollout.phase = Phase::RolledBack { at: later(292), why: why.clone() };
    rollout.milestones = vec![
        milestone(0, "checking", 0, "preflight of green"),
        milestone(8, "holding", 5, "checks passed, stage 1 of 3"),
        milestone(158, "paused", 5, "paused: lunch | dessert"),
        milestone(170, "holding", 25, "stage 2 of 3"),
        milestone(292, "rolled-back", 0, &why),
    ];
    record.ended = Some(later(292));
    let points = |seed| -> Vec<Point> {
        let mut chance = Chance(seed);
        let share = |s| match s {
            0..8 => 0,
            8..170 => 5,
            170..292 => 25,
            _ => 0,
        };
        (0..300)
            .map(|s| chance.point(s, 1, share(s), seed == 2 && (288..292).contains(&s)))
            .collect()
    };
    let clear = Verdict::Undecided(Lacking::Certainty { more: 8_200, measure: Measure::P95 });
    record.services.insert("app".parse().unwrap(), service(points(1), clear, later(292)));
    let mut api = service(points(2), nogo(), later(292));
    let green = api.traffic.get_mut(&pool("green")).unwrap();
    (green.shielded, green.users_affected, green.users_affected_is_least) = (70, 1_024, true);
    api.tape.seconds = vec![Second {
        at: later(291),
        share: percent(25),
        candidate: Tally {
            requests: 50,
            failed: 19,
            voices: 12,
            latencies: vec![(7, 31), (9, 19)],
        },
        baseline: Tally::default(),
    }];
    record.services.insert("api".parse().unwrap(), api);
    record
}

/// 5 %, 25 %, 100 %, and a day of bake.
pub fn promoted() -> Record {
    let mut record = fresh();
    let rollout = &mut record.rollout;
    let day = 86_400;
    rollout.services = vec!["app".parse().unwrap()];
    rollout.phase = Phase::Promoted { at: later(458 + day) };
    rollout.milestones = vec![
        milestone(0, "checking", 0, "preflight of green"),
        milestone(8, "holding", 5, "checks passed, stage 1 of 3"),
        milestone(158, "holding", 25, "stage 2 of 3"),
        milestone(308, "holding", 100, "stage 3 of 3"),
        milestone(458, "baking", 100, "bakes for 1day"),
        milestone(458 + day, "promoted", 100, "green is the new baseline"),
    ];
    record.ended = Some(later(458 + day));
    let mut chance = Chance(3);
    let share = |s| match s {
        0..8 => 0,
        8..158 => 5,
        158..308 => 25,
        _ => 100,
    };
    let mut points: Vec<Point> =
        (0..229).map(|n| chance.point(2 * n, 2, share(2 * n), false)).collect();
    points.extend((0..288).map(|n| chance.point(458 + 300 * n, 300, 100, false)));
    record.services.insert("app".parse().unwrap(), service(points, Verdict::Go, later(458 + day)));
    record
}

/// A rollout that runs, with one point and no finding.
pub fn young() -> Record {
    let mut record = fresh();
    record.rollout.phase = Phase::Holding { stage: 0, since: later(8) };
    record.rollout.milestones =
        vec![milestone(0, "checking", 0, ""), milestone(8, "holding", 5, "")];
    let points = vec![Chance(1).point(9, 1, 5, false)];
    let service = ServiceRecord { traffic: traffic(&points), points, ..ServiceRecord::default() };
    record.services.insert("app".parse().unwrap(), service);
    record.services.insert("api".parse().unwrap(), ServiceRecord::default());
    record
}
