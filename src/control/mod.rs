//! Control: the single writer.
//!
//! One thread runs everything here on one current-thread runtime. [`Control`] owns the model, the
//! store, the journal and the tallies; whoever wants a change calls it, and since nothing in it waits,
//! changes happen one after the other without locks. Around it run small tasks: the admin API
//! ([`server`]), health probes, name resolution, the config file's watcher and the timer.

pub mod access;
pub mod clock;
pub mod commands;
mod configs;
mod explain;
pub mod fault;
mod handler;
pub mod journal;
mod metrics;
mod probe;
mod publish;
mod resolve;
pub mod server;
mod signals;
mod status;
pub mod store;
mod tasks;
pub mod terms;
mod window;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use tokio::sync::{Notify, watch};

pub use configs::Content;
pub use resolve::resolve_now;
pub use signals::{Stopping, watch_signals};
pub use tasks::start;

use crate::{
    model::{
        Actor, Changed, Commit, EndpointKey, Event, Input, Model, Moment, Order, Refusal, Settings,
        Severity, Sight, State, units::ListenerName,
    },
    observe::access_log::{Sink, Writer},
    tally::{EndpointTally, ListenerTally, Tallies},
    view::Published,
};
use journal::Journal;
use store::Store;
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
    store: Box<dyn Store>,
    journal: Journal,
    published: Arc<Published>,
    logs: Writer,
    sinks: HashMap<crate::model::settings::AccessLog, Arc<Sink>>,
    windows: Windows,
    place: Place,
    looks: BTreeMap<EndpointKey, Look>,
    /// Counts changes of what is probed, resolved or timed.
    changes: watch::Sender<u64>,
    unwritten: bool,
    reloads: Reloads,
    stopping: bool,
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
    /// Takes over. `kept` is what the last run left. The first view is published.
    pub fn new(
        settings: Arc<Settings>,
        kept: Option<State>,
        mut store: Box<dyn Store>,
        journal: Journal,
        logs: Writer,
        place: Place,
    ) -> Self {
        let model = Model::new(settings, kept.clone());
        let mut unwritten = false;
        if kept.as_ref() != Some(&model.state)
            && let Err(error) = store.save(&model.state)
        {
            // Serving comes first; what operators want to change is refused until this is mended.
            tracing::error!("the state cannot be written: {error}");
            unwritten = true;
        }
        let mut tallies = Tallies::new(place.workers);
        let mut sinks = HashMap::new();
        let view = publish::view(&model, &mut tallies, &logs, &mut sinks);
        let edited = kept.is_some_and(|kept| kept.revision != model.state.revision);
        let mut control = Self {
            model,
            tallies,
            store,
            journal,
            published: Arc::new(Published::new(view)),
            logs,
            sinks,
            windows: Windows::default(),
            place,
            looks: BTreeMap::new(),
            changes: watch::Sender::new(0),
            unwritten,
            reloads: Reloads::default(),
            stopping: false,
        };
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
        control
    }

    /// Where the view is published.
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// Tells when what is probed, resolved or timed has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The access logs' writer.
    pub fn logs(&self) -> &Writer {
        &self.logs
    }

    /// Carries out an operator's order; with `rehearse` only says what it would do.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; nothing was changed.
    pub fn order(&mut self, order: Order, rehearse: Rehearse) -> Result<Changed, Refusal> {
        self.apply(Input::Order(order), rehearse)
    }

    /// Lets time act.
    pub fn tick(&mut self) {
        let now = clock::now();
        if self.model.release(now) {
            self.publish();
        }
        // A tick is never refused: what it changes is published first and written after.
        if let Err(refusal) = self.apply(Input::Tick, Rehearse::No) {
            tracing::error!("a timed change failed: {refusal}");
        }
    }

    /// Takes in what was seen of the world.
    pub fn see(&mut self, sight: Sight) {
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

    /// Looks for endpoints whose traffic failed so often in a row that they must be taken out.
    pub fn look_for_failing(&mut self) {
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
        self.windows.read(clock::now(), &self.tallies);
        if self.unwritten && self.store.save(&self.model.state).is_ok() {
            tracing::info!("the state is written again");
            self.unwritten = false;
        }
    }

    fn apply(&mut self, input: Input, rehearse: Rehearse) -> Result<Changed, Refusal> {
        let step = self.model.handle(clock::now(), input)?;
        let mut reply = step.reply;
        if rehearse == Rehearse::Yes {
            return Ok(Changed { dry_run: true, revision: self.model.state.revision, ..reply });
        }
        match step.commit {
            Commit::Nothing => return Ok(reply),
            Commit::DurableFirst => {
                self.store.save(&step.state).map_err(|e| Refusal::NotWritten(e.to_string()))?;
                self.unwritten = false;
                self.model.adopt(step.settings, step.state);
                self.publish();
            }
            Commit::LiveFirst => {
                self.model.adopt(step.settings, step.state);
                self.publish();
                if let Err(error) = self.store.save(&self.model.state) {
                    tracing::error!("in force, but not written: {error}");
                    reply.warnings.push(format!(
                        "in force, but the state could not be written ({error}): a restart would undo it"
                    ));
                    self.unwritten = true;
                }
            }
        }
        self.announce();
        self.record(step.events);
        Ok(reply)
    }

    fn publish(&mut self) {
        let view = publish::view(&self.model, &mut self.tallies, &self.logs, &mut self.sinks);
        self.published.store(view);
    }

    fn announce(&mut self) {
        let Self { model, tallies, looks, .. } = self;
        tallies.retain_endpoints(|key| model.endpoint(key).is_some());
        looks.retain(|key, _| model.endpoint(key).is_some());
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
            self.journal.append(event);
        }
    }

    /// The process stops: it is no longer ready for new clients.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether the process stops.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Journals something that changed no state.
    pub fn note(&mut self, kind: &str, severity: Severity, actor: Actor, summary: String) {
        let event = Event {
            time: clock::now(),
            kind: kind.into(),
            severity,
            actor,
            services: Vec::new(),
            summary,
            reason: None,
            before: String::new(),
            after: String::new(),
            revision: self.model.state.revision,
        };
        self.record(vec![event]);
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
