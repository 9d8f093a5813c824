//! What the report says to people, before it is laid out: the Markdown and the HTML say the same.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    service,
    summary::{OfPool, Summary, end_of, part, why},
    words::{actor, clock, count, date, percent, span},
};
use crate::model::{
    Millis, PoolName, Share,
    rollout::{Advance, Phase, Plan, Record, Requirement, Rollout},
};

/// A report in words and tables.
#[derive(Debug, Serialize)]
pub struct Sheet {
    /// What the report is about, and how it went.
    pub title: String,
    /// How it went.
    pub mood: Mood,
    /// The numbers that are looked for first.
    pub numbers: Vec<Named>,
    /// Who, why, when.
    pub facts: Vec<Named>,
    /// What happened, in order.
    pub timeline: Grid,
    /// Each service.
    pub sections: Vec<Section>,
}

/// How a rollout went.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mood {
    /// Promoted.
    Good,
    /// Rolled back.
    Bad,
    /// Paused.
    Waiting,
    /// Under way.
    Open,
}

/// A text with its name.
#[derive(Debug, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The text.
    pub text: String,
}

/// One service.
#[derive(Debug, Serialize)]
pub struct Section {
    /// Its name.
    pub service: String,
    /// The verdict on the candidate in it.
    pub verdict: String,
    /// The tables with what the verdict was drawn from.
    pub blocks: Vec<Block>,
}

/// A table under a heading.
#[derive(Debug, Serialize)]
pub struct Block {
    /// The heading.
    pub title: &'static str,
    /// What to know when reading it.
    pub note: String,
    /// The table.
    pub grid: Grid,
}

/// A table. The first column names its rows.
#[derive(Debug, Default, Serialize)]
pub struct Grid {
    /// The heading.
    pub columns: Vec<Column>,
    /// The rows, as long as the heading each.
    pub rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Debug, Serialize)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Whether it has numbers, which keep to the right.
    pub is_numeric: bool,
}

impl Sheet {
    /// What there is to say about a record.
    pub fn of(record: &Record, zone: &TimeZone) -> Self {
        let summary = Summary::of(record);
        let section = |name| service::section(record, &summary, name, zone);
        Self {
            title: title(&record.rollout),
            mood: Mood::of(&record.rollout.phase),
            numbers: numbers(&record.rollout, &summary),
            facts: facts(record, &summary, zone),
            timeline: timeline(record, &summary, zone),
            sections: record.services.keys().map(section).collect(),
        }
    }
}

impl Mood {
    const fn of(phase: &Phase) -> Self {
        match phase {
            Phase::Promoted { .. } => Self::Good,
            Phase::RolledBack { .. } => Self::Bad,
            Phase::Paused { .. } => Self::Waiting,
            Phase::Checking | Phase::Holding { .. } | Phase::Baking { .. } => Self::Open,
        }
    }
}

impl Named {
    fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }
}

impl Grid {
    /// A table whose first column has names and the others numbers.
    pub fn of_numbers(columns: impl IntoIterator<Item = String>) -> Self {
        let column = |(n, name)| Column { name, is_numeric: n > 0 };
        Self { columns: columns.into_iter().enumerate().map(column).collect(), rows: Vec::new() }
    }

    /// A table of texts.
    pub fn of_texts<const N: usize>(columns: [&str; N]) -> Self {
        let column = |name: &str| Column { name: name.into(), is_numeric: false };
        Self { columns: columns.map(column).into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, name: impl Into<String>, cells: impl IntoIterator<Item = String>) {
        self.rows.push([name.into()].into_iter().chain(cells).collect());
    }
}

fn title(rollout: &Rollout) -> String {
    let services: Vec<&str> = rollout.services.iter().map(|s| s.as_str()).collect();
    let (id, candidate) = (rollout.id, &rollout.candidate);
    format!("Rollout {id}: {candidate} of {} — {}", services.join(", "), outcome(rollout))
}

fn outcome(rollout: &Rollout) -> String {
    let share = rollout.share().unwrap_or_default();
    let word = match &rollout.phase {
        Phase::RolledBack { .. } => "rolled back".into(),
        Phase::Holding { .. } | Phase::Paused { .. } | Phase::Baking { .. } => {
            format!("{} at {share}", rollout.phase.as_str())
        }
        Phase::Checking | Phase::Promoted { .. } => rollout.phase.as_str().to_owned(),
    };
    match why(&rollout.phase) {
        Some(why) => format!("{word}: {why}"),
        None => word,
    }
}

fn numbers(rollout: &Rollout, summary: &Summary) -> Vec<Named> {
    let pools = || summary.services.values().flat_map(|s| &s.pools);
    let sum = |of: fn(&OfPool) -> u64, is_wanted: &dyn Fn(&PoolName) -> bool| {
        let wanted = pools().filter(|(name, _)| is_wanted(name));
        wanted.fold(0, |sum: u64, (_, pool)| sum.saturating_add(of(pool)))
    };
    let of_candidate = |name: &PoolName| *name == rollout.candidate;
    let requests = sum(|p| p.requests, &of_candidate);
    let failures = sum(|p| p.failures, &of_candidate);
    let failed = match part(failures, requests) {
        Some(rate) => format!("{} ({})", count(failures), percent(rate)),
        None => count(failures),
    };
    let down = summary.services.values().map(|s| s.downtime).max().unwrap_or_default();
    vec![
        Named::new("Duration", lasted(summary)),
        Named::new("Downtime", span(down)),
        Named::new("Requests", count(sum(|p| p.requests, &|_| true))),
        Named::new(format!("Requests on {}", rollout.candidate), count(requests)),
        Named::new(format!("Failed on {}", rollout.candidate), failed),
        Named::new("Users affected", users(rollout, summary)),
    ]
}

/// The users whom the candidate failed. The same users may use several services, so that only the
/// most of one service is certain.
fn users(rollout: &Rollout, summary: &Summary) -> String {
    let pools = summary.services.values().filter_map(|s| s.pools.get(&rollout.candidate));
    let Some(worst) = pools.max_by_key(|p| p.users_affected) else { return count(0) };
    let is_exact = summary.services.len() < 2 || worst.users_affected == 0;
    if is_exact || worst.users_affected_is_least {
        affected(worst)
    } else {
        format!("at least {}", affected(worst))
    }
}

/// The users whom a pool failed; their count may have stopped at its limit.
pub fn affected(pool: &OfPool) -> String {
    let least = if pool.users_affected_is_least { "at least " } else { "" };
    format!("{least}{}", count(pool.users_affected))
}

fn lasted(summary: &Summary) -> String {
    let so_far = if summary.is_running { " so far" } else { "" };
    format!("{}{so_far}", span(summary.duration))
}

fn facts(record: &Record, summary: &Summary, zone: &TimeZone) -> Vec<Named> {
    let rollout = &record.rollout;
    let ended = match summary.is_running {
        true => format!("not yet; known up to {}", date(end_of(record), zone)),
        false => date(end_of(record), zone),
    };
    let mut facts =
        vec![Named::new("Outcome", outcome(rollout)), Named::new("Started by", actor(&rollout.by))];
    facts.extend(rollout.reason.as_ref().map(|reason| Named::new("Reason", reason)));
    facts.extend([
        Named::new("Plan", plan(&rollout.name, &rollout.plan)),
        Named::new("Began", date(rollout.began, zone)),
        Named::new("Ended", ended),
    ]);
    facts
}

fn plan(name: &str, plan: &Plan) -> String {
    let stage = |share: Share, hold: Option<Millis>| match hold {
        Some(hold) => format!("{share} ({})", span(hold)),
        None => share.to_string(),
    };
    let stages: Vec<String> = plan.stages.iter().map(|s| stage(s.share, s.hold)).collect();
    let advance = match plan.advance {
        Advance::Hold => "advances when a hold is over",
        Advance::Evidence => "advances on evidence",
        Advance::Manual => "advances by hand",
    };
    let required: Vec<&str> = plan.require.iter().map(|r| requirement(*r)).collect();
    let require = if required.is_empty() { "nothing".into() } else { required.join(" and ") };
    format!(
        "{name}: {}; held {} each, at most {}; {advance}; bakes {}; requires {require}",
        stages.join(" → "),
        span(plan.hold),
        span(plan.max_hold),
        span(plan.bake),
    )
}

const fn requirement(requirement: Requirement) -> &'static str {
    match requirement {
        Requirement::Checks => "checks",
        Requirement::Health => "health",
    }
}

fn timeline(record: &Record, summary: &Summary, zone: &TimeZone) -> Grid {
    let rollout = &record.rollout;
    let mut grid = Grid::of_texts(["When", "Phase", "Share", "Lasted", "By", "What"]);
    for (milestone, stage) in rollout.milestones.iter().zip(&summary.stages) {
        let is_end = matches!(milestone.phase.as_str(), "promoted" | "rolled-back");
        grid.row(
            clock(milestone.at, rollout.began, zone),
            [
                milestone.phase.replace('-', " "),
                milestone.share.to_string(),
                if is_end { String::new() } else { span(stage.lasted) },
                milestone.by.name.clone(),
                milestone.text.clone(),
            ],
        );
    }
    grid
}
