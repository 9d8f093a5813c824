//! Checks names and passwords. One check takes about a tenth of a second on purpose, so it is done
//! beside the worker, only so many at a time, and what was found is remembered.
//!
//! Somebody who tries passwords gets no further than that: their checks wait in a short line, of which
//! one network has only a part; who is known already is let in without a check.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use crate::model::policy::password::{BasicAuth, credentials};

/// How many credentials a worker remembers, of the right ones and of the wrong ones.
const REMEMBERED: usize = 1024;
/// How many checks of one network a worker takes on at a time; browsers open six connections.
const CHECKS_PER_CLIENT: usize = 8;
/// How many checks a worker takes on at a time.
const CHECKS: usize = 64;
/// How long a check waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many checks run at a time, over all workers: half of the cores.
pub fn turns() -> Arc<Semaphore> {
    let cores = available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((cores / 2).max(1)))
}

/// One worker's door.
#[derive(Debug)]
pub struct Door {
    turns: Arc<Semaphore>,
    /// Secret numbers: what is remembered tells nobody a password.
    hashers: [RandomState; 2],
    /// Only this worker's requests take the lock, one at a time on its thread.
    known: Mutex<Known>,
}

/// What the door says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Word {
    /// Come in.
    Welcome,
    /// Name or password is wrong, or there is none.
    Stranger,
    /// This client has too many checks under way.
    Patience,
    /// Everybody together has.
    Crowded,
}

/// A credential as it is remembered.
type Tag = [u64; 2];

#[derive(Debug, Default)]
struct Known {
    right: Remembered,
    wrong: Remembered,
    checks: HashMap<IpAddr, usize>,
}

#[derive(Debug, Default)]
struct Remembered {
    tags: HashSet<Tag>,
    order: VecDeque<Tag>,
}

impl Remembered {
    fn add(&mut self, tag: Tag) {
        if self.tags.insert(tag) {
            self.order.push_back(tag);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.tags.remove(&oldest);
        }
    }
}

impl Door {
    /// A door of a worker; all share `turns`.
    pub fn new(turns: Arc<Semaphore>) -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        Self { turns, hashers, known: Mutex::default() }
    }

    /// Whether a request from `network` with this `Authorization` may come in.
    pub async fn ask(
        &self,
        auth: &BasicAuth,
        authorization: Option<&str>,
        network: IpAddr,
    ) -> Word {
        let Some((name, password)) = authorization.and_then(credentials) else {
            return Word::Stranger;
        };
        // With the hash, so that nothing is known of another password or file.
        let secret = (&name, &password, auth.users.hash_of(&name));
        let tag = self.hashers.each_ref().map(|hasher| hasher.hash_one(secret));
        let check = match self.known().recall(tag, network) {
            Ok(word) => return word,
            Err(Unknown) => Check { door: self, network },
        };
        let Ok(Ok(turn)) = timeout(PATIENCE, self.turns.clone().acquire_owned()).await else {
            return Word::Crowded;
        };
        let users = auth.users.clone();
        let checked = spawn_blocking(move || {
            let is_right = users.admit(&name, &password);
            // Not before: a client that is gone does not end the work.
            drop(turn);
            is_right
        });
        let is_right = checked.await.unwrap_or(false);
        drop(check);
        let mut known = self.known();
        if is_right {
            known.right.add(tag)
        } else {
            known.wrong.add(tag)
        }
        if is_right { Word::Welcome } else { Word::Stranger }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A check must be made; it is counted.
struct Unknown;

impl Known {
    fn recall(&mut self, tag: Tag, network: IpAddr) -> Result<Word, Unknown> {
        if self.right.tags.contains(&tag) {
            return Ok(Word::Welcome);
        }
        if self.wrong.tags.contains(&tag) {
            return Ok(Word::Stranger);
        }
        if self.checks.values().sum::<usize>() >= CHECKS {
            return Ok(Word::Crowded);
        }
        let mine = self.checks.entry(network).or_default();
        if *mine >= CHECKS_PER_CLIENT {
            return Ok(Word::Patience);
        }
        *mine += 1;
        Err(Unknown)
    }
}

/// A check that is under way.
struct Check<'d> {
    door: &'d Door,
    network: IpAddr,
}

impl Drop for Check<'_> {
    fn drop(&mut self) {
        let mut known = self.door.known();
        if let Some(mine) = known.checks.get_mut(&self.network) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                known.checks.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_oldest_go_first() {
        let mut remembered = Remembered::default();
        (0..=REMEMBERED as u64).for_each(|n| remembered.add([n, n]));
        remembered.add([1, 1]);
        assert_eq!((remembered.tags.len(), remembered.order.len()), (REMEMBERED, REMEMBERED));
        assert!(!remembered.tags.contains(&[0, 0]) && remembered.tags.contains(&[1, 1]));
    }

    #[test]
    fn one_network_has_only_a_part_of_the_line() {
        let mut known = Known::default();
        let network = |n: u8| IpAddr::from([192, 0, 2, n]);
        let words = |known: &mut Known, n: u8, count: u64| {
            (0..count).filter_map(|tag| known.recall([tag, 1], network(n)).ok()).collect::<Vec<_>>()
        };
        assert_eq!(words(&mut known, 0, 10), [Word::Patience; 2]);
        assert_eq!(words(&mut known, 1, 1), []);
        (2..9).for_each(|n| drop(words(&mut known, n, 8)));
        assert_eq!(words(&mut known, 99, 1), [Word::Crowded]);
        known.right.add([5, 5]);
        assert_eq!(known.recall([5, 5], network(0)).ok(), Some(Word::Welcome));
    }
}
