//! The lean path: requests of HTTP/1.1 that ask for nothing special, from one connection to another
//! without a step in between.
//!
//! What it serves is told by a whitelist ([`Fast::begin`]); everything else, and every request whose
//! first attempt failed before its client saw anything, goes to the full path with the bytes as they
//! came and with what is known of it. Both decide, judge and count by the same functions. A steady
//! stream of requests allocates nothing here, and writes nothing that other workers write.

pub mod answer;
mod begun;
pub mod body;
mod kept;
mod outbound;
mod request;
mod trip;
mod trust;
mod wire;

use std::{
    future::poll_fn,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BufMut;
use nix::libc;
use tokio::time::timeout;

use self::{
    answer::{Answer, field},
    begun::Begun,
    kept::Kept,
    trip::{Asked, Failure, Trip},
    trust::Trust,
    wire::Wire,
};
use super::{
    exchange::Exchange, headers::id_cookie, judging::Judge, patience::wait, record::record,
    secure::hsts,
};
use crate::{
    edge::io::{EdgeIo, lean::Coming},
    model::{Blame, guard::Fate},
    observe::Gathered,
    view::Reader,
};

/// How many interim answers an endpoint may give to one request.
const INTERIM_MAX: usize = 32;

/// What became of a request.
#[derive(Debug)]
pub enum Served {
    /// It was answered, and the connection is good for more.
    Kept,
    /// It was answered, and the connection must be closed.
    Closed,
    /// Its answer broke off, or its client did.
    Broken,
    /// The full path must serve it, or go on with it.
    Left(Option<Box<Exchange>>),
}

/// How a request ended here.
enum Ended {
    /// With its answer: whether the client's connection may go on, and the endpoint's.
    Answered { keeps: bool, keeps_wire: bool },
    /// Without, or with a part of it.
    Broken,
    /// The full path has it now, to go on with it or to answer it with this status.
    Left(Option<u16>),
}

/// One worker's lean path.
#[derive(Debug)]
pub struct Fast {
    worker: usize,
    reader: Reader,
    judge: Judge,
    gathered: Arc<Gathered>,
    kept: Kept,
    trust: Trust,
}

impl Fast {
    /// A worker's lean path, over its handle on the view and what it gathers for those who write.
    pub fn new(worker: usize, reader: Reader, judge: Judge, gathered: Arc<Gathered>) -> Self {
        Self { worker, reader, judge, gathered, kept: Kept::default(), trust: Trust::default() }
    }

    /// Closes idle connections whose time is up.
    pub fn sweep(&self, now: Instant) {
        self.kept.sweep(now);
    }

    /// Serves the request whose head `io` has read.
    pub async fn serve(&self, io: &mut EdgeIo) -> Served {
        let Some((mut begun, asked)) = self.begin(io) else { return Served::Left(None) };
        let wire = match self.wire(&begun.exchange, begun.timeouts.connect.duration()).await {
            Ok(wire) => wire,
            Err(error) => return self.unconnected(io, begun, asked, &error),
        };
        if !begun.exchange.is_whole {
            // Either side may be slow while it is sent.
            let patience = begun.timeouts.idle.max(io.client().listener.timeouts.body);
            io.client().wait_for_endpoint(patience);
        }
        let mut trip = Trip::new(wire, asked, begun.timeouts.first_byte, hides_hsts(io));
        if begun.exchange.is_whole {
            wait(&begun.exchange, |timeouts| timeouts.first_byte);
        }
        let ended = match answer(io, &mut begun, &mut trip).await {
            Ok(answer) => self.answered(io, &mut begun, &mut trip, answer).await,
            Err(failure) => self.unanswered(io, &mut begun, &trip, failure),
        };
        match ended {
            Ended::Answered { keeps, keeps_wire } => {
                if let Some(tally) = begun.exchange.endpoint_tally().filter(|_| keeps_wire) {
                    let until = Instant::now() + begun.timeouts.keepalive.duration();
                    self.kept.put(tally, trip.into_wire(), until);
                }
                if keeps { Served::Kept } else { Served::Closed }
            }
            Ended::Broken => Served::Broken,
            Ended::Left(verdict) => leave(io, begun, trip, verdict),
        }
    }

    /// A connection to the endpoint that was chosen.
    async fn wire(&self, exchange: &Exchange, limit: Duration) -> io::Result<Wire> {
        let vanished = || io::Error::other("the endpoint vanished");
        let tally = exchange.endpoint_tally().ok_or_else(vanished)?;
        let link = exchange.link().ok_or_else(vanished)?;
        if let Some(wire) = self.kept.take(tally, link) {
            return Ok(wire);
        }
        let endpoint = exchange.endpoint().ok_or_else(vanished)?;
        let secured = self.trust.of(link, &endpoint.address)?;
        timeout(limit, Wire::connect(&endpoint.target, link, secured)).await?
    }

    /// The endpoint could not be reached: the full path tries another.
    fn unconnected(
        &self,
        io: &mut EdgeIo,
        begun: Begun,
        asked: Asked,
        error: &io::Error,
    ) -> Served {
        let replay = begun.replay(true);
        let mut exchange = begun.handed_over(&asked.request);
        exchange.timed_out = error.kind() == io::ErrorKind::TimedOut;
        exchange.tried.failed.extend(exchange.choice());
        if is_ours(error) {
            exchange.tell_nothing();
        } else {
            exchange.blame.get_or_insert(Blame::Connect);
            self.judge.failure(&mut exchange);
            exchange.shield(replay, Blame::Connect);
        }
        io.return_request(asked.request.into_inner(), asked.head);
        Served::Left(Some(Box::new(exchange)))
    }

    /// Hands the answer on to the client.
    async fn answered(
        &self,
        io: &mut EdgeIo,
        begun: &mut Begun,
        trip: &mut Trip,
        answer: Answer,
    ) -> Ended {
        let exchange = &mut begun.exchange;
        exchange.first_byte = Some(Instant::now());
        if let Some(berth) = &mut exchange.berth {
            berth.answered();
        }
        let failed = self.judge.answer(exchange, answer.status, answer.said);
        let replay = begun.replay(trip.can_be_sent_again());
        if failed && begun.exchange.shield(replay, Blame::Upstream5xx) {
            return Ended::Left(None);
        }
        // An answer before the end of its request ends the connection with it.
        let is_whole = io.coming() == Coming::Nothing;
        let keeps = begun.keeps && is_whole && !io.client().is_draining();
        write_head(io, begun, trip, keeps);
        wait(&begun.exchange, |timeouts| timeouts.idle);
        let mut body = answer.body;
        let handed = poll_fn(|cx| trip.poll_handed(io, cx, &mut body)).await;
        let handed = match handed {
            Ok(()) => io.flushed().await.map_err(|_| Failure::Left),
            Err(failure) => Err(failure),
        };
        match handed {
            Ok(()) => {}
            Err(Failure::Left) => left(&mut begun.exchange),
            // What the client still owes is not the endpoint's fault.
            Err(Failure::Late) if trip.is_owed(io) => begun.exchange.tell_nothing(),
            Err(failure) => {
                begun.exchange.blame = blame(failure);
                self.judge.failure(&mut begun.exchange);
            }
        }
        self.record(begun, trip, answer.status);
        match handed {
            Ok(()) => Ended::Answered { keeps, keeps_wire: answer.keeps && trip.is_clean() },
            Err(_) => Ended::Broken,
        }
    }

    /// There was no answer: who goes on depends on why.
    fn unanswered(&self, io: &EdgeIo, begun: &mut Begun, trip: &Trip, failure: Failure) -> Ended {
        let again = trip.can_be_sent_again();
        let replay = begun.replay(again);
        let exchange = &mut begun.exchange;
        match failure {
            Failure::Lost if trip.is_kept() && again && begun.is_idempotent => {
                // A kept connection that the endpoint closed meanwhile is nobody's failure.
                exchange.renew();
                Ended::Left(None)
            }
            Failure::Lost | Failure::Nonsense => {
                exchange.blame = blame(failure);
                self.judge.failure(exchange);
                let shielded = exchange.blame.is_some_and(|blame| exchange.shield(replay, blame));
                Ended::Left((!shielded).then_some(502))
            }
            Failure::Late if !trip.is_owed(io) => {
                exchange.blame = Some(Blame::Timeout);
                self.judge.failure(exchange);
                let shielded = exchange.shield(replay, Blame::Timeout);
                Ended::Left((!shielded).then_some(504))
            }
            // What its client still owes is not the endpoint's fault.
            Failure::Late => Ended::Left(Some(408)),
            Failure::Body(status) => Ended::Left(Some(status)),
            Failure::Left => {
                left(exchange);
                self.record(begun, trip, 499);
                Ended::Broken
            }
        }
    }

    /// Counts and logs a request that is over.
    fn record(&self, begun: &mut Begun, trip: &Trip, status: u16) {
        if let Some(client) = &begun.exchange.client {
            client.rest();
        }
        begun.exchange.tell_over();
        if begun.exchange.field().is_some_and(|field| field.view.log.is_some()) {
            begun.exchange.id = begun.id.value(&trip.request);
        }
        let mut slots = request::slots();
        record(&begun.exchange, status, &self.gathered, || begun::said(trip, &mut slots));
        begun.exchange.recorded = true;
        begun.exchange.berth = None;
    }
}

/// Waits for the answer; hands interim ones on.
async fn answer(io: &mut EdgeIo, begun: &mut Begun, trip: &mut Trip) -> Result<Answer, Failure> {
    for _ in 0..INTERIM_MAX {
        let exchange = &mut begun.exchange;
        let answer = poll_fn(|cx| {
            let answer = trip.poll_answer(io, cx);
            if trip.is_sent() && !exchange.is_whole {
                exchange.is_whole = true;
                exchange.tell_sent();
                exchange.is_sent();
            }
            answer
        });
        let answer = answer.await?;
        match answer.status {
            // Nobody asked for another protocol.
            101 => return Err(Failure::Nonsense),
            // Leave to send too: whoever asked for it waits, others take no notice.
            100 | 102..200 => {
                let out = io.output();
                out.put_slice(&trip.reply);
                out.put_slice(b"\r\n");
                trip.reply.clear();
                io.flushed().await.map_err(|_| Failure::Left)?;
                if answer.status == 100 {
                    io.give_leave();
                }
            }
            _ => return Ok(answer),
        }
    }
    Err(Failure::Nonsense)
}

/// Whether lbd says itself for how long browsers are to come over TLS.
fn hides_hsts(io: &EdgeIo) -> bool {
    io.client().is_secure && io.client().listener.hsts.is_some()
}

/// What the client gets of the answer's head, and what lbd adds to it.
fn write_head(io: &mut EdgeIo, begun: &Begun, trip: &Trip, keeps: bool) {
    let hsts = hsts(io.client());
    let out = io.output();
    out.put_slice(&trip.reply);
    out.put_slice(b"x-request-id: ");
    begun.id.write(&trip.request, out);
    out.put_slice(b"\r\n");
    if let Some((name, value)) = hsts {
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if let Some(id) = begun.exchange.placement.and_then(|placement| placement.new_id) {
        field(out, b"set-cookie", id_cookie(id).as_bytes());
    }
    out.put_slice(if keeps { b"\r\n" } else { b"connection: close\r\n\r\n" });
}

/// Leaves a request to the full path: to go on with it, or to answer it with `verdict`.
fn leave(io: &mut EdgeIo, begun: Begun, trip: Trip, verdict: Option<u16>) -> Served {
    let mut exchange = begun.handed_over(&trip.request);
    exchange.verdict = verdict;
    if verdict.is_some() {
        io.return_head(trip.request.get(..trip.head).unwrap_or_default());
    } else {
        let head = trip.head;
        io.return_request(trip.request.into_inner(), head);
    }
    Served::Left(Some(Box::new(exchange)))
}

/// The client is gone.
fn left(exchange: &mut Exchange) {
    if let Some(client) = &exchange.client {
        client.leave();
    }
    // A failure that was seen before the client left stays one.
    if exchange.blame != Some(Blame::Upstream5xx) {
        exchange.blame = Some(Blame::ClientAbort);
        exchange.tell(Fate::Left);
    }
}

fn blame(failure: Failure) -> Option<Blame> {
    match failure {
        Failure::Lost => Some(Blame::Reset),
        Failure::Nonsense => Some(Blame::Protocol),
        Failure::Late => Some(Blame::Timeout),
        Failure::Left | Failure::Body(_) => None,
    }
}

/// Whether this machine lacks something (descriptors, ports), which is not the endpoint's fault.
fn is_ours(error: &io::Error) -> bool {
    const LACKS: [i32; 5] =
        [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| LACKS.contains(&code))
}
