//! The audit journal: one JSON line for each event, only ever appended to.
//!
//! [`Journal`] is control's: the latest events and those who follow. [`JournalFile`] belongs to the
//! thread that writes.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use tokio::sync::broadcast;

use crate::model::{Event, Moment};

/// How many events are kept in memory for readers.
const KEPT: usize = 1000;
/// How much of the file's end is read at start, in bytes.
const TAIL: u64 = 1024 * 1024;
/// How large the file becomes before it is put aside, in bytes: it must not fill the disk.
const SIZE_MAX: u64 = 64 * 1024 * 1024;
const FILE: &str = "events.jsonl";
/// Where the file is put aside, over the one that was there before.
const OLDER: &str = "events.jsonl.1";

/// The journal's latest events, and those who follow it.
#[derive(Debug)]
pub struct Journal {
    latest: VecDeque<Event>,
    followers: broadcast::Sender<Event>,
}

/// The journal's file.
#[derive(Debug)]
pub struct JournalFile {
    folder: PathBuf,
    file: File,
    length: u64,
    /// The length at which it is put aside.
    limit: u64,
    /// The last line has no end: the next one begins with it.
    torn: bool,
    /// How many events are missing at its end.
    missing: u64,
}

/// Opens the journal in `folder` and reads its latest events.
///
/// # Errors
///
/// If the file cannot be opened for appending.
pub fn open(folder: &Path) -> io::Result<(Journal, JournalFile)> {
    let mut file = appending(folder)?;
    let length = file.seek(SeekFrom::End(0))?;
    let (mut latest, torn) = tail(&mut file)?;
    if latest.len() < KEPT
        && let Ok(mut older) = File::open(folder.join(OLDER))
    {
        // It was put aside a short while ago: what readers ask for is still in there.
        latest = [tail(&mut older)?.0, latest].concat();
    }
    let surplus = latest.len().saturating_sub(KEPT);
    let latest = latest.into_iter().skip(surplus).collect();
    let folder = folder.to_owned();
    Ok((
        Journal { latest, followers: broadcast::Sender::new(KEPT) },
        JournalFile { folder, file, length, limit: SIZE_MAX, torn, missing: 0 },
    ))
}

impl Journal {
    /// Adds an event, for those who read and follow.
    pub fn append(&mut self, event: Event) {
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

    /// Nothing is added any more: those who follow are told so.
    pub fn close(&mut self) {
        self.followers = broadcast::Sender::new(1);
    }

    /// What is added from now on.
    pub fn follow(&self) -> broadcast::Receiver<Event> {
        self.followers.subscribe()
    }
}

impl JournalFile {
    /// Writes an event. One that cannot be written is missing.
    pub fn append(&mut self, event: &Event) {
        match self.write(event) {
            Ok(()) if self.missing > 0 => {
                tracing::warn!("the journal is written again; it lacks {} events", self.missing);
                self.missing = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.missing == 0 {
                    tracing::error!("the journal cannot be written: {error}");
                }
                self.missing += 1;
            }
        }
    }

    /// Counts events that did not even come here.
    pub fn miss(&mut self, events: u64) {
        self.missing += events;
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        if self.length >= self.limit
            && let Err(error) = self.put_aside()
        {
            tracing::error!("{FILE} cannot be put aside and goes on growing: {error}");
            self.limit = self.length + SIZE_MAX;
        }
        let mut line = if self.torn { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut line, event)?;
        line.push(b'\n');
        let written = self.file.write_all(&line);
        self.torn = written.is_err();
        self.length += line.len() as u64;
        written
    }

    fn put_aside(&mut self) -> io::Result<()> {
        match fs::rename(self.folder.join(FILE), self.folder.join(OLDER)) {
            // Nothing is there: the last attempt came that far.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.file = appending(&self.folder)?;
        (self.length, self.limit, self.torn) = (0, SIZE_MAX, false);
        Ok(())
    }
}

fn appending(folder: &Path) -> io::Result<File> {
    let path = folder.join(FILE);
    OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}

/// The events at the end of a file, and whether its last line is torn. Such a line is passed over.
fn tail(file: &mut File) -> io::Result<(Vec<Event>, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let torn = bytes.last().is_some_and(|last| *last != b'\n');
    let lines = bytes.split(|b| *b == b'\n');
    Ok((lines.filter_map(|line| serde_json::from_slice(line).ok()).collect(), torn))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Revision, Severity};

    fn event(n: u64) -> Event {
        Event::new(Moment(n), Revision(n), "weight", Severity::Info, format!("event {n}"))
    }

    fn times(folder: &Path) -> Vec<u64> {
        let (journal, _) = open(folder).unwrap();
        journal.latest(Moment(0), usize::MAX).iter().map(|e| e.time.0).collect()
    }

    #[test]
    fn events_survive_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut file) = open(folder.path()).unwrap();
        (1..=3).for_each(|n| file.append(&event(n)));
        let path = folder.path().join(FILE);
        let mut text = fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 10);
        fs::write(&path, text).unwrap();
        let (_, mut file) = open(folder.path()).unwrap();
        file.append(&event(4));
        assert_eq!(times(folder.path()), [1, 2, 4]);
    }

    #[test]
    fn only_the_latest_are_kept_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = open(folder.path()).unwrap();
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

    #[test]
    fn a_large_file_is_put_aside_once_and_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut file) = open(folder.path()).unwrap();
        for n in 1..=6 {
            if n % 2 == 1 {
                file.limit = file.length;
            }
            file.append(&event(n));
        }
        assert_eq!(file.limit, SIZE_MAX);
        assert_eq!(times(folder.path()), [3, 4, 5, 6]);
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_file_that_cannot_be_put_aside_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut file) = open(folder.path()).unwrap();
        fs::create_dir(folder.path().join(OLDER)).unwrap();
        file.append(&event(1));
        file.limit = 0;
        (2..=3).for_each(|n| file.append(&event(n)));
        fs::remove_dir(folder.path().join(OLDER)).unwrap();
        assert_eq!((times(folder.path()), file.missing), (vec![1, 2, 3], 0));
    }
}
