//! Spans: what OpenTelemetry's traces of requests are made of, and how they get to a collector.
//!
//! A worker gathers the spans of requests that are over and hands them on without waiting. A thread of
//! its own brings them to the collector. What it cannot bring is lost and counted; no request is slowed
//! by a collector that is slow, hangs or is not there.
//!
//! | part | what it is |
//! |---|---|
//! | `exporter` | the thread's life: from when the config names a collector until it names another |
//! | `round` | the thread's work: batches, further tries, the end |
//! | `otlp` | the form that collectors read |
//! | `post` | one send, and what its failure means |

mod exporter;
mod otlp;
mod post;
mod round;

use std::{
    borrow::Cow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Relaxed},
        },
        mpsc::{Sender, SyncSender},
    },
    time::Instant,
};

pub use exporter::Exporter;

use crate::model::Share;

/// How many spans a worker gathers before it hands them on.
const GATHER: usize = 64;
/// How many spans may wait for the collector: some 10 MB usually, 60 MB with the longest texts.
const WAITING_MAX: usize = 8192;
/// Longest text in a span, in bytes: what clients send must not fill the memory.
const TEXT_MAX: usize = 1024;

/// One span of a trace, as it is when it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace: u128,
    /// Its id.
    pub id: u64,
    /// The span that it is a part of.
    pub parent: Option<Parent>,
    /// What other vendors know of the trace (`tracestate`).
    pub state: Option<Box<str>>,
    /// The flags of the trace context.
    pub flags: u8,
    /// Whose side of a request it is.
    pub kind: Kind,
    /// Its name.
    pub name: Cow<'static, str>,
    /// When it began, in nanoseconds since the Unix epoch.
    pub begun: u64,
    /// When it ended, likewise.
    pub ended: u64,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
    /// Whether it failed.
    pub is_failed: bool,
}

/// A span that another is a part of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Parent {
    /// One of lbd's own.
    Here(u64),
    /// One of whoever sent the request.
    Remote(u64),
}

/// Whose side of a request a span is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// The side that is asked.
    Server,
    /// The side that asks.
    Client,
}

/// A name with what is known under it.
pub type Attribute = (&'static str, Value);

/// What is known under a name.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One of a few words.
    Word(&'static str),
    /// Any text.
    Text(Box<str>),
    /// A number.
    Number(i64),
}

impl Value {
    /// A text, cut if it is too long.
    pub fn text(text: &str) -> Self {
        Self::Text(text.get(..text.floor_char_boundary(TEXT_MAX)).unwrap_or_default().into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

/// The way to a collector.
#[derive(Debug)]
pub struct Sink {
    /// The part of the traces that begin here which is exported.
    pub sample: Share,
    queue: Sender<Order>,
    fill: Fill,
}

/// What the thread is told.
#[derive(Debug)]
enum Order {
    Take(Vec<Span>),
    /// Bring what there is until then, and say so.
    Flush(Instant, SyncSender<()>),
}

/// How many spans wait, and how many were lost so far.
#[derive(Clone, Debug, Default)]
struct Fill {
    waiting: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
}

impl Fill {
    /// Makes room for so many spans. False: there is none, and they are lost.
    fn enter(&self, count: usize) -> bool {
        let has_room = self.waiting.fetch_add(count, AcqRel) + count <= WAITING_MAX;
        if !has_room {
            self.lose(count);
        }
        has_room
    }

    /// So many spans wait no more.
    fn leave(&self, count: usize) {
        self.waiting.fetch_sub(count, AcqRel);
    }

    /// So many wait no more, and did not arrive.
    fn lose(&self, count: usize) {
        self.leave(count);
        self.lost.fetch_add(count as u64, Relaxed);
    }
}

impl Sink {
    /// Hands spans on. Never waits.
    pub fn send(&self, spans: Vec<Span>) {
        let count = spans.len();
        if self.fill.enter(count) && self.queue.send(Order::Take(spans)).is_err() {
            self.fill.lose(count);
        }
    }
}

/// One worker's gathered spans.
#[derive(Debug, Default)]
pub struct Buffers(Mutex<Vec<(Arc<Sink>, Vec<Span>)>>);

impl Buffers {
    /// Adds the spans of a request. Only the owning worker calls this, so the lock is never contended.
    pub fn write(&self, sink: &Arc<Sink>, spans: Vec<Span>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = buffers.iter().position(|(known, _)| Arc::ptr_eq(known, sink));
        let at = at.unwrap_or_else(|| {
            buffers.push((sink.clone(), Vec::with_capacity(GATHER)));
            buffers.len() - 1
        });
        let Some((_, gathered)) = buffers.get_mut(at) else { return };
        gathered.extend(spans);
        if gathered.len() >= GATHER {
            sink.send(std::mem::replace(gathered, Vec::with_capacity(GATHER)));
        }
    }

    /// Hands on what was gathered.
    pub fn flush(&self) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (sink, spans) in buffers.drain(..) {
            if !spans.is_empty() {
                sink.send(spans);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    pub fn span(id: u64) -> Span {
        Span {
            trace: 1,
            id,
            parent: None,
            state: None,
            flags: 1,
            kind: Kind::Server,
            name: "GET".into(),
            begun: 1,
            ended: 2,
            attributes: Vec::new(),
            is_failed: false,
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "é".repeat(TEXT_MAX);
        let Value::Text(text) = Value::text(&format!("x{long}")) else { panic!("no text") };
        assert_eq!(text.len(), TEXT_MAX - 1);
        assert_eq!(Value::text("short"), Value::Text("short".into()));
    }

    #[test]
    fn what_is_gathered_is_handed_on_when_it_is_enough_or_at_a_flush() {
        let (queue, orders) = channel();
        let sink = Arc::new(Sink { sample: Share::WHOLE, queue, fill: Fill::default() });
        let count = || {
            orders.try_recv().ok().map(|order| matches!(order, Order::Take(s) if s.len() == GATHER))
        };
        let buffers = Buffers::default();
        for id in 1..GATHER as u64 {
            buffers.write(&sink, vec![span(id)]);
        }
        assert_eq!(count(), None);
        buffers.write(&sink, vec![span(99)]);
        assert_eq!(count(), Some(true));
        buffers.write(&sink, vec![span(1)]);
        buffers.flush();
        assert_eq!(count(), Some(false));
        buffers.flush();
        assert_eq!(count(), None);
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted() {
        let (queue, orders) = channel();
        let fill = Fill::default();
        let sink = Sink { sample: Share::WHOLE, queue, fill: fill.clone() };
        sink.send(vec![span(1); WAITING_MAX - 1]);
        sink.send(vec![span(1); 2]);
        assert_eq!(fill.lost.load(Relaxed), 2);
        sink.send(vec![span(1)]);
        assert_eq!(orders.try_iter().count(), 2);
        fill.leave(WAITING_MAX);
        drop(orders);
        sink.send(vec![span(1); 3]);
        assert_eq!((fill.lost.load(Relaxed), fill.waiting.load(Relaxed)), (5, 0));
    }
}
