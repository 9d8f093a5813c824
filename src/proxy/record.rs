//! Counts and logs a request that is over.

use std::{borrow::Cow, time::Instant};

use pingora_proxy::Session;

use super::{answer::answered, exchange::Exchange, span::OTHER};
use crate::{
    model::{Blame, maintenance::BYPASS_PATH},
    observe::{Gathered, access_log::Line},
};

/// What the log has of a request and its answer, besides what its exchange knows.
#[derive(Debug)]
pub struct Said<'a> {
    /// The method.
    pub method: &'a str,
    /// The Host header.
    pub host: &'a str,
    /// Path and query, as sent.
    pub path: Cow<'a, str>,
    /// The protocol's version.
    pub protocol: &'static str,
    /// Bytes of the response's body.
    pub bytes: usize,
    /// Bytes of the request's body.
    pub bytes_in: usize,
    /// The Referer header.
    pub referer: Option<&'a str>,
    /// The User-Agent header.
    pub user_agent: Option<&'a str>,
}

/// Counts a request that was answered with `status` in its tally, and logs it where its service says.
pub fn record<'a>(
    exchange: &Exchange,
    status: u16,
    gathered: &Gathered,
    said: impl FnOnce() -> Said<'a>,
) {
    let now = Instant::now();
    let micros = |from: Instant, to: Instant| {
        u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
    };
    let duration = micros(exchange.begun, now);
    let first_byte = exchange.first_byte.map(|at| micros(exchange.begun, at));
    if let Some(tally) = exchange.tally() {
        let cell = tally.cell(exchange.worker);
        cell.code(status);
        cell.finished.add(1);
        // What the candidate took before is not the baseline's time, nor is a tunnel's life an answer's.
        if exchange.shielded.is_none() && exchange.opened.is_none() {
            cell.durations.record(duration);
        }
        if let Some(first_byte) = first_byte.filter(|_| exchange.shielded.is_none()) {
            cell.first_bytes.record(first_byte);
        }
        if let Some(blame) = exchange.blame {
            cell.blame(blame);
        }
        if exchange.failed_over() && exchange.shielded.is_none() && !exchange.own_answer {
            cell.failovers.add(1);
        }
    }
    let field = exchange.field();
    let Some(sink) = field.and_then(|f| f.view.log.as_ref()) else { return };
    let said = said();
    let service = field.map(|f| f.service);
    let pool = exchange.choice().and_then(|c| service?.pools.get(c.pool));
    let wanted = exchange.placement.and_then(|p| service?.pools.get(p.pool));
    let endpoint = exchange.endpoint().map(|e| e.target.to_string());
    let line = Line {
        time: jiff::Timestamp::now(),
        request_id: exchange.id.to_str().unwrap_or("-"),
        revision: exchange.view.as_ref().map_or(0, |v| v.snapshot.revision.0),
        client: exchange.address.map(|a| a.to_string()).unwrap_or_default(),
        method: said.method,
        host: said.host,
        path: without_link(said.path),
        protocol: said.protocol,
        status,
        bytes: said.bytes,
        bytes_in: said.bytes_in,
        duration_ms: duration as f64 / 1000.0,
        first_byte_ms: first_byte.map(|us| us as f64 / 1000.0),
        service: service.map_or("-", |s| s.name.as_str()),
        pool: pool.map_or("-", |p| p.name.as_str()),
        failover_from: wanted
            .filter(|_| exchange.failed_over() && exchange.shielded.is_none())
            .map(|p| p.name.as_str()),
        shielded_from: exchange
            .shielded
            .and_then(|(pool, _)| service?.pools.get(pool))
            .map(|pool| pool.name.as_str()),
        shielded_blame: exchange.shielded.map(|(_, blame)| blame.as_str()),
        endpoint,
        rule: exchange.placement.map(|p| p.rule.as_str()),
        bucket: exchange.placement.and_then(|p| p.bucket).map(|b| b.number()),
        attempts: exchange.attempts,
        blame: exchange.blame.map(Blame::as_str),
        referer: said.referer,
        user_agent: said.user_agent,
    };
    gathered.lines.write(sink, &line);
}

/// What the log has of pingora's session.
pub fn said(session: &Session) -> Said<'_> {
    let request = session.req_header();
    let header = |name: &str| request.headers.get(name).and_then(|v| v.to_str().ok());
    Said {
        method: request.method.as_str(),
        host: header("host").unwrap_or_default(),
        path: String::from_utf8_lossy(request.raw_path()),
        protocol: protocol(request.version),
        bytes: session.body_bytes_sent(),
        bytes_in: session.body_bytes_read(),
        referer: header("referer"),
        user_agent: header("user-agent"),
    }
}

/// Ends the request's trace, and hands its spans on if it is recorded.
pub fn end_trace(session: &Session, exchange: &mut Exchange, gathered: &Gathered) {
    let ended = exchange.end_trace(Some(session.req_header()), answered(session), OTHER);
    if let Some((sink, spans)) = ended {
        gathered.spans.write(&sink, spans);
    }
}

/// Path and query as they may be logged: without the secret of a maintenance's link.
pub fn without_link(path: Cow<'_, str>) -> Cow<'_, str> {
    match path.split_once(BYPASS_PATH) {
        Some((place, _)) => format!("{place}{BYPASS_PATH}***").into(),
        None => path,
    }
}

/// The status that the client saw; 499 if it went away before.
pub fn status(session: &Session, exchange: &Exchange) -> u16 {
    match answered(session) {
        Some(status) => status,
        None if exchange.blame == Some(Blame::ClientAbort) => 499,
        None => 500,
    }
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "HTTP/1.0",
        http::Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
