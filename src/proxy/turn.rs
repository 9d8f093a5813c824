//! What a request waits for before it is served: the end of a pause, and a place in its pool.

use std::sync::Arc;

use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::time::Instant;

use super::{
    exchange::Exchange,
    facts::{Map, client_address, facts},
    full::Full,
};
use crate::{
    edge::io::EdgeIo,
    model::{Draw, Facts, Headers, Outcome, decide},
    view::{Berth, LocalView, Unplaced},
};

/// About what a waiting request takes in memory besides its path, in bytes.
const HEAD_COST: usize = 4096;

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

    /// Whether it has come already, so that there is nothing to wait for.
    fn has_come(&mut self) -> bool {
        let Some((service, pool)) = self.place() else { return true };
        if self.view.paused(service).is_some() {
            return false;
        }
        let Some(bulkhead) = self.view.bulkhead(service, pool) else { return true };
        self.berth = bulkhead.try_enter();
        self.berth.is_some()
    }
}

impl Full {
    /// Waits for the turn of a request, if it must, for as long as its client does.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub(super) async fn take_turn(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        mut turn: Turn,
    ) -> Result<Turn> {
        let Some(client) = exchange.client.as_ref().filter(|_| !turn.has_come()) else {
            return Ok(turn);
        };
        // The session is the watched one's meanwhile.
        let request = session.req_header().clone();
        let headers = Map(&request.headers);
        let facts = facts(&request, &headers, client_address(&request, client));
        let (view, outcome) = (turn.view.clone(), turn.outcome);
        let turn = tokio::select! {
            biased;
            turn = self.wait(turn, &facts, request.raw_path().len() + HEAD_COST) => Some(turn),
            () = gone(session) => None,
        };
        turn.ok_or_else(|| {
            // So that it is counted where it was to be served.
            exchange.view = Some(view);
            exchange.service = outcome.service();
            if let Outcome::Serve(_, placement) = outcome {
                exchange.placement = Some(placement);
            }
            Error::explain(ErrorType::ConnectionClosed, "its turn did not come").into_down()
        })
    }

    /// Waits until the request can be served, or its patience is over. `cost`: about how many bytes it
    /// holds meanwhile. After each wait it is decided anew: that is what pauses are for, and whoever
    /// waits for a pool that loses its users goes where they go.
    async fn wait<H: Headers>(&self, mut turn: Turn, facts: &Facts<'_, H>, cost: usize) -> Turn {
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

/// Waits for the client to leave, and takes nothing of what it sent.
async fn gone(session: &mut Session) {
    if let Some(stream) = session.downstream_session.as_custom_mut() {
        // However it ends: nothing of its body is taken.
        let _ = stream.read_body_or_idle(true).await;
        return;
    }
    let io =
        session.downstream_session.stream().and_then(|io| io.as_any().downcast_ref::<EdgeIo>());
    match io {
        Some(io) => io.gone().await,
        None => std::future::pending().await,
    }
}
