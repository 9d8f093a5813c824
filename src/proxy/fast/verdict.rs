//! What is made of how an attempt went, whatever its client speaks: by the same functions as on the
//! full path.

use std::{io, time::Instant};

use super::{Ended, Fast, answer::Answer, begun::Begun, is_ours, left, trip::Failure};
use crate::{
    model::Blame,
    proxy::{exchange::Exchange, record::Said, record::record},
};

/// How far a request had come when its attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Whether it is still all here, to be sent again.
    pub is_here: bool,
    /// Whether its connection served another request before, and has said nothing since.
    pub is_stale: bool,
    /// Whether its endpoint waits for what its client still owes.
    pub is_owed: bool,
}

impl Fast {
    /// The endpoint could not be reached: the full path tries another. `head` is the request's.
    pub(super) fn unreached(&self, begun: Begun, head: &[u8], error: &io::Error) -> Box<Exchange> {
        let replay = begun.replay(true);
        let mut exchange = begun.handed_over(head);
        exchange.timed_out = error.kind() == io::ErrorKind::TimedOut;
        exchange.tried.failed.extend(exchange.choice());
        if is_ours(error) {
            exchange.tell_nothing();
        } else {
            exchange.blame.get_or_insert(Blame::Connect);
            self.judge.failure(&mut exchange);
            exchange.shield(replay, Blame::Connect);
        }
        Box::new(exchange)
    }

    /// The head of an answer is there; `is_here`: the request could be sent again. True if it is, to the
    /// baseline, in place of this answer.
    pub(super) fn answers(&self, begun: &mut Begun, answer: &Answer, is_here: bool) -> bool {
        let exchange = &mut begun.exchange;
        exchange.first_byte = Some(Instant::now());
        if let Some(berth) = &mut exchange.berth {
            berth.answered();
        }
        let failed = self.judge.answer(exchange, answer.status, answer.said);
        let replay = begun.replay(is_here);
        failed && begun.exchange.shield(replay, Blame::Upstream5xx)
    }

    /// The answer broke off. `is_owed`: its endpoint waits for what the client still owes.
    pub(super) fn broke_off(&self, begun: &mut Begun, failure: Failure, is_owed: bool) {
        match failure {
            Failure::Left => left(&mut begun.exchange),
            // What the client still owes is not the endpoint's fault.
            Failure::Late if is_owed => begun.exchange.tell_nothing(),
            failure => {
                begun.exchange.blame = blame(failure);
                self.judge.failure(&mut begun.exchange);
            }
        }
    }

    /// There was no answer: who goes on depends on why. A request that ends here is to be recorded.
    pub(super) fn unanswered(
        &self,
        begun: &mut Begun,
        standing: Standing,
        failure: Failure,
    ) -> Ended {
        let replay = begun.replay(standing.is_here);
        let exchange = &mut begun.exchange;
        match failure {
            Failure::Lost if standing.is_stale && standing.is_here && begun.is_idempotent => {
                // A kept connection that the endpoint closed meanwhile is nobody's failure.
                exchange.renew();
                Ended::Left(None)
            }
            Failure::Lost | Failure::Nonsense => {
                exchange.blame = blame(failure);
                self.judge.failure(exchange);
                let shielded = exchange.blame.is_some_and(|blame| exchange.shield(replay, blame));
                Ended::Left((!shielded).then_some(502))
            }
            Failure::Late if !standing.is_owed => {
                exchange.blame = Some(Blame::Timeout);
                self.judge.failure(exchange);
                let shielded = exchange.shield(replay, Blame::Timeout);
                Ended::Left((!shielded).then_some(504))
            }
            // What its client still owes is not the endpoint's fault.
            Failure::Late => Ended::Left(Some(408)),
            Failure::Body(status) => Ended::Left(Some(status)),
            Failure::Left => {
                left(exchange);
                Ended::Broken
            }
        }
    }

    /// Counts and logs a request that is over. `head` is its own, `said` what the log has of it.
    pub(super) fn record<'s>(
        &self,
        begun: &mut Begun,
        head: &[u8],
        status: u16,
        said: impl FnOnce() -> Said<'s>,
    ) {
        if let Some(client) = &begun.exchange.client {
            client.rest();
        }
        begun.exchange.tell_over();
        if begun.exchange.field().is_some_and(|field| field.view.log.is_some()) {
            begun.exchange.id = begun.id.value(head);
        }
        record(&begun.exchange, status, &self.gathered, said);
        begun.exchange.berth = None;
    }
}

fn blame(failure: Failure) -> Option<Blame> {
    match failure {
        Failure::Lost => Some(Blame::Reset),
        Failure::Nonsense => Some(Blame::Protocol),
        Failure::Late => Some(Blame::Timeout),
        Failure::Left | Failure::Body(_) => None,
    }
}
