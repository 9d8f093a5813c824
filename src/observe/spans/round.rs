//! The thread's work: batches, further tries, the end.

use std::{
    collections::VecDeque,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{
    Fill, Order, Span,
    otlp::{Origin, Refused},
    post::Post,
};
use crate::{
    model::spans::Tracing,
    notify::{Failure, Patience, Retry, words},
};

/// How many spans are sent at once.
const BATCH_MAX: usize = 512;
/// How long spans are gathered before they are sent.
const GATHERING: Duration = Duration::from_secs(1);
/// How much of a refusal is told, in characters.
const TOLD_MAX: usize = 200;
/// How long what is left may take once another collector is named, or none.
const LAST_MAX: Duration = Duration::from_secs(10);

/// What the thread knows.
pub struct Round {
    orders: Receiver<Order>,
    post: Post,
    origin: Origin,
    patience: Patience,
    fill: Fill,
    /// What waits to be sent.
    spans: VecDeque<Span>,
    /// Since when the first of them waits.
    since: Instant,
    /// What was sent in vain, and is tried again.
    again: Option<Batch>,
    /// Whether the log has the trouble that lasts, so that it is not said with every batch.
    complained: bool,
}

/// Spans that are sent together.
struct Batch {
    body: Vec<u8>,
    count: usize,
    tries: u32,
    begun: Instant,
    /// When it is tried next.
    next: Instant,
}

impl Round {
    /// What brings the spans that come through `orders` to the collector of `settings`.
    pub fn new(settings: &Tracing, orders: Receiver<Order>, fill: Fill) -> Self {
        let timeout = settings.timeout.duration();
        Self {
            orders,
            post: Post::new(settings),
            origin: Origin::new(&settings.service_name),
            patience: Patience {
                connect: timeout,
                whole: timeout,
                longest: Duration::from_secs(30),
                span_max: Duration::from_secs(60),
                ..Patience::DEFAULT
            },
            fill,
            spans: VecDeque::new(),
            since: Instant::now(),
            again: None,
            complained: false,
        }
    }

    /// Works until nobody is left who could hand on spans.
    pub fn run(mut self) {
        loop {
            let order = match self.wake() {
                Some(at) => self.orders.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match order {
                Ok(Order::Take(spans)) => self.take(spans),
                Ok(Order::Flush(until, done)) => {
                    self.finish(until);
                    // Nobody waits any more if this fails.
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => self.send(),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.finish(Instant::now() + LAST_MAX);
                }
            }
        }
    }

    /// When something is to be sent, if there is anything.
    fn wake(&self) -> Option<Instant> {
        match &self.again {
            Some(batch) => Some(batch.next),
            None if self.spans.is_empty() => None,
            None if self.spans.len() >= BATCH_MAX => Some(self.since),
            None => Some(self.since + GATHERING),
        }
    }

    fn take(&mut self, spans: Vec<Span>) {
        if self.spans.is_empty() {
            self.since = Instant::now();
        }
        self.spans.extend(spans);
    }

    fn batch(&mut self) -> Option<Batch> {
        if self.again.is_some() || self.spans.is_empty() {
            return self.again.take();
        }
        let count = self.spans.len().min(BATCH_MAX);
        let body = self.origin.body(self.spans.drain(..count));
        let now = Instant::now();
        self.since = now;
        Some(Batch { body, count, tries: 0, begun: now, next: now })
    }

    fn send(&mut self) {
        let Some(mut batch) = self.batch() else { return };
        let failure = match self.post.send(&batch.body, self.patience.whole) {
            Ok(refused) => return self.arrived(batch.count, refused),
            Err(failure) => failure,
        };
        batch.tries += 1;
        let (spent, draw) = (batch.begun.elapsed(), fastrand::f64());
        match self.patience.wait(batch.tries, spent, failure.retry, draw) {
            Some(wait) => {
                self.complain(&failure);
                batch.next = Instant::now() + wait;
                self.again = Some(batch);
            }
            None => self.lose(batch.count, &failure),
        }
    }

    /// Sends what is left, once, until then; what did not arrive is lost.
    fn finish(&mut self, until: Instant) {
        let mut failed = None;
        while let Some(batch) = self.batch() {
            let left = until.saturating_duration_since(Instant::now()).min(self.patience.whole);
            let sent = match failed.take() {
                Some(failure) => Err(failure),
                None if left.is_zero() => Err(Failure::passing("no time is left")),
                None => self.post.send(&batch.body, left),
            };
            match sent {
                Ok(refused) => self.arrived(batch.count, refused),
                Err(failure) => {
                    self.lose(batch.count, &failure);
                    // Where one batch was refused the next may be taken; nobody there stays so.
                    failed = Some(failure).filter(|failure| failure.retry != Retry::Never);
                }
            }
        }
    }

    fn arrived(&mut self, count: usize, refused: Option<Refused>) {
        if let Some(Refused { count: refused, why }) = refused {
            let lost = refused.min(count);
            self.fill.leave(count - lost);
            let why = words::one_line(why.trim(), TOLD_MAX);
            return self.lose(lost, &Failure::lasting(format!("{lost} were refused: {why}")));
        }
        self.fill.leave(count);
        if std::mem::take(&mut self.complained) {
            tracing::info!("spans arrive at {} again", self.post.url());
        }
    }

    fn lose(&mut self, count: usize, failure: &Failure) {
        self.complain(failure);
        self.fill.lose(count);
    }

    fn complain(&mut self, failure: &Failure) {
        if !std::mem::replace(&mut self.complained, true) {
            let (url, text) = (self.post.url(), &failure.text);
            tracing::warn!("spans do not arrive at {url}: {text}; some are lost if this lasts");
        }
    }
}
