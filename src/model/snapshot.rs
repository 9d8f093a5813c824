//! The published state: everything a worker needs to decide, immutable, one value.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes come from the same snapshot")
)]

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    address::{Address, Target},
    bucket::Draw,
    cohort::Cohort,
    guard::{Epoch, PoolTag},
    health::{AdminState, Standing},
    limit::Limit,
    link::Link,
    maintenance::Maintenance,
    route::Routes,
    settings,
    split::Places,
    state::Pause,
    units::{PoolName, Revision, ServiceName, Share},
};

/// What is in force. A request loads it once and keeps it through its retries.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The state's number.
    pub revision: Revision,
    /// Which service takes a request, by index into `services`.
    pub routes: Arc<Routes>,
    /// The services, in name order.
    pub services: Box<[Arc<Service>]>,
    /// Clients who pass every maintenance.
    pub always_allow: Arc<[IpNet]>,
}

/// A service as workers see it.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Its settings.
    pub settings: Arc<settings::Service>,
    /// Index of the trusted pool.
    pub baseline: usize,
    /// The salt of its users' buckets.
    pub salt: Arc<str>,
    /// The number of its split, for the guard.
    pub epoch: Epoch,
    /// Whether the guard hears of its requests: it has something to compare.
    pub judged: bool,
    /// Whether failed first attempts on a candidate are replayed on the baseline.
    pub shield: bool,
    /// Until when new requests are held.
    pub paused: Option<Pause>,
    /// Which pool owns which buckets.
    pub places: Places,
    /// Its pools, in name order; never empty.
    pub pools: Box<[Pool]>,
    /// Its maintenance, or that of all services.
    pub maintenance: Option<Arc<Maintenance>>,
}

/// A pool as workers see it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// Its number, for the guard.
    pub tag: PoolTag,
    /// Whether the operator wants any of its endpoints to serve.
    pub in_use: bool,
    /// Its share of the service's traffic.
    pub share: Share,
    /// Users who always or never come here.
    pub cohort: Option<Arc<Cohort>>,
    /// How its endpoints are spoken to.
    pub link: Arc<Link>,
    /// How many requests it is given at a time, if that is limited.
    pub limit: Option<Limit>,
    /// Its endpoints. One whose host name has several addresses is here several times.
    pub endpoints: Box<[Endpoint]>,
}

/// An endpoint as workers see it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its identity.
    pub address: Address,
    /// Where connections go.
    pub target: Target,
    /// Its weight inside the pool.
    pub weight: u16,
    /// What the operator wants of it.
    pub admin: AdminState,
    /// How fit it is to serve.
    pub standing: Standing,
    /// Whether it came up so lately that what it does is not judged.
    pub is_fresh: bool,
}

impl Service {
    /// The pool called `name`.
    pub fn pool(&self, name: &str) -> Option<usize> {
        self.pools.iter().position(|pool| pool.name.as_str() == name)
    }

    /// The pools that may serve a request of `pool`, best first: itself, then those that step in.
    pub fn candidates(&self, pool: usize) -> impl Iterator<Item = usize> {
        use settings::Failover::{Any, Off, Weighted};
        let steps_in = move |p: &usize| match self.settings.failover {
            Off => false,
            Weighted => self.pools[*p].share > Share::NONE,
            Any => true,
        };
        let others = (0..self.pools.len()).filter(move |p| *p != self.baseline);
        let all = std::iter::once(self.baseline).chain(others);
        std::iter::once(pool).chain(all.filter(move |p| *p != pool).filter(steps_in))
    }
}

impl Pool {
    /// The best standing among endpoints that `usable` admits; `None` if none can serve.
    pub fn best(&self, usable: impl Fn(usize) -> bool) -> Option<Standing> {
        let admitted = self.endpoints.iter().enumerate().filter(|(n, _)| usable(*n));
        admitted.map(|(_, e)| e.standing).min().filter(|s| *s < Standing::Out)
    }

    /// Picks an endpoint of standing `standing` that `usable` admits: of two drawn by weight the one
    /// with the smaller load for its weight, as `load` tells it.
    pub fn pick(
        &self,
        standing: Standing,
        draw: Draw,
        usable: impl Fn(usize) -> bool,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let fit = |n: usize| self.endpoints[n].standing == standing && usable(n);
        let first = self.drawn(draw, fit)?;
        let second = self.drawn(draw.another(), |n| n != first && fit(n)).unwrap_or(first);
        // Cross-multiplied: load/weight without division.
        let cost = |n: usize, other: usize| (load(n) + 1) * u64::from(self.endpoints[other].weight);
        Some(if cost(second, first) < cost(first, second) { second } else { first })
    }

    /// Picks the `turn`-th endpoint of standing `standing` that `usable` admits, each as many turns
    /// in a row of turns as its weight says.
    pub fn turn(
        &self,
        standing: Standing,
        turn: u64,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let fit = |n: usize| self.endpoints[n].standing == standing && usable(n);
        let total = u64::from(self.total_weight(fit));
        if total == 0 { None } else { self.at_weight((turn % total) as u32, fit) }
    }

    fn drawn(&self, draw: Draw, fit: impl Fn(usize) -> bool) -> Option<usize> {
        let total = self.total_weight(&fit);
        if total == 0 { None } else { self.at_weight(draw.below(total), fit) }
    }

    fn total_weight(&self, fit: impl Fn(usize) -> bool) -> u32 {
        self.endpoints
            .iter()
            .enumerate()
            .filter(|(n, _)| fit(*n))
            .map(|(_, e)| u32::from(e.weight))
            .sum()
    }

    fn at_weight(&self, mut at: u32, fit: impl Fn(usize) -> bool) -> Option<usize> {
        for (n, endpoint) in self.endpoints.iter().enumerate().filter(|(n, _)| fit(*n)) {
            match at.checked_sub(u32::from(endpoint.weight)) {
                Some(rest) => at = rest,
                None => return Some(n),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(endpoints: &[(u16, Standing)]) -> Pool {
        let endpoint = |(n, (weight, standing)): (usize, &(u16, Standing))| {
            let address: Address = format!("127.0.0.1:{}", 9000 + n).parse().unwrap();
            let target = address.fixed_target().unwrap();
            Endpoint {
                address,
                target,
                weight: *weight,
                admin: AdminState::Ready,
                standing: *standing,
                is_fresh: false,
            }
        };
        Pool {
            name: "blue".parse().unwrap(),
            tag: PoolTag::default(),
            in_use: true,
            share: Share::WHOLE,
            cohort: None,
            link: Arc::default(),
            limit: None,
            endpoints: endpoints.iter().enumerate().map(endpoint).collect(),
        }
    }

    fn counts(pool: &Pool, load: impl Fn(usize) -> u64) -> Vec<u32> {
        let mut counts = vec![0; pool.endpoints.len()];
        let mut draw = Draw(1);
        for _ in 0..10_000 {
            draw = draw.another();
            counts[pool.pick(Standing::Up, draw, |_| true, &load).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn only_the_best_standing_serves() {
        let p = pool(&[(1, Standing::Out), (1, Standing::Suspended), (1, Standing::Unproven)]);
        assert_eq!(p.best(|_| true), Some(Standing::Unproven));
        assert_eq!(p.best(|n| n < 2), Some(Standing::Suspended));
        assert_eq!(p.best(|n| n < 1), None);
        assert_eq!(p.pick(Standing::Unproven, Draw(5), |_| true, |_| 0), Some(2));
    }

    #[test]
    fn idle_endpoints_share_evenly_and_a_loaded_one_gets_less() {
        let p = pool(&[(1, Standing::Up), (1, Standing::Up), (1, Standing::Up)]);
        assert!(counts(&p, |_| 0).iter().all(|n| (3_000..3_700).contains(n)));
        let loaded = counts(&p, |n| if n == 0 { 10 } else { 0 });
        assert_eq!(loaded[0], 0, "of two, the loaded one never wins: {loaded:?}");
    }

    #[test]
    fn weights_count() {
        let p = pool(&[(3, Standing::Up), (1, Standing::Up)]);
        let turns: Vec<_> = (0..8).map(|t| p.turn(Standing::Up, t, |_| true).unwrap()).collect();
        assert_eq!(turns, [0, 0, 0, 1, 0, 0, 0, 1]);
        // Three times the load for three times the weight is the same load.
        assert_eq!(
            p.pick(Standing::Up, Draw(0), |_| true, |n| if n == 0 { 2 } else { 1 }),
            Some(0)
        );
    }
}
