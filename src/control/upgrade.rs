//! Upgrades: hands over to the binary on the disk, without a gap.
//!
//! The next process is started and prepares itself while this one goes on as ever. Then nothing here
//! changes any more ([`Course::Frozen`]), the disk has all that was decided, and the next one goes on
//! with it. Until it serves, whatever goes wrong ends it and leaves this one as it was.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::StatusCode;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    sync::{Mutex, watch},
    task::{spawn_blocking, spawn_local},
    time::{Instant, timeout_at},
};

use super::{Control, Rehearse, Shared, clock, commit, fault::Fault, terms::Terms};
use crate::{
    api::upgrade::{Process, UpgradeStatus, Upgraded},
    handover::{
        message::Prepared,
        origin::Origin,
        successor::{Heir, Heirloom, Successor},
    },
    model::{Actor, Event, Millis, Moment, Refusal, Severity, State, handed::Handed},
};

/// How long the next process may take to be ready, if not told otherwise.
pub const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the disk may take to have everything; meanwhile nothing can be changed.
const SETTLE: Duration = Duration::from_secs(2);
/// Why an upgrade ends when lbd does.
const STOPPING: &str = "lbd was told to stop meanwhile";
/// This release.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whose the guard, the admin socket and the disk are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Course {
    /// This process's.
    Own,
    /// This process's, but nothing changes: they are being handed over.
    Frozen,
    /// The next process's.
    Gone {
        /// Whether it goes on with this process's admin socket.
        admin: bool,
    },
}

/// What can be handed over, and how that stands.
#[derive(Debug)]
pub struct Estate {
    origin: Origin,
    heirlooms: Arc<Vec<Heirloom>>,
    course: watch::Sender<Course>,
    running: Rc<Mutex<()>>,
    /// The process that is preparing itself.
    candidate: Option<u32>,
    inheritance: Option<Inheritance>,
    /// The process before this one, while it still serves what it began.
    predecessor: watch::Sender<Option<Process>>,
}

/// What is left to do for a process that has handed over.
#[derive(Debug)]
pub struct Inheritance {
    /// The next process.
    pub heir: Heir,
    /// The addresses where it goes on to accept clients.
    pub listeners: Vec<SocketAddr>,
}

impl Estate {
    /// Of a process that was started in this way, and has these things to hand over.
    pub fn new(origin: Origin, heirlooms: Vec<Heirloom>) -> Self {
        Self {
            origin,
            heirlooms: Arc::new(heirlooms),
            course: watch::Sender::new(Course::Own),
            running: Rc::default(),
            candidate: None,
            inheritance: None,
            predecessor: watch::Sender::new(None),
        }
    }
}

/// Hands over to the binary that is on the disk now.
///
/// # Errors
///
/// Why it was not done. Then everything is as it was.
pub async fn upgrade(
    control: &Shared,
    terms: Terms,
    ready_within: Duration,
) -> Result<Upgraded, Fault> {
    let control = control.clone();
    // A task of its own: who asked may go away.
    let task = spawn_local(async move { hand_over(&control, terms, ready_within).await });
    task.await.unwrap_or_else(|error| Err(failure(error.to_string())))
}

async fn hand_over(
    control: &Shared,
    terms: Terms,
    ready_within: Duration,
) -> Result<Upgraded, Fault> {
    let running = control.borrow().estate.running.clone();
    let Ok(_turn) = running.try_lock() else {
        let hint = "wait for it: `lbctl events` shows how it ends";
        let error = "an upgrade is under way already";
        return Err(Fault::new(StatusCode::CONFLICT, "upgrade_runs", error, hint));
    };
    control.borrow().may_begin(&terms)?;
    let begun = Instant::now();
    let (successor, prepared) = match prepare(control, ready_within).await {
        Ok(prepared) => prepared,
        Err(why) => return Err(control.borrow_mut().note_failure(why, terms)),
    };
    let to = Process { version: prepared.version.clone(), pid: successor.pid() };
    if terms.rehearse == Rehearse::Yes {
        return Ok(Upgraded { dry_run: true, ..upgraded(to, begun, Duration::ZERO) });
    }
    match give(control, successor, prepared, &to, &terms).await {
        Ok(frozen) => Ok(upgraded(to, begun, frozen)),
        Err(why) => Err(control.borrow_mut().note_failure(why, terms)),
    }
}

fn upgraded(to: Process, begun: Instant, frozen: Duration) -> Upgraded {
    let millis = |span: Duration| Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let (took, frozen) = (millis(begun.elapsed()), millis(frozen));
    Upgraded { from: Process::this(), to, took, frozen, dry_run: false }
}

fn failure(why: String) -> Fault {
    let hint = "the lbd that ran goes on as it was; its log has what the new one said";
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "upgrade_failed", why, hint)
}

/// Starts the next process, and waits until everything is done that can fail.
async fn prepare(control: &Shared, patience: Duration) -> Result<(Successor, Prepared), String> {
    let (origin, heirlooms) = {
        let control = control.borrow();
        (control.estate.origin.clone(), control.estate.heirlooms.clone())
    };
    let starting = spawn_blocking(move || Successor::start(&origin));
    let mut successor = starting.await.map_err(|error| error.to_string())??;
    if control.borrow().is_stopping() {
        return Err(STOPPING.into());
    }
    control.borrow_mut().estate.candidate = Some(successor.pid());
    let preparing = spawn_blocking(move || {
        let prepared = successor.prepare(&heirlooms, patience);
        (successor, prepared)
    });
    let prepared = preparing.await;
    // Before it is waited for.
    control.borrow_mut().estate.candidate = None;
    let (successor, prepared) = prepared.map_err(|error| error.to_string())?;
    Ok((successor, prepared?))
}

/// Gives everything to a process that is prepared, and returns for how long nothing could be changed.
async fn give(
    control: &Shared,
    successor: Successor,
    prepared: Prepared,
    to: &Process,
    terms: &Terms,
) -> Result<Duration, String> {
    let deadline = commit::deadline();
    let (reloading, turns) = {
        let control = control.borrow();
        (control.reloading.clone(), control.turns.clone())
    };
    let busy = |_| "a change waits for the disk, which does not answer".to_owned();
    // What was begun is finished, and what comes now waits until it is known how this ends.
    let _reload = timeout_at(deadline, reloading.lock()).await.map_err(busy)?;
    let _change = timeout_at(deadline, turns.lock()).await.map_err(busy)?;
    let since = Instant::now();
    let handed = control.borrow_mut().freeze(to, terms);
    let given = give_frozen(control, successor, handed).await;
    let mut control = control.borrow_mut();
    // No step lies between the last look at the signals, the blessing and the farewell.
    let heir = given.and_then(|successor| match control.is_stopping() {
        true => Err(STOPPING.to_owned()),
        false => successor.bless(),
    });
    match heir {
        Ok(heir) => {
            let frozen = since.elapsed();
            tracing::info!("handed over to pid {}; nothing could change for {frozen:?}", to.pid);
            control.leave(Inheritance { heir, listeners: prepared.listeners }, prepared.admin);
            Ok(frozen)
        }
        Err(why) => {
            control.estate.course.send_replace(Course::Own);
            // What was due meanwhile is done now.
            control.changes.send_modify(|n| *n += 1);
            Err(why)
        }
    }
}

async fn give_frozen(
    control: &Shared,
    mut successor: Successor,
    handed: Handed,
) -> Result<Successor, String> {
    // What is on its way to the disk must not come after what the next process writes.
    commit::settle(control, SETTLE).await?;
    let taking = spawn_blocking(move || successor.take_over(handed).map(|()| successor));
    taking.await.map_err(|error| error.to_string())?
}

impl Control {
    /// Whether this process decides and writes.
    pub(super) fn is_own(&self) -> bool {
        *self.estate.course.borrow() == Course::Own
    }

    /// When time will next act here.
    pub(super) fn deadline(&self, now: Moment) -> Option<Moment> {
        if self.is_own() { self.model.deadline(now) } else { None }
    }

    /// Refuses to change anything while it is being handed over, or once it is.
    pub(super) fn refuse_if_handed_over(&self) -> Result<(), Refusal> {
        if self.is_own() { Ok(()) } else { Err(Refusal::HandingOver) }
    }

    /// Whether everything is the next process's.
    pub fn is_gone(&self) -> bool {
        matches!(*self.estate.course.borrow(), Course::Gone { .. })
    }

    /// Tells whose the guard, the admin socket and the disk are.
    pub fn course(&self) -> watch::Receiver<Course> {
        self.estate.course.subscribe()
    }

    /// Says which process served before this one, and still finishes what it began.
    pub fn set_predecessor(&self, predecessor: Option<Process>) {
        self.estate.predecessor.send_replace(predecessor);
    }

    /// Tells which process served before this one, while it is there.
    pub fn predecessor(&self) -> watch::Receiver<Option<Process>> {
        self.estate.predecessor.subscribe()
    }

    /// How the last upgrade stands.
    pub(super) fn upgrade_status(&self) -> UpgradeStatus {
        UpgradeStatus {
            process: Process::this(),
            started: self.place.started,
            predecessor: self.estate.predecessor.borrow().clone(),
        }
    }

    /// Does what the next process decided, for the requests that this one still has.
    pub fn follow(&mut self, state: State) {
        if !self.is_gone() {
            return;
        }
        let state = self.model.followed(state);
        self.model.adopt(clock::now(), self.model.settings.clone(), state);
        self.publish();
        // Who follows this one learns of it too.
        self.changes.send_modify(|n| *n += 1);
    }

    /// What is left to do once everything was handed over.
    pub fn take_inheritance(&mut self) -> Option<Inheritance> {
        self.estate.inheritance.take()
    }

    /// Closes what could be handed over, so that it is closed when its users close it. A process that is
    /// preparing itself is ended: it has the same.
    pub(super) fn give_up_estate(&mut self) {
        self.estate.heirlooms = Arc::default();
        let candidate = self.estate.candidate.take().and_then(|pid| i32::try_from(pid).ok());
        // One that has ended by itself has nothing more.
        candidate.map(|pid| kill(Pid::from_raw(pid), Signal::SIGKILL));
    }

    fn may_begin(&self, terms: &Terms) -> Result<(), Fault> {
        self.refuse_if_handed_over()?;
        if self.is_stopping() {
            let hint = "start it again when it has ended";
            return Err(Fault::new(StatusCode::CONFLICT, "stopping", "lbd is stopping", hint));
        }
        let current = self.model.state.revision;
        match terms.if_revision {
            Some(asked) if asked != current => {
                Err(Refusal::StaleRevision { asked, current }.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Changes nothing from now on, and says what the next process needs to know.
    fn freeze(&mut self, to: &Process, terms: &Terms) -> Handed {
        let from = Process::this();
        self.note_upgrade(Severity::Info, terms, format!("{from} hands over to {to}"));
        self.keep_running_record();
        self.estate.course.send_replace(Course::Frozen);
        self.model.handed()
    }

    /// Lets go of everything that is the next process's now.
    fn leave(&mut self, inheritance: Inheritance, admin: bool) {
        self.disk.close();
        self.journal.close();
        self.give_up_estate();
        self.estate.inheritance = Some(inheritance);
        self.estate.course.send_replace(Course::Gone { admin });
        self.changes.send_modify(|n| *n += 1);
    }

    fn note_failure(&mut self, why: String, terms: Terms) -> Fault {
        let first = why.lines().next().unwrap_or_default().to_owned();
        self.note_upgrade(Severity::Warning, &terms, format!("the upgrade failed: {first}"));
        failure(why)
    }

    fn note_upgrade(&mut self, severity: Severity, terms: &Terms, summary: String) {
        let revision = self.model.state.revision;
        let event = Event::new(clock::now(), revision, "upgrade", severity, summary);
        let (actor, reason) = (terms.actor.clone(), terms.reason.clone());
        self.record(vec![Event { actor, reason, ..event }]);
    }

    /// Journals that everything is this process's now.
    pub fn note_succession(&mut self, from: &Process) {
        let summary = format!("{} took over from {from}", Process::this());
        self.note("upgrade", Severity::Info, Actor::lbd(), summary);
    }
}

impl Process {
    /// This one.
    pub fn this() -> Self {
        Self { version: VERSION.into(), pid: std::process::id() }
    }
}
