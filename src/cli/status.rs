//! `status`: what is in force and what is happening.

use jiff::tz::TimeZone;

use super::{
    call::Call,
    client::Reply,
    exit::Trouble,
    grammar::StatusArgs,
    moment::{local, span},
    out::{Form, Screen},
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
        let plural = if listener.connections == 1 { "" } else { "s" };
        let (name, address, count) = (&listener.name, &listener.address, listener.connections);
        lines.extend(wrapped(0, &format!("listener {name} {address}, {count} connection{plural}")));
    }
    for service in &status.services {
        lines.push(String::new());
        lines.extend(block(service, &Clock { now: status.now, zone }, paint));
    }
    lines
}

struct Clock<'a> {
    now: Moment,
    zone: &'a TimeZone,
}

impl Clock<'_> {
    /// `12:30:00 (in 4m 12s)`.
    fn coming(&self, at: Moment) -> String {
        format!("{} (in {})", local(at, self.now, self.zone), span(at.since(self.now)))
    }
}

fn block(service: &ServiceStatus, clock: &Clock<'_>, paint: Paint) -> Vec<String> {
    let name = paint.apply(Tone::Bold, service.name.as_str()).into_owned();
    let mut lines = vec![format!("{name}  baseline {}", service.baseline)];
    let mut warn = |text: String| {
        let told = wrapped(2, &text);
        lines.extend(told.iter().map(|l| paint.apply(Tone::Warning, l).into_owned()));
    };
    if let Some(maintenance) = &service.maintenance {
        warn(maintenance_line(maintenance, clock.now, clock.zone));
    }
    if let Some(at) = service.returns_at {
        warn(format!("the weights return to what they were at {}", clock.coming(at)));
    }
    if let Some(at) = service.ramp_until {
        warn(format!("rolling back to {} in steps until {}", service.baseline, clock.coming(at)));
    }
    lines.extend(pools(service).lines(paint));
    lines.extend(endpoints(service).lines(paint));
    for text in service.pools.iter().flat_map(remarks) {
        lines.extend(wrapped(2, &text));
    }
    lines
}

/// `maintenance of all services since 12:00:00 until 14:00:00 (in 58m): Back soon`.
pub fn maintenance_line(view: &MaintenanceView, now: Moment, zone: &TimeZone) -> String {
    let clock = Clock { now, zone };
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

fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent {
        p if p <= 0.0 => "0%".into(),
        p if p < 0.01 => "<0.01%".into(),
        p if p < 10.0 => format!("{p:.2}%"),
        p => format!("{p:.1}%"),
    }
}

fn rate(rps: f64) -> String {
    if rps > 0.0 && rps < 100.0 { format!("{rps:.1}") } else { format!("{rps:.0}") }
}

fn latency(ms: Option<f64>) -> String {
    match ms {
        None => "-".into(),
        Some(ms) if ms < 10.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.1}s", ms / 1_000.0),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::table::WIDTH;

    /// Two services, one with maintenance and a weight that returns, one with a down endpoint.
    pub const SAMPLE: &str = r#"{
        "version": "0.1.0", "pid": 4711, "revision": 42, "started": 1795200000000,
        "now": 1795262400000, "window": "10s",
        "listeners": [{ "name": "http", "address": "0.0.0.0:8080", "connections": 1250 }],
        "services": [
            { "name": "api", "baseline": "blue", "ramp_until": 1795262412000, "pools": [
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
                  "requests": 4032, "failovers": 0, "endpoints": [
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

    #[test]
    fn numbers_keep_their_sense_when_small_or_large() {
        let percents = [0.0, 0.00001, 0.0042, 0.5, 1.0].map(percent);
        assert_eq!(percents, ["0%", "<0.01%", "0.42%", "50.0%", "100.0%"]);
        assert_eq!([0.0, 3.44, 1240.4].map(rate), ["0", "3.4", "1240"]);
        let latencies = [None, Some(4.21), Some(88.8), Some(1204.0)].map(latency);
        assert_eq!(latencies, ["-", "4.2ms", "89ms", "1.2s"]);
    }
}
