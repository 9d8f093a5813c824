//! What the guard and its rivals did in many runs, as numbers and as Markdown.

use std::{
    fmt::Write,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{
    cases::{Case, Expected, Scale},
    rules::Act,
    trial::{Outcome, Trial},
};

/// How often a run begins with traffic of its own; others share the traffic before the shift.
const RUNS_PER_LEAD_IN: u64 = 10;

/// One case at one rate.
#[derive(Debug)]
pub struct Cell {
    /// The case.
    pub case: Case,
    /// The candidate's requests a second.
    pub rate: f64,
    /// What came of each run.
    pub outcomes: Vec<Outcome>,
}

/// How many runs show when a release is found out; a quarter shows that one is not.
pub fn enough_runs(case: &Case, runs: u64) -> u64 {
    if case.expected == Expected::NoGo { runs } else { runs.div_ceil(4) }
}

/// Runs a case `runs` times.
pub fn cell(case: Case, scale: Scale, runs: u64) -> Cell {
    let shift = case.shift(scale);
    let lead_ins = runs.div_ceil(RUNS_PER_LEAD_IN) as usize;
    let some = |lead_in: usize| {
        let seed = lead_in as u64 * RUNS_PER_LEAD_IN;
        let trial = Trial::about_to_begin(&shift, seed);
        let seeds = seed..runs.min(seed + RUNS_PER_LEAD_IN);
        seeds.map(|seed| trial.with_chances(seed + 1_000_000).run()).collect::<Vec<_>>()
    };
    let outcomes = in_parallel(lead_ins, some).into_iter().flatten().collect();
    Cell { case, rate: scale.rate, outcomes }
}

/// Does jobs `0..count` on all processors; the results come in their order.
pub fn in_parallel<T: Send>(count: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let jobs = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        jobs.take_while(|n| *n < count).map(|n| (n, job(n))).collect::<Vec<_>>()
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
    });
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The value that a part `q` of all does not exceed. `None` is larger than everything.
pub fn quantile(values: impl IntoIterator<Item = Option<f64>>, q: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().map(|v| v.unwrap_or(f64::INFINITY)).collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * q).ceil().max(1.0) as usize;
    values.get(rank - 1).copied().filter(|value| value.is_finite())
}

impl Cell {
    /// Whether every run ended as the case demands.
    pub fn is_as_expected(&self) -> bool {
        self.outcomes.iter().all(|outcome| match self.case.expected {
            Expected::NoGo => outcome.no_go.is_some(),
            Expected::Either => true,
            Expected::Spared => outcome.no_go.is_none(),
            Expected::BothDegraded => outcome.no_go.is_none() && outcome.both_degraded.is_some(),
        })
    }

    /// A quantile of the candidate's requests until no-go: those that had ended, or, if none had, those
    /// that were sent.
    pub fn requests(&self, q: f64) -> Option<f64> {
        let requests = |outcome: &Outcome| {
            let no_go = outcome.no_go.as_ref()?;
            Some(if no_go.answered > 0 { no_go.answered } else { no_go.sent } as f64)
        };
        quantile(self.outcomes.iter().map(requests), q)
    }

    /// A quantile of the seconds until no-go.
    pub fn secs(&self, q: f64) -> Option<f64> {
        quantile(self.outcomes.iter().map(|o| o.no_go.as_ref().map(|no_go| no_go.secs)), q)
    }

    fn verdict(&self) -> String {
        let part = |is: fn(&Outcome) -> bool| self.part(is);
        let no_go = part(|outcome| outcome.no_go.is_some());
        let both = part(|outcome| outcome.both_degraded.is_some());
        let go = part(|outcome| outcome.go.is_some());
        match self.case.expected {
            Expected::NoGo if no_go == 1.0 => "no-go".to_owned(),
            Expected::NoGo => format!("no-go in {}", percent(no_go)),
            Expected::Either if no_go > 0.0 => format!("no-go in {}", percent(no_go)),
            _ if no_go > 0.0 => format!("**false no-go in {}**", percent(no_go)),
            _ if both > 0.0 => format!("both-degraded in {}", percent(both)),
            _ if go == 1.0 => "go".to_owned(),
            _ if go > 0.0 => format!("go in {}, else undecided", percent(go)),
            _ => "undecided".to_owned(),
        }
    }

    fn part(&self, is: impl Fn(&Outcome) -> bool) -> f64 {
        self.outcomes.iter().filter(|o| is(o)).count() as f64 / self.outcomes.len() as f64
    }

    fn rival(&self, act: fn(&Outcome) -> Option<Act>) -> String {
        let rolls_back = |outcome: &Outcome| act(outcome).and_then(Act::rollback_secs);
        let pauses = |outcome: &Outcome| matches!(act(outcome), Some(Act::Pauses(_)));
        let (part, paused) = (self.part(|o| rolls_back(o).is_some()), self.part(pauses));
        let times = self.outcomes.iter().map(rolls_back).filter(Option::is_some);
        let median = quantile(times, 0.5).map_or_else(String::new, seconds);
        let is_bad = matches!(self.case.expected, Expected::NoGo | Expected::Either);
        let falsely = if is_bad { "" } else { "false rollback " };
        let how_often = if part < 1.0 { format!(" in {}", percent(part)) } else { String::new() };
        match (part > 0.0, paused > 0.0) {
            (true, true) => format!("{falsely}{median}{how_often}; paused in {}", percent(paused)),
            (true, false) => format!("{falsely}{median}{how_often}"),
            (false, true) => format!("paused in {}", percent(paused)),
            (false, false) => "never".to_owned(),
        }
    }

    fn flagger(&self) -> String {
        self.rival(|outcome| outcome.rules.flagger)
    }

    fn argo(&self) -> String {
        self.rival(|outcome| outcome.rules.argo)
    }

    fn row(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            self.case.name,
            self.rate,
            pair(self.requests(0.5), self.requests(0.95), |n| format!("{n:.0}")),
            pair(self.secs(0.5), self.secs(0.95), seconds),
            self.verdict(),
            self.flagger(),
            self.argo(),
        )
    }
}

/// All cells, each in a row.
pub fn full(cells: &[Cell]) -> String {
    let mut table = String::from(
        "| the candidate | its requests/s | requests until no-go, median / 95 % | seconds | verdict | Flagger | Argo Rollouts |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for cell in cells {
        let _ = writeln!(table, "{}", cell.row());
    }
    table
}

/// All cells, each case in a row; the rates are columns.
pub fn compact(cells: &[Cell]) -> String {
    let rates: Vec<f64> =
        cells.chunk_by(same_case).next().unwrap_or_default().iter().map(|c| c.rate).collect();
    let mut table = String::from("| the candidate |");
    for rate in &rates {
        let _ = write!(table, " {rate}/s |");
    }
    table.push_str(" Flagger | Argo Rollouts |\n|---|---|---|");
    table.push_str(&"---|".repeat(rates.len()));
    table.push('\n');
    for row in cells.chunk_by(same_case) {
        let _ = write!(table, "| {} |", row[0].case.name);
        for cell in row {
            let secs = pair(cell.secs(0.5), cell.secs(0.95), seconds);
            let text = if cell.case.expected == Expected::NoGo { secs } else { cell.verdict() };
            let _ = write!(table, " {text} |");
        }
        let _ = writeln!(table, " {} | {} |", range(row, Cell::flagger), range(row, Cell::argo));
    }
    table
}

fn same_case(a: &Cell, b: &Cell) -> bool {
    a.case.name == b.case.name
}

/// What a rival did at the lowest and at the highest rate.
fn range(row: &[Cell], rival: fn(&Cell) -> String) -> String {
    let (low, high) = (rival(&row[0]), rival(&row[row.len() - 1]));
    if low == high { low } else { format!("{low} … {high}") }
}

fn pair(one: Option<f64>, other: Option<f64>, show: fn(f64) -> String) -> String {
    match (one, other) {
        (None, _) => "–".to_owned(),
        (Some(one), None) => format!("{} / –", show(one)),
        (Some(one), Some(other)) => format!("{} / {}", show(one), show(other)),
    }
}

fn seconds(secs: f64) -> String {
    match secs {
        ..1.0 => format!("{secs:.2} s"),
        ..10.0 => format!("{secs:.1} s"),
        ..600.0 => format!("{secs:.0} s"),
        _ => format!("{:.0} min", secs / 60.0),
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}
