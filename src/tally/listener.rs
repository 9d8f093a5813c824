//! Counters by listener, a cell for each worker.

use super::cell::Counter;

/// What one worker counted of a listener's connections.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ListenerCell {
    /// Connections accepted.
    pub opened: Counter,
    /// Connections closed.
    pub closed: Counter,
    /// Open connections that are parked.
    pub parked: Counter,
}

impl ListenerCell {
    /// Open connections.
    pub fn open(&self) -> u64 {
        let closed = self.closed.get();
        self.opened.get().saturating_sub(closed)
    }
}

/// A listener's cells, by worker.
#[derive(Debug)]
pub struct ListenerTally {
    cells: Box<[ListenerCell]>,
}

impl ListenerTally {
    /// Empty cells for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { cells: (0..workers).map(|_| ListenerCell::default()).collect() }
    }

    /// The cell of a worker.
    #[expect(clippy::indexing_slicing, reason = "there is a cell for each worker")]
    pub fn cell(&self, worker: usize) -> &ListenerCell {
        &self.cells[worker]
    }

    /// Open connections, over all workers.
    pub fn open(&self) -> u64 {
        self.cells.iter().map(ListenerCell::open).sum()
    }

    /// Open connections that are parked, over all workers.
    pub fn parked(&self) -> u64 {
        self.cells.iter().map(|cell| cell.parked.get()).sum()
    }
}
