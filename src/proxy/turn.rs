//! What a request waits for before it is served: the end of a pause, and a place in its pool.

use std::sync::Arc;

use tokio::time::Instant;

use super::full::Full;
use crate::{
    model::{Draw, Facts, Headers, Outcome, decide},
    view::{Berth, LocalView, Unplaced},
};

/// A request whose turn it is.
#[derive(Debug)]
pub struct Turn {
    /// The view by which it is served.
    pub view: Arc<LocalView>,
    /// What was decided by it.
    pub outcome: Outcome,
    /// Its place in its pool, where places are limited.
    pub berth: Option<Berth>,
    /// Whether it waited in vain.
    pub is_late: bool,
    draw: Draw,
}

impl Turn {
    /// What `view` says of a request with these facts. `draw` decides for those who are unknown.
    pub fn of<H: Headers>(view: Arc<LocalView>, facts: &Facts<'_, H>, draw: Draw) -> Self {
        let outcome = decide(&view.snapshot, facts, draw);
        Self { view, outcome, berth: None, is_late: false, draw }
    }

    /// Where it is to be served: service and pool, by index.
    fn place(&self) -> Option<(usize, usize)> {
        match self.outcome {
            Outcome::Serve(service, placement) => Some((service, placement.pool)),
            Outcome::Unrouted(_) | Outcome::Maintenance(..) => None,
        }
    }
}

impl Full {
    /// Waits until the request can be served, or its patience is over. `cost`: about how many bytes it
    /// holds meanwhile. After each wait it is decided anew: that is what pauses are for, and whoever
    /// waits for a pool that loses its users goes where they go.
    pub(super) async fn wait<H: Headers>(
        &self,
        mut turn: Turn,
        facts: &Facts<'_, H>,
        cost: usize,
    ) -> Turn {
        let mut end = None;
        while let Some((service, pool)) = turn.place() {
            if let Some((barrier, limit)) = turn.view.paused(service) {
                if !barrier.pass(cost, limit).await {
                    return Turn { is_late: true, ..turn };
                }
                turn = Turn::of(self.reader.current(), facts, turn.draw);
                continue;
            }
            let Some(bulkhead) = turn.view.bulkhead(service, pool).cloned() else { break };
            turn.berth = bulkhead.try_enter();
            if turn.berth.is_some() {
                break;
            }
            // One patience for all waits: else changes could send a request round for ever.
            let end = *end.get_or_insert_with(|| Instant::now() + bulkhead.patience());
            let again = || Turn::of(self.reader.current(), facts, turn.draw);
            let is_wanted = || {
                let next = again();
                let is_paused = next.view.paused(service).is_some();
                // Its limit may have been lifted, or be another pool's place by now.
                let is_there = next.view.bulkhead(service, pool);
                let is_same = is_there.is_some_and(|there| Arc::ptr_eq(there, &bulkhead));
                next.place() == turn.place() && !is_paused && is_same
            };
            let entered = bulkhead.enter(end, is_wanted).await;
            turn = again();
            match entered {
                Ok(berth) if turn.place() == Some((service, pool)) => {
                    return Turn { berth: Some(berth), ..turn };
                }
                Err(Unplaced::Shed) => return Turn { is_late: true, ..turn },
                Ok(_) | Err(Unplaced::Unwanted) => {}
            }
        }
        turn
    }
}
