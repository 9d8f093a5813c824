//! Chooses the endpoint for an attempt: in the pool that was decided on, or in one that steps in.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

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
    pub fn choose(
        &self,
        pool: usize,
        tried: &Tried,
        attempts: usize,
        draw: Draw,
    ) -> Option<Choice> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        config,
        model::{Model, Moment, Sight, Snapshot},
        tally::Tallies,
        view::PoolView,
    };

    /// A service with two blue endpoints and one green, whose probes said what `up` says.
    struct Stage {
        snapshot: Snapshot,
        view: ServiceView,
    }

    impl Stage {
        fn new(settings: &str, up: [bool; 3]) -> Self {
            let file = format!(
                "[listener.http]\naddress = '127.0.0.1:0'\n[service.app]\n{settings}\n\
                 [service.app.health]\npath = '/'\n\
                 [service.app.pool.blue]\nendpoints = ['127.0.0.1:1', '127.0.0.1:2']\n\
                 [service.app.pool.green]\nendpoints = ['127.0.0.1:3']\nweight = 0\n"
            );
            let settings = config::check(&file, &|_| unreachable!()).unwrap();
            let mut model = Model::new(Arc::new(settings), None);
            let keys: Vec<_> = model.endpoints().map(|(key, _)| key).collect();
            for (key, up) in keys.into_iter().zip(up) {
                let result = if up { Ok(()) } else { Err("down".into()) };
                model.observe(Moment(0), Sight::Probed(key, result));
            }
            let snapshot = model.snapshot();
            let mut tallies = Tallies::new(1);
            let service = &snapshot.services[0];
            let pool = |pool: &snapshot::Pool| PoolView {
                bulkhead: None,
                tally: tallies.pool(&service.name, &pool.name),
                endpoints: pool.endpoints.iter().map(|_| Arc::new(EndpointTally::new(1))).collect(),
            };
            let view = ServiceView {
                pools: service.pools.iter().map(pool).collect(),
                own: Tallies::new(1).unrouted(),
                guard: Tallies::new(1).guard(&service.name),
                barrier: None,
                page: None,
                log: None,
            };
            Self { snapshot, view }
        }

        fn choose(&self, pool: usize, tried: &Tried) -> Option<Choice> {
            let service = &self.snapshot.services[0];
            Field { service, view: &self.view, worker: 0 }.choose(pool, tried, 3, Draw(9))
        }
    }

    const BLUE: usize = 0;
    const GREEN: usize = 1;

    fn failed(list: &[(usize, usize)]) -> Tried {
        let failed =
            list.iter().map(|(pool, endpoint)| Choice { pool: *pool, endpoint: *endpoint });
        Tried { failed: failed.collect(), avoid: None }
    }

    #[test]
    fn an_endpoint_that_failed_the_request_does_not_get_it_again() {
        let stage = Stage::new("", [true; 3]);
        let next = stage.choose(BLUE, &failed(&[(BLUE, 0)])).unwrap();
        assert_eq!(next, Choice { pool: BLUE, endpoint: 1 });
    }

    #[test]
    fn a_pool_without_usable_endpoint_fails_over() {
        let stage = Stage::new("", [false, false, true]);
        assert_eq!(stage.choose(BLUE, &Tried::default()).unwrap().pool, GREEN);
        let stage = Stage::new("", [true; 3]);
        assert_eq!(stage.choose(BLUE, &failed(&[(BLUE, 0), (BLUE, 1)])).unwrap().pool, GREEN);
        assert_eq!(stage.choose(BLUE, &failed(&[(BLUE, 0), (BLUE, 1), (GREEN, 0)])), None);
    }

    #[test]
    fn failover_goes_only_where_the_service_lets_it() {
        let stage = Stage::new("failover = 'off'", [false, false, true]);
        assert_eq!(stage.choose(BLUE, &Tried::default()), None);
        let stage = Stage::new("failover = 'weighted'", [false, false, true]);
        assert_eq!(stage.choose(BLUE, &Tried::default()), None, "green has no share");
        let stage = Stage::new("failover = 'weighted'", [true, true, false]);
        assert_eq!(stage.choose(GREEN, &Tried::default()).unwrap().pool, BLUE);
    }

    #[test]
    fn an_endpoint_that_lost_a_connection_is_the_second_choice() {
        let stage = Stage::new("", [true, false, true]);
        let tried = Tried { failed: Vec::new(), avoid: Some(Choice { pool: BLUE, endpoint: 0 }) };
        assert_eq!(stage.choose(BLUE, &tried), Some(Choice { pool: BLUE, endpoint: 0 }));
        let stage = Stage::new("", [true; 3]);
        assert_eq!(stage.choose(BLUE, &tried), Some(Choice { pool: BLUE, endpoint: 1 }));
    }

    #[test]
    fn round_robin_takes_turns() {
        let stage = Stage::new("balance = 'round-robin'", [true; 3]);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let choice = stage.choose(BLUE, &Tried::default()).unwrap();
            stage.view.pools[BLUE].endpoints[choice.endpoint].cell(0).started.add(1);
            seen.push(choice.endpoint);
        }
        assert_eq!(seen, [0, 1, 0, 1]);
    }
}
