//! How full the token buckets of rate limits are.
//!
//! One table for all workers: the kernel deals connections out to workers, so with a part of the limit
//! each a client with one connection would get only a fraction of it, and with the whole limit each a
//! client with many would get a multiple. A client's slot is written by whichever worker serves them,
//! without a lock; the table is not even made before the first limited request.
//!
//! The table has room for [`KEYS`] clients. A client that is met when the slots of its kind are all
//! taken gets that of the one whose bucket is fullest, which then counts as full: whoever is close to
//! the limit is forgotten last. So a client is never refused below its limit, and gets beyond it only by
//! asking from ten thousands of addresses at a time.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::model::policy::rate::{Nanos, RateLimit};

/// How many clients are known at a time, over all services: 1 MiB.
pub const KEYS: usize = 65_536;
/// How many slots a client may be in.
const WAYS: usize = 8;

/// The buckets of all clients.
#[derive(Debug)]
pub struct Buckets {
    epoch: Instant,
    /// Unknown to clients, so that nobody can choose whom to displace.
    hasher: RandomState,
    slots: OnceLock<Box<[Set]>>,
}

type Set = [Slot; WAYS];

#[derive(Debug, Default)]
struct Slot {
    /// The client's hash; 0: free.
    tag: AtomicU64,
    /// When the bucket is full again, in nanoseconds since the epoch.
    full: AtomicU64,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Key<'a> {
    /// An address or network.
    Client(IpAddr),
    /// A user by id.
    User(&'a str),
}

impl Default for Buckets {
    fn default() -> Self {
        Self { epoch: Instant::now(), hasher: RandomState::new(), slots: OnceLock::new() }
    }
}

impl Buckets {
    /// Takes a token for a request of `key` to `service`.
    ///
    /// # Errors
    ///
    /// After how many nanoseconds there will be one, if there is none.
    pub fn take(&self, limit: &RateLimit, service: &str, key: Key<'_>) -> Result<(), Nanos> {
        let now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(limit, self.hasher.hash_one((service, key)), now)
    }

    fn take_at(&self, limit: &RateLimit, hash: u64, now: Nanos) -> Result<(), Nanos> {
        let sets = self.slots.get_or_init(|| (0..KEYS / WAYS).map(|_| Set::default()).collect());
        let at = usize::try_from(hash).unwrap_or(usize::MAX) % sets.len().max(1);
        let (Some(set), tag) = (sets.get(at), hash.max(1)) else { return Ok(()) };
        match set.iter().find(|slot| slot.tag.load(Relaxed) == tag) {
            Some(slot) => slot.take(limit, now),
            None => newcomer(set, tag).map_or(Ok(()), |slot| slot.take(limit, now)),
        }
    }
}

/// The slot for a client that has none: that of whoever has most of their tokens.
fn newcomer(set: &Set, tag: u64) -> Option<&Slot> {
    let slot = set.iter().min_by_key(|slot| slot.full.load(Relaxed))?;
    slot.tag.store(tag, Relaxed);
    slot.full.store(0, Relaxed);
    Some(slot)
}

impl Slot {
    fn take(&self, limit: &RateLimit, now: Nanos) -> Result<(), Nanos> {
        let mut full = self.full.load(Relaxed);
        loop {
            let next = limit.take(full, now)?;
            match self.full.compare_exchange_weak(full, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                // Another worker serves the same client.
                Err(other) => full = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::model::{Millis, policy::rate::RateKey};

    const SLOW: RateLimit =
        RateLimit { requests: 1, per: Millis(3_600_000), burst: 100, by: RateKey::ClientIp };

    #[test]
    fn all_workers_count_together() {
        let buckets = Buckets::default();
        let passed: usize = thread::scope(|scope| {
            let count = || (0..200).filter(|_| buckets.take_at(&SLOW, 7, 1).is_ok()).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        // Workers that meet a new client at the same instant may each let one more in.
        assert!((100..=104).contains(&passed), "{passed}");
    }

    #[test]
    fn clients_and_services_have_buckets_of_their_own() {
        let (buckets, limit) = (Buckets::default(), RateLimit { burst: 1, ..SLOW });
        let take = |service, key| buckets.take(&limit, service, key).is_ok();
        let client = Key::Client([192, 0, 2, 1].into());
        assert!(take("a", client) && !take("a", client));
        assert!(take("b", client) && take("a", Key::Client([192, 0, 2, 2].into())));
        assert!(take("a", Key::User("192.0.2.1")) && !take("a", Key::User("192.0.2.1")));
    }

    #[test]
    fn memory_is_bounded_and_whoever_is_at_the_limit_is_remembered() {
        let buckets = Buckets::default();
        let limit = RateLimit { burst: 2, ..SLOW };
        let sets = (KEYS / WAYS) as u64;
        let heavy = sets;
        assert!(
            buckets.take_at(&limit, heavy, 1).is_ok() && buckets.take_at(&limit, heavy, 1).is_ok()
        );
        for other in 2..10_000 {
            assert!(buckets.take_at(&limit, other * sets, 1).is_ok());
        }
        assert!(buckets.take_at(&limit, heavy, 1).is_err());
        assert_eq!(buckets.slots.get().unwrap().len() * WAYS, KEYS);
    }
}
