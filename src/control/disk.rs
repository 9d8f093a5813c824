//! All writing to the disk of `admin.state_dir`, on a thread of its own.
//!
//! A disk may hang: a network file system, a frozen device. Control hands over what is to be written
//! and goes on; who must know whether it was written waits for the answer, for a bounded time. All is
//! written in the order in which it was handed over. What may wait is bounded: of states that nobody
//! waits for only the newest is kept, and events beyond [`EVENTS_MAX`] are lost and counted.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time};

use super::{journal::JournalFile, store::Store};
use crate::model::{Event, State};

/// How many events may wait to be written.
const EVENTS_MAX: usize = 10_000;
/// How long a single write may take before the log tells of it.
const HANGS: Duration = Duration::from_secs(5);

/// What is told of a disk that does not answer in time.
pub const SILENT: &str = "the disk does not answer";

type Answer = oneshot::Sender<Result<(), String>>;

/// The way to the disk. When it is dropped, the thread writes what is left and ends.
#[derive(Debug)]
pub struct Disk(Arc<Queue>);

/// A write that was handed over. Who drops it does not wait for it; it happens all the same.
#[derive(Debug)]
pub struct Writing(oneshot::Receiver<Result<(), String>>);

impl Writing {
    /// Waits until it is done, `deadline` at most.
    ///
    /// # Errors
    ///
    /// Why it could not be written, or [`SILENT`]: then it may still happen.
    pub async fn until(self, deadline: time::Instant) -> Result<(), String> {
        match time::timeout_at(deadline, self.0).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("nobody writes to it any more".into()),
            Err(_) => Err(SILENT.into()),
        }
    }
}

impl Disk {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If no thread can be made.
    pub fn start(store: Box<dyn Store>, journal: JournalFile) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let there = queue.clone();
        let run = move || Writer { store, journal, broken: false }.run(&there);
        thread::Builder::new().name("disk".into()).spawn(run)?;
        Ok(Self(queue))
    }

    /// Writes the state, in place of all that nobody waits for any more.
    pub fn save(&self, state: State) -> Writing {
        let (answer, writing) = oneshot::channel();
        self.0.lock().save(state, answer);
        self.0.wake.notify_one();
        Writing(writing)
    }

    /// Writes an event into the journal.
    pub fn append(&self, event: Event) {
        let mut waiting = self.0.lock();
        let room = waiting.events < EVENTS_MAX;
        if room {
            waiting.events += 1;
            waiting.jobs.push_back(Job::Event(Box::new(event)));
        } else {
            waiting.lost += 1;
        }
        let first = waiting.lost == 1;
        drop(waiting);
        self.0.wake.notify_one();
        if !room && first {
            tracing::error!("{SILENT}: events are lost to the journal");
        }
    }

    /// Done when all is written, or has failed, that was handed over before.
    pub fn flush(&self) -> Writing {
        let (answer, writing) = oneshot::channel();
        self.0.lock().jobs.push_back(Job::Flush(answer));
        self.0.wake.notify_one();
        Writing(writing)
    }

    /// Nothing more will be written; the thread ends when it is through.
    pub fn close(&self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }

    /// Writes the state that is in force again if the last one could not be written, and tells of a
    /// disk that hangs. For every second.
    pub fn look_after(&self, state: &State) {
        let mut waiting = self.0.lock();
        if waiting.undone {
            waiting.save(state.clone(), oneshot::channel().0);
        }
        let hangs = !waiting.told && waiting.begun.is_some_and(|begun| begun.elapsed() > HANGS);
        waiting.told |= hangs;
        drop(waiting);
        self.0.wake.notify_one();
        if hangs {
            tracing::error!(
                "{SILENT}: changes are refused; rollbacks are in force, but a restart would undo them"
            );
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// What waits to be written, and how the writer gets on.
#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// How many of the jobs are events.
    events: usize,
    /// How many events had no room.
    lost: u64,
    /// The last state that was handed over could not be written.
    undone: bool,
    /// When the writer began with what it is at.
    begun: Option<Instant>,
    /// The log has told that it hangs.
    told: bool,
    closed: bool,
}

#[derive(Debug)]
enum Job {
    Save(Box<State>, Answer),
    Event(Box<Event>),
    Flush(Answer),
}

impl Job {
    const fn is_save(&self) -> bool {
        matches!(self, Self::Save(..))
    }

    /// A state that nobody waits for.
    fn is_idle_save(&self) -> bool {
        matches!(self, Self::Save(_, answer) if answer.is_closed())
    }
}

impl Waiting {
    fn save(&mut self, state: State, answer: Answer) {
        self.jobs.retain(|job| !job.is_idle_save());
        self.jobs.push_back(Job::Save(Box::new(state), answer));
        self.undone = false;
    }

    fn next(&mut self) -> Option<Job> {
        while let Some(job) = self.jobs.pop_front() {
            if matches!(job, Job::Event(_)) {
                self.events -= 1;
            }
            let is_superseded = job.is_idle_save() && self.jobs.iter().any(Job::is_save);
            if !is_superseded {
                return Some(job);
            }
        }
        None
    }
}

impl Queue {
    /// Never held while anything is written.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to write. `None`: there will be no more.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            if let Some(job) = waiting.next() {
                waiting.begun = Some(Instant::now());
                return Some(job);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The writer is through with what it was at.
    fn done(&self) {
        let mut waiting = self.lock();
        waiting.begun = None;
        let told = std::mem::take(&mut waiting.told);
        drop(waiting);
        if told {
            tracing::warn!("the disk answers again");
        }
    }

    fn state_failed(&self) {
        let mut waiting = self.lock();
        waiting.undone = !waiting.jobs.iter().any(Job::is_save);
    }

    fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.lock().lost)
    }
}

/// What the thread works with.
struct Writer {
    store: Box<dyn Store>,
    journal: JournalFile,
    /// The last state could not be written.
    broken: bool,
}

impl Writer {
    fn run(&mut self, queue: &Queue) {
        while let Some(job) = queue.next() {
            match job {
                Job::Save(state, answer) => {
                    let result = self.save(&state);
                    if result.is_err() {
                        queue.state_failed();
                    }
                    // Nobody may wait for it any more.
                    let _ = answer.send(result);
                }
                Job::Event(event) => {
                    self.journal.miss(queue.take_lost());
                    self.journal.append(&event);
                }
                Job::Flush(answer) => drop(answer.send(Ok(()))),
            }
            queue.done();
        }
    }

    fn save(&mut self, state: &State) -> Result<(), String> {
        let result = self.store.save(state);
        match &result {
            Ok(()) if self.broken => tracing::info!("the state is written again"),
            Err(error) if !self.broken => tracing::error!("the state cannot be written: {error}"),
            Ok(()) | Err(_) => {}
        }
        self.broken = result.is_err();
        result.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::mpsc};

    use super::*;
    use crate::{
        control::journal,
        model::{Moment, Revision, Severity},
    };

    /// Tells which states come, and takes each when it is told how to.
    #[derive(Debug)]
    struct Counter {
        came: mpsc::Sender<u64>,
        go_on: mpsc::Receiver<io::Result<()>>,
    }

    impl Store for Counter {
        fn save(&mut self, state: &State) -> io::Result<()> {
            self.came.send(state.revision.0).unwrap();
            self.go_on.recv().unwrap()
        }
    }

    struct Bench {
        disk: Disk,
        came: mpsc::Receiver<u64>,
        go_on: mpsc::Sender<io::Result<()>>,
    }

    fn bench(folder: &Path) -> Bench {
        let ((tell, came), (go_on, wait)) = (mpsc::channel(), mpsc::channel());
        let store = Box::new(Counter { came: tell, go_on: wait });
        let disk = Disk::start(store, journal::open(folder).unwrap().1).unwrap();
        Bench { disk, came, go_on }
    }

    impl Bench {
        /// The next state that comes; it is taken as `result` says.
        fn next(&self, result: io::Result<()>) -> u64 {
            let revision = self.came.recv_timeout(Duration::from_secs(10)).unwrap();
            self.go_on.send(result).unwrap();
            revision
        }

        async fn flush(&self) {
            let deadline = time::Instant::now() + Duration::from_secs(10);
            self.disk.flush().until(deadline).await.unwrap();
        }
    }

    fn state(n: u64) -> State {
        let text = include_str!("../../conf/minimal.toml");
        let settings =
            crate::config::check(text, &|_| Err(io::ErrorKind::NotFound.into())).unwrap();
        State { revision: Revision(n), ..State::new(&settings) }
    }

    fn event(n: u64) -> Event {
        Event::new(Moment(n), Revision(n), "weight", Severity::Info, "")
    }

    #[tokio::test]
    async fn of_states_that_nobody_waits_for_only_the_newest_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let bench = bench(folder.path());
        drop(bench.disk.save(state(1)));
        assert_eq!(bench.came.recv().unwrap(), 1);
        for n in 2..100 {
            drop(bench.disk.save(state(n)));
        }
        let waited_for = bench.disk.save(state(100));
        let given_up = bench.disk.save(state(101));
        drop(bench.disk.save(state(102)));
        drop(given_up);
        bench.go_on.send(Ok(())).unwrap();
        let full = || io::Error::other("no space");
        assert_eq!([bench.next(Err(full())), bench.next(Ok(()))], [100, 102]);
        let deadline = time::Instant::now() + Duration::from_secs(10);
        assert_eq!(waited_for.until(deadline).await.unwrap_err(), "no space");
        bench.flush().await;
        assert!(bench.came.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_failed_is_written_again_and_what_was_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let bench = bench(folder.path());
        drop(bench.disk.save(state(1)));
        assert_eq!(bench.next(Err(io::Error::other("no space"))), 1);
        bench.flush().await;
        bench.disk.look_after(&state(2));
        // It is under way: not a second time.
        bench.disk.look_after(&state(3));
        assert_eq!(bench.next(Ok(())), 2);
        bench.flush().await;
        bench.disk.look_after(&state(4));
        bench.flush().await;
        assert!(bench.came.try_recv().is_err());
    }

    #[tokio::test]
    async fn events_beyond_the_bound_are_lost_and_the_others_are_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let bench = bench(folder.path());
        drop(bench.disk.save(state(1)));
        assert_eq!(bench.came.recv().unwrap(), 1);
        let last = EVENTS_MAX as u64 + 5;
        (1..=last).for_each(|n| bench.disk.append(event(n)));
        assert_eq!(bench.disk.0.lock().lost, 5);
        bench.go_on.send(Ok(())).unwrap();
        bench.flush().await;
        bench.disk.append(event(last + 1));
        bench.flush().await;
        let text = fs::read_to_string(folder.path().join("events.jsonl")).unwrap();
        let times = text.lines().map(|line| serde_json::from_str::<Event>(line).unwrap().time.0);
        assert!(times.eq((1..=EVENTS_MAX as u64).chain([last + 1])));
        assert_eq!(bench.disk.0.lock().lost, 0);
    }

    #[tokio::test]
    async fn what_was_handed_over_is_written_after_its_owner_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let Bench { disk, came, go_on } = bench(folder.path());
        drop(disk.save(state(1)));
        let writing = disk.save(state(2));
        drop(disk);
        // The first may have been left out: nobody waits for it.
        [Ok(()), Ok(())].into_iter().for_each(|result| drop(go_on.send(result)));
        assert_eq!(came.iter().collect::<Vec<_>>().last(), Some(&2));
        let deadline = time::Instant::now() + Duration::from_secs(10);
        writing.until(deadline).await.unwrap();
    }
}
