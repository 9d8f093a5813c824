//! The daemon: flags → config → sockets → state → control → workers → serve until told to stop.

use std::{cell::RefCell, path::PathBuf, process::ExitCode, rc::Rc, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use clap::Parser;
use lbd::{
    config::{self, Loaded},
    control::{
        self, Content, Control, Listening, Place, Shared, Stopping, clock,
        disk::Disk,
        journal,
        server::{AdminSocket, open_http, serve_http},
        store::FileStore,
    },
    edge::{
        listener::{Bound, bind},
        worker::{self, Common},
    },
    model::{Actor, Settings, Severity, State},
    observe::access_log::Writer,
    tls::{self, Holders},
};
use sd_notify::NotifyState;
use tokio::{
    sync::{Notify, watch},
    task::{LocalSet, spawn_local},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a start waits for the disk to take what it has to write.
const AT_START: Duration = Duration::from_secs(2);
/// How long the end waits for the disk.
const AT_END: Duration = Duration::from_secs(5);

/// The edge proxy that ships releases.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Examples:
  lbd --config /etc/lbd/lbd.toml
  RUST_LOG=debug lbd --config ./lbd.toml

Signals: TERM and INT finish running requests and end (a second one ends at once),
HUP loads the config file again, USR1 opens the access logs anew.
Exit codes: 0 ended as told, 1 failed, 2 the config file or the flags are wrong."
)]
struct Flags {
    /// The config file.
    #[arg(short, long, value_name = "FILE", default_value = "/etc/lbd/lbd.toml")]
    config: PathBuf,

    /// Keep a damaged state file aside and begin from the config file.
    #[arg(long)]
    reset_state: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    // Chosen before any library chooses for itself; an error says that it was chosen already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "info,pingora_core=warn,pingora_proxy=warn".into()),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let loaded = match config::load(&flags.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("lbd: {problems}");
            return ExitCode::from(2);
        }
    };
    match run(&flags, loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lbd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: &Flags, loaded: Loaded) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = LocalSet::new().block_on(&runtime, serve(flags, loaded));
    // A name server that hangs must not keep the process from ending.
    runtime.shutdown_background();
    result
}

async fn serve(flags: &Flags, loaded: Loaded) -> anyhow::Result<()> {
    let content = Content::of(&loaded);
    let settings = Arc::new(loaded.settings);
    raise_descriptor_limit();
    let socket = AdminSocket::open(&settings.admin)?;
    tls::install_provider();
    let mut holders = Holders::default();
    let mut listeners = open_listeners(&settings, &mut holders)?;
    let http = match settings.admin.http {
        Some(address) => {
            Some(open_http(address).await.with_context(|| format!("admin.http {address}"))?)
        }
        None => None,
    };
    let failures = Arc::new(Notify::new());
    let control = take_over(flags, &settings, content, &listeners, holders, failures.clone())?;
    // Whether the disk answers or not: serving comes first.
    let _ = tokio::join!(control::resolve_now(&control), control::settle(&control, AT_START));

    let (stop, stopping) = watch::channel(false);
    let common = Common {
        published: control.borrow().published(),
        failures,
        stop: stopping,
        workers: settings.runtime.workers,
        beats: control.borrow().tallies.beats(),
        gates: Arc::default(),
    };
    let workers = worker::start(&mut listeners, &common)?;
    let signals = control::watch_signals(&control)?;
    control::start(&control);
    spawn_local(socket.serve(control.clone()));
    if let Some(http) = http {
        spawn_local(serve_http(http, control.clone()));
    }
    for bound in &listeners {
        tracing::info!("listener {} on {}", bound.entrance.name, bound.entrance.address);
    }
    announce(&[NotifyState::Ready]);
    wait_and_drain(&control, workers, signals, stop).await
}

fn open_listeners(settings: &Settings, holders: &mut Holders) -> anyhow::Result<Vec<Bound>> {
    let open = |(name, listener)| {
        bind(name, listener, holders.of(name), settings.runtime.workers).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "stop what listens there (`ss -ltnp` shows it), or change"
                }
                std::io::ErrorKind::PermissionDenied => "give lbd CAP_NET_BIND_SERVICE, or change",
                _ => "mend",
            };
            anyhow!(
                "listener.{name}.address {}: {error}\n  hint: {hint} the address",
                listener.address
            )
        })
    };
    settings.listener.iter().map(open).collect()
}

fn take_over(
    flags: &Flags,
    settings: &Arc<Settings>,
    content: Content,
    listeners: &[Bound],
    holders: Holders,
    failures: Arc<Notify>,
) -> anyhow::Result<Shared> {
    let folder = &settings.admin.state_dir;
    let hint = || {
        format!(
            "admin.state_dir {}\n  hint: make it writable for the user that lbd runs as",
            folder.display()
        )
    };
    let store = FileStore::new(folder).with_context(hint)?;
    if flags.reset_state
        && let Some(aside) = store.set_aside(clock::now()).with_context(hint)?
    {
        tracing::warn!("the state was set aside as {}", aside.display());
    }
    let kept: Option<State> = store.load()?;
    let listening = |bound: &Bound| Listening {
        name: bound.entrance.name.clone(),
        address: bound.entrance.address,
        tally: bound.entrance.tally.clone(),
    };
    let place = Place {
        config: std::path::absolute(&flags.config)?,
        loaded: content,
        started_with: settings.clone(),
        started: clock::now(),
        listeners: listeners.iter().map(listening).collect(),
        workers: settings.runtime.workers,
        failures,
    };
    let (journal, file) = journal::open(folder).with_context(hint)?;
    let disk = Disk::start(Box::new(store), file)?;
    let logs = Writer::start()?;
    let control = Control::new(settings.clone(), kept, disk, journal, logs, holders, place);
    Ok(Rc::new(RefCell::new(control)))
}

/// Serves until told to stop, then until the last request is done.
async fn wait_and_drain(
    control: &Shared,
    mut workers: Vec<worker::Worker>,
    mut signals: watch::Receiver<Stopping>,
    stop: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let dead = tokio::select! {
        _ = signals.wait_for(|s| *s != Stopping::No) => false,
        () = any_done(&mut workers) => true,
    };
    announce(&[NotifyState::Stopping]);
    control.borrow_mut().stop();
    control.borrow_mut().note("stop", Severity::Info, Actor::lbd(), "stopping".into());
    stop.send_replace(true);
    let drained = async {
        for worker in &mut workers {
            worker.done().await;
        }
    };
    let at_once = tokio::select! {
        () = drained => false,
        _ = signals.wait_for(|s| *s == Stopping::Now) => true,
    };
    if at_once {
        tracing::warn!("stopping at once");
    }
    if let Err(problem) = control::settle(control, AT_END).await {
        tracing::error!("{problem}: the last changes and events may be lost");
    }
    control.borrow().logs().flush();
    if !at_once {
        control.borrow().exporter().flush();
    }
    if dead { Err(anyhow!("a worker ended by itself; see the lines above")) } else { Ok(()) }
}

async fn any_done(workers: &mut [worker::Worker]) {
    let mut waiting: Vec<_> = workers.iter_mut().map(|w| Box::pin(w.done())).collect();
    std::future::poll_fn(|cx| {
        let done = waiting.iter_mut().any(|w| w.as_mut().poll(cx).is_ready());
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// Tells systemd, if it is there.
fn announce(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd cannot be told: {error}");
    }
}

/// Every connection takes a descriptor, and the usual limit of 1024 is none for a proxy.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("the limit of open files cannot be raised: {error}");
    }
}
