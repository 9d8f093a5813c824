//! What a connection hands pingora with a request, and how it gets there.

use std::{cell::Cell, sync::Arc};

use super::{client::Client, exchange::Exchange};

tokio::task_local! {
    /// What comes with the request that the task serves, where pingora has no place for it.
    static CURRENT: Cell<Option<Handed>>;
}

/// What a connection hands its next request.
#[derive(Debug)]
pub struct Handed {
    /// The connection.
    pub client: Arc<Client>,
    /// What the lean path began.
    pub begun: Option<Box<Exchange>>,
}

impl Handed {
    /// Does `serving`, which finds this with [`Self::take`].
    pub async fn during<F: Future>(self, serving: F) -> F::Output {
        CURRENT.scope(Cell::new(Some(self)), serving).await
    }

    /// What comes with the request that the current task serves, if [`Self::during`] said.
    pub fn take() -> Option<Self> {
        CURRENT.try_with(Cell::take).ok().flatten()
    }

    /// The request as `worker` goes on with it.
    pub fn exchange(self, worker: usize) -> Exchange {
        let begun = self.begun.map(|begun| *begun);
        let mut exchange = begun.unwrap_or_else(|| Exchange::new(worker));
        exchange.client = Some(self.client);
        exchange
    }
}
