//! Chooses what is plotted: share, error rate and response times of each service over time.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    axis::{Scale, Times},
    plot::{self, Hue, Line, Mark, Plot, Weight},
    summary::{last_known, part},
};
use crate::model::{
    Millis, Moment, PoolName, ServiceName, Share,
    rollout::{
        Milestone, Point, Record,
        record::{PointOfPool, ServiceRecord},
    },
};

/// A plot with its title and its key.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// The plot.
    pub svg: String,
    /// What its lines are.
    pub keys: Vec<Key>,
}

/// What a line is.
#[derive(Debug, Serialize)]
pub struct Key {
    /// Its colour in the page's style.
    pub hue: &'static str,
    /// How strongly it is drawn, likewise.
    pub weight: &'static str,
    /// What it shows.
    pub text: String,
}

/// The figures of all services.
pub fn of(record: &Record, zone: &TimeZone) -> BTreeMap<ServiceName, Vec<Figure>> {
    let windows = windows(record, zone);
    let of_service = |(name, service): (&ServiceName, &ServiceRecord)| {
        let sights = windows.iter().map(|window| Sight::new(record, service, window));
        (name.clone(), sights.flat_map(|sight| sight.figures()).collect())
    };
    record.services.iter().map(of_service).collect()
}

/// A stretch of time that is plotted.
struct Window {
    name: &'static str,
    times: Times,
}

/// The whole time; or the stages and the bake, each by itself, where the bake would leave no room
/// for the stages.
fn windows(record: &Record, zone: &TimeZone) -> Vec<Window> {
    let (began, end) = (record.rollout.began, last_known(record));
    let window = |name, from, to| Window { name, times: Times::new(from, to, zone) };
    let bake = record.rollout.milestones.iter().find(|m| m.phase == "baking").map(|m| m.at);
    match bake {
        Some(bake) if end.since(bake).0 / 2 > bake.since(began).0 => {
            vec![window(", stages", began, bake), window(", bake", bake, end)]
        }
        Some(_) | None => vec![window("", began, end)],
    }
}

/// What one window shows of a service.
struct Sight<'r> {
    candidate: &'r PoolName,
    window: &'r Window,
    points: Vec<&'r Point>,
    milestones: Vec<&'r Milestone>,
    hues: Vec<(&'r PoolName, Hue)>,
}

/// A percentile of [`PointOfPool`]s.
struct Percentile {
    name: &'static str,
    weight: Weight,
    value: fn(&PointOfPool) -> Option<f64>,
}

const PERCENTILES: [Percentile; 3] = [
    Percentile { name: "p50", weight: Weight::Faint, value: |p| finite(p.p50_ms) },
    Percentile { name: "p95", weight: Weight::Half, value: |p| finite(p.p95_ms) },
    Percentile { name: "p99", weight: Weight::Full, value: |p| finite(p.p99_ms) },
];

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

fn error_rate(pool: &PointOfPool) -> Option<f64> {
    part(pool.failed, pool.requests).map(|rate| rate.min(1.0))
}

impl<'r> Sight<'r> {
    fn new(record: &'r Record, service: &'r ServiceRecord, window: &'r Window) -> Self {
        let candidate = &record.rollout.candidate;
        let milestones = record.rollout.milestones.iter();
        Self {
            candidate,
            window,
            points: service.points.iter().filter(|p| window.times.has(middle(p))).collect(),
            milestones: milestones.filter(|m| window.times.has(m.at)).collect(),
            hues: hues(service, candidate),
        }
    }

    fn figures(&self) -> Vec<Figure> {
        [self.share(), self.errors(), self.latency()].into_iter().flatten().collect()
    }

    fn share(&self) -> Option<Figure> {
        let hue = self.hues.iter().find(|(name, _)| *name == self.candidate);
        let hue = hue.map_or(Hue::Gray, |(_, hue)| *hue);
        let value = |p: &Point| Some(Share::ratio(p.share));
        let line = Line { hue, weight: Weight::Full, runs: self.runs(value, Scale::SHARE, steps) };
        let key = key(&line, format!("share of {}", self.candidate));
        self.figure("Share", Scale::SHARE, vec![(line, key)])
    }

    fn errors(&self) -> Option<Figure> {
        let rates = self.points.iter().flat_map(|p| p.pools.values()).filter_map(error_rate);
        let scale = Scale::of_rates(rates);
        let line = |(name, hue): &(&PoolName, Hue)| {
            let value = |p: &Point| error_rate(p.pools.get(*name)?);
            let runs = self.runs(value, scale, middles);
            let line = Line { hue: *hue, weight: Weight::Full, runs };
            let key = key(&line, name.to_string());
            (line, key)
        };
        self.figure("Error rate", scale, self.hues.iter().map(line).collect())
    }

    fn latency(&self) -> Option<Figure> {
        let pools = self.points.iter().flat_map(|p| p.pools.values());
        let times = pools.flat_map(|pool| PERCENTILES.iter().filter_map(|p| (p.value)(pool)));
        let scale = Scale::of_millis(times);
        let line = |name: &PoolName, hue: Hue, percentile: &Percentile| {
            let value = |p: &Point| (percentile.value)(p.pools.get(name)?);
            let runs = self.runs(value, scale, middles);
            let line = Line { hue, weight: percentile.weight, runs };
            let key = key(&line, format!("{name} {}", percentile.name));
            (line, key)
        };
        let of_pool = |(name, hue): &(&PoolName, Hue)| {
            PERCENTILES.iter().map(|p| line(name, *hue, p)).collect::<Vec<_>>()
        };
        let title = match scale {
            Scale::Linear { .. } => "Response time",
            Scale::Log { .. } => "Response time, logarithmic",
        };
        self.figure(title, scale, self.hues.iter().flat_map(of_pool).collect())
    }

    /// The figure; none where there is nothing to show.
    fn figure(&self, name: &str, scale: Scale, lines: Vec<(Line, Key)>) -> Option<Figure> {
        let shown = lines.into_iter().filter(|(line, _)| !line.runs.is_empty());
        let (lines, keys): (Vec<_>, Vec<_>) = shown.unzip();
        if lines.is_empty() {
            return None;
        }
        let times = &self.window.times;
        let plot = Plot {
            name: name.split(',').next().unwrap_or_default().into(),
            time: times.name(),
            across: times.ticks(),
            upwards: scale.ticks(),
            lines,
            marks: self.milestones.iter().map(|m| mark(m, times)).collect(),
        };
        let title = format!("{name}{}", self.window.name);
        Some(Figure { title, svg: plot::svg(&plot)?, keys })
    }

    /// The known values over time, parted where nothing is known.
    fn runs(
        &self,
        value: impl Fn(&Point) -> Option<f64>,
        scale: Scale,
        corners: fn(&Point) -> Vec<Moment>,
    ) -> Vec<Vec<(f64, f64)>> {
        let mut runs: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut before: Option<&Point> = None;
        for point in &self.points {
            let Some(value) = value(point) else {
                before = None;
                continue;
            };
            let corner = |at| (self.window.times.place(at).clamp(0.0, 1.0), scale.place(value));
            let placed = corners(point).into_iter().map(corner);
            match runs.last_mut() {
                Some(run) if before.is_some_and(|before| follows(before, point)) => {
                    run.extend(placed);
                }
                Some(_) | None => runs.push(placed.collect()),
            }
            before = Some(point);
        }
        runs
    }
}

fn key(line: &Line, text: String) -> Key {
    Key { hue: line.hue.as_str(), weight: line.weight.as_str(), text }
}

fn mark(milestone: &Milestone, times: &Times) -> Mark {
    let text = match milestone.phase.as_str() {
        "holding" => milestone.share.to_string(),
        phase => phase.replace('-', " "),
    };
    Mark { place: times.place(milestone.at), text }
}

/// Whether the time between two points is not longer than either, so that nothing is missing.
fn follows(before: &Point, point: &Point) -> bool {
    point.at.since(before.at.after(before.span)) <= before.span.max(point.span)
}

fn middle(point: &Point) -> Moment {
    point.at.after(Millis(point.span.0 / 2))
}

fn middles(point: &Point) -> Vec<Moment> {
    vec![middle(point)]
}

/// Where a step begins and ends.
fn steps(point: &Point) -> Vec<Moment> {
    vec![point.at, point.at.after(point.span)]
}

/// A colour for each pool: their own for those that are called by one, and the others take what is
/// left, the baseline first.
fn hues<'r>(service: &'r ServiceRecord, candidate: &'r PoolName) -> Vec<(&'r PoolName, Hue)> {
    let mut pools: Vec<&PoolName> = service.points.iter().flat_map(|p| p.pools.keys()).collect();
    pools.sort_unstable();
    pools.dedup();
    pools.sort_by_key(|name| (Some(*name) != service.baseline.as_ref(), *name != candidate));
    let own = |name: &PoolName| Hue::ALL.into_iter().find(|hue| hue.as_str() == name.as_str());
    let taken: Vec<Hue> = pools.iter().filter_map(|name| own(name)).collect();
    let order = [Hue::Blue, Hue::Orange, Hue::Green, Hue::Violet];
    let mut left = order.into_iter().filter(|hue| !taken.contains(hue));
    let hue = |name| own(name).unwrap_or_else(|| left.next().unwrap_or(Hue::Gray));
    let hues: Vec<Hue> = pools.iter().copied().map(hue).collect();
    pools.into_iter().zip(hues).collect()
}
