//! The lean path: requests of HTTP/1.1 that ask for nothing special, from one connection to another
//! without a step in between, and such of HTTP/2, from a stream to a connection ([`crossing`]).
//!
//! What it serves is told by a whitelist ([`Fast::begin`]); everything else, and every request whose
//! first attempt failed before its client saw anything, goes to the full path with the bytes as they
//! came and with what is known of it. Both decide, judge and count by the same functions. A steady
//! stream of requests of HTTP/1.1 allocates nothing here, and none writes what other workers write.

pub mod answer;
mod begun;
pub mod body;
mod crossing;
mod kept;
mod outbound;
mod request;
mod stream;
mod trip;
mod trust;
mod verdict;
mod wire;

use std::{
    fmt::Write,
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
    trip::{Failure, Trip},
    trust::Trust,
    verdict::Standing,
    wire::Wire,
};
use super::{
    exchange::Exchange, headers::id_cookie, judging::Judge, patience::wait, secure::hsts_secs,
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
            Err(error) => {
                let exchange = self.unreached(begun, &asked.request, &error);
                io.return_request(asked.request.into_inner(), asked.head);
                return Served::Left(Some(exchange));
            }
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
            Err(failure) => {
                let standing = Standing {
                    is_here: trip.can_be_sent_again(),
                    is_stale: trip.is_stale(),
                    is_owed: trip.is_owed(io),
                };
                let ended = self.unanswered(&mut begun, standing, failure);
                if matches!(ended, Ended::Broken) {
                    self.record_trip(&mut begun, &trip, 499);
                }
                ended
            }
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

    /// Hands the answer on to the client.
    async fn answered(
        &self,
        io: &mut EdgeIo,
        begun: &mut Begun,
        trip: &mut Trip,
        answer: Answer,
    ) -> Ended {
        if self.answers(begun, &answer, trip.can_be_sent_again()) {
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
        if let Err(failure) = handed {
            self.broke_off(begun, failure, trip.is_owed(io));
        }
        self.record_trip(begun, trip, answer.status);
        match handed {
            Ok(()) => Ended::Answered { keeps, keeps_wire: answer.keeps && trip.is_clean() },
            Err(_) => Ended::Broken,
        }
    }

    fn record_trip(&self, begun: &mut Begun, trip: &Trip, status: u16) {
        let mut slots = request::slots();
        self.record(begun, &trip.request, status, || begun::said(trip, &mut slots));
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
    let hsts = hsts_secs(io.client());
    let out = io.output();
    out.put_slice(&trip.reply);
    out.put_slice(b"x-request-id: ");
    begun.id.write(&trip.request, out);
    out.put_slice(b"\r\n");
    if let Some(secs) = hsts {
        // Writing to a buffer that grows cannot fail.
        let _ = write!(out, "strict-transport-security: max-age={secs}\r\n");
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
    if let Some(client) = exchange.client.as_ref().filter(|_| exchange.first_byte.is_none()) {
        client.leave();
    }
    // A failure that was seen before the client left stays one.
    if exchange.blame != Some(Blame::Upstream5xx) {
        exchange.blame = Some(Blame::ClientAbort);
        exchange.tell(Fate::Left);
    }
}

/// Whether this machine lacks something (descriptors, ports), which is not the endpoint's fault.
fn is_ours(error: &io::Error) -> bool {
    const LACKS: [i32; 5] =
        [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| LACKS.contains(&code))
}
