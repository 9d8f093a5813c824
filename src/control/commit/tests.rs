//! Changes while the disk hangs: control with everything it has, on a disk that waits until it is told
//! to go on.

use std::{
    cell::RefCell,
    fs, io,
    rc::Rc,
    sync::{Arc, Condvar, Mutex},
};

use tempfile::TempDir;
use tokio::{
    sync::Notify,
    task::{LocalSet, yield_now},
    time::sleep,
};

use super::*;
use crate::{
    config::{self, Loaded},
    control::{
        Before, Content, Place,
        disk::Disk,
        journal,
        store::{FileStore, Store},
        upgrade::Estate,
    },
    handover::origin::Origin,
    model::{
        Actor, Command, Millis, Moment, PoolName, Share, State,
        command::{Rollback, Weight},
        maintenance::Maintenance,
    },
    observe::access_log,
    tls::Holders,
};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the disk hangs as long as it is shut.
#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn set(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap() = is_shut;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.is_shut.lock().unwrap();
        drop(self.moved.wait_while(is_shut, |shut| *shut).unwrap());
    }
}

#[derive(Debug)]
struct Hanging(FileStore, Arc<Gate>);

impl Store for Hanging {
    fn save(&mut self, state: &State) -> io::Result<()> {
        self.1.pass();
        self.0.save(state)
    }
}

/// Control, its folder, and the gate before the disk.
struct Bench {
    folder: TempDir,
    gate: Arc<Gate>,
    control: Shared,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[admin]\nstate_dir = '{}'\n[listener.http]\naddress = '127.0.0.1:0'\n\
             [service.app.pool.blue]\nendpoints = ['127.0.0.1:1']\n\
             [service.app.pool.green]\nendpoints = ['127.0.0.1:2']\nweight = 0\n",
            folder.path().display()
        );
        let settings = config::check(&text, &|_| Err(io::ErrorKind::NotFound.into())).unwrap();
        let settings = Arc::new(settings);
        let place = Place {
            config: folder.path().join("lbd.toml"),
            loaded: Content::of(&Loaded {
                settings: settings.as_ref().clone(),
                text,
                files: Default::default(),
            }),
            started_with: settings.clone(),
            started: clock::now(),
            listeners: Vec::new(),
            workers: 1,
            failures: Arc::new(Notify::new()),
        };
        let gate = Arc::new(Gate::default());
        let store = Hanging(FileStore::new(folder.path(), None).unwrap(), gate.clone());
        let (journal, file) = journal::open(folder.path()).unwrap();
        let disk = Disk::start(Box::new(store), file).unwrap();
        let logs = access_log::Writer::start().unwrap();
        let estate = Estate::new(Origin::here().unwrap(), Vec::new());
        let written = (disk, journal);
        let before = Before::Nothing;
        let holders = Holders::default();
        let mut control = Control::new(settings, before, written, logs, holders, place, estate);
        control.begin();
        let bench = Self { folder, gate, control: Rc::new(RefCell::new(control)) };
        settle(&bench.control, PATIENCE).await.unwrap();
        bench
    }

    /// An order that is under way when this returns, as far as it gets without the disk.
    async fn begin(&self, command: Command) -> tokio::task::JoinHandle<Result<Changed, Refusal>> {
        let control = self.control.clone();
        let task = spawn_local(async move { order(&control, by_lbd(command), Rehearse::No).await });
        for _ in 0..10 {
            yield_now().await;
        }
        task
    }

    async fn order(&self, command: Command) -> Result<Changed, Refusal> {
        order(&self.control, by_lbd(command), Rehearse::No).await
    }

    /// What the file says.
    fn written(&self) -> State {
        let text = fs::read(self.folder.path().join("state.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// Green's share, as workers see it.
    fn published(&self) -> Share {
        let view = self.control.borrow().published().load();
        view.snapshot.services[0].pools.iter().find(|p| p.name == green()).unwrap().share
    }

    fn in_force(&self) -> State {
        self.control.borrow().model.state.clone()
    }

    /// Waits until the file says what is in force, and nothing else is to come.
    async fn until_written(&self) {
        settle(&self.control, PATIENCE).await.unwrap();
        assert_eq!(self.written(), self.in_force());
    }
}

fn green() -> PoolName {
    "green".parse().unwrap()
}

fn percent(n: u16) -> Share {
    format!("{n}%").parse().unwrap()
}

fn by_lbd(command: Command) -> Order {
    Order { actor: Actor::lbd(), reason: None, if_revision: None, command }
}

fn weight(share: u16) -> Command {
    let (pool, share) = (green(), percent(share));
    Command::Weight(Weight {
        pool,
        share,
        services: Vec::new(),
        span: None,
        verb: "weight",
        force: false,
    })
}

fn weight_for(share: u16, span: Millis) -> Command {
    match weight(share) {
        Command::Weight(weight) => Command::Weight(Weight { span: Some(span), ..weight }),
        other => other,
    }
}

fn maintenance() -> Command {
    let terms = Maintenance {
        since: Moment(1),
        until: None,
        message: None,
        allow: Vec::new(),
        secret: None,
    };
    Command::MaintenanceOn(Vec::new(), terms)
}

const ROLLBACK: Command = Command::Rollback(Rollback { services: Vec::new(), ramp: None });

async fn local<F: Future>(work: F) -> F::Output {
    LocalSet::new().run_until(work).await
}

#[tokio::test]
async fn a_change_is_written_before_it_is_published() {
    local(async {
        let bench = Bench::new().await;
        bench.gate.set(true);
        let change = bench.begin(weight(50)).await;
        assert_eq!((bench.published(), bench.written().revision.0), (percent(0), 1));
        bench.gate.set(false);
        let changed = change.await.unwrap().unwrap();
        assert_eq!((changed.revision.0, changed.warnings.len()), (2, 0));
        assert_eq!((bench.published(), bench.written().revision.0), (percent(50), 2));
        assert_eq!(bench.written(), bench.in_force());
    })
    .await;
}

#[tokio::test]
async fn a_rollback_is_published_while_the_disk_hangs_and_is_not_undone() {
    local(async {
        let bench = Bench::new().await;
        bench.order(weight(50)).await.unwrap();
        bench.gate.set(true);
        let change = bench.begin(weight(75)).await;
        let rollback = bench.begin(ROLLBACK).await;
        assert_eq!(bench.published(), percent(0));
        bench.control.borrow_mut().tick();
        bench.control.borrow_mut().every_second();
        assert!(!change.is_finished() && !rollback.is_finished());
        bench.gate.set(false);
        assert_eq!(rollback.await.unwrap().unwrap().warnings, [""; 0]);
        // The weight was asked for before the rollback, which is the later decision.
        let refusal = change.await.unwrap().unwrap_err();
        assert!(matches!(refusal, Refusal::StaleRevision { .. }), "{refusal}");
        assert_eq!((bench.published(), bench.in_force().revision.0), (percent(0), 3));
        bench.until_written().await;
    })
    .await;
}

#[tokio::test]
async fn a_change_that_was_overtaken_is_made_on_what_is_in_force_then() {
    local(async {
        let bench = Bench::new().await;
        bench.order(weight(50)).await.unwrap();
        bench.gate.set(true);
        let change = bench.begin(maintenance()).await;
        let rollback = bench.begin(ROLLBACK).await;
        let pause = bench.begin(Command::Pause(Vec::new(), Millis::from_secs(30))).await;
        assert_eq!(bench.in_force().revision.0, 4);
        bench.gate.set(false);
        for task in [rollback, pause, change] {
            assert_eq!(task.await.unwrap().unwrap().warnings, [""; 0]);
        }
        let state = bench.in_force();
        assert_eq!((bench.published(), state.revision.0), (percent(0), 5));
        assert!(state.maintenance.is_some());
        assert!(state.services.values().all(|service| service.pause.is_some()));
        bench.until_written().await;
    })
    .await;
}

#[tokio::test]
async fn a_disk_that_does_not_answer_refuses_changes_and_warns_of_rollbacks() {
    local(async {
        let bench = Bench::new().await;
        bench.order(weight(50)).await.unwrap();
        bench.gate.set(true);
        let change = bench.begin(maintenance()).await;
        let waiting = bench.begin(maintenance()).await;
        let warnings = bench.order(ROLLBACK).await.unwrap().warnings;
        assert!(
            warnings.iter().any(|w| w.contains(SILENT) && w.contains("restart")),
            "{warnings:?}"
        );
        for task in [change, waiting] {
            let refusal = task.await.unwrap().unwrap_err();
            assert_eq!(refusal, Refusal::NotWritten(SILENT.into()));
        }
        assert_eq!((bench.published(), bench.in_force().maintenance), (percent(0), None));
        // What was refused is written all the same when the disk answers, and then written over.
        bench.gate.set(false);
        bench.until_written().await;
        bench.order(weight(60)).await.unwrap();
        assert_eq!(bench.written(), bench.in_force());
    })
    .await;
}

#[tokio::test]
async fn what_was_refused_does_not_stay_on_the_disk() {
    local(async {
        let bench = Bench::new().await;
        bench.gate.set(true);
        let ask = Ask {
            input: Input::Order(by_lbd(weight(50))),
            if_revision: None,
            rehearse: Rehearse::No,
            deadline: Instant::now() + Duration::from_millis(50),
        };
        assert_eq!(change(&bench.control, ask).await.unwrap_err(), silent());
        bench.gate.set(false);
        bench.until_written().await;
        assert_eq!((bench.published(), bench.in_force().revision.0), (percent(0), 1));
    })
    .await;
}

#[tokio::test]
async fn time_acts_while_the_disk_hangs() {
    local(async {
        let bench = Bench::new().await;
        bench.order(weight_for(50, Millis(1))).await.unwrap();
        bench.gate.set(true);
        sleep(Duration::from_millis(5)).await;
        bench.control.borrow_mut().tick();
        assert_eq!((bench.published(), bench.written().revision.0), (percent(0), 2));
        bench.gate.set(false);
        bench.until_written().await;
    })
    .await;
}

#[tokio::test]
async fn who_asked_may_go_away() {
    local(async {
        let bench = Bench::new().await;
        bench.gate.set(true);
        let change = bench.begin(weight(50)).await;
        change.abort();
        assert!(change.await.unwrap_err().is_cancelled());
        bench.gate.set(false);
        bench.order(weight(60)).await.unwrap();
        assert_eq!((bench.published(), bench.in_force().revision.0), (percent(60), 3));
        bench.until_written().await;
    })
    .await;
}

#[tokio::test]
async fn changes_are_made_one_after_the_other() {
    local(async {
        let bench = Bench::new().await;
        bench.gate.set(true);
        let mut changes = Vec::new();
        for share in [10, 20, 30] {
            changes.push(bench.begin(weight(share)).await);
        }
        let stale = Ask {
            input: Input::Order(Order { if_revision: Some(Revision(1)), ..by_lbd(weight(40)) }),
            if_revision: None,
            rehearse: Rehearse::No,
            deadline: deadline(),
        };
        let control = bench.control.clone();
        let stale = spawn_local(async move { change(&control, stale).await });
        yield_now().await;
        bench.gate.set(false);
        let mut revisions = Vec::new();
        for change in changes {
            revisions.push(change.await.unwrap().unwrap().revision.0);
        }
        assert_eq!(revisions, [2, 3, 4]);
        let refusal = stale.await.unwrap().unwrap_err();
        assert!(matches!(refusal, Refusal::StaleRevision { .. }), "{refusal}");
        assert_eq!(bench.published(), percent(30));
        bench.until_written().await;
    })
    .await;
}

#[tokio::test]
async fn a_rehearsal_and_an_order_that_changes_nothing_do_not_need_the_disk() {
    local(async {
        let bench = Bench::new().await;
        bench.gate.set(true);
        let rehearsed = order(&bench.control, by_lbd(weight(50)), Rehearse::Yes).await.unwrap();
        assert!(rehearsed.changed && rehearsed.dry_run);
        assert!(!bench.order(ROLLBACK).await.unwrap().changed);
        assert_eq!((bench.published(), bench.in_force().revision.0), (percent(0), 1));
        bench.gate.set(false);
    })
    .await;
}

#[tokio::test]
async fn a_state_that_could_not_be_written_is_written_again() {
    local(async {
        let bench = Bench::new().await;
        let obstacle = bench.folder.path().join("state.json.new");
        fs::create_dir(&obstacle).unwrap();
        let refusal = bench.order(weight(50)).await.unwrap_err();
        assert!(matches!(refusal, Refusal::NotWritten(_)), "{refusal}");
        let warnings = bench.order(ROLLBACK).await.unwrap().warnings;
        assert_eq!(warnings, [""; 0], "nothing was changed");
        let warnings = bench.order(Command::Pause(Vec::new(), Millis::from_secs(30))).await;
        assert_eq!(warnings.unwrap().warnings.len(), 1);
        fs::remove_dir(&obstacle).unwrap();
        bench.control.borrow_mut().every_second();
        bench.until_written().await;
        assert_eq!(bench.in_force().revision.0, 2);
    })
    .await;
}
