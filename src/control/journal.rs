//! The audit journal: one JSON line for each event, only ever appended to.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use tokio::sync::broadcast;

use crate::model::{Event, Moment};

/// How many events are kept in memory for readers.
const KEPT: usize = 1000;
/// How much of the file's end is read at start, in bytes.
const TAIL: u64 = 1024 * 1024;
const FILE: &str = "events.jsonl";

/// The journal's file, its latest events, and those who follow it.
#[derive(Debug)]
pub struct Journal {
    file: File,
    latest: VecDeque<Event>,
    followers: broadcast::Sender<Event>,
    /// The last line has no end: the next one begins with it.
    torn: bool,
    broken: bool,
}

impl Journal {
    /// Opens the journal in `folder` and reads its latest events.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened for appending.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let mut file =
            OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)?;
        let (latest, torn) = tail(&mut file)?;
        Ok(Self { file, latest, followers: broadcast::Sender::new(KEPT), torn, broken: false })
    }

    /// Adds an event. If it cannot be written it is still told to those who read and follow.
    pub fn append(&mut self, event: Event) {
        match self.write(&event) {
            Ok(()) => self.broken = false,
            Err(error) if !self.broken => {
                tracing::error!("the journal cannot be written: {error}");
                self.broken = true;
            }
            Err(_) => {}
        }
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(event.clone());
        // An error means that nobody follows.
        let _ = self.followers.send(event);
    }

    /// The latest events after `since`, at most `limit`, oldest first.
    pub fn latest(&self, since: Moment, limit: usize) -> Vec<Event> {
        let after = self.latest.iter().filter(|e| e.time > since);
        let skip = after.clone().count().saturating_sub(limit);
        after.skip(skip).cloned().collect()
    }

    /// What is added from now on.
    pub fn follow(&self) -> broadcast::Receiver<Event> {
        self.followers.subscribe()
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut line, event)?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        self.torn = written.is_err();
        written
    }
}

/// The events at the end of the file, and whether its last line is torn. Such a line is passed over.
fn tail(file: &mut File) -> io::Result<(VecDeque<Event>, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let torn = bytes.last().is_some_and(|last| *last != b'\n');
    let lines = bytes.split(|b| *b == b'\n');
    let mut events: VecDeque<Event> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let surplus = events.len().saturating_sub(KEPT);
    events.drain(..surplus);
    Ok((events, torn))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Actor, Revision, Severity};

    fn event(n: u64) -> Event {
        Event {
            time: Moment(n),
            kind: "weight".into(),
            severity: Severity::Info,
            actor: Actor::lbd(),
            services: Vec::new(),
            summary: format!("event {n}"),
            reason: None,
            before: String::new(),
            after: String::new(),
            revision: Revision(n),
        }
    }

    #[test]
    fn events_survive_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        (1..=3).for_each(|n| journal.append(event(n)));
        let path = folder.path().join(FILE);
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 10);
        std::fs::write(&path, text).unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        journal.append(event(4));
        let journal = Journal::open(folder.path()).unwrap();
        let times: Vec<u64> = journal.latest(Moment(0), 10).iter().map(|e| e.time.0).collect();
        assert_eq!(times, [1, 2, 4]);
    }

    #[test]
    fn only_the_latest_are_kept_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let mut follower = journal.follow();
        let last = 3 * KEPT as u64;
        (1..=last).for_each(|n| journal.append(event(n)));
        assert_eq!(journal.latest(Moment(0), usize::MAX).len(), KEPT);
        assert_eq!(journal.latest(Moment(0), 2).first().unwrap().time, Moment(last - 1));
        assert_eq!(journal.latest(Moment(last - 1), 10).len(), 1);
        // A follower that is too slow is told that it missed something, and goes on.
        assert!(follower.try_recv().is_err());
        assert!(follower.try_recv().is_ok());
    }
}
