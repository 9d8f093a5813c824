//! What workers tell the guard: a ring of samples and a table of waiting requests for each worker and
//! service, each with one writer.
//!
//! Telling costs a store into the worker's own memory: no lock, no allocation, no write that workers
//! share. Control reads at its own pace; what it is too late for is lost to it, evenly for all pools.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes are taken modulo the arrays' lengths")
)]

use std::{
    sync::{
        LazyLock, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
            fence,
        },
    },
    time::Instant,
};

use crate::model::{
    UserHash,
    guard::{Epoch, Fate, PoolTag, Sample},
    histogram::bucket_of,
};

/// How many samples a ring keeps for control. At 40,000 requests a second and worker it is read twenty
/// times a second before it has gone round.
const RING: usize = 4096;
/// How many waiting requests of a worker have a place. Those beyond are judged when they end.
const PLACES: usize = 512;
/// How many places are tried before a request goes without.
const TRIES: usize = 8;

/// What workers tell of one service, by worker. A cell is made when its worker first needs it.
#[derive(Debug)]
pub struct GuardTally {
    cells: Box<[OnceLock<Box<GuardCell>>]>,
}

/// What one worker tells of a service.
#[derive(Debug)]
pub struct GuardCell {
    ring: Box<[AtomicU64; RING]>,
    /// Samples told so far.
    told: AtomicU64,
    places: Box<[Place; PLACES]>,
    /// Where the next free place is looked for first.
    cursor: AtomicU64,
}

/// A request that waits for its answer.
#[derive(Debug, Default)]
struct Place {
    /// When it began to, by [`micros`]; 0: the place is free.
    since: AtomicU64,
    what: AtomicU64,
}

/// Where a waiting request is written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waiting(u16);

impl GuardTally {
    /// No cells yet, for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { cells: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The cell of a worker.
    pub fn cell(&self, worker: usize) -> &GuardCell {
        self.cells[worker].get_or_init(Box::default)
    }

    /// The cells that were made, with their workers.
    pub fn made(&self) -> impl Iterator<Item = (usize, &GuardCell)> {
        self.cells.iter().enumerate().filter_map(|(n, cell)| Some((n, cell.get()?.as_ref())))
    }
}

impl Default for GuardCell {
    fn default() -> Self {
        Self {
            ring: Box::new([const { AtomicU64::new(0) }; RING]),
            told: AtomicU64::new(0),
            places: Box::new(std::array::from_fn(|_| Place::default())),
            cursor: AtomicU64::new(0),
        }
    }
}

impl GuardCell {
    /// Tells of a request. Only the owning worker may call this.
    pub fn tell(&self, sample: Sample) {
        let n = self.told.load(Relaxed);
        // Released, so that a reader who sees it also sees how many were told before.
        self.ring[n as usize % RING].store(packed(sample), Release);
        self.told.store(n.wrapping_add(1), Release);
    }

    /// Writes down a request that waits for its answer since `since` ([`micros`]). `None` if too many
    /// do. Only the owning worker may call this.
    pub fn wait(&self, since: u64, sample: Sample) -> Option<Waiting> {
        let first = self.cursor.load(Relaxed);
        let mut places = (0..TRIES).map(|n| (first as usize + n) % PLACES);
        let at = places.find(|at| self.places[*at].since.load(Relaxed) == 0)?;
        self.cursor.store(at as u64 + 1, Relaxed);
        self.places[at].what.store(packed(sample), Release);
        self.places[at].since.store(since.max(1), Release);
        Some(Waiting(at as u16))
    }

    /// The request has its answer, or is over. Only the owning worker may call this.
    pub fn answered(&self, waiting: Waiting) {
        self.places[usize::from(waiting.0) % PLACES].since.store(0, Release);
    }

    /// Reads what was told since `seen`, which is moved on. Oldest first.
    pub fn read(&self, seen: &mut u64, into: &mut Vec<Sample>) {
        let end = self.told.load(Acquire);
        let begin = (*seen).max(end.saturating_sub(RING as u64 - 1));
        let old = into.len();
        into.extend((begin..end).map(|n| unpacked(self.ring[n as usize % RING].load(Acquire))));
        fence(Acquire);
        // What the worker may have written over meanwhile is not what it was.
        let torn = self.told.load(Relaxed).saturating_sub(RING as u64 - 1).saturating_sub(begin);
        into.drain(old..old + torn.min(end - begin) as usize);
        *seen = end;
    }

    /// Reads which requests wait at `now`, and for how long.
    pub fn read_waiting(&self, now: u64, into: &mut Vec<Sample>) {
        for place in self.places.iter() {
            let since = place.since.load(Acquire);
            if since == 0 {
                continue;
            }
            let what = place.what.load(Acquire);
            fence(Acquire);
            if place.since.load(Relaxed) == since {
                let latency = bucket_of(now.saturating_sub(since)) as u16;
                into.push(Sample { fate: Fate::Waiting, latency, ..unpacked(what) });
            }
        }
    }
}

/// Microseconds since the process first asked.
pub fn micros(at: Instant) -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(at.saturating_duration_since(*EPOCH).as_micros()).unwrap_or(u64::MAX)
}

/// hash 32 bits, latency 12, epoch 8, pool 8, fate 3, known user 1.
fn packed(sample: Sample) -> u64 {
    let fate = match sample.fate {
        Fate::Good => 0,
        Fate::Failed => 1,
        Fate::Broke => 2,
        Fate::Left => 3,
        Fate::Waiting => 4,
    };
    u64::from(sample.user.unwrap_or(UserHash(0)).0)
        | u64::from(sample.latency & 0xfff) << 32
        | u64::from(sample.epoch.0) << 44
        | u64::from(sample.pool.0) << 52
        | fate << 60
        | u64::from(sample.user.is_some()) << 63
}

fn unpacked(word: u64) -> Sample {
    let fate = match word >> 60 & 7 {
        0 => Fate::Good,
        1 => Fate::Failed,
        2 => Fate::Broke,
        3 => Fate::Left,
        _ => Fate::Waiting,
    };
    Sample {
        pool: PoolTag((word >> 52) as u8),
        epoch: Epoch((word >> 44) as u8),
        user: (word >> 63 == 1).then_some(UserHash(word as u32)),
        fate,
        latency: (word >> 32) as u16 & 0xfff,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn sample(n: u32) -> Sample {
        let user = (!n.is_multiple_of(3)).then_some(UserHash(n.wrapping_mul(0x9e37_79b9)));
        let fates = [Fate::Good, Fate::Failed, Fate::Broke, Fate::Left];
        Sample {
            pool: PoolTag(n as u8),
            epoch: Epoch((n >> 3) as u8),
            user,
            fate: fates[n as usize % 4],
            latency: (n % 736) as u16,
        }
    }

    fn read(cell: &GuardCell, seen: &mut u64) -> Vec<Sample> {
        let mut samples = Vec::new();
        cell.read(seen, &mut samples);
        samples
    }

    #[test]
    fn what_was_told_is_read_once_and_in_order() {
        let (cell, mut seen) = (GuardCell::default(), 0);
        assert!(read(&cell, &mut seen).is_empty());
        (0..10).for_each(|n| cell.tell(sample(n)));
        assert_eq!(read(&cell, &mut seen), (0..10).map(sample).collect::<Vec<_>>());
        assert!(read(&cell, &mut seen).is_empty());
    }

    #[test]
    fn a_reader_who_comes_late_gets_the_latest() {
        let (cell, mut seen) = (GuardCell::default(), 0);
        let count = 3 * RING as u32;
        (0..count).for_each(|n| cell.tell(sample(n)));
        let samples = read(&cell, &mut seen);
        assert!(samples.len() > RING / 2 && samples.len() < RING);
        let first = count - samples.len() as u32;
        assert_eq!(samples, (first..count).map(sample).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_beside_the_writer_never_gets_a_torn_or_doubled_sample() {
        const COUNT: u32 = 200_000;
        let cell = Arc::new(GuardCell::default());
        let writer = std::thread::spawn({
            let cell = cell.clone();
            move || {
                (0..COUNT).for_each(|n| cell.tell(Sample { user: Some(UserHash(n)), ..sample(0) }))
            }
        });
        let (mut seen, mut last) = (0, None);
        loop {
            let over = writer.is_finished();
            for sample in read(&cell, &mut seen) {
                let n = sample.user.unwrap().0;
                assert!(last.is_none_or(|last| n > last), "{n} after {last:?}");
                last = Some(n);
            }
            if over {
                break;
            }
        }
        writer.join().unwrap();
        assert_eq!(last, Some(COUNT - 1));
    }

    #[test]
    fn waiting_requests_age_until_they_are_answered() {
        let cell = GuardCell::default();
        let first = cell.wait(1_000, sample(1)).unwrap();
        cell.wait(2_000, sample(2)).unwrap();
        let ages = |now| {
            let mut samples = Vec::new();
            cell.read_waiting(now, &mut samples);
            samples.iter().map(|s| (s.fate, usize::from(s.latency))).collect::<Vec<_>>()
        };
        let age = |micros| (Fate::Waiting, bucket_of(micros));
        assert_eq!(ages(5_000), [age(4_000), age(3_000)]);
        cell.answered(first);
        assert_eq!(ages(9_000), [age(7_000)]);
    }

    #[test]
    fn a_full_table_lets_requests_go_without_and_gives_places_back() {
        let cell = GuardCell::default();
        let taken: Vec<_> =
            (0..2 * PLACES as u64).filter_map(|n| cell.wait(n, sample(1))).collect();
        assert_eq!(taken.len(), PLACES);
        cell.answered(taken[7]);
        assert!((0..PLACES).any(|_| {
            cell.cursor.store(cell.cursor.load(Relaxed) + 1, Relaxed);
            cell.wait(1, sample(1)) == Some(taken[7])
        }));
    }

    proptest! {
        #[test]
        fn a_sample_fits_into_a_word(n: u32, pool: u8, epoch: u8, latency in 0u16..736) {
            let sample = Sample { pool: PoolTag(pool), epoch: Epoch(epoch), latency, ..sample(n) };
            prop_assert_eq!(unpacked(packed(sample)), sample);
        }
    }
}
