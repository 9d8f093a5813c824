//! Control: the single writer.
//!
//! One thread runs everything here on one current-thread runtime. [`Control`] owns the model, the
//! journal and the tallies; whoever wants a change calls it, and since nothing in it waits, changes
//! happen one after the other without locks. What is written goes to a thread of its own ([`disk`]);
//! only a change that must be on the disk before it is in force waits for that, beside the others
//! ([`commit`]). Around it run small tasks: the admin API ([`server`]), health probes, name resolution,
//! the config file's watcher and the timer.

pub mod access;
mod acme;
mod certificates;
pub mod clock;
pub mod commands;
pub mod commit;
mod configs;
mod dial;
pub mod disk;
mod explain;
pub mod fault;
mod guard;
mod handler;
pub mod journal;
mod metrics;
mod outlook;
mod preflight;
mod probe;
mod publish;
mod recorder;
mod records;
mod releases;
mod resolve;
pub mod server;
mod signals;
mod status;
pub mod store;
mod tasks;
pub mod terms;
pub mod upgrade;
mod window;

use std::{
    cell::RefCell, collections::BTreeMap, net::SocketAddr, path::PathBuf, rc::Rc, sync::Arc,
};

use tokio::sync::{Mutex, Notify, watch};

pub use commit::settle;
pub use configs::Content;
pub use resolve::{resolve_now, resolved};
pub use signals::{Stopping, watch_signals};
pub use tasks::start;

use crate::{
    model::{
        Actor, EndpointKey, Event, Input, Model, Moment, ServiceName, Settings, Severity, Sight,
        State, handed::Handed, units::ListenerName,
    },
    notify::Notifiers,
    observe::{access_log::Writer, spans::Exporter},
    tally::{EndpointTally, ListenerTally, Tallies},
    tls::Holders,
    view::Published,
};
use disk::Disk;
use journal::Journal;
use publish::Publisher;
use recorder::Recorder;
use records::Records;
use upgrade::Estate;
use window::Windows;

/// The single writer, for the tasks of control's thread.
pub type Shared = Rc<RefCell<Control>>;

/// Owns what lbd knows, and is the only one to change it.
#[derive(Debug)]
pub struct Control {
    /// Everything lbd knows.
    pub model: Model,
    /// What workers counted.
    pub tallies: Tallies,
    disk: Disk,
    journal: Journal,
    publisher: Publisher,
    windows: Windows,
    ears: guard::Ears,
    recorder: Recorder,
    records: Records,
    notifiers: Notifiers,
    /// The files that the config named when it was loaded last.
    named_files: Vec<PathBuf>,
    /// What the listeners' handshakes are made with.
    handshakes: Holders,
    told_of_certificates: certificates::Told,
    acme: acme::Desk,
    /// Rollbacks since the process started, by service and cause.
    rollbacks: BTreeMap<(ServiceName, String), u64>,
    place: Place,
    looks: BTreeMap<EndpointKey, Look>,
    /// Counts changes of what is probed, resolved or timed.
    changes: watch::Sender<u64>,
    /// Held by the one change that waits for the disk, and by the one reload under way.
    turns: Rc<Mutex<()>>,
    reloading: Rc<Mutex<()>>,
    /// How often traffic was taken back, by operators and the guard.
    taken_back: u64,
    reloads: Reloads,
    stopping: bool,
    estate: Estate,
    /// What is written and journaled once everything is this process's.
    beginning: Option<Beginning>,
}

/// What was there before this process.
#[derive(Debug)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// What the last run left.
    Left(Box<State>),
    /// A process that runs and hands over.
    Handed(Box<Handed>),
}

/// What a process does first once everything is its own.
#[derive(Clone, Copy, Debug)]
struct Beginning {
    /// The file was edited since.
    edited: bool,
    /// The state is not the one on the disk.
    changed: bool,
}

/// Where this process stands in the world; fixed at start.
#[derive(Debug)]
pub struct Place {
    /// The config file.
    pub config: PathBuf,
    /// Its content at start.
    pub loaded: Content,
    /// What it said at start.
    pub started_with: Arc<Settings>,
    /// When the process started.
    pub started: Moment,
    /// Its listeners.
    pub listeners: Vec<Listening>,
    /// How many workers it has.
    pub workers: usize,
    /// Told by workers when an attempt failed.
    pub failures: Arc<Notify>,
}

/// A listener that is open.
#[derive(Debug)]
pub struct Listening {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its connections.
    pub tally: Arc<ListenerTally>,
}

/// How often the config was loaded anew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reloads {
    /// Taken over, or unchanged.
    pub done: u64,
    /// Refused.
    pub refused: u64,
}

impl Control {
    /// Goes on with what was before. The first view is published; nothing is written before
    /// [`Control::begin`].
    pub fn new(
        settings: Arc<Settings>,
        before: Before,
        (disk, journal): (Disk, Journal),
        logs: Writer,
        handshakes: Holders,
        place: Place,
        estate: Estate,
    ) -> Self {
        let (kept, handed) = match before {
            Before::Nothing => (None, None),
            Before::Left(state) => (Some(*state), None),
            Before::Handed(handed) => (Some(handed.state.clone()), Some(handed)),
        };
        let mut model = Model::new(settings, kept.clone());
        model.resume(clock::now());
        let is_handed = handed.is_some();
        if let Some(handed) = handed {
            model.take_over(*handed);
        }
        let mut tallies = Tallies::new(place.workers);
        let records = Records::open(&model.settings.admin.state_dir);
        // A state that was set aside must not lead to numbers that are taken.
        model.state.last_rollout = model.state.last_rollout.max(records.last());
        let notifiers = Notifiers::start(&model.settings.notify);
        let publisher = Publisher::new(&model, &mut tallies, logs);
        let edited = kept.as_ref().is_some_and(|kept| kept.revision != model.state.revision);
        // What was handed over may be newer than what the disk took.
        let changed = is_handed || kept.as_ref() != Some(&model.state);
        let named_files = place.loaded.files.keys().cloned().collect();
        let mut control = Self {
            model,
            tallies,
            disk,
            journal,
            publisher,
            windows: Windows::default(),
            ears: guard::Ears::default(),
            recorder: Recorder::default(),
            records,
            notifiers,
            named_files,
            handshakes,
            told_of_certificates: certificates::Told::default(),
            acme: acme::Desk::default(),
            rollbacks: BTreeMap::new(),
            place,
            looks: BTreeMap::new(),
            changes: watch::Sender::new(0),
            turns: Rc::default(),
            reloading: Rc::default(),
            taken_back: 0,
            reloads: Reloads::default(),
            stopping: false,
            estate,
            beginning: Some(Beginning { edited, changed }),
        };
        control.take_kept_certificates();
        control
    }

    /// Begins: everything is this process's from now on.
    pub fn begin(&mut self) {
        let control = self;
        let Some(Beginning { edited, changed }) = control.beginning.take() else { return };
        control.resume_record();
        if changed {
            // Serving comes first: where this cannot be written, it is tried again every second.
            drop(control.save());
        }
        control.note(
            "start",
            Severity::Info,
            Actor::lbd(),
            concat!("lbd ", env!("CARGO_PKG_VERSION"), " started").into(),
        );
        if edited {
            let summary =
                "the config file was edited since the last start; its new values are in force";
            control.note("reload", Severity::Info, Actor::lbd(), summary.into());
        }
    }

    /// Goes on with the record of a rollout that the last run left.
    fn resume_record(&mut self) {
        let last = self.model.state.rollout.as_ref();
        let record = last.and_then(|r| records::read(&self.records.path(r.id)));
        self.recorder.resume(record, clock::now(), &self.model, &self.tallies);
        self.update_record(clock::now());
    }

    /// Whether the records of rollouts are written; tries if they are not.
    pub(super) fn are_records_written(&mut self) -> bool {
        self.records.write();
        self.records.is_settled()
    }

    fn update_record(&mut self, now: Moment) {
        if let Some(record) = self.recorder.update(now, &self.model, &self.tallies) {
            self.records.keep(record);
        }
    }

    /// Takes in how the preflight of a rollout ended.
    pub fn checked(&mut self, id: u64, result: Result<(), String>) {
        if !self.is_own() {
            return;
        }
        // What lbd does by itself is never refused.
        if let Err(refusal) = self.apply(Input::Checked(id, result)) {
            tracing::error!("the preflight of rollout {id} had no effect: {refusal}");
        }
    }

    /// Where the view is published.
    pub fn published(&self) -> Arc<Published> {
        self.publisher.published()
    }

    /// Tells when what is probed, resolved or timed has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The access logs' writer.
    pub fn logs(&self) -> &Writer {
        &self.publisher.logs
    }

    /// What brings spans to their collector.
    pub fn exporter(&self) -> &Exporter {
        &self.publisher.exporter
    }

    /// Lets time act.
    pub fn tick(&mut self) {
        if !self.is_own() {
            return;
        }
        let now = clock::now();
        let (changed, events) = self.model.release(now);
        if changed {
            self.publish();
        }
        self.record(events);
        // A tick is never refused: what it changes is published first and written after.
        if let Err(refusal) = self.apply(Input::Tick) {
            tracing::error!("a timed change failed: {refusal}");
        }
    }

    /// Takes in what was seen of the world.
    pub fn see(&mut self, sight: Sight) {
        if !self.is_own() {
            return;
        }
        let resolved = matches!(sight, Sight::Resolved(..));
        let (changed, events) = self.model.observe(clock::now(), sight);
        if changed {
            self.publish();
            if resolved {
                self.announce();
            }
        }
        self.record(events);
    }

    /// Takes in what name servers said before everything was this process's, of names that the process
    /// before it does not know.
    pub fn learn(&mut self, sight: Sight) {
        let is_news = match &sight {
            Sight::Resolved(host, _) => self.model.resolution(host).is_none(),
            Sight::Probed(..) | Sight::Failing(_) => false,
        };
        if is_news && self.model.observe(clock::now(), sight).0 {
            self.publish();
        }
    }

    /// Looks for endpoints whose traffic failed so often in a row that they must be taken out.
    pub fn look_for_failing(&mut self) {
        if !self.is_own() {
            return;
        }
        let limit = |key: &EndpointKey| {
            let passive = self.model.settings.service.get(&key.service)?.health.passive?;
            Some(u64::from(passive.failures))
        };
        let mut failing = Vec::new();
        for (key, tally) in self.tallies.endpoints() {
            let look = self.looks.entry(key.clone()).or_default();
            let in_a_row = look.again(tally);
            if in_a_row.is_some_and(|n| limit(key).is_some_and(|limit| n >= limit)) {
                failing.push(key.clone());
            }
        }
        if failing.is_empty() {
            return;
        }
        for key in failing {
            self.see(Sight::Failing(key));
        }
        self.announce();
    }

    /// Reads the tallies into the windows, and mends what could not be written before.
    pub fn every_second(&mut self) {
        let now = clock::now();
        self.windows.read(now, &self.tallies);
        if !self.is_own() {
            return;
        }
        self.update_record(now);
        self.look_at_certificates(now);
        self.records.write();
        self.disk.look_after(&self.model.state);
    }

    fn publish(&mut self) {
        self.publisher.publish(&self.model, &mut self.tallies);
    }

    fn announce(&mut self) {
        let Self { model, tallies, looks, .. } = self;
        tallies.retain_endpoints(|key| model.endpoint(key).is_some());
        looks.retain(|key, _| model.endpoint(key).is_some());
        self.update_record(clock::now());
        self.notifiers.update(&self.model.settings.notify);
        self.update_handshakes();
        self.changes.send_modify(|n| *n += 1);
    }

    fn record(&mut self, events: Vec<Event>) {
        for event in events {
            match event.severity {
                Severity::Info => tracing::info!("{}: {}", event.kind, event.summary),
                Severity::Warning | Severity::Critical => {
                    tracing::warn!("{}: {}", event.kind, event.summary)
                }
            }
            if let Some(cause) = &event.cause {
                for service in &event.services {
                    *self.rollbacks.entry((service.clone(), cause.clone())).or_default() += 1;
                }
            }
            if !self.is_own() {
                continue;
            }
            self.notifiers.tell(&event);
            self.disk.append(event.clone());
            self.journal.append(event);
        }
    }

    /// The process stops: it is no longer ready for new clients.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.give_up_estate();
        if self.is_own() {
            self.keep_running_record();
        }
    }

    /// Hands the record of a rollout that runs to the disk.
    fn keep_running_record(&mut self) {
        if let Some(record) = self.recorder.record().filter(|record| record.ended.is_none()) {
            self.records.keep(record.clone());
        }
    }

    /// Whether the process stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Journals something that changed no state.
    pub fn note(&mut self, kind: &str, severity: Severity, actor: Actor, summary: String) {
        let event = Event::new(clock::now(), self.model.state.revision, kind, severity, summary);
        self.record(vec![Event { actor, ..event }]);
    }
}

/// What the last look at an endpoint's failures found.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    failures: u64,
    successes: u64,
    /// The failures before the row that runs.
    base: u64,
}

impl Look {
    /// Looks again. `None`: no failure is new; else how many there were in a row over all workers, as
    /// far as can be told. Each worker's row ends with a success of its own; a success of any worker
    /// since the last look ends what was before it.
    fn again(&mut self, tally: &EndpointTally) -> Option<u64> {
        let failures = tally.failures();
        let successes = tally.finished().saturating_sub(failures);
        if successes != self.successes {
            self.base = self.failures;
        }
        let is_new = failures > self.failures;
        (self.failures, self.successes) = (failures, successes);
        is_new.then(|| tally.streak().min(failures - self.base))
    }
}

/// Whether an order is only rehearsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rehearse {
    /// Say what would change, and change nothing.
    Yes,
    /// Do it.
    No,
}
