//! `rollout plan`: what each stage would notice, and how soon.

use super::start::body;
use crate::{
    api::{
        Op,
        release::{Notice, PlanOutlook, ServiceOutlook, StageOutlook},
    },
    cli::{
        call::Call,
        exit::Trouble,
        grammar::Shift,
        judged::toned,
        numbers::{percent, rate, seconds},
        session::Session,
        table::{
            Cell, Paint,
            Side::{Left, Right},
            Table, Tone, wrapped,
        },
    },
    model::Millis,
};

/// So many stages stand beside each other.
const BESIDE: usize = 6;

/// Asks and prints.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`].
pub async fn run(session: &mut Session<'_>, shift: Shift) -> Result<(), Trouble> {
    let call = Call::new(Op::PlanRollout).body(&body(shift))?;
    let outlook: PlanOutlook = session.show(&call).await?.read()?;
    let lines = render(&outlook, session.out.paint);
    session.out.lines(lines)
}

fn render(outlook: &PlanOutlook, paint: Paint) -> Vec<String> {
    let mut lines = wrapped(0, &format!("plan {} to {}", outlook.plan, outlook.pool));
    for service in &outlook.services {
        lines.push(String::new());
        lines.extend(of_service(service, paint));
    }
    if !outlook.warnings.is_empty() {
        lines.push(String::new());
    }
    for warning in &outlook.warnings {
        lines.extend(toned(paint, Tone::Warning, wrapped(0, &format!("warning: {warning}"))));
    }
    lines
}

fn of_service(service: &ServiceOutlook, paint: Paint) -> Vec<String> {
    let (rps, errors) = (rate(service.rps), percent(service.error_ratio));
    let head = format!("{}: {rps} requests a second, of which {errors} fail", service.service);
    let mut lines = wrapped(0, &head);
    lines.extend(stages(&service.stages).lines(paint));
    for stages in service.stages.chunks(BESIDE) {
        lines.extend(notices(stages).lines(paint));
    }
    lines
}

fn stages(stages: &[StageOutlook]) -> Table {
    let columns = [
        ("STAGE", Right),
        ("REQ/S", Right),
        ("HOLD", Right),
        ("REQUESTS", Right),
        ("TIME TO JUDGE", Right),
        ("HOLD IS", Left),
    ];
    let mut table = Table::new(2, &columns).fitted();
    for stage in stages {
        let enough = match stage.is_long_enough {
            true => Cell::toned(Tone::Good, "long enough"),
            false => Cell::toned(Tone::Warning, "too short"),
        };
        table.row([
            stage.share.to_string().into(),
            rate(stage.rps).into(),
            stage.hold.to_string().into(),
            stage.requests.into(),
            stage.seconds_to_judge.map_or("never".into(), seconds).into(),
            enough,
        ]);
    }
    table
}

/// How long it takes to notice what: a row for each regression, a column for each stage.
fn notices(stages: &[StageOutlook]) -> Table {
    let shares: Vec<String> = stages.iter().map(|stage| stage.share.to_string()).collect();
    let columns = shares.iter().map(|share| (share.as_str(), Right));
    let columns: Vec<_> = std::iter::once(("TIME TO NOTICE AT", Left)).chain(columns).collect();
    let mut table = Table::new(2, &columns).fitted();
    let first = stages.first().map(|stage| stage.notices.as_slice()).unwrap_or_default();
    for notice in first {
        let cells = stages.iter().map(|stage| {
            let same = stage.notices.iter().find(|other| other.what == notice.what);
            same.map_or("-".into(), |same| noticed(same, stage.hold))
        });
        table.row(std::iter::once(notice.what.clone().into()).chain(cells));
    }
    table
}

/// What is noticed only after the stage's hold is to be looked at.
fn noticed(notice: &Notice, hold: Millis) -> Cell {
    match (notice.requests, notice.seconds) {
        (None, _) => "tolerated".into(),
        (Some(_), None) => Cell::toned(Tone::Warning, "never"),
        (Some(_), Some(secs)) if secs > hold.duration().as_secs_f64() => {
            Cell::toned(Tone::Warning, seconds(secs))
        }
        (Some(_), Some(secs)) => seconds(secs).into(),
    }
}
