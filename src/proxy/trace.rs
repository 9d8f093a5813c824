//! A request's trace: what endpoints are told of it, and the spans that a collector gets.
//!
//! One span is the request, as the client sees it; each attempt at an endpoint is a part of it. They are
//! named by OpenTelemetry's semantic conventions for HTTP, and lbd's own knowledge by `lbd.*`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderMap;
use pingora_core::Result;
use pingora_http::RequestHeader;

use super::{
    exchange::Exchange,
    span::{self, OTHER},
};
use crate::{
    model::policy::trace::{Context, is_recorded},
    observe::spans::{Attribute, Kind, Parent, Sink, Span},
};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Longest `tracestate` that is kept in a span, in bytes; every program must pass on half of it.
const STATE_MAX: usize = 1024;

/// A request's trace.
#[derive(Debug)]
pub struct Trace {
    /// Its id, if it came without one.
    pub id: u128,
    /// Whether it was asked whether the trace is recorded.
    is_decided: bool,
    recording: Option<Box<Recording>>,
}

/// What a recorded trace knows of the request so far.
#[derive(Debug)]
struct Recording {
    sink: Arc<Sink>,
    /// The trace, with the span of the request.
    context: Context,
    parent: Option<Parent>,
    state: Option<Box<str>>,
    /// When the request began, in nanoseconds since the Unix epoch.
    begun: u64,
    asked: Vec<Attribute>,
    attempts: Vec<Attempt>,
}

/// An attempt, as far as it has come.
#[derive(Debug)]
struct Attempt {
    /// Of its span.
    id: u64,
    begun: Instant,
    ended: Option<Instant>,
    asked: Vec<Attribute>,
    status: Option<u16>,
    failure: Option<&'static str>,
}

impl Trace {
    /// Of a request that has just come.
    pub fn new() -> Self {
        Self { id: fastrand::u128(..), is_decided: false, recording: None }
    }

    fn attempt(&mut self) -> Option<&mut Attempt> {
        self.recording.as_mut()?.attempts.last_mut()
    }
}

/// Tells an endpoint which trace the request belongs to: the attempt's own span if it is recorded, else
/// what the client said if that is sound, else a new trace, the same in each attempt.
///
/// # Errors
///
/// If a value cannot be put into a header, which these always can.
pub fn to_endpoint(request: &mut RequestHeader, exchange: &Exchange) -> Result<()> {
    let said = context(&request.headers);
    if said.is_none() {
        // It belongs to a trace that is none.
        request.remove_header(TRACESTATE);
    }
    let context = match &exchange.trace.recording {
        Some(recording) => {
            let attempt = recording.attempts.last().map(|attempt| attempt.id);
            Context { span: attempt.unwrap_or(recording.context.span), ..recording.context }
        }
        None if said.is_some() => return Ok(()),
        // Without a collector of lbd's own it says that the trace is wanted, as no `traceparent` would
        // for most applications: to leave out some is their decision.
        None => Context::new(exchange.trace.id, fastrand::u64(..), exchange.sink().is_none()),
    };
    request.insert_header(TRACEPARENT, context.to_string())
}

/// The sound trace context of a request, if it has one.
fn context(headers: &HeaderMap) -> Option<Context> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    Context::read(value.as_bytes())
}

/// What other vendors know of the trace.
fn state(headers: &HeaderMap) -> Option<Box<str>> {
    let values = headers.get_all(TRACESTATE).iter().filter_map(|value| value.to_str().ok());
    let joined = values.collect::<Vec<_>>().join(",");
    Some(joined).filter(|state| !state.is_empty() && state.len() <= STATE_MAX).map(Into::into)
}

impl Exchange {
    /// Where spans go, if they go anywhere.
    fn sink(&self) -> Option<&Arc<Sink>> {
        self.view.as_ref()?.spans.as_ref()
    }

    /// Decides, once, whether the trace is recorded: as whoever sent the request says, or else by chance.
    fn decide_trace(&mut self, request: &RequestHeader) {
        if std::mem::replace(&mut self.trace.is_decided, true) {
            return;
        }
        let Some(sink) = self.sink() else { return };
        let (said, id) = (context(&request.headers), self.trace.id);
        let is_trusted = self.client.as_ref().is_some_and(|c| c.is_trusted(c.peer.ip()));
        if !is_recorded(said, id, is_trusted, sink.sample) {
            return;
        }
        let context = said.unwrap_or_else(|| Context::new(id, fastrand::u64(..), true)).sampled();
        let recording = Recording {
            sink: sink.clone(),
            context: Context { span: fastrand::u64(1..), ..context },
            parent: said.map(|said| Parent::Remote(said.span)),
            state: said.and_then(|_| state(&request.headers)),
            begun: span::epoch_nanos(self.begun),
            asked: span::of_request(request, self),
            attempts: Vec::new(),
        };
        self.trace.recording = Some(Box::new(recording));
    }

    /// An attempt begins; the one before is over.
    pub fn trace_attempt(&mut self, request: &RequestHeader) {
        self.decide_trace(request);
        if self.trace.recording.is_none() {
            return;
        }
        let asked = span::of_attempt(request, self);
        let Some(recording) = &mut self.trace.recording else { return };
        let begun = Instant::now();
        if let Some(last) = recording.attempts.last_mut() {
            last.ended = Some(begun);
        }
        let id = fastrand::u64(1..);
        let attempt = Attempt { id, begun, ended: None, asked, status: None, failure: None };
        recording.attempts.push(attempt);
    }

    /// The running attempt was answered.
    pub fn trace_answer(&mut self, status: u16) {
        if let Some(attempt) = self.trace.attempt() {
            attempt.status = Some(status);
        }
    }

    /// The running attempt failed.
    pub fn trace_failure(&mut self, failure: &'static str) {
        if let Some(attempt) = self.trace.attempt() {
            attempt.failure.get_or_insert(failure);
        }
    }

    /// The request is over, and was answered with `status`, or not at all: then `otherwise` says why, if
    /// nothing better is known. Returns its spans, if its trace is recorded, and where they go.
    pub fn end_trace(
        &mut self,
        request: Option<&RequestHeader>,
        status: Option<u16>,
        otherwise: &'static str,
    ) -> Option<(Arc<Sink>, Vec<Span>)> {
        if let Some(request) = request {
            self.decide_trace(request);
        }
        let recording = self.trace.recording.take()?;
        let now = Instant::now();
        let blame = self.blame.map(|blame| blame.as_str());
        let blame = blame.or(status.is_none().then_some(otherwise));
        let mut attributes = recording.asked;
        let is_failed = span::answer(&mut attributes, status, blame, 500);
        attributes.extend(span::of_exchange(self));
        let whole = Span {
            trace: recording.context.trace,
            id: recording.context.span,
            parent: recording.parent,
            state: recording.state,
            flags: recording.context.flags,
            kind: Kind::Server,
            name: span::name(&attributes),
            begun: recording.begun,
            ended: after(recording.begun, now.saturating_duration_since(self.begun)),
            attributes,
            is_failed,
        };
        let last = recording.attempts.len().saturating_sub(1);
        let mut spans = Vec::with_capacity(recording.attempts.len() + 1);
        for (n, attempt) in recording.attempts.into_iter().enumerate() {
            let otherwise = blame.filter(|_| n == last);
            spans.push(attempt.span(&whole, self.begun, now, otherwise));
        }
        spans.push(whole);
        Some((recording.sink, spans))
    }
}

impl Attempt {
    /// Its span, as a part of `whole`, whose request began at `epoch` and is over `now`. `otherwise` says
    /// what went wrong if nothing is known of this attempt.
    fn span(
        mut self,
        whole: &Span,
        epoch: Instant,
        now: Instant,
        otherwise: Option<&'static str>,
    ) -> Span {
        let unknown = self.status.is_none().then_some(OTHER);
        let failure = self.failure.or(otherwise).or(unknown);
        let is_failed = span::answer(&mut self.asked, self.status, failure, 400);
        let at = |moment: Instant| after(whole.begun, moment.saturating_duration_since(epoch));
        Span {
            trace: whole.trace,
            id: self.id,
            parent: Some(Parent::Here(whole.id)),
            state: whole.state.clone(),
            flags: whole.flags,
            kind: Kind::Client,
            name: whole.name.clone(),
            begun: at(self.begun),
            ended: at(self.ended.unwrap_or(now)),
            attributes: self.asked,
            is_failed,
        }
    }
}

/// So long after a moment in nanoseconds.
fn after(moment: u64, span: Duration) -> u64 {
    moment.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
