//! The one published value: what workers decide by, with the tallies they record into.
//!
//! Control stores a whole new [`View`]; workers load it once per request. A request keeps what it
//! loaded through its retries, the next request on the same connection sees the new one.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;

use crate::{
    model::{
        Millis, Snapshot,
        settings::{Listener, Runtime},
        units::ListenerName,
    },
    observe::access_log::Sink,
    page::Page,
    tally::{EndpointTally, PoolTally},
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
}

/// What belongs to a service besides its decisions.
#[derive(Debug)]
pub struct ServiceView {
    /// By pool, as in the snapshot.
    pub pools: Box<[PoolView]>,
    /// Where lbd's own answers are counted.
    pub own: Arc<PoolTally>,
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
