//! Counters by pool and by endpoint, a cell for each worker.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes are bounded by the arrays' own lengths")
)]

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::histogram::Histogram;
use crate::model::{Blame, histogram::Counts};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker may call this: it is a load and a store, not an atomic add.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Replaces the number. Only the owning worker may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// Reads the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

const FIRST_CODE: u16 = 100;
const CODES: usize = 500;

/// What one worker counted of a pool, or of the answers that lbd gave itself.
#[derive(Debug)]
pub struct PoolCell {
    codes: [Counter; CODES],
    blames: [Counter; Blame::ALL.len()],
    /// Requests ended.
    pub finished: Counter,
    /// Further attempts after a failed one.
    pub retries: Counter,
    /// Requests that were meant for another pool, which had no usable endpoint.
    pub failovers: Counter,
    /// Failed first attempts on this pool that were replayed on the baseline.
    pub shielded: Counter,
    /// Whole durations.
    pub durations: Histogram,
    /// Times to the first byte of the response.
    pub first_bytes: Histogram,
}

impl Default for PoolCell {
    fn default() -> Self {
        Self {
            codes: std::array::from_fn(|_| Counter::default()),
            blames: std::array::from_fn(|_| Counter::default()),
            finished: Counter::default(),
            retries: Counter::default(),
            failovers: Counter::default(),
            shielded: Counter::default(),
            durations: Histogram::default(),
            first_bytes: Histogram::default(),
        }
    }
}

impl PoolCell {
    /// Counts a status. Those outside `100..600` count as 599.
    pub fn code(&self, status: u16) {
        let at = usize::from(status.wrapping_sub(FIRST_CODE));
        self.codes[at.min(CODES - 1)].add(1);
    }

    /// Counts a failure.
    pub fn blame(&self, blame: Blame) {
        self.blames[blame as usize].add(1);
    }
}

/// A pool's cells, by worker. A cell is made when its worker first needs it.
#[derive(Debug)]
pub struct PoolTally {
    cells: Box<[OnceLock<Box<PoolCell>>]>,
}

/// What all workers counted of a pool.
#[derive(Clone, Debug, Default)]
pub struct PoolCounts {
    /// Answers by status.
    pub codes: Vec<(u16, u64)>,
    /// Failures by blame.
    pub blames: [u64; Blame::ALL.len()],
    /// Requests ended.
    pub finished: u64,
    /// Further attempts.
    pub retries: u64,
    /// Requests that were meant for another pool.
    pub failovers: u64,
    /// Failed first attempts that were replayed on the baseline.
    pub shielded: u64,
}

impl PoolTally {
    /// Empty cells for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { cells: (0..workers).map(|_| OnceLock::new()).collect() }
    }

    /// The cell of a worker.
    pub fn cell(&self, worker: usize) -> &PoolCell {
        self.cells[worker].get_or_init(Box::default)
    }

    fn made(&self) -> impl Iterator<Item = &PoolCell> {
        self.cells.iter().filter_map(OnceLock::get).map(Box::as_ref)
    }

    /// The sum over all workers.
    pub fn counts(&self) -> PoolCounts {
        let mut sum = PoolCounts::default();
        let mut codes = [0; CODES];
        for cell in self.made() {
            codes.iter_mut().zip(&cell.codes).for_each(|(sum, n)| *sum += n.get());
            sum.blames.iter_mut().zip(&cell.blames).for_each(|(sum, n)| *sum += n.get());
            sum.finished += cell.finished.get();
            sum.retries += cell.retries.get();
            sum.failovers += cell.failovers.get();
            sum.shielded += cell.shielded.get();
        }
        let seen = (FIRST_CODE..).zip(codes).filter(|(_, n)| *n > 0);
        sum.codes = seen.collect();
        sum
    }

    /// The durations over all workers; `None` if none was counted yet.
    pub fn durations(&self) -> Option<Counts> {
        self.histogram(|cell| &cell.durations)
    }

    /// The times to the first byte over all workers; `None` if none was counted yet.
    pub fn first_bytes(&self) -> Option<Counts> {
        self.histogram(|cell| &cell.first_bytes)
    }

    fn histogram(&self, of: impl Fn(&PoolCell) -> &Histogram) -> Option<Counts> {
        let mut cells = self.made().peekable();
        cells.peek()?;
        let mut sum = Counts::default();
        cells.for_each(|cell| of(cell).add_to(&mut sum));
        Some(sum)
    }
}

/// What one worker counted of an endpoint.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct EndpointCell {
    /// Attempts begun.
    pub started: Counter,
    /// Attempts ended.
    pub finished: Counter,
    /// Attempts that failed by the endpoint's fault.
    pub failures: Counter,
    /// Such failures since the last success.
    pub streak: Counter,
}

impl EndpointCell {
    /// Attempts that are running.
    pub fn in_flight(&self) -> u64 {
        let finished = self.finished.get();
        self.started.get().saturating_sub(finished)
    }

    /// Counts how an attempt went, for the passive check.
    pub fn outcome(&self, failed: bool) {
        if failed {
            self.failures.add(1);
            self.streak.add(1);
        } else if self.streak.get() != 0 {
            self.streak.set(0);
        }
    }
}

/// An endpoint's cells, by worker.
#[derive(Debug)]
pub struct EndpointTally {
    cells: Box<[EndpointCell]>,
}

impl EndpointTally {
    /// Empty cells for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { cells: (0..workers).map(|_| EndpointCell::default()).collect() }
    }

    /// The cell of a worker.
    pub fn cell(&self, worker: usize) -> &EndpointCell {
        &self.cells[worker]
    }

    /// Attempts that are running, over all workers.
    pub fn in_flight(&self) -> u64 {
        self.cells.iter().map(EndpointCell::in_flight).sum()
    }

    /// Attempts begun, over all workers.
    pub fn started(&self) -> u64 {
        self.cells.iter().map(|c| c.started.get()).sum()
    }

    /// Attempts ended, over all workers.
    pub fn finished(&self) -> u64 {
        self.cells.iter().map(|c| c.finished.get()).sum()
    }

    /// Failures, over all workers.
    pub fn failures(&self) -> u64 {
        self.cells.iter().map(|c| c.failures.get()).sum()
    }

    /// Failures since each worker's last success, over all workers.
    pub fn streak(&self) -> u64 {
        self.cells.iter().map(|c| c.streak.get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed_over_workers() {
        let tally = PoolTally::new(2);
        assert!(tally.durations().is_none());
        for (worker, status) in [(0, 200), (1, 200), (1, 503), (1, 999)] {
            let cell = tally.cell(worker);
            cell.code(status);
            cell.finished.add(1);
            cell.durations.record(100);
        }
        tally.cell(1).blame(Blame::Timeout);
        let counts = tally.counts();
        assert_eq!(counts.codes, [(200, 2), (503, 1), (599, 1)]);
        assert_eq!(counts.finished, 4);
        assert_eq!(counts.blames[Blame::Timeout as usize], 1);
        assert_eq!(tally.durations().unwrap().count(), 4);
    }

    #[test]
    fn a_success_ends_a_streak() {
        let tally = EndpointTally::new(2);
        (0..3).for_each(|_| tally.cell(0).outcome(true));
        tally.cell(1).outcome(true);
        assert_eq!((tally.streak(), tally.failures()), (4, 4));
        tally.cell(0).outcome(false);
        assert_eq!((tally.streak(), tally.failures()), (1, 4));
    }
}
