//! `rollout status` and `rollout history`.

use crate::{
    api::{
        Op,
        release::{RolloutList, RolloutStatus, RolloutSummary},
    },
    cli::{
        call::Call,
        exit::Trouble,
        judged::{sides, toned, verdict_lines},
        moment::{Clock, span},
        session::Session,
        table::{
            Cell, Paint,
            Side::{Left, Right},
            Table, Tone, wrapped,
        },
    },
    model::{
        ServiceName,
        rollout::{Advance, Phase, Rollout},
    },
};

/// Shows the rollout that runs, or the last one.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`]; if there was none, the daemon says so.
pub async fn status(session: &mut Session<'_>) -> Result<(), Trouble> {
    let status: RolloutStatus = session.show(&Call::new(Op::CurrentRollout)).await?.read()?;
    let lines = render(&status, &session.clock(), session.out.paint);
    session.out.lines(lines)
}

/// Lists all rollouts.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`].
pub async fn history(session: &mut Session<'_>) -> Result<(), Trouble> {
    let list: RolloutList = session.show(&Call::new(Op::ListRollouts)).await?.read()?;
    let lines = table(&list, &session.clock()).lines(session.out.paint);
    match lines.is_empty() {
        true => session.out.lines(["there was no rollout yet"]),
        false => session.out.lines(lines),
    }
}

/// The status in lines of at most 80 characters.
pub fn render(status: &RolloutStatus, clock: &Clock, paint: Paint) -> Vec<String> {
    let rollout = &status.rollout;
    let mut lines = headline(rollout, &status.text, paint);
    lines.extend(wrapped(2, &begin(rollout, clock)));
    lines.extend(ending(rollout, clock).iter().flat_map(|text| wrapped(2, text)));
    lines.extend(wrapped(2, &format!("stages: {}", stages(rollout))));
    lines.extend(wrapped(2, &terms(rollout)));
    if let Some(what) = &status.waits_for {
        lines.extend(wrapped(2, &format!("waits for {what}")));
    }
    if let Some(due) = status.due {
        let text = format!("moves on at {}, if the guard agrees", clock.coming(due));
        lines.extend(wrapped(2, &text));
    }
    let verdicts = status.findings.iter();
    lines.extend(verdicts.flat_map(|(s, f)| verdict_lines(2, s.as_str(), &f.verdict, paint)));
    let named = |name: &ServiceName| format!("baseline of {name}");
    lines.extend(sides(status.findings.iter().map(|(s, f)| (named(s), f))).lines(paint));
    lines
}

/// `rollout 7 of green in app, api holds stage 2 of 5: green at 10%`.
pub fn headline(rollout: &Rollout, text: &str, paint: Paint) -> Vec<String> {
    let tone = match &rollout.phase {
        Phase::Paused { .. } => Tone::Warning,
        Phase::RolledBack { .. } => Tone::Bad,
        Phase::Promoted { .. } => Tone::Good,
        Phase::Checking | Phase::Holding { .. } | Phase::Baking { .. } => Tone::Bold,
    };
    let (id, candidate) = (rollout.id, &rollout.candidate);
    let line = format!("rollout {id} of {candidate} in {} {text}", names(&rollout.services));
    toned(paint, tone, wrapped(0, &line))
}

fn names(services: &[ServiceName]) -> String {
    let names: Vec<_> = services.iter().map(ServiceName::as_str).collect();
    names.join(", ")
}

fn begin(rollout: &Rollout, clock: &Clock) -> String {
    let (began, by) = (clock.past(rollout.began), &rollout.by.name);
    let reason = rollout.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("started at {began} by {by}{reason}")
}

/// `ended at 14:02:00 (4m ago), after 12m`, if it is over.
pub fn ending(rollout: &Rollout, clock: &Clock) -> Option<String> {
    match &rollout.phase {
        Phase::Promoted { at } | Phase::RolledBack { at, .. } => {
            let took = span(at.since(rollout.began));
            Some(format!("ended at {}, after {took}", clock.past(*at)))
        }
        Phase::Checking | Phase::Holding { .. } | Phase::Paused { .. } | Phase::Baking { .. } => {
            None
        }
    }
}

/// `5% → [10%] → 25% → 100% → bake`, with the present one in brackets.
fn stages(rollout: &Rollout) -> String {
    let mark = |text: String, present: bool| if present { format!("[{text}]") } else { text };
    let present = rollout.phase.stage();
    let stages = rollout.plan.stages.iter().enumerate().map(|(n, stage)| {
        let hold = stage.hold.map(|hold| format!(" ({hold})")).unwrap_or_default();
        mark(format!("{}{hold}", stage.share), present == Some(n))
    });
    let checking = (rollout.phase == Phase::Checking).then(|| "[checks]".to_owned());
    let bakes = matches!(rollout.phase, Phase::Baking { .. });
    let bake = mark(format!("bake {}", rollout.plan.bake), bakes);
    let all: Vec<String> = checking.into_iter().chain(stages).chain([bake]).collect();
    all.join(" → ")
}

fn terms(rollout: &Rollout) -> String {
    let (name, hold, max) = (&rollout.name, rollout.plan.hold, rollout.plan.max_hold);
    let ends = match rollout.plan.advance {
        Advance::Hold => "a stage ends with its hold",
        Advance::Evidence => "a stage ends with the verdict go, or its hold",
        Advance::Manual => "a stage ends with `lbctl rollout promote`",
    };
    let salt = if rollout.salt.is_some() { "; a fresh cohort" } else { "" };
    format!("plan {name}: {ends}; hold {hold}, {max} at most{salt}")
}

fn table(list: &RolloutList, clock: &Clock) -> Table {
    let columns = [
        ("ID", Right),
        ("POOL", Left),
        ("SERVICES", Left),
        ("PLAN", Left),
        ("BY", Left),
        ("STARTED", Left),
        ("TOOK", Right),
        ("PHASE", Left),
        ("OUTCOME", Left),
    ];
    let mut table = Table::new(0, &columns);
    for rollout in &list.rollouts {
        table.row(row(rollout, clock));
    }
    table
}

fn row(rollout: &RolloutSummary, clock: &Clock) -> [Cell; 9] {
    let tone = match rollout.phase.as_str() {
        "promoted" => Tone::Good,
        "rolled-back" => Tone::Bad,
        _ => Tone::Warning,
    };
    let took = rollout.ended.unwrap_or(clock.now).since(rollout.began);
    [
        rollout.id.into(),
        rollout.candidate.to_string().into(),
        names(&rollout.services).into(),
        rollout.plan.clone().into(),
        rollout.by.clone().into(),
        clock.at(rollout.began).into(),
        span(took).into(),
        Cell::toned(tone, rollout.phase.clone()),
        rollout.text.clone().into(),
    ]
}
