//! `guard status`, `set` and `selftest`.

use super::{
    call::Call,
    exit::Trouble,
    grammar::{Guard, GuardArgs},
    judged::{baseline_row, sides, terms, toned, verdict_lines},
    moment::Clock,
    numbers::{part, percent},
    session::Session,
    table::{
        Cell, Paint,
        Side::{Left, Right},
        Table, Tone, wrapped,
    },
};
use crate::{
    api::{
        Op,
        release::{GuardBody, GuardList, GuardStatus, SelfTestStatus},
    },
    model::{
        PoolName,
        state::{Alarm, Lockout},
    },
};

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>, verb: Guard) -> Result<(), Trouble> {
    match verb {
        Guard::Status { service } => {
            let call = Call::new(Op::GetGuard).services(service.as_slice());
            let list: GuardList = session.show(&call).await?.read()?;
            let (clock, paint) = (session.clock(), session.out.paint);
            session.out.lines(list.services.iter().flat_map(|s| status(s, &clock, paint)))
        }
        Guard::Set(args) => set(session, args).await,
        Guard::Selftest => {
            let call = Call::new(Op::SelfTest);
            let tests: Vec<SelfTestStatus> = session.show(&call).await?.read()?;
            let lines = selftest(&tests, &session.clock()).lines(session.out.paint);
            match lines.is_empty() {
                true => session.out.lines(["no service is tested against itself"]),
                false => session.out.lines(lines),
            }
        }
    }
}

async fn set(session: &mut Session<'_>, args: GuardArgs) -> Result<(), Trouble> {
    let terms = args.terms();
    if terms.is_empty() && !args.reset {
        return Err(Trouble::Usage {
            problem: "guard set: nothing is named that is to change".into(),
            hint: "name it, as in --p95 500ms, or go back to the config file with --reset",
        });
    }
    let body = GuardBody { services: args.services.names, terms };
    session.change(Call::new(Op::SetGuard).body(&body)?).await.map(drop)
}

fn status(service: &GuardStatus, clock: &Clock, paint: Paint) -> Vec<String> {
    let name = paint.apply(Tone::Bold, service.service.as_str()).into_owned();
    let from = match service.differs_from_file {
        true => "by other terms than the config file's; `guard set --reset` goes back",
        false => "by the config file's terms",
    };
    let mut lines = vec![format!("{name}  baseline {}", service.baseline)];
    lines.extend(wrapped(2, &format!("judges {from}")));
    lines.extend(terms(&service.terms));
    lines.extend(service.alarm.iter().flat_map(|alarm| alarm_lines(alarm, clock, paint)));
    let locked = service.lockouts.iter();
    lines.extend(locked.flat_map(|(pool, lockout)| lockout_lines(pool, lockout, clock, paint)));
    if service.findings.is_empty() {
        lines.push("  no candidate is on trial".into());
    }
    for finding in &service.findings {
        lines.extend(verdict_lines(2, finding.pool.as_str(), &finding.verdict, paint));
        let baseline = baseline_row(Some(&service.baseline));
        lines.extend(sides([(baseline, finding)]).lines(paint));
    }
    lines
}

/// `alarm since 12:00:00 (4m ago): green is both-degraded: …`.
pub fn alarm_lines(alarm: &Alarm, clock: &Clock, paint: Paint) -> Vec<String> {
    let (since, pool, verdict) = (clock.past(alarm.since), &alarm.pool, &alarm.verdict);
    let text = format!("alarm since {since}: {pool} is {verdict}: {}", alarm.text);
    toned(paint, Tone::Bad, wrapped(2, &text))
}

/// `green is locked out since 12:00:00 (4m ago): …`, and the way out.
pub fn lockout_lines(
    pool: &PoolName,
    lockout: &Lockout,
    clock: &Clock,
    paint: Paint,
) -> Vec<String> {
    let (since, cause) = (clock.past(lockout.since), &lockout.cause);
    let out =
        format!("way out: `lbctl rollout start {pool}`, or `lbctl weight {pool} PERCENT --force`");
    let mut lines = wrapped(2, &format!("{pool} is locked out since {since}: {cause}"));
    lines.extend(wrapped(4, &out));
    toned(paint, Tone::Warning, lines)
}

fn selftest(tests: &[SelfTestStatus], clock: &Clock) -> Table {
    let columns = [
        ("SERVICE", Left),
        ("SINCE", Left),
        ("SHIFTS", Right),
        ("FALSE ALARMS", Right),
        ("RATE", Right),
        ("ALLOWED", Right),
        ("REQUESTS", Right),
    ];
    let mut table = Table::new(0, &columns);
    for test in tests {
        // Of few shifts one is more than the part that is allowed, and no sign of anything.
        let expected = test.alpha * test.runs as f64;
        let tone = if test.alarms as f64 > expected + 3.0 * expected.sqrt() + 1.0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        table.row([
            test.service.to_string().into(),
            clock.at(test.since).into(),
            test.runs.into(),
            Cell::toned(tone, test.alarms.to_string()),
            part(test.alarms, test.runs).into(),
            percent(test.alpha).into(),
            test.samples.into(),
        ]);
    }
    table
}
