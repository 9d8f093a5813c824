//! How a receiver fares.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::units::ReceiverName;

/// How a receiver fares since it was started or its settings changed. Tests do not count.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ReceiverCounts {
    /// Its name.
    pub name: ReceiverName,
    /// Notices that arrived.
    pub sent: u64,
    /// Notices given up.
    pub failed: u64,
    /// Notices that had to make room for newer ones.
    pub dropped: u64,
    /// Notices that wait, with the one under way.
    pub waiting: u64,
    /// Why the last try failed; none if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What a receiver's thread counts.
#[derive(Debug, Default)]
pub struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Counts {
    /// A notice arrived.
    pub fn sent(&self) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.sent.fetch_add(1, Relaxed);
    }

    /// A try failed.
    pub fn problem(&self, text: &str) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    /// A notice was given up.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// A notice made room for a newer one.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// What was counted so far.
    pub fn read(&self, name: &ReceiverName, waiting: usize) -> ReceiverCounts {
        ReceiverCounts {
            name: name.clone(),
            sent: self.sent.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            waiting: waiting as u64,
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
