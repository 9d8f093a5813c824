//! What a request's hooks hand on to each other: pingora's per-request context.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::HeaderValue;

use super::{
    choose::{Choice, Field, Tried},
    client::Client,
    compress::Encoder,
    telling::Telling,
    trace::Trace,
    tunnel::{Opened, Tunnel},
};
use crate::{
    model::{Blame, Placement, link::Link, snapshot},
    tally::{EndpointCell, EndpointTally, PoolTally},
    view::{Berth, LocalView, ServiceView, View},
};

/// One request from its head to its last byte.
#[derive(Debug)]
pub struct Exchange {
    /// The worker that serves it.
    pub worker: usize,
    /// When its head had arrived.
    pub begun: Instant,
    /// Its connection.
    pub client: Option<Arc<Client>>,
    /// Who sent it, after trusted proxies.
    pub address: Option<IpAddr>,
    /// The view that it keeps.
    pub view: Option<Arc<LocalView>>,
    /// The service, by index, if one was found.
    pub service: Option<usize>,
    /// Where it belongs.
    pub placement: Option<Placement>,
    /// Its id.
    pub id: HeaderValue,
    /// Its trace.
    pub trace: Trace,
    /// Its place in the pool that it is served by, where places are limited.
    pub berth: Option<Berth>,
    /// What it has tried.
    pub tried: Tried,
    /// Whether a new connection must be made, because a kept one was stale.
    pub fresh: bool,
    /// How many attempts there were.
    pub attempts: u32,
    /// The running attempt, or the last one.
    pub attempt: Option<Attempt>,
    /// Bytes of the body that the running attempt was given, if they are limited.
    pub received: u64,
    /// When the response's first byte came.
    pub first_byte: Option<Instant>,
    /// What compresses the response, if it is compressed.
    pub encoder: Option<Box<Encoder>>,
    /// Whether the end of the answer says how it went.
    pub awaits_status: bool,
    /// Whose fault it is, if it failed.
    pub blame: Option<Blame>,
    /// Whether the last connection that failed did so by time.
    pub timed_out: bool,
    /// Whether lbd answered before any pool was asked.
    pub own_answer: bool,
    /// What the running attempt may become.
    pub tunnel: Option<Arc<Tunnel>>,
    /// The tunnel that it became.
    pub opened: Option<Opened>,
    /// Whether its body has come to its end.
    pub is_whole: bool,
    /// The status that it is answered with, whatever else could be done.
    pub verdict: Option<u16>,
    /// What the guard has been told.
    pub telling: Telling,
    /// The pool, by index, whose failed attempt is replayed on the baseline, and what went wrong.
    pub shielded: Option<(usize, Blame)>,
}

/// One attempt at an endpoint. It is running until it is dropped.
///
/// It finds its tally through the worker's own reference to the view: a reference count of the tally
/// itself would be written by all workers.
#[derive(Debug)]
pub struct Attempt {
    /// Where.
    pub choice: Choice,
    view: Arc<LocalView>,
    service: usize,
    worker: usize,
    judged: bool,
}

impl Exchange {
    /// A request whose head has just arrived at a worker.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            begun: Instant::now(),
            client: None,
            address: None,
            view: None,
            service: None,
            placement: None,
            id: HeaderValue::from_static("-"),
            trace: Trace::new(),
            berth: None,
            tried: Tried::default(),
            fresh: false,
            attempts: 0,
            attempt: None,
            received: 0,
            first_byte: None,
            encoder: None,
            awaits_status: false,
            blame: None,
            timed_out: false,
            own_answer: true,
            verdict: None,
            is_whole: false,
            tunnel: None,
            opened: None,
            telling: Telling::default(),
            shielded: None,
        }
    }

    /// The service with its tallies.
    pub fn field(&self) -> Option<Field<'_>> {
        let view: &View = self.view.as_ref()?;
        let at = self.service?;
        let service: &snapshot::Service = view.snapshot.services.get(at)?;
        Some(Field { service, view: view.services.get(at)?, worker: self.worker })
    }

    /// Counts a piece of the request's body. True if the body is too large by now.
    pub fn receives(&mut self, piece: Option<&Bytes>) -> bool {
        let (Some(field), Some(piece)) = (self.field(), piece) else { return false };
        let policy = &field.service.settings.policy;
        let received = self.received + piece.len() as u64;
        let is_too_large = policy.is_too_large(received);
        self.received = received;
        is_too_large
    }

    /// Begins an attempt; the one before ends.
    pub fn attempt(&mut self, choice: Choice) {
        self.attempt = None;
        self.attempts += 1;
        if let (Some(view), Some(service)) = (&self.view, self.service) {
            let (view, worker) = (view.clone(), self.worker);
            let attempt = Attempt { choice, view, service, worker, judged: false };
            attempt.cell().started.add(1);
            self.attempt = Some(attempt);
        }
    }

    /// Whether there is a place in `pool`: the one it has, or a free one. It waits for none: whoever
    /// steps in has requests of its own.
    pub fn takes_place(&mut self, pool: usize) -> bool {
        let (Some(view), Some(service)) = (&self.view, self.service) else { return false };
        let Some(bulkhead) = view.bulkhead(service, pool) else {
            self.berth = None;
            return true;
        };
        if !self.berth.as_ref().is_some_and(|berth| berth.is_of(bulkhead)) {
            let free = bulkhead.try_enter();
            if free.is_none() {
                return false;
            }
            self.berth = free;
        }
        true
    }

    /// The request is sent: its answer is waited for from now on.
    pub fn is_sent(&mut self) {
        if let Some(berth) = &mut self.berth {
            berth.asked();
        }
    }

    /// The connection was lost before an answer, which is nobody's failure: the next attempt makes a
    /// new one, if it can elsewhere.
    pub fn renew(&mut self) {
        self.fresh = true;
        self.trace_failure(Blame::Reset.as_str());
        self.tried.avoid = self.choice();
    }

    /// Where the request is counted: its pool's tally, or lbd's own.
    pub fn tally(&self) -> Option<&PoolTally> {
        let view = self.view.as_ref()?;
        let Some(field) = self.field() else { return Some(&view.unrouted) };
        let service: &ServiceView = field.view;
        match &self.attempt {
            Some(attempt) if !self.own_answer => Some(&service.pools[attempt.choice.pool].tally),
            Some(_) | None => Some(&service.own),
        }
    }

    /// The choice of the running attempt, or the last one.
    pub fn choice(&self) -> Option<Choice> {
        self.attempt.as_ref().map(|attempt| attempt.choice)
    }

    /// The endpoint of the running attempt, or the last one.
    pub fn endpoint(&self) -> Option<&snapshot::Endpoint> {
        let choice = self.attempt.as_ref()?.choice;
        Some(&self.field()?.service.pools[choice.pool].endpoints[choice.endpoint])
    }

    /// What is counted of the endpoint of the running attempt, or the last one.
    pub fn endpoint_tally(&self) -> Option<&Arc<EndpointTally>> {
        let choice = self.attempt.as_ref()?.choice;
        Some(&self.field()?.view.pools[choice.pool].endpoints[choice.endpoint])
    }

    /// How the endpoint of the running attempt, or the last one, is spoken to.
    pub fn link(&self) -> Option<&Arc<Link>> {
        let choice = self.attempt.as_ref()?.choice;
        Some(&self.field()?.service.pools[choice.pool].link)
    }

    /// Whether another pool serves it than the one it belongs to.
    pub fn failed_over(&self) -> bool {
        match (&self.attempt, &self.placement) {
            (Some(attempt), Some(placement)) => attempt.choice.pool != placement.pool,
            (Some(_) | None, _) => false,
        }
    }
}

impl Attempt {
    fn cell(&self) -> &EndpointCell {
        let pool = &self.view.services[self.service].pools[self.choice.pool];
        pool.endpoints[self.choice.endpoint].cell(self.worker)
    }

    /// Counts how the attempt went, once, for the passive check.
    pub fn judge(&mut self, failed: bool) {
        if !std::mem::replace(&mut self.judged, true) {
            self.cell().outcome(failed);
        }
    }
}

impl Drop for Exchange {
    /// However it ends, it waits no more.
    fn drop(&mut self) {
        self.tell_over();
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.cell().finished.add(1);
    }
}
