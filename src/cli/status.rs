//! `status`: what is in force and what is happening.

use jiff::tz::TimeZone;

use super::{
    call::Call,
    client::Reply,
    exit::Trouble,
    grammar::StatusArgs,
    guard::{alarm_lines, lockout_lines},
    judged::{toned, verdict_lines},
    moment::{Clock, local, span},
    numbers::{counted, latency, percent, rate},
    out::{Form, Screen},
    rollout::{ending, headline},
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
        release::RolloutStatus,
        types::{EndpointStatus, MaintenanceView, PoolStatus, ServiceStatus, Status},
    },
    model::{
        Address, Millis, Moment,
        health::{AdminState, Standing},
    },
};

/// Shows the status, once or again and again.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn run(session: &mut Session<'_>, args: StatusArgs) -> Result<(), Trouble> {
    let call = Call::new(Op::Status).services(args.service.as_slice());
    if args.watch {
        return watch(session, &call, args.interval).await;
    }
    let status: Status = session.show(&call).await?.read()?;
    let lines = render(&status, &session.zone, session.out.paint);
    session.out.lines(lines)
}

async fn watch(session: &mut Session<'_>, call: &Call, every: Millis) -> Result<(), Trouble> {
    let mut shown: Option<Vec<String>> = None;
    let mut away = false;
    loop {
        match session.client.call(call).await {
            Ok(reply) => {
                let lines = lines(session, &reply)?;
                announce_return(session, std::mem::take(&mut away));
                session.out.reply(&reply)?;
                session.out.redraw(&lines)?;
                shown = Some(lines);
            }
            Err(trouble) if shown.is_some() && trouble.is_absence() => {
                let last = shown.as_deref().unwrap_or_default();
                announce_absence(session, &trouble, last, std::mem::replace(&mut away, true))?;
            }
            Err(trouble) => return Err(trouble),
        }
        tokio::time::sleep(every.duration()).await;
    }
}

fn lines(session: &Session<'_>, reply: &Reply) -> Result<Vec<String>, Trouble> {
    Ok(render(&reply.read()?, &session.zone, session.out.paint))
}

/// On a terminal the first line says so until the daemon is back; elsewhere it is said once.
fn announce_absence(
    session: &mut Session<'_>,
    trouble: &Trouble,
    last: &[String],
    known: bool,
) -> Result<(), Trouble> {
    let text = format!("{trouble}; trying again, below is what was last known");
    match (session.out.screen, session.out.form) {
        (Screen::Live, Form::Text) => {
            let told = wrapped(0, &text);
            let banner = told.iter().map(|l| session.out.paint.apply(Tone::Bad, l).into_owned());
            let all: Vec<String> = banner.chain(last.iter().cloned()).collect();
            session.out.redraw(&all)
        }
        (Screen::Live | Screen::Paper, Form::Text | Form::Json | Form::Quiet) if !known => {
            session.out.note(&format!("{trouble}; trying again"));
            Ok(())
        }
        (Screen::Live | Screen::Paper, Form::Text | Form::Json | Form::Quiet) => Ok(()),
    }
}

fn announce_return(session: &mut Session<'_>, was_away: bool) {
    let redrawn = session.out.screen == Screen::Live && session.out.form == Form::Text;
    if was_away && !redrawn {
        session.out.note("lbd is back");
    }
}

/// The status in lines of at most 80 characters.
pub fn render(status: &Status, zone: &TimeZone, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!(
        "lbd {}  revision {}  up {}  pid {}  rates over {}",
        status.version,
        status.revision,
        span(status.now.since(status.started)),
        status.pid,
        status.window
    )];
    for listener in &status.listeners {
        let count = counted(listener.connections, "connection");
        lines.extend(wrapped(
            0,
            &format!("listener {} {}, {count}", listener.name, listener.address),
        ));
    }
    let clock = Clock { now: status.now, zone: zone.clone() };
    lines.extend(status.rollout.iter().flat_map(|rollout| rollout_lines(rollout, &clock, paint)));
    for service in &status.services {
        lines.push(String::new());
        lines.extend(block(service, &clock, paint));
    }
    lines
}

fn rollout_lines(status: &RolloutStatus, clock: &Clock, paint: Paint) -> Vec<String> {
    let mut lines = headline(&status.rollout, &status.text, paint);
    let waits = status.waits_for.iter().map(|what| format!("waits for {what}"));
    let texts = waits.chain(ending(&status.rollout, clock));
    lines.extend(texts.flat_map(|text| wrapped(2, &text)));
    lines
}

fn block(service: &ServiceStatus, clock: &Clock, paint: Paint) -> Vec<String> {
    let name = paint.apply(Tone::Bold, service.name.as_str()).into_owned();
    let mut lines = vec![format!("{name}  baseline {}", service.baseline)];
    lines.extend(toned(paint, Tone::Warning, unusual(service, clock)));
    lines.extend(judged(service, clock, paint));
    lines.extend(pools(service).lines(paint));
    lines.extend(endpoints(service).lines(paint));
    for text in service.pools.iter().flat_map(remarks) {
        lines.extend(wrapped(2, &text));
    }
    lines
}

/// What somebody has set and will end.
fn unusual(service: &ServiceStatus, clock: &Clock) -> Vec<String> {
    let mut texts = Vec::new();
    if let Some(maintenance) = &service.maintenance {
        texts.push(maintenance_line(maintenance, clock.now, &clock.zone));
    }
    if let Some(at) = service.paused_since {
        let (since, held) = (local(at, clock.now, &clock.zone), service.held);
        texts.push(format!("new requests are held since {since}; {held} wait for `lbctl resume`"));
    }
    if let Some(at) = service.returns_at {
        texts.push(format!("the weights return to what they were at {}", clock.coming(at)));
    }
    if let Some(at) = service.ramp_until {
        let (baseline, at) = (&service.baseline, clock.coming(at));
        texts.push(format!("rolling back to {baseline} in steps until {at}"));
    }
    if let Some(bake) = &service.bake {
        let (pool, until) = (&bake.pool, clock.coming(bake.until));
        texts.push(format!("{pool} has everything and becomes the baseline at {until}"));
    }
    texts.iter().flat_map(|text| wrapped(2, text)).collect()
}

/// What the guard makes of the candidates.
fn judged(service: &ServiceStatus, clock: &Clock, paint: Paint) -> Vec<String> {
    let alarm = service.alarm.iter().flat_map(|alarm| alarm_lines(alarm, clock, paint));
    let locked = service.lockouts.iter();
    let locked = locked.flat_map(|(pool, lockout)| lockout_lines(pool, lockout, clock, paint));
    let verdicts = service.findings.iter();
    let verdicts = verdicts.flat_map(|f| verdict_lines(2, f.pool.as_str(), &f.verdict, paint));
    alarm.chain(locked).chain(verdicts).collect()
}

/// `maintenance of all services since 12:00:00 until 14:00:00 (in 58m): Back soon`.
pub fn maintenance_line(view: &MaintenanceView, now: Moment, zone: &TimeZone) -> String {
    let clock = Clock { now, zone: zone.clone() };
    let of = view.service.as_ref().map_or("all services".into(), ToString::to_string);
    let until = view.until.map(|at| format!(" until {}", clock.coming(at))).unwrap_or_default();
    let since = local(view.since, now, zone);
    format!("maintenance of {of} since {since}{until}: {}", view.message)
}

fn pools(service: &ServiceStatus) -> Table {
    let columns = [
        ("POOL", Left),
        ("WEIGHT", Right),
        ("OBSERVED", Right),
        ("REQ/S", Right),
        ("ERRORS", Right),
        ("P50", Right),
        ("P95", Right),
        ("P99", Right),
        ("RUNNING", Right),
    ];
    let mut table = Table::new(2, &columns).fitted();
    for pool in &service.pools {
        let errors = if pool.error_ratio > 0.0 { Tone::Bad } else { Tone::Plain };
        table.row([
            pool.name.to_string().into(),
            pool.share.to_string().into(),
            seen(pool).into(),
            rate(pool.rps).into(),
            Cell::toned(errors, percent(pool.error_ratio)),
            latency(pool.p50_ms).into(),
            latency(pool.p95_ms).into(),
            latency(pool.p99_ms).into(),
            pool.in_flight.into(),
        ]);
    }
    table
}

fn endpoints(service: &ServiceStatus) -> Table {
    let columns = [
        ("ENDPOINT", Left),
        ("POOL", Left),
        ("HEALTH", Left),
        ("WEIGHT", Right),
        ("RUNNING", Right),
        ("REQUESTS", Right),
    ];
    let mut table = Table::new(2, &columns).fitted();
    for pool in &service.pools {
        for endpoint in &pool.endpoints {
            table.row([
                label(endpoint).into(),
                pool.name.to_string().into(),
                health(endpoint),
                endpoint.weight.into(),
                endpoint.in_flight.into(),
                endpoint.requests.into(),
            ]);
        }
    }
    table
}

/// What the tables have no column for.
fn remarks(pool: &PoolStatus) -> Vec<String> {
    let ill = pool.endpoints.iter().filter(|e| !e.reason.is_empty());
    let ill = ill.map(|e| format!("{} {}: {}", pool.name, label(e), e.reason));
    let mut remarks: Vec<String> = ill.collect();
    let failures = pool.failures.iter().filter(|(_, count)| **count > 0);
    let failures: Vec<_> = failures.map(|(blame, count)| format!("{count} {blame}")).collect();
    if !failures.is_empty() {
        remarks.push(format!("{} failures: {}", pool.name, failures.join(", ")));
    }
    if pool.shielded > 0 {
        let (name, count) = (&pool.name, counted(pool.shielded, "failed first attempt"));
        let were = if pool.shielded == 1 { "was" } else { "were" };
        remarks.push(format!("{name}: {count} {were} replayed on the baseline"));
    }
    if pool.failovers > 0 {
        let (name, count) = (&pool.name, pool.failovers);
        remarks.push(format!("{name} stood in {count} times for a pool without usable endpoint"));
    }
    remarks
}

/// An endpoint's address; that of a host name with where it leads.
pub fn label(endpoint: &EndpointStatus) -> String {
    match (&endpoint.address, &endpoint.target) {
        (Address::Host { .. }, Some(target)) => {
            let ip = target.parse::<std::net::SocketAddr>().map(|a| a.ip().to_string());
            format!("{}@{}", endpoint.address, ip.unwrap_or_else(|_| target.clone()))
        }
        (Address::Host { .. } | Address::Ip(_) | Address::Unix(_), _) => {
            endpoint.address.to_string()
        }
    }
}

/// What the operator wants of an endpoint and how fit it is, in one word.
pub fn health(endpoint: &EndpointStatus) -> Cell {
    let (tone, word) = match (endpoint.state, endpoint.standing) {
        (AdminState::Drain | AdminState::Maint, _) => (Tone::Warning, endpoint.state.as_str()),
        (AdminState::Ready, Standing::Up) => (Tone::Good, "up"),
        (AdminState::Ready, Standing::Unproven) => (Tone::Warning, "unproven"),
        (AdminState::Ready, Standing::Suspended) => (Tone::Bad, "suspended"),
        (AdminState::Ready, Standing::Out) if endpoint.target.is_none() => {
            (Tone::Bad, "unresolved")
        }
        (AdminState::Ready, Standing::Out) => (Tone::Bad, "down"),
    };
    Cell::toned(tone, word)
}

/// The share of the traffic that a pool was seen to serve.
pub fn seen(pool: &PoolStatus) -> String {
    pool.observed.map_or("-".into(), percent)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::table::WIDTH;

    /// Two services: one in a rollout, with a down endpoint and all that the guard can say; one with
    /// maintenance, a bake and a weight that returns.
    pub const SAMPLE: &str = r#"{
        "version": "0.1.0", "pid": 4711, "revision": 42, "started": 1795200000000,
        "now": 1795262400000, "window": "10s",
        "listeners": [{ "name": "http", "address": "0.0.0.0:8080", "connections": 1250 }],
        "rollout": {
            "id": 7, "candidate": "green", "services": ["api"], "name": "default",
            "plan": { "stages": [{ "share": "25%" }, { "share": "100%" }], "hold": "5m",
                      "advance": "hold", "require": ["checks"], "max_hold": "1h", "bake": "24h" },
            "by": { "name": "alice" }, "began": 1795262000000, "milestones": [],
            "phase": { "phase": "holding", "stage": 0, "since": 1795262000000 },
            "share": "25%", "text": "holds stage 1 of 2: green at 25%",
            "waits_for": "the guard; 412 of 500 requests of api judged", "findings": {} },
        "services": [
            { "name": "api", "baseline": "blue", "ramp_until": 1795262412000,
              "paused_since": 1795262380000, "held": 17,
              "alarm": { "pool": "green", "verdict": "both-degraded", "since": 1795262340000,
                         "text": "of 31 failures, 12 fell on green; going back would not help" },
              "lockouts": { "red": { "since": 1795258800000,
                                     "cause": "all of 4 requests failed" } },
              "findings": [{ "pool": "green", "at": 1795262400000,
                "verdict": { "verdict": "undecided", "lacking": "requests",
                             "have": 412, "need": 500 },
                "evidence": { "since": 1795262000000, "share": "25%", "concurrent": true,
                  "candidate": { "requests": 412, "failed": 2, "users_failed": 2,
                                 "stage_requests": 412, "stage_failed": 2 },
                  "baseline": { "requests": 1240, "failed": 0, "users_failed": 0,
                                "stage_requests": 1240, "stage_failed": 0 }, "tests": [] } }],
              "pools": [
                { "name": "blue", "share": "75%", "observed": 0.7513, "rps": 1240.4,
                  "failures": {}, "error_ratio": 0.0, "p50_ms": 4.21, "p95_ms": 45.3,
                  "p99_ms": 120.0, "in_flight": 8, "requests": 120034, "failovers": 3,
                  "endpoints": [
                    { "address": "127.0.0.1:9000", "target": "127.0.0.1:9000", "weight": 1,
                      "state": "ready", "standing": "up", "in_flight": 8, "requests": 120034 }
                  ] },
                { "name": "green", "share": "25%", "observed": 0.2487, "rps": 412.0,
                  "failures": { "connect": 2, "upstream-5xx": 12 }, "error_ratio": 0.0042,
                  "p50_ms": 5.0, "p95_ms": 88.8, "p99_ms": 1204.0, "in_flight": 3,
                  "requests": 4032, "failovers": 0, "shielded": 12, "endpoints": [
                    { "address": "app.internal:9001", "target": "10.0.0.7:9001", "weight": 2,
                      "state": "ready", "standing": "out", "in_flight": 0, "requests": 2010,
                      "reason": "GET /health answered status 500 where 200 to 399 was expected" },
                    { "address": "unix:/run/app/green-with-a-rather-long-name-of-a-socket.sock",
                      "target": "unix:/run/app/green-with-a-rather-long-name-of-a-socket.sock",
                      "weight": 1, "state": "drain", "standing": "out", "in_flight": 3,
                      "requests": 2022 }
                  ] }
            ] },
            { "name": "web", "baseline": "blue", "returns_at": 1795263000000,
              "bake": { "pool": "green", "until": 1795348800000 },
              "maintenance": { "since": 1795262000000, "until": 1795269600000, "allow": [],
                               "message": "We are back soon." },
              "pools": [
                { "name": "blue", "share": "100%", "rps": 0.0, "failures": {}, "error_ratio": 0.0,
                  "in_flight": 0, "requests": 0, "failovers": 0, "endpoints": [
                    { "address": "db.internal:80", "weight": 1, "state": "ready",
                      "standing": "out", "in_flight": 0, "requests": 0 }
                  ] }
            ] }
        ]
    }"#;

    fn rendered(paint: Paint) -> Vec<String> {
        render(&serde_json::from_str(SAMPLE).unwrap(), &TimeZone::UTC, paint)
    }

    #[test]
    fn the_status_of_two_services() {
        let expected = include_str!("status.snapshot.txt");
        let text = rendered(Paint::Off).join("\n") + "\n";
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn the_status_fits_80_columns() {
        for line in rendered(Paint::Off) {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }

    #[test]
    fn colour_adds_nothing_but_colour() {
        let mut text = rendered(Paint::On).join("\n");
        for code in ["1", "31", "32", "33", "0"] {
            text = text.replace(&format!("\x1b[{code}m"), "");
        }
        assert_eq!(text, rendered(Paint::Off).join("\n"));
    }
}
