//! Who is told how a request went: the guard, and the passive check of its endpoint.

use std::sync::Arc;

use tokio::sync::Notify;

use super::{
    exchange::Exchange,
    grpc::{Said, Status},
};
use crate::model::{Blame, guard::Fate};

/// Tells how requests went.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Told when an attempt failed, so that control looks at once.
    pub failures: Arc<Notify>,
}

impl Judge {
    /// Judges an answer by its head, and returns whether it is a failure. One of gRPC may say only at
    /// its end how it went; what is told then is how long its head took.
    pub fn answer(&self, exchange: &mut Exchange, status: u16, said: Said) -> bool {
        let failed = status >= 500 || said.status.is_some_and(Status::is_failure);
        exchange.blame = if failed { Some(Blame::Upstream5xx) } else { None };
        exchange.trace_answer(status);
        let is_open = !failed && said.status.is_none() && said.follows;
        if is_open && exchange.link().is_some_and(|link| link.protocol.is_http2()) {
            exchange.tell_answered();
            exchange.awaits_status = true;
            return false;
        }
        // A 500 or 501 is the application's word; these three are what gateways and dying servers say.
        let is_out = said.status.is_some_and(Status::is_unavailable);
        self.attempt(exchange, is_out || matches!(status, 502..=504));
        self.tell(exchange, if failed { Fate::Failed } else { Fate::Good });
        failed
    }

    /// Judges the end of a gRPC answer whose head did not say how it went.
    pub fn end(&self, exchange: &mut Exchange, status: Option<Status>) {
        if !std::mem::take(&mut exchange.awaits_status) {
            return;
        }
        let status = status.unwrap_or(Status::NONE);
        if status.is_failure() {
            exchange.blame = Some(Blame::Upstream5xx);
        }
        self.attempt(exchange, status.is_unavailable());
        self.tell(exchange, if status.is_failure() { Fate::Failed } else { Fate::Good });
    }

    /// An attempt failed by the fault of its endpoint.
    pub fn failure(&self, exchange: &mut Exchange) {
        self.attempt(exchange, true);
        self.tell(exchange, Fate::Failed);
    }

    /// Nobody could be asked for it: its pool has failed it, unless the operator wants it so.
    pub fn unserved(&self, exchange: &mut Exchange) {
        if exchange.attempts == 0 && exchange.is_wanted() {
            self.tell(exchange, Fate::Failed);
        }
    }

    fn tell(&self, exchange: &mut Exchange, fate: Fate) {
        if exchange.tell(fate) {
            self.failures.notify_one();
        }
    }

    fn attempt(&self, exchange: &mut Exchange, failed: bool) {
        if let Some(attempt) = &mut exchange.attempt {
            attempt.judge(failed);
        }
        if failed {
            if let Some(blame) = exchange.blame {
                exchange.trace_failure(blame.as_str());
            }
            self.failures.notify_one();
        }
    }
}
