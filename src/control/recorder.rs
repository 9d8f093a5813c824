//! Keeps the record of the rollout that runs: traffic, users, findings and evidence over time.

use std::collections::{BTreeMap, HashSet};

use super::window::Totals;
use crate::{
    model::{
        Blame, Millis, Model, Moment, PoolName, ServiceName,
        guard::{Fate, Finding, Sample, Verdict},
        histogram::Counts,
        rollout::{
            Point, Record, Rollout, Traffic,
            record::{PointOfPool, ServiceRecord},
        },
        state::ServiceState,
    },
    tally::Tallies,
};

/// How many points are kept of a service; beyond, two become one.
const POINTS: usize = 1_000;
/// How many different users of a pool are counted.
const USERS: usize = 100_000;
/// How often a running record is written.
const WRITE: Millis = Millis::from_secs(30);

type Key = (ServiceName, PoolName);

/// The record of the rollout that runs.
#[derive(Debug, Default)]
pub struct Recorder {
    record: Option<Record>,
    /// What pools had counted at the last point.
    last: BTreeMap<Key, Totals>,
    /// Different users who saw a failure.
    users: BTreeMap<Key, HashSet<u32>>,
    /// How many there were before a restart.
    users_before: BTreeMap<Key, u64>,
    /// Failures of users who are not known.
    strangers: BTreeMap<Key, u64>,
    /// How long a point is.
    span: Millis,
    point_due: Moment,
    /// When the point that runs began.
    point_since: Moment,
    written: Moment,
}

impl Recorder {
    /// Goes on with the record of the last run, if its rollout still runs.
    pub fn resume(
        &mut self,
        record: Option<Record>,
        now: Moment,
        model: &Model,
        tallies: &Tallies,
    ) {
        for (name, service) in record.iter().flat_map(|record| &record.services) {
            for (pool, totals) in pools_of(model, name, tallies) {
                self.last.insert((name.clone(), pool), totals);
            }
            for (pool, traffic) in &service.traffic {
                self.users_before.insert((name.clone(), pool.clone()), traffic.users_affected);
            }
        }
        self.point_since = now;
        self.record = record;
    }

    /// The record, of the rollout that runs or ended last.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Takes in what workers told of a service: who saw a failure.
    pub fn hear(&mut self, model: &Model, service: &ServiceName, samples: &[Sample]) {
        let running = model.state.running().filter(|r| r.services.contains(service));
        let state = model.state.services.get(service).filter(|_| running.is_some());
        let (Some(state), Some(watch)) = (state, model.watch(service)) else { return };
        for sample in samples.iter().filter(|s| matches!(s.fate, Fate::Failed | Fate::Broke)) {
            let pool = state.split.iter().map(|(pool, _)| pool);
            let mut pool = pool.filter(|pool| watch.find_tag(pool) == Some(sample.pool));
            let Some(pool) = pool.next() else { continue };
            let key = (service.clone(), pool.clone());
            match sample.user {
                None => *self.strangers.entry(key).or_default() += 1,
                Some(user) => {
                    let users = self.users.entry(key).or_default();
                    if users.len() < USERS {
                        users.insert(user.0);
                    }
                }
            }
        }
    }

    /// Notes what the guard finds, before anything is done about it and the evidence is gone.
    pub fn note(&mut self, model: &Model) {
        let Some(rollout) = model.state.running() else { return };
        let Some(record) = self.record.as_mut().filter(|r| r.rollout.id == rollout.id) else {
            return;
        };
        for (name, service) in &mut record.services {
            let Some(finding) = model.finding(name, &rollout.candidate) else { continue };
            let word = |finding: &Finding| finding.verdict.as_str();
            let is_news = service.finding.as_ref().map(word) != Some(word(finding));
            let objects = matches!(finding.verdict, Verdict::NoGo(_) | Verdict::BothDegraded(_));
            service.finding = Some(finding.clone());
            if objects && is_news {
                keep_evidence(service, model, name, rollout);
            }
        }
    }

    /// Takes in how the rollout stands, and once a second what happened since. Returns the record if it
    /// is to be written now.
    pub fn update(&mut self, now: Moment, model: &Model, tallies: &Tallies) -> Option<Record> {
        let rollout = model.state.rollout.as_ref()?;
        let is_new = self.record.as_ref().is_none_or(|r| r.rollout.id != rollout.id);
        if is_new {
            if rollout.phase.is_final() {
                return None;
            }
            self.begin(now, model, rollout, tallies);
        }
        let record = self.record.as_mut()?;
        if record.ended.is_some() {
            return None;
        }
        let moved = record.rollout != **rollout;
        record.rollout = (**rollout).clone();
        let over = rollout.phase.is_final();
        if now >= self.point_due || over {
            self.add_points(now, model, tallies);
        }
        let record = self.record.as_mut()?;
        if !(over || moved || is_new || now.since(self.written) >= WRITE) {
            return None;
        }
        self.written = now;
        record.ended = over.then_some(now);
        // The tape of an accusation stays the one that it was drawn from.
        for (name, service) in record.services.iter_mut().filter(|_| !over) {
            keep_evidence(service, model, name, rollout);
        }
        self.record.clone()
    }

    fn begin(&mut self, now: Moment, model: &Model, rollout: &Rollout, tallies: &Tallies) {
        let service = |name: &ServiceName| {
            let state = model.state.services.get(name);
            let record = ServiceRecord {
                baseline: state.map(|s| s.baseline.clone()),
                terms: state.map(|s| s.terms().clone()),
                ..ServiceRecord::default()
            };
            (name.clone(), record)
        };
        self.record = Some(Record {
            rollout: rollout.clone(),
            ended: None,
            services: rollout.services.iter().map(service).collect(),
        });
        (self.users, self.strangers) = (BTreeMap::new(), BTreeMap::new());
        self.users_before = BTreeMap::new();
        self.point_since = now;
        self.span = Millis::from_secs(1);
        self.point_due = now.after(self.span);
        self.last = BTreeMap::new();
        for name in &rollout.services {
            for (pool, totals) in pools_of(model, name, tallies) {
                self.last.insert((name.clone(), pool), totals);
            }
        }
    }

    fn add_points(&mut self, now: Moment, model: &Model, tallies: &Tallies) {
        let Some(record) = self.record.as_mut() else { return };
        self.span = self.span.max(Millis::from_secs(1));
        let candidate = record.rollout.candidate.clone();
        for (name, service) in &mut record.services {
            let state = model.state.services.get(name);
            let share = state.map(|s| s.split.share(&candidate)).unwrap_or_default();
            let (at, span) = (self.point_since, now.since(self.point_since));
            let mut point = Point { at, span, share, pools: BTreeMap::new() };
            for (pool, totals) in pools_of(model, name, tallies) {
                let key = (name.clone(), pool.clone());
                let before = self.last.insert(key.clone(), totals.clone()).unwrap_or_default();
                let since = totals.since(&before);
                let traffic = service.traffic.entry(pool.clone()).or_default();
                traffic.add(&since);
                let users = self.users.get(&key).map_or(0, HashSet::len);
                let before = self.users_before.get(&key).copied().unwrap_or_default();
                let strangers = self.strangers.get(&key).copied().unwrap_or_default();
                // Who was counted before a restart may be counted again, so the larger is the least.
                traffic.users_affected = before.max(users as u64 + strangers);
                traffic.users_affected_is_least |= users >= USERS || before > 0;
                point.pools.insert(pool, PointOfPool::of(&since));
            }
            service.points.push(point);
        }
        self.point_since = now;
        let longest = record.services.values().map(|s| s.points.len()).max().unwrap_or_default();
        if longest > POINTS {
            for service in record.services.values_mut() {
                service.points = merged(&service.points);
            }
            self.span = Millis(self.span.0 * 2);
        }
        self.point_due = now.after(self.span);
    }
}

/// Stores what the guard judges by, while it is there.
fn keep_evidence(record: &mut ServiceRecord, model: &Model, name: &ServiceName, rollout: &Rollout) {
    record.terms = model.state.services.get(name).map(|s| s.terms().clone());
    if let Some(watch) = model.watch(name) {
        record.tape = watch.tape(&rollout.candidate);
    }
}

fn pools_of(model: &Model, name: &ServiceName, tallies: &Tallies) -> Vec<(PoolName, Totals)> {
    let state: Option<&ServiceState> = model.state.services.get(name).map(|s| &**s);
    let pools = state.into_iter().flat_map(|s| s.split.iter().map(|(pool, _)| pool.clone()));
    pools
        .map(|pool| {
            let tally = tallies.find_pool(name, &pool);
            let totals = tally.map(Totals::of).unwrap_or_default();
            (pool, totals)
        })
        .collect()
}

/// Two points as one.
fn merged(points: &[Point]) -> Vec<Point> {
    points
        .chunks(2)
        .filter_map(|pair| {
            let (first, last) = (pair.first()?, pair.last()?);
            if pair.len() == 1 {
                return Some(first.clone());
            }
            let mut pools = last.pools.clone();
            for (pool, old) in &first.pools {
                let sum = pools.entry(pool.clone()).or_default();
                *sum = sum.with(old);
            }
            let span = Millis(first.span.0 + last.span.0);
            Some(Point { at: first.at, span, share: last.share, pools })
        })
        .collect()
}

impl Traffic {
    fn add(&mut self, since: &Totals) {
        self.requests += since.finished;
        self.shielded += since.shielded;
        for (blame, count) in Blame::ALL.into_iter().zip(since.blames) {
            if blame.is_upstream() && count > 0 {
                *self.failures.entry(blame.as_str().to_owned()).or_default() += count;
            }
        }
    }
}

impl PointOfPool {
    fn of(since: &Totals) -> Self {
        let ms = |q| {
            let counts: Option<&Counts> = since.durations.as_ref();
            counts.and_then(|c| c.quantile(q)).map(|us| us as f64 / 1000.0)
        };
        let blames = Blame::ALL.into_iter().zip(since.blames);
        Self {
            requests: since.finished + since.shielded,
            failed: blames.filter(|(blame, _)| blame.is_upstream()).map(|(_, n)| n).sum(),
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        }
    }

    /// This and an earlier one; of percentiles the larger.
    fn with(&self, other: &Self) -> Self {
        let larger = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        Self {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            p50_ms: larger(self.p50_ms, other.p50_ms),
            p95_ms: larger(self.p95_ms, other.p95_ms),
            p99_ms: larger(self.p99_ms, other.p99_ms),
        }
    }
}
