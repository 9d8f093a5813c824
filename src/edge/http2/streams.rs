//! The requests of a connection, counted: how many run, and how many its client gave up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::edge::timer::Timer;

/// Requests that the client began and gave up unanswered within [`STORM`], after which it is closed if
/// they were the most.
const GIVEN_UP: u32 = 100;
const STORM: Duration = Duration::from_secs(10);

/// The requests of a connection.
#[derive(Debug)]
pub struct Streams {
    running: AtomicU32,
    ended: AtomicU32,
    given_up: AtomicU32,
    /// When `ended` and `given_up` began to be counted, in milliseconds since `begun`.
    counted_since: AtomicU64,
    begun: Instant,
    emptied: Notify,
}

impl Streams {
    /// None yet.
    pub fn new() -> Self {
        Self {
            running: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            given_up: AtomicU32::new(0),
            counted_since: AtomicU64::new(0),
            begun: Instant::now(),
            emptied: Notify::new(),
        }
    }

    /// What was long ago is forgotten.
    fn forget(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if u128::from(now - self.counted_since.load(Relaxed)) >= STORM.as_millis() {
            self.counted_since.store(now, Relaxed);
            self.ended.store(0, Relaxed);
            self.given_up.store(0, Relaxed);
        }
    }

    /// Waits until the last running request has ended.
    pub async fn emptied(&self) {
        self.emptied.notified().await;
    }

    /// How many run, those included that the client gave up and lbd has not left yet.
    pub fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    /// Whether the client gave most of its requests up, and many.
    pub fn are_mostly_given_up(&self) -> bool {
        let given_up = self.given_up.load(Relaxed);
        given_up >= GIVEN_UP && given_up > self.ended.load(Relaxed) / 2
    }
}

/// For how long a connection has had no request.
#[derive(Debug, Default)]
pub struct Idle {
    since: Option<Instant>,
    timer: Timer,
}

impl Idle {
    /// Waits until nothing has run for so long. To be asked anew whenever requests begin or the last one
    /// has ended.
    pub fn poll(&mut self, streams: &Streams, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        if streams.running.load(Relaxed) > 0 {
            self.since = None;
            return Poll::Pending;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        self.timer.poll(since + limit, cx)
    }

    /// Counts anew.
    pub fn restart(&mut self) {
        self.since = None;
    }
}

/// A request's place among those of its connection, until it is dropped.
#[derive(Debug)]
pub struct Place(Arc<Streams>);

impl Place {
    /// One more.
    pub fn take(streams: &Arc<Streams>) -> Self {
        streams.running.fetch_add(1, Relaxed);
        Self(streams.clone())
    }

    /// It has ended; `given_up`: its client did not wait for the answer.
    pub fn leave(self, given_up: bool) {
        self.0.forget();
        self.0.given_up.fetch_add(u32::from(given_up), Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
        if self.0.running.fetch_sub(1, Relaxed) == 1 {
            self.0.emptied.notify_one();
        }
    }
}
