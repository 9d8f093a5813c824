//! The records of rollouts: one file each in `state_dir/rollouts`, written beside control so that a
//! disk that hangs holds nothing up.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use tokio::task::spawn_blocking;

use serde::Deserialize;

use crate::{
    api::release::RolloutSummary,
    model::{
        Moment,
        rollout::{Record, Rollout},
    },
};

/// How many records are kept; the oldest go.
const KEPT: usize = 200;

/// The records of rollouts.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    summaries: BTreeMap<u64, RolloutSummary>,
    /// The newest record of each rollout that is not written yet.
    unwritten: BTreeMap<u64, Record>,
    /// Those whose write failed, to be tried again.
    failed: Arc<Mutex<Vec<Record>>>,
    writing: Arc<AtomicBool>,
}

impl Records {
    /// The records below `state_dir`. Those that cannot be read are passed over.
    pub fn open(state_dir: &Path) -> Self {
        let folder = state_dir.join("rollouts");
        let mut summaries = BTreeMap::new();
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if let Some(head) = head(&file.path()) {
                summaries.insert(head.rollout.id, summary(&head.rollout, head.ended));
            }
        }
        let (unwritten, failed, writing) = (BTreeMap::new(), Arc::default(), Arc::default());
        Self { folder, summaries, unwritten, failed, writing }
    }

    /// All rollouts, latest first.
    pub fn list(&self) -> Vec<RolloutSummary> {
        self.summaries.values().rev().cloned().collect()
    }

    /// The number of the last rollout; 0 if there was none.
    pub fn last(&self) -> u64 {
        self.summaries.keys().next_back().copied().unwrap_or_default()
    }

    /// The place of a rollout's record.
    pub fn path(&self, id: u64) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    /// The record of a rollout if it is not written yet.
    pub fn unwritten(&self, id: u64) -> Option<&Record> {
        self.unwritten.get(&id)
    }

    /// Keeps a record; written as soon as the disk allows.
    pub fn keep(&mut self, record: Record) {
        self.summaries.insert(record.rollout.id, summary(&record.rollout, record.ended));
        self.unwritten.insert(record.rollout.id, record);
        self.write();
    }

    /// Whether everything is written.
    pub fn is_settled(&self) -> bool {
        self.unwritten.is_empty() && !self.writing.load(SeqCst)
    }

    /// Writes what is not written yet, unless a write is under way.
    pub fn write(&mut self) {
        let failed =
            std::mem::take(&mut *self.failed.lock().unwrap_or_else(PoisonError::into_inner));
        for record in failed {
            // A newer one of the same rollout takes its place.
            self.unwritten.entry(record.rollout.id).or_insert(record);
        }
        if self.unwritten.is_empty() || self.writing.swap(true, SeqCst) {
            return;
        }
        let records = std::mem::take(&mut self.unwritten);
        let old: Vec<u64> = self.summaries.keys().rev().skip(KEPT).copied().collect();
        for id in &old {
            self.summaries.remove(id);
        }
        let old: Vec<PathBuf> = old.into_iter().map(|id| self.path(id)).collect();
        let (folder, writing) = (self.folder.clone(), self.writing.clone());
        let failed = self.failed.clone();
        spawn_blocking(move || {
            for record in records.into_values() {
                if let Err(error) = save(&folder, &record) {
                    let id = record.rollout.id;
                    tracing::error!("the record of rollout {id} cannot be written: {error}");
                    failed.lock().unwrap_or_else(PoisonError::into_inner).push(record);
                }
            }
            // What is not there cannot be removed, which is as well.
            old.iter().for_each(|path| drop(fs::remove_file(path)));
            writing.store(false, SeqCst);
        });
    }
}

/// Reads a record; `None` if there is none, or it cannot be read.
pub fn read(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What is read of a record at start: all but its evidence.
#[derive(Deserialize)]
struct Head {
    rollout: Rollout,
    #[serde(default)]
    ended: Option<Moment>,
}

fn head(path: &Path) -> Option<Head> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What the list of rollouts shows of one.
fn summary(rollout: &Rollout, ended: Option<Moment>) -> RolloutSummary {
    RolloutSummary {
        id: rollout.id,
        candidate: rollout.candidate.clone(),
        services: rollout.services.clone(),
        plan: rollout.name.clone(),
        by: rollout.by.name.clone(),
        began: rollout.began,
        ended,
        phase: rollout.phase.as_str().into(),
        text: rollout.told(&rollout.phase),
    }
}

fn save(folder: &Path, record: &Record) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = folder.join(format!("{}.new", record.rollout.id));
    let mut file =
        fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.sync_all()?;
    fs::rename(&fresh, folder.join(format!("{}.json", record.rollout.id)))
}
