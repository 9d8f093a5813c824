//! The numbers that a record implies.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::{
    Millis, Moment, PoolName, ServiceName, Share,
    rollout::{
        Phase, Point, Record, Traffic,
        record::{PointOfPool, ServiceRecord},
    },
};

/// A rollout in numbers.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct Summary {
    /// The phase it is in, as one word; `promoted` and `rolled-back` are final.
    pub outcome: String,
    /// Why it was rolled back, or why it is paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it still runs, so that all these numbers may grow.
    pub is_running: bool,
    /// From its start to its end, or to the last moment that is known of.
    pub duration: Millis,
    /// The phases it went through, in order.
    pub stages: Vec<StageTime>,
    /// By service.
    pub services: BTreeMap<ServiceName, OfService>,
}

/// A phase and its time.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct StageTime {
    /// The phase, as one word.
    pub phase: String,
    /// The candidate's share.
    pub share: Share,
    /// When it began.
    pub from: Moment,
    /// When the next one began, or the rollout was over.
    pub to: Moment,
    /// How long that was.
    pub lasted: Millis,
}

/// A service in numbers.
#[derive(Clone, Debug, JsonSchema, PartialEq, Serialize)]
pub struct OfService {
    /// The time in which there were requests and every first attempt failed, on all pools.
    pub downtime: Millis,
    /// By pool.
    pub pools: BTreeMap<PoolName, OfPool>,
}

/// A pool in numbers.
#[derive(Clone, Debug, Default, JsonSchema, PartialEq, Serialize)]
pub struct OfPool {
    /// Requests ended.
    pub requests: u64,
    /// First attempts that failed by the pool's fault.
    pub failures: u64,
    /// The same by blame.
    pub failures_by_blame: BTreeMap<String, u64>,
    /// The part of requests whose first attempt failed; absent where there was no request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// Failed first attempts that were replayed on the baseline.
    pub shielded: u64,
    /// Different users whose first attempt failed; where users are unknown, requests.
    pub users_affected: u64,
    /// Whether there are more of them.
    pub users_affected_is_least: bool,
    /// Requests per second over the whole rollout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_mean: Option<f64>,
    /// Requests per second in the busiest of the record's points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_peak: Option<f64>,
    /// The mean over the record's points of their median response times, weighted by requests: an
    /// exact percentile of the whole cannot be had from those of its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The same for the 95th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// The same for the 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// The time in which the pool had requests and every first attempt failed.
    pub downtime: Millis,
}

impl Summary {
    /// The summary of a record.
    pub fn of(record: &Record) -> Self {
        let rollout = &record.rollout;
        let end = end_of(record);
        let duration = end.since(rollout.began);
        let of_service = |(name, service): (&ServiceName, &ServiceRecord)| {
            (name.clone(), OfService::of(service, duration))
        };
        Self {
            outcome: rollout.phase.as_str().into(),
            why: why(&rollout.phase).map(Into::into),
            is_running: !rollout.phase.is_final(),
            duration,
            stages: stages(record, end),
            services: record.services.iter().map(of_service).collect(),
        }
    }
}

/// When the rollout was over, or the last moment that its record knows of.
pub fn end_of(record: &Record) -> Moment {
    record.ended.unwrap_or_else(|| last_known(record)).max(record.rollout.began)
}

/// The last moment that the record knows of: it may know what came right after the end.
pub fn last_known(record: &Record) -> Moment {
    let milestones = record.rollout.milestones.iter().map(|m| m.at);
    let points = record.services.values().filter_map(|s| s.points.last());
    let points = points.map(|p| p.at.after(p.span));
    let known = milestones.chain(points).chain(record.ended);
    known.fold(record.rollout.began, Moment::max)
}

/// Why the phase is what it is, where it says so.
pub fn why(phase: &Phase) -> Option<&str> {
    match phase {
        Phase::Paused { why, .. } | Phase::RolledBack { why, .. } => Some(why),
        Phase::Checking | Phase::Holding { .. } | Phase::Baking { .. } | Phase::Promoted { .. } => {
            None
        }
    }
}

fn stages(record: &Record, end: Moment) -> Vec<StageTime> {
    let milestones = &record.rollout.milestones;
    let ends = milestones.iter().skip(1).map(|m| m.at).chain([end]);
    let timed = milestones.iter().zip(ends).map(|(milestone, to)| StageTime {
        phase: milestone.phase.clone(),
        share: milestone.share,
        from: milestone.at,
        to: to.max(milestone.at),
        lasted: to.since(milestone.at),
    });
    timed.collect()
}

impl OfService {
    fn of(service: &ServiceRecord, duration: Millis) -> Self {
        let in_points = service.points.iter().flat_map(|p| p.pools.keys());
        let names: BTreeSet<&PoolName> = service.traffic.keys().chain(in_points).collect();
        let of_pool = |name: &PoolName| (name.clone(), OfPool::of(service, name, duration));
        Self {
            downtime: total(service.points.iter().filter(|p| is_down(p)).map(|p| p.span)),
            pools: names.into_iter().map(of_pool).collect(),
        }
    }
}

fn is_down(point: &Point) -> bool {
    point.pools.values().any(|p| p.requests > 0) && point.pools.values().all(fails)
}

/// Whether no first attempt got through; so also where there was none.
fn fails(point: &PointOfPool) -> bool {
    point.failed >= point.requests
}

impl OfPool {
    fn of(service: &ServiceRecord, name: &PoolName, duration: Millis) -> Self {
        let none = Traffic::default();
        let traffic = service.traffic.get(name).unwrap_or(&none);
        let points: Vec<(Millis, &PointOfPool)> =
            service.points.iter().filter_map(|p| Some((p.span, p.pools.get(name)?))).collect();
        let covered = match total(service.points.iter().map(|p| p.span)) {
            Millis(0) => duration,
            covered => covered,
        };
        let failures = traffic.failures.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
        let down = points.iter().filter(|(_, p)| p.requests > 0 && fails(p));
        Self {
            requests: traffic.requests,
            failures,
            failures_by_blame: traffic.failures.clone(),
            error_rate: part(failures, traffic.requests),
            shielded: traffic.shielded,
            users_affected: traffic.users_affected,
            users_affected_is_least: traffic.users_affected_is_least,
            rate_mean: per_second(traffic.requests, covered),
            rate_peak: points
                .iter()
                .filter_map(|(span, p)| per_second(p.requests, *span))
                .max_by(f64::total_cmp),
            p50_ms: mean(&points, |p| p.p50_ms),
            p95_ms: mean(&points, |p| p.p95_ms),
            p99_ms: mean(&points, |p| p.p99_ms),
            downtime: total(down.map(|(span, _)| *span)),
        }
    }
}

/// The part that `some` is of `all`.
pub fn part(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| some as f64 / all as f64)
}

fn per_second(requests: u64, span: Millis) -> Option<f64> {
    (span.0 > 0).then(|| requests as f64 * 1000.0 / span.0 as f64)
}

fn total(spans: impl Iterator<Item = Millis>) -> Millis {
    Millis(spans.fold(0, |sum, span| sum.saturating_add(span.0)))
}

/// The mean over points, weighted by their requests.
fn mean(
    points: &[(Millis, &PointOfPool)],
    value: impl Fn(&PointOfPool) -> Option<f64>,
) -> Option<f64> {
    let known = points.iter().filter_map(|(_, p)| Some((value(p)?, p.requests as f64)));
    let (sum, weight) = known.fold((0.0, 0.0), |(sum, weight), (value, requests)| {
        (sum + value * requests, weight + requests)
    });
    (weight > 0.0).then(|| sum / weight)
}
