//! Chooses the endpoint for an attempt: in the pool that was decided on, or in one that steps in.

#![cfg_attr(not(test), expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot"))]

use crate::{
    model::{Draw, health::Standing, settings::Balance, snapshot},
    tally::EndpointTally,
    view::ServiceView,
};

/// An endpoint, by index of its pool in the service and its own in the pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The pool.
    pub pool: usize,
    /// The endpoint.
    pub endpoint: usize,
}

/// What a request has tried so far.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Endpoints that failed this request and get it no more.
    pub failed: Vec<Choice>,
    /// An endpoint that only lost a connection: others are better, but it may serve.
    pub avoid: Option<Choice>,
}

/// A service with its tallies, as one worker sees it.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// The service.
    pub service: &'a snapshot::Service,
    /// What belongs to it.
    pub view: &'a ServiceView,
    /// The worker's index.
    pub worker: usize,
}

impl Field<'_> {
    /// Chooses an endpoint for a request that belongs to `pool`, or `None` if nobody can serve it.
    ///
    /// Pools are asked in their order; endpoints that are suspended only when no pool has a better
    /// one; those that failed this request never; each pool gets `attempts` attempts.
    pub fn choose(&self, pool: usize, tried: &Tried, attempts: usize, draw: Draw) -> Option<Choice> {
        [Standing::Unproven, Standing::Suspended].into_iter().find_map(|worst| {
            self.service.candidates(pool).find_map(|pool| {
                let spent = tried.failed.iter().filter(|c| c.pool == pool).count() >= attempts;
                if spent { None } else { self.in_pool(pool, tried, worst, draw) }
            })
        })
    }

    fn in_pool(&self, pool: usize, tried: &Tried, worst: Standing, draw: Draw) -> Option<Choice> {
        let fresh = |endpoint: usize| !tried.failed.contains(&Choice { pool, endpoint });
        let avoided = |endpoint: usize| tried.avoid == Some(Choice { pool, endpoint });
        self.balanced(pool, worst, draw, |e| fresh(e) && !avoided(e))
            .or_else(|| self.balanced(pool, worst, draw, fresh))
            .map(|endpoint| Choice { pool, endpoint })
    }

    fn balanced(
        &self,
        pool: usize,
        worst: Standing,
        draw: Draw,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let candidates = &self.service.pools[pool];
        let standing = candidates.best(&usable).filter(|best| *best <= worst)?;
        let view = &self.view.pools[pool];
        match self.service.settings.balance {
            Balance::LeastRequests => candidates.pick(standing, draw, usable, |endpoint| {
                view.endpoints[endpoint].cell(self.worker).in_flight()
            }),
            Balance::RoundRobin => {
                let turn = view.endpoints.iter().map(|e| begun(e, self.worker)).sum();
                candidates.turn(standing, turn, usable)
            }
        }
    }
}

fn begun(endpoint: &EndpointTally, worker: usize) -> u64 {
    endpoint.cell(worker).started.get()
}
