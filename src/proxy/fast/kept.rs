//! A worker's idle connections to endpoints.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::wire::Wire;
use crate::{model::link::Link, tally::EndpointTally};

/// How many one worker keeps, over all endpoints.
const KEPT_MAX: usize = 1024;

/// Idle connections, by endpoint. An endpoint is known by its tally, which stays the same over all
/// views and is kept here, so that its address is nobody else's.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    by_endpoint: HashMap<usize, (Arc<EndpointTally>, Vec<Resting>)>,
    count: usize,
}

#[derive(Debug)]
struct Resting {
    wire: Wire,
    until: Instant,
}

fn place(endpoint: &Arc<EndpointTally>) -> usize {
    Arc::as_ptr(endpoint) as usize
}

impl Kept {
    /// The connection that was used last, if there is one that can be used again. What was made otherwise
    /// than `link` says is closed.
    pub fn take(&self, endpoint: &Arc<EndpointTally>, link: &Arc<Link>) -> Option<Wire> {
        let mut shelf = self.shelf();
        let Shelf { by_endpoint, count } = &mut *shelf;
        let (_, resting) = by_endpoint.get_mut(&place(endpoint))?;
        while let Some(Resting { mut wire, .. }) = resting.pop() {
            *count -= 1;
            if wire.is_of(link) && wire.is_quiet() {
                return Some(wire);
            }
        }
        None
    }

    /// Keeps a connection until then.
    pub fn put(&self, endpoint: &Arc<EndpointTally>, mut wire: Wire, until: Instant) {
        let mut shelf = self.shelf();
        if shelf.count >= KEPT_MAX {
            return;
        }
        wire.rest();
        shelf.count += 1;
        let known = shelf.by_endpoint.entry(place(endpoint));
        let (_, resting) = known.or_insert_with(|| (endpoint.clone(), Vec::new()));
        resting.push(Resting { wire, until });
    }

    /// Closes what has rested for too long, or was closed by its endpoint, and forgets endpoints
    /// without connections.
    pub fn sweep(&self, now: Instant) {
        let mut shelf = self.shelf();
        let Shelf { by_endpoint, count } = &mut *shelf;
        by_endpoint.retain(|_, (_, resting)| {
            let before = resting.len();
            resting.retain_mut(|one| one.until > now && one.wire.is_quiet());
            *count -= before - resting.len();
            !resting.is_empty()
        });
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Only this worker's requests take the lock, one at a time on its thread.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
