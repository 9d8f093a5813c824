//! A daemon that is ready to serve: everything that can fail at a start is done.

use std::{
    cell::RefCell,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow};
use lbd::{
    config::Loaded,
    control::{
        self, Before, Content, Control, Listening, Place, clock,
        disk::Disk,
        journal,
        server::{AdminSocket, open_http, serve_http},
        store::FileStore,
        upgrade::Estate,
    },
    edge::{
        listener::{Bound, adopt, bind},
        worker::{self, Common},
    },
    handover::{
        activation,
        message::{ListenerSocket, Thing},
        origin::Origin,
        predecessor::{Given, Predecessor},
        successor::Heirloom,
    },
    model::{Settings, Sight, listener::Listener, settings::Admin, units::ListenerName},
    observe::access_log::Writer,
    tls::{self, Holders},
};
use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::spawn_local,
};

use crate::{
    Flags, announce,
    shift::{Shift, succeed},
};

/// How long a start waits for the disk to take what it has to write.
const AT_START: Duration = Duration::from_secs(2);

/// Everything that can fail, done.
pub struct House {
    settings: Arc<Settings>,
    content: Content,
    store: FileStore,
    socket: AdminSocket,
    /// Whether that is the one of the process that hands over.
    is_socket_given: bool,
    http: Option<TcpListener>,
    listeners: Vec<Bound>,
    holders: Holders,
    /// What name servers say, where a process hands over: it has no time to wait for them later.
    resolved: Vec<Sight>,
}

impl House {
    /// Opens everything, with what a process hands over.
    pub async fn prepare(
        flags: &Flags,
        loaded: Loaded,
        predecessor: &mut Option<Predecessor>,
    ) -> anyhow::Result<Self> {
        let content = Content::of(&loaded);
        let settings = Arc::new(loaded.settings);
        let mut given = predecessor.as_mut();
        let lock = given.as_mut().and_then(|p| p.lock(&settings.admin.state_dir));
        let (socket, is_socket_given) = open_socket(&settings.admin, given.as_deref_mut())?;
        tls::install_provider();
        let mut holders = Holders::default();
        let listeners = open_listeners(&settings, &mut holders, given.as_deref_mut())?;
        let http = match settings.admin.http {
            Some(address) => {
                let given = given.and_then(|predecessor| predecessor.http(address));
                let http = open_http(address, given).await;
                Some(http.with_context(|| format!("admin.http {address}"))?)
            }
            None => None,
        };
        let store = open_store(flags, &settings, lock)?;
        let resolved = match predecessor {
            Some(_) => control::resolved(&settings).await,
            None => Vec::new(),
        };
        Ok(Self {
            settings,
            content,
            store,
            socket,
            is_socket_given,
            http,
            listeners,
            holders,
            resolved,
        })
    }

    /// Takes over what was before, and serves until it is told to stop, or hands over itself.
    pub async fn serve(
        mut self,
        flags: &Flags,
        origin: Origin,
        predecessor: &mut Option<Predecessor>,
    ) -> anyhow::Result<()> {
        let before = match predecessor {
            Some(predecessor) => {
                let kept = self.listeners.iter().map(|bound| bound.entrance.address).collect();
                let handed = predecessor.prepared(kept, self.is_socket_given);
                Before::Handed(Box::new(handed.context("the process that hands over")?))
            }
            None => match self.store.load()? {
                Some(state) => Before::Left(Box::new(state)),
                None => Before::Nothing,
            },
        };
        let failures = Arc::new(Notify::new());
        let estate = Estate::new(origin, self.heirlooms()?);
        let mut listeners = std::mem::take(&mut self.listeners);
        let resolved = std::mem::take(&mut self.resolved);
        let (mut socket, http) = (self.socket, self.http);
        let (settings, content) = (self.settings, self.content);
        let place = place(flags, &settings, content, &listeners, failures.clone())?;
        let folder = &settings.admin.state_dir;
        let (journal, file) = journal::open(folder).with_context(|| unwritable(folder))?;
        let written = (Disk::start(Box::new(self.store), file)?, journal);
        let logs = Writer::start()?;
        let control =
            Control::new(settings.clone(), before, written, logs, self.holders, place, estate);
        let control = Rc::new(RefCell::new(control));
        resolved.into_iter().for_each(|sight| control.borrow_mut().learn(sight));
        if predecessor.is_none() {
            control.borrow_mut().begin();
            // Whether the disk answers or not: serving comes first.
            let _ =
                tokio::join!(control::resolve_now(&control), control::settle(&control, AT_START));
        }

        let (stop, stopping) = watch::channel(false);
        let (rest, resting) = watch::channel(false);
        let common = Common {
            published: control.borrow().published(),
            failures,
            stop: stopping,
            rest: resting,
            kept: Arc::default(),
            workers: settings.runtime.workers,
            beats: control.borrow().tallies.beats(),
            gates: Arc::default(),
        };
        let workers = worker::start(&mut listeners, &common)?;
        let signals = control::watch_signals(&control)?;
        if let Some(former) = predecessor.take() {
            succeed(&control, former, common.rest.clone())?;
            socket.own();
        }
        control::start(&control);
        let mut admin = vec![spawn_local(socket.serve(control.clone()))];
        admin.extend(http.map(|http| spawn_local(serve_http(http, control.clone()))));
        for bound in &listeners {
            tracing::info!("listener {} on {}", bound.entrance.name, bound.entrance.address);
        }
        // The process that handed over was the service's main one so far.
        announce(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
        let shift = Shift { control, workers, signals, stop, rest, kept: common.kept, admin };
        shift.end().await
    }

    /// What the next process may go on with.
    fn heirlooms(&self) -> anyhow::Result<Vec<Heirloom>> {
        let mut all = vec![self.socket.heirloom()?];
        let lock = Thing::Lock(self.settings.admin.state_dir.clone());
        all.push(Heirloom { thing: lock, descriptor: self.store.lock()? });
        if let (Some(http), Some(address)) = (&self.http, self.settings.admin.http) {
            let descriptor = http.as_fd().try_clone_to_owned()?;
            all.push(Heirloom { thing: Thing::Http(address), descriptor });
        }
        for Bound { entrance, sockets } in &self.listeners {
            let thing = Thing::Listener(ListenerSocket {
                name: entrance.name.clone(),
                configured: entrance.settings.address,
                address: entrance.address,
                is_foreign: entrance.is_foreign,
            });
            for socket in sockets {
                let descriptor = socket.try_clone()?.into();
                all.push(Heirloom { thing: thing.clone(), descriptor });
            }
        }
        Ok(all)
    }
}

fn open_store(
    flags: &Flags,
    settings: &Settings,
    lock: Option<OwnedFd>,
) -> anyhow::Result<FileStore> {
    let folder = &settings.admin.state_dir;
    let store = FileStore::new(folder, lock).with_context(|| unwritable(folder))?;
    if flags.reset_state
        && let Some(aside) = store.set_aside(clock::now()).with_context(|| unwritable(folder))?
    {
        tracing::warn!("the state was set aside as {}", aside.display());
    }
    Ok(store)
}

fn unwritable(folder: &Path) -> String {
    format!(
        "admin.state_dir {}\n  hint: make it writable for the user that lbd runs as",
        folder.display()
    )
}

/// The admin socket, and whether it is the one of the process that hands over.
fn open_socket(
    admin: &Admin,
    given: Option<&mut Predecessor>,
) -> anyhow::Result<(AdminSocket, bool)> {
    let file = std::fs::metadata(&admin.socket).map(|file| file.ino());
    let given = given.and_then(|predecessor| predecessor.admin(&admin.socket, file.ok()?));
    match given {
        Some(socket) => {
            let adopted = AdminSocket::adopt(admin, socket);
            let whose = || format!("admin.socket {}", admin.socket.display());
            Ok((adopted.with_context(whose)?, true))
        }
        None => Ok((AdminSocket::open(admin)?, false)),
    }
}

fn open_listeners(
    settings: &Settings,
    holders: &mut Holders,
    mut predecessor: Option<&mut Predecessor>,
) -> anyhow::Result<Vec<Bound>> {
    let workers = settings.runtime.workers;
    let mut activated = match predecessor {
        Some(_) => Vec::new(),
        None => activation::take().context("the sockets of systemd")?,
    };
    let mut open = |(name, listener): (&ListenerName, &Arc<Listener>)| {
        let given: Vec<Given> = match &mut predecessor {
            Some(predecessor) => predecessor.listener(name, listener.address),
            None => activated
                .extract_if(.., |one| one.is_for(name, listener.address))
                .map(|one| Given { socket: one.socket, is_foreign: true })
                .collect(),
        };
        let tls = holders.of(name);
        let bound = match given.is_empty() {
            true => bind(name, listener, tls, workers),
            false => adopt(name, listener, tls, workers, given),
        };
        bound.map_err(|error| {
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
    let bound = settings.listener.iter().map(&mut open).collect();
    for one in activated {
        tracing::warn!("socket `{}` of systemd is no listener's: name it after one", one.name);
    }
    bound
}

fn place(
    flags: &Flags,
    settings: &Arc<Settings>,
    loaded: Content,
    listeners: &[Bound],
    failures: Arc<Notify>,
) -> anyhow::Result<Place> {
    let listening = |bound: &Bound| Listening {
        name: bound.entrance.name.clone(),
        address: bound.entrance.address,
        tally: bound.entrance.tally.clone(),
    };
    Ok(Place {
        config: std::path::absolute(&flags.config)?,
        loaded,
        started_with: settings.clone(),
        started: clock::now(),
        listeners: listeners.iter().map(listening).collect(),
        workers: settings.runtime.workers,
        failures,
    })
}
