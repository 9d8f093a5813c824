//! A daemon that serves: how it takes over from the one before it, and how it ends.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use lbd::{
    api::upgrade::Process,
    control::{
        self, Shared, Stopping,
        upgrade::{Course, Inheritance},
    },
    edge::worker::Worker,
    handover::{message::Counsel, predecessor::Predecessor},
    model::{Actor, Severity},
};
use sd_notify::NotifyState;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{UnixStream, unix::OwnedWriteHalf},
    sync::watch,
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep},
};

use crate::announce;

/// How long the end waits for the disk.
const AT_END: Duration = Duration::from_secs(5);
/// How long the system may take to tell how a process ended whose wire is closed, and how often it is
/// asked.
const DYING: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// A process that serves, and what it takes to end it.
pub struct Shift {
    pub control: Shared,
    pub workers: Vec<Worker>,
    pub signals: watch::Receiver<Stopping>,
    pub stop: watch::Sender<bool>,
    pub rest: watch::Sender<bool>,
    pub kept: Arc<OnceLock<Vec<SocketAddr>>>,
    pub admin: Vec<JoinHandle<()>>,
}

/// How the counsels of the next process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Counsels {
    /// It stops, as it was told to.
    Stopped,
    /// It is gone without a word.
    Ceased,
}

/// Why a shift ends.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Ending {
    /// By a signal.
    Told,
    /// A worker is gone.
    Broken,
    /// Another process goes on.
    Followed,
}

impl Shift {
    /// Serves until told to stop, then until the last request is done.
    pub async fn end(mut self) -> anyhow::Result<()> {
        let mut course = self.control.borrow().course();
        let ending = tokio::select! {
            _ = self.signals.wait_for(|s| *s != Stopping::No) => Ending::Told,
            () = any_done(&mut self.workers) => Ending::Broken,
            _ = course.wait_for(|course| matches!(course, Course::Gone { .. })) => Ending::Followed,
        };
        // A signal may come in the moment in which everything was handed over.
        if ending == Ending::Followed || self.control.borrow().is_gone() {
            return self.give_way().await;
        }
        announce(&[NotifyState::Stopping]);
        self.control.borrow_mut().stop();
        let summary = "stopping".into();
        self.control.borrow_mut().note("stop", Severity::Info, Actor::lbd(), summary);
        self.rest.send_replace(true);
        let at_once = self.drain().await;
        if let Err(problem) = control::settle(&self.control, AT_END).await {
            tracing::error!("{problem}: the last changes and events may be lost");
        }
        self.flush(at_once);
        match ending {
            Ending::Told | Ending::Followed => Ok(()),
            Ending::Broken => Err(anyhow!("a worker ended by itself; see the lines above")),
        }
    }

    /// Another process goes on: this one finishes what it began.
    async fn give_way(mut self) -> anyhow::Result<()> {
        let inheritance = self.control.borrow_mut().take_inheritance();
        let Inheritance { heir, listeners } = inheritance.context("nothing was handed over")?;
        // Nobody else sets it, and nobody is there to be told.
        let _ = self.kept.set(listeners);
        let (rest, control) = (self.rest.clone(), self.control.clone());
        let (wire, heir) = heir.into_parts();
        // Before this process, which may have nothing left to do, ends: the main process's end is taken for
        // the service's.
        announce(&[NotifyState::MainPid(heir.id())]);
        let wire = wire.into_inner();
        wire.set_nonblocking(true)?;
        let mut lines = BufReader::new(UnixStream::from_std(wire)?).lines();
        let obeying = spawn_local(async move {
            let end = obey(&control, &mut lines).await;
            // Whether it is gone or only stops: nobody is to wait for clients that say nothing.
            rest.send_replace(true);
            // The other one sees the end of the wire when this process ends, and no sooner.
            (end, lines)
        });
        let at_once = self.drain().await;
        // Whoever asked for the upgrade is told how it went.
        for admin in &mut self.admin {
            let _ = admin.await;
        }
        self.flush(at_once);
        if !obeying.is_finished() || obeying.await?.0 == Counsels::Stopped {
            return Ok(());
        }
        // Its wire is closed a moment before the system knows how it ended.
        let end = Instant::now() + DYING;
        loop {
            match heir.has_ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the process that took over has ended: {status}"),
                None if Instant::now() > end => return Ok(()),
                None => sleep(LOOK).await,
            }
        }
    }

    /// Accepts no more, and waits for what runs. Returns whether it was told not to wait any longer.
    async fn drain(&mut self) -> bool {
        let mut predecessor = self.control.borrow().predecessor();
        self.stop.send_replace(true);
        let drained = async {
            for worker in &mut self.workers {
                worker.done().await;
            }
            // The end of the main process may be the end of all.
            let _ = predecessor.wait_for(Option::is_none).await;
        };
        let at_once = tokio::select! {
            () = drained => false,
            _ = self.signals.wait_for(|s| *s == Stopping::Now) => true,
        };
        if at_once {
            tracing::warn!("stopping at once");
        }
        at_once
    }

    fn flush(&self, at_once: bool) {
        self.control.borrow().logs().flush();
        if !at_once {
            self.control.borrow().exporter().flush();
        }
    }
}

async fn any_done(workers: &mut [Worker]) {
    let mut waiting: Vec<_> = workers.iter_mut().map(|w| Box::pin(w.done())).collect();
    std::future::poll_fn(|cx| {
        let done = waiting.iter_mut().any(|w| w.as_mut().poll(cx).is_ready());
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Takes everything from the process that hands over, now that this one serves.
pub fn succeed(
    control: &Shared,
    former: Predecessor,
    rest: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    former.serving().context("the process that hands over")?;
    let from = Process { version: former.version.clone(), pid: former.pid };
    let mut own = control.borrow_mut();
    own.begin();
    own.note_succession(&from);
    own.set_predecessor(Some(from));
    let wire = former.into_wire();
    wire.set_nonblocking(true)?;
    let wire = UnixStream::from_std(wire)?;
    spawn_local(outlive(control.clone(), wire, rest));
    Ok(())
}

/// Tells the process that handed over what is decided, until it has finished what it began. If this
/// one stops meanwhile, it lets the other know by closing its side.
async fn outlive(control: Shared, wire: UnixStream, mut rest: watch::Receiver<bool>) {
    let (mut from, mut to) = wire.into_split();
    let telling = async {
        let mut changes = control.borrow().changes();
        let mut told = control.borrow().model.state.revision;
        while changes.changed().await.is_ok() {
            let state = control.borrow().model.state.clone();
            if state.revision == told {
                continue;
            }
            told = state.revision;
            if say(&mut to, &Counsel::Decided(state.into())).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut buffer = [0; 64];
    let stops = tokio::select! {
        _ = from.read(&mut buffer) => false,
        _ = rest.wait_for(|rest| *rest) => true,
        () = telling => false,
    };
    if stops && say(&mut to, &Counsel::Stops).await.is_ok() {
        // The other end is closed when the other process ends.
        let _ = from.read(&mut buffer).await;
    }
    control.borrow().set_predecessor(None);
}

async fn say(to: &mut OwnedWriteHalf, counsel: &Counsel) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(counsel)?;
    line.push(b'\n');
    to.write_all(&line).await
}

/// Does what the next process decides, until it stops or is gone.
async fn obey(control: &Shared, lines: &mut Lines<BufReader<UnixStream>>) -> Counsels {
    while let Ok(Some(line)) = lines.next_line().await {
        match serde_json::from_str(&line) {
            Ok(Counsel::Decided(state)) => control.borrow_mut().follow(*state),
            Ok(Counsel::Stops) => return Counsels::Stopped,
            Err(error) => {
                tracing::warn!("what the next process decided is not understood: {error}");
            }
        }
    }
    Counsels::Ceased
}
