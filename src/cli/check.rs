//! `check`: a pool's preflight.

use super::{
    call::Call,
    exit::{Exit, Trouble},
    grammar::CheckArgs,
    numbers::{counted, latency},
    session::{CHECK_LIMIT, Session},
    table::{
        Cell,
        Side::{Left, Right},
        Table, Tone,
    },
};
use crate::api::{
    Op,
    release::{CheckBody, CheckReport, CheckRow},
};

/// Runs the preflight and prints what it found.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; if something did not pass.
pub async fn run(session: &mut Session<'_>, args: CheckArgs) -> Result<(), Trouble> {
    session.allow(CHECK_LIMIT);
    let body = CheckBody { pool: args.pool, services: args.services.names };
    let report: CheckReport = session.show(&Call::new(Op::Check).body(&body)?).await?.read()?;
    let lines = table(&report.rows).lines(session.out.paint);
    session.out.lines(lines)?;
    if !report.passed {
        return Err(failed(&report));
    }
    let count = counted(report.rows.len() as u64, "check");
    session.out.lines([format!("{} passed {count}", report.pool)])
}

fn failed(report: &CheckReport) -> Trouble {
    let bad = report.rows.iter().filter(|row| !row.passed).count();
    let count = counted(report.rows.len() as u64, "check");
    let problem = format!("{} failed {bad} of {count}", report.pool);
    let hint = "mend what the table names, then repeat; `lbctl endpoint list POOL` shows health";
    Trouble::EndedOtherwise { exit: Exit::Failed, problem, hint }
}

fn table(rows: &[CheckRow]) -> Table {
    let columns = [
        ("SERVICE", Left),
        ("ENDPOINT", Left),
        ("CHECK", Left),
        ("RESULT", Left),
        ("TOOK", Right),
        ("FOUND", Left),
    ];
    let mut table = Table::new(0, &columns);
    for row in rows {
        let result = match row.passed {
            true => Cell::toned(Tone::Good, "passed"),
            false => Cell::toned(Tone::Bad, "failed"),
        };
        table.row([
            row.service.to_string().into(),
            row.endpoint.clone().unwrap_or_else(|| "-".into()).into(),
            row.check.clone().into(),
            result,
            latency(row.took_ms).into(),
            row.text.clone().into(),
        ]);
    }
    table
}
