//! All tallies, by identity.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    cell::{Counter, EndpointTally, PoolTally},
    samples::GuardTally,
};
use crate::model::{Address, EndpointKey, PoolName, ServiceName, Target};

/// All tallies, by identity. Control keeps it; workers see single tallies through the view.
///
/// Counts of pools and services stay until the process ends, as Prometheus expects of counters;
/// those of endpoints go with the endpoint.
#[derive(Debug)]
pub struct Tallies {
    workers: usize,
    pools: BTreeMap<(ServiceName, PoolName), Arc<PoolTally>>,
    endpoints: BTreeMap<EndpointKey, Arc<EndpointTally>>,
    own: BTreeMap<ServiceName, Arc<PoolTally>>,
    unrouted: Arc<PoolTally>,
    guards: BTreeMap<ServiceName, Arc<GuardTally>>,
    beats: Arc<[Beat]>,
}

/// When a worker was last seen to be on time, by [`super::micros`].
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Beat(pub Counter);

impl Beat {
    /// How often workers give a sign of life, and hand on gathered log lines.
    pub const PACE: Duration = Duration::from_millis(100);
}

impl Tallies {
    /// No tallies yet, for so many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers,
            pools: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            own: BTreeMap::new(),
            unrouted: Arc::new(PoolTally::new(workers)),
            guards: BTreeMap::new(),
            beats: (0..workers).map(|_| Beat::default()).collect(),
        }
    }

    /// The tally of a pool.
    pub fn pool(&mut self, service: &ServiceName, pool: &PoolName) -> Arc<PoolTally> {
        let new = || Arc::new(PoolTally::new(self.workers));
        self.pools.entry((service.clone(), pool.clone())).or_insert_with(new).clone()
    }

    /// The tally of what lbd itself answered for a service.
    pub fn own(&mut self, service: &ServiceName) -> Arc<PoolTally> {
        self.own
            .entry(service.clone())
            .or_insert_with(|| Arc::new(PoolTally::new(self.workers)))
            .clone()
    }

    /// The tally of what lbd itself answered where no service was found.
    pub fn unrouted(&self) -> Arc<PoolTally> {
        self.unrouted.clone()
    }

    /// What workers tell the guard of a service.
    pub fn guard(&mut self, service: &ServiceName) -> Arc<GuardTally> {
        let new = || Arc::new(GuardTally::new(self.workers));
        self.guards.entry(service.clone()).or_insert_with(new).clone()
    }

    /// What workers tell the guard, by service.
    pub fn guards(&self) -> impl Iterator<Item = (&ServiceName, &GuardTally)> {
        self.guards.iter().map(|(service, tally)| (service, tally.as_ref()))
    }

    /// The workers' signs of life, by worker.
    pub fn beats(&self) -> Arc<[Beat]> {
        self.beats.clone()
    }

    /// The tally of an endpoint.
    pub fn endpoint(&mut self, key: &EndpointKey) -> Arc<EndpointTally> {
        let new = || Arc::new(EndpointTally::new(self.workers));
        self.endpoints.entry(key.clone()).or_insert_with(new).clone()
    }

    /// Forgets endpoints that are no longer in use and have nothing running.
    pub fn retain_endpoints(&mut self, in_use: impl Fn(&EndpointKey) -> bool) {
        self.endpoints.retain(|key, tally| in_use(key) || tally.in_flight() > 0);
    }

    /// The tally of a pool, if it has one.
    pub fn find_pool(&self, service: &ServiceName, pool: &PoolName) -> Option<&PoolTally> {
        self.pools.get(&(service.clone(), pool.clone())).map(Arc::as_ref)
    }

    /// All pools.
    pub fn pools(&self) -> impl Iterator<Item = (&ServiceName, &PoolName, &PoolTally)> {
        self.pools.iter().map(|((service, pool), tally)| (service, pool, tally.as_ref()))
    }

    /// What lbd answered itself, by service.
    pub fn owns(&self) -> impl Iterator<Item = (&ServiceName, &PoolTally)> {
        self.own.iter().map(|(service, tally)| (service, tally.as_ref()))
    }

    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = (&EndpointKey, &EndpointTally)> {
        self.endpoints.iter().map(|(key, tally)| (key, tally.as_ref()))
    }

    /// Those of an address in a pool, whichever targets it has or had.
    pub fn endpoints_at(
        &self,
        service: &ServiceName,
        pool: &PoolName,
        address: &Address,
    ) -> impl Iterator<Item = (&EndpointKey, &EndpointTally)> {
        let (service, pool, address) = (service.clone(), pool.clone(), address.clone());
        let first = EndpointKey { service, pool, address, target: Target::FIRST };
        let rest = self.endpoints.range(first.clone()..);
        let same = move |key: &EndpointKey| {
            (&key.service, &key.pool, &key.address) == (&first.service, &first.pool, &first.address)
        };
        rest.take_while(move |(key, _)| same(key)).map(|(key, tally)| (key, tally.as_ref()))
    }

    /// The tally of an endpoint, if it has one.
    pub fn find(&self, key: &EndpointKey) -> Option<&EndpointTally> {
        self.endpoints.get(key).map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoints_of_an_address_are_found_by_it() {
        let mut tallies = Tallies::new(1);
        let key = |pool: &str, address: &str, target: &str| EndpointKey {
            service: "app".parse().unwrap(),
            pool: pool.parse().unwrap(),
            address: address.parse().unwrap(),
            target: Target::Tcp(target.parse().unwrap()),
        };
        let wanted = [key("blue", "a:1", "0.0.0.0:0"), key("blue", "a:1", "[::1]:9")];
        let others = [key("blue", "b:1", "127.0.0.1:1"), key("green", "a:1", "127.0.0.1:1")];
        for key in wanted.iter().chain(&others) {
            tallies.endpoint(key);
        }
        let EndpointKey { service, pool, address, .. } = &wanted[0];
        let found = tallies.endpoints_at(service, pool, address).map(|(key, _)| key.clone());
        assert_eq!(found.collect::<Vec<_>>(), wanted);
    }
}
