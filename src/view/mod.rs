//! The one published value: what workers decide by, with the tallies they record into.
//!
//! Control stores a whole new [`View`]; workers load it once per request. A request keeps what it
//! loaded through its retries, the next request on the same connection sees the new one.

mod bulkhead;

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use arc_swap::ArcSwap;
pub use bulkhead::{Berth, Bulkhead, Unplaced};
use tokio::sync::Notify;

use crate::{
    model::{Millis, Snapshot, listener::Listener, settings::Runtime, units::ListenerName},
    observe::{access_log::Sink, spans},
    page::Page,
    tally::{EndpointTally, GuardTally, PoolTally},
};

/// What is in force, as workers see it.
#[derive(Debug)]
pub struct View {
    /// What decisions are made by.
    pub snapshot: Snapshot,
    /// By service, as in the snapshot.
    pub services: Box<[ServiceView]>,
    /// Where answers are counted that no service was found for.
    pub unrouted: Arc<PoolTally>,
    /// The listeners' settings.
    pub listeners: BTreeMap<ListenerName, Arc<Listener>>,
    /// Limits of the process.
    pub runtime: Runtime,
    /// `Retry-After` of a maintenance without an end.
    pub retry_after: Millis,
    /// Where spans go, if they are exported.
    pub spans: Option<Arc<spans::Sink>>,
    /// Which answers prove to an ACME server that names are lbd's, by their tokens; while there are
    /// any.
    pub proofs: Option<Arc<BTreeMap<String, String>>>,
}

impl View {
    /// Where requests of a service wait now, and for how long at most.
    pub fn paused(&self, service: usize) -> Option<(Arc<Barrier>, Duration)> {
        let pause = self.snapshot.services.get(service)?.paused?;
        let barrier = self.services.get(service)?.barrier.clone()?;
        Some((barrier, pause.max.duration()))
    }

    /// The places of a pool, if requests to it are limited.
    pub fn bulkhead(&self, service: usize, pool: usize) -> Option<&Arc<Bulkhead>> {
        self.services.get(service)?.pools.get(pool)?.bulkhead.as_ref()
    }
}

/// What belongs to a service besides its decisions.
#[derive(Debug)]
pub struct ServiceView {
    /// By pool, as in the snapshot.
    pub pools: Box<[PoolView]>,
    /// Where lbd's own answers are counted.
    pub own: Arc<PoolTally>,
    /// What the guard is told of its requests.
    pub guard: Arc<GuardTally>,
    /// Where new requests wait while the service is paused.
    pub barrier: Option<Arc<Barrier>>,
    /// The maintenance page, if maintenance is on.
    pub page: Option<Arc<Page>>,
    /// Where requests are logged.
    pub log: Option<Arc<Sink>>,
}

/// What belongs to a pool besides its decisions.
#[derive(Debug)]
pub struct PoolView {
    /// Where its requests are counted.
    pub tally: Arc<PoolTally>,
    /// By endpoint, as in the snapshot.
    pub endpoints: Box<[Arc<EndpointTally>]>,
    /// Its places, if requests to it are limited.
    pub bulkhead: Option<Arc<Bulkhead>>,
}

/// Where new requests wait while a service is paused, in the order in which they came.
#[derive(Debug, Default)]
pub struct Barrier {
    is_open: AtomicBool,
    opened: Notify,
    waiting: AtomicUsize,
    bytes: AtomicUsize,
}

impl Barrier {
    /// How many requests wait at most, over all workers.
    pub const REQUESTS: usize = 10_000;
    /// How much memory their heads take at most, in bytes.
    pub const BYTES: usize = 64 * 1024 * 1024;

    /// Lets everyone through who waits, and who comes.
    pub fn open(&self) {
        self.is_open.store(true, SeqCst);
        self.opened.notify_waiters();
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Waits until the barrier opens. False if it did not in time, or too many wait already.
    pub async fn pass(&self, bytes: usize, limit: Duration) -> bool {
        let Some(_place) = Queued::new(self, bytes) else { return false };
        let mut opened = std::pin::pin!(self.opened.notified());
        // In line before looking, so that an opening in between is not missed.
        opened.as_mut().enable();
        self.is_open.load(SeqCst) || tokio::time::timeout(limit, opened).await.is_ok()
    }
}

/// A place in the line before a barrier.
struct Queued<'g>(&'g Barrier, usize);

impl<'g> Queued<'g> {
    fn new(barrier: &'g Barrier, bytes: usize) -> Option<Self> {
        let waiting = barrier.waiting.fetch_add(1, Relaxed);
        let held = barrier.bytes.fetch_add(bytes, Relaxed);
        let place = Self(barrier, bytes);
        (waiting < Barrier::REQUESTS && held + bytes <= Barrier::BYTES).then_some(place)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
        self.0.bytes.fetch_sub(self.1, Relaxed);
    }
}

/// Where control publishes and workers read.
#[derive(Debug)]
pub struct Published(ArcSwap<View>);

impl Published {
    /// Publishes the first view.
    pub fn new(view: View) -> Self {
        Self(ArcSwap::from_pointee(view))
    }

    /// Publishes `view`: requests that begin from now on see it.
    pub fn store(&self, view: View) {
        self.0.store(Arc::new(view));
    }

    /// The view in force.
    pub fn load(&self) -> Arc<View> {
        self.0.load_full()
    }
}

/// A worker's own handle on the view. Requests clone the handle's `Arc`, which no other worker
/// touches, so that counting references shares no cache line between workers.
#[derive(Debug)]
pub struct Reader {
    published: Arc<Published>,
    local: Mutex<Arc<LocalView>>,
}

/// A worker's own reference to a view.
#[derive(Debug)]
pub struct LocalView(Arc<View>);

impl Deref for LocalView {
    type Target = View;

    fn deref(&self) -> &View {
        &self.0
    }
}

impl Reader {
    /// A handle on what is published there.
    pub fn new(published: Arc<Published>) -> Self {
        let local = Mutex::new(Arc::new(LocalView(published.load())));
        Self { published, local }
    }

    /// The view in force.
    pub fn current(&self) -> Arc<LocalView> {
        let latest = self.published.0.load();
        // Only this worker's requests take the lock, one at a time on its thread.
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&local.0, &latest) {
            *local = Arc::new(LocalView(Arc::clone(&latest)));
        }
        Arc::clone(&local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_pass_in_order_when_the_gate_opens() {
        let (barrier, order) = (Arc::new(Barrier::default()), Arc::new(Mutex::new(Vec::new())));
        let tasks: Vec<_> = (0..5)
            .map(|n| {
                let (barrier, order) = (barrier.clone(), order.clone());
                tokio::spawn(async move {
                    assert!(barrier.pass(1, LONG).await);
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        while barrier.waiting() < 5 {
            tokio::task::yield_now().await;
        }
        barrier.open();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(barrier.waiting(), 0);
        assert!(barrier.pass(1, LONG).await, "an open barrier lets everyone through");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_or_without_bound() {
        let barrier = Barrier::default();
        assert!(!barrier.pass(1, LONG).await, "time is up");
        assert!(!barrier.pass(Barrier::BYTES + 1, LONG).await, "too large");
        barrier.waiting.store(Barrier::REQUESTS, Relaxed);
        assert!(!barrier.pass(1, LONG).await, "too many");
        assert_eq!(barrier.waiting(), Barrier::REQUESTS);
    }
}
