//! The shield: a failed first attempt on a candidate is replayed on the baseline, so that its user sees
//! no error. The guard has been told of it by then.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

use http::Method;
use pingora_proxy::Session;

use super::{answer::answered, exchange::Exchange};
use crate::model::{Blame, Rule};

/// What can be done with a request whose attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// It only reads: GET, HEAD or OPTIONS, and no other protocol.
    pub is_reading: bool,
    /// Its client has seen nothing of an answer.
    pub is_untouched: bool,
    /// It can be sent again as it was.
    pub is_whole: bool,
}

impl Replay {
    /// What can be done with the request of `session`.
    pub fn of(session: &mut Session) -> Self {
        let request = session.req_header();
        let is_reading = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS)
            && !request.headers.contains_key(http::header::UPGRADE);
        let is_whole = session.is_body_done() && !session.as_ref().retry_buffer_truncated();
        Self { is_reading, is_untouched: answered(session).is_none(), is_whole }
    }
}

impl Exchange {
    /// Whether the attempt that failed now can be replayed on the baseline: a GET, HEAD or OPTIONS on a
    /// candidate, of which the client has seen nothing, which can be sent again as it was, and for which
    /// the baseline has somebody. Testers who chose the candidate see what it does.
    fn can_shield(&self, replay: Replay) -> bool {
        let (Some(field), Some(placement), Some(choice)) =
            (self.field(), self.placement, self.choice())
        else {
            return false;
        };
        let service = field.service;
        let is_over = self.client.as_ref().is_some_and(|client| client.is_over());
        service.shield
            && self.shielded.is_none()
            && choice.pool != service.baseline
            && choice.pool == placement.pool
            && placement.rule != Rule::Pin
            && replay.is_reading
            && replay.is_untouched
            && replay.is_whole
            && !is_over
            && service.pools[service.baseline].best(|_| true).is_some()
    }

    /// Sends the request to the baseline next, if it may be, and counts what happened on the candidate.
    /// True if it does.
    pub fn shield(&mut self, replay: Replay, blame: Blame) -> bool {
        if !self.can_shield(replay) {
            return false;
        }
        let Some(choice) = self.choice() else { return false };
        let baseline = self.field().map(|field| field.service.baseline);
        if !baseline.is_some_and(|baseline| self.takes_place(baseline)) {
            return false;
        }
        if let Some(field) = self.field() {
            let cell = field.view.pools[choice.pool].tally.cell(self.worker);
            cell.blame(blame);
            cell.shielded.add(1);
        }
        self.shielded = Some((choice.pool, blame));
        (self.blame, self.first_byte, self.timed_out) = (None, None, false);
        true
    }
}
