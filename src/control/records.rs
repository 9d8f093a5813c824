//! The records of rollouts: one file each in `state_dir/rollouts`, written beside control so that a
//! disk that hangs holds nothing up.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use tokio::task::spawn_blocking;

use crate::{api::release::RolloutSummary, model::rollout::Record};

/// How many records are kept; the oldest go.
const KEPT: usize = 200;

/// The records of rollouts.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    summaries: BTreeMap<u64, RolloutSummary>,
    /// The newest record of each rollout that is not written yet.
    unwritten: BTreeMap<u64, Record>,
    writing: Arc<AtomicBool>,
}

impl Records {
    /// The records below `state_dir`. Those that cannot be read are passed over.
    pub fn open(state_dir: &Path) -> Self {
        let folder = state_dir.join("rollouts");
        let mut summaries = BTreeMap::new();
        for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if let Some(record) = read(&file.path()) {
                summaries.insert(record.rollout.id, summary(&record));
            }
        }
        let (unwritten, writing) = (BTreeMap::new(), Arc::default());
        Self { folder, summaries, unwritten, writing }
    }

    /// All rollouts, latest first.
    pub fn list(&self) -> Vec<RolloutSummary> {
        self.summaries.values().rev().cloned().collect()
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
        self.summaries.insert(record.rollout.id, summary(&record));
        self.unwritten.insert(record.rollout.id, record);
        self.write();
    }

    /// Writes what is not written yet, unless a write is under way.
    pub fn write(&mut self) {
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
        spawn_blocking(move || {
            for record in records.values() {
                if let Err(error) = save(&folder, record) {
                    tracing::error!(
                        "the record of rollout {} cannot be written: {error}",
                        record.rollout.id
                    );
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

/// What the list of rollouts shows of one.
pub fn summary(record: &Record) -> RolloutSummary {
    let rollout = &record.rollout;
    RolloutSummary {
        id: rollout.id,
        candidate: rollout.candidate.clone(),
        services: rollout.services.clone(),
        plan: rollout.name.clone(),
        by: rollout.by.name.clone(),
        began: rollout.began,
        ended: record.ended,
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
