//! Workers: one thread each, with everything it needs of its own.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use pingora_core::server::{ShutdownWatch, configuration::ServerConf};
use pingora_proxy::{HttpProxy, http_proxy};
use socket2::{SockFilter, SockRef};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    admission::{Admitted, admit},
    clients::Counted,
    connection::serve,
    io::EdgeIo,
    listener::{Bound, Entrance},
    parking::{Awake, Parking},
};
use crate::{
    model::announcement::Ends,
    observe::Gathered,
    proxy::{fast::Fast, full::Full, gate, judging::Judge, peers::Peers, tunnel::Tunnels},
    tally::{Beat, ListenerTally, micros},
    view::{Published, Reader},
};

/// Idle upstream connections that one worker keeps, over all endpoints.
const UPSTREAM_IDLE_MAX: usize = 1024;
/// How long accepting rests when the system is out of descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How often a full worker looks whether its limit was raised.
const LIMIT_AGAIN: Duration = Duration::from_secs(1);
/// How long handshakes that are under way may take when the process stops.
const HANDSHAKE: Duration = Duration::from_millis(20);

/// What all workers need to know.
#[derive(Clone, Debug)]
pub struct Common {
    /// Where the view is published.
    pub published: Arc<Published>,
    /// Told when an attempt failed.
    pub failures: Arc<Notify>,
    /// True once the process stops.
    pub stop: ShutdownWatch,
    /// True once nobody waits for clients that only keep their connection.
    pub rest: ShutdownWatch,
    /// Where another process goes on to accept clients, if it stops for that; set before `stop`.
    pub kept: Arc<OnceLock<Vec<SocketAddr>>>,
    /// How many workers there are.
    pub workers: usize,
    /// Where each shows that it is on time.
    pub beats: Arc<[Beat]>,
    /// What the workers' gates share.
    pub gates: Arc<gate::Common>,
}

/// A running worker.
#[derive(Debug)]
pub struct Worker {
    done: watch::Receiver<bool>,
}

impl Worker {
    /// Waits until the worker has served its last request.
    pub async fn done(&mut self) {
        // An error means that the thread is gone already.
        let _ = self.done.wait_for(|done| *done).await;
    }
}

/// Starts the workers on the sockets of the listeners.
///
/// # Errors
///
/// If a thread cannot be made.
pub fn start(listeners: &mut [Bound], common: &Common) -> io::Result<Vec<Worker>> {
    let mut doors: Vec<Vec<Door>> = (0..common.workers).map(|_| Vec::new()).collect();
    for bound in listeners {
        // A process before this one may have had more workers, and clients wait at each of its sockets.
        for (index, socket) in bound.sockets.drain(..).enumerate() {
            if let Some(doors) = doors.get_mut(index % common.workers.max(1)) {
                doors.push(Door { socket, entrance: bound.entrance.clone() });
            }
        }
    }
    doors
        .into_iter()
        .enumerate()
        .map(|(index, doors)| {
            let (finish, done) = watch::channel(false);
            let common = common.clone();
            thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
                if let Err(error) = run(index, doors, common) {
                    tracing::error!("worker {index} cannot run: {error}");
                }
                finish.send_replace(true);
            })?;
            Ok(Worker { done })
        })
        .collect()
}

/// One worker's socket of a listener.
struct Door<S = TcpListener> {
    socket: S,
    entrance: Arc<Entrance>,
}

/// What one worker's tasks share.
struct Shop {
    index: usize,
    workers: usize,
    fast: Arc<Fast>,
    full: Arc<HttpProxy<Full>>,
    reader: Reader,
    stop: ShutdownWatch,
    /// True once connections on which nothing runs are closed.
    rest: ShutdownWatch,
    kept: Arc<OnceLock<Vec<SocketAddr>>>,
    draining: Arc<AtomicBool>,
    open: AtomicUsize,
    left: Notify,
    parking: Parking<Lease>,
}

fn run(index: usize, doors: Vec<Door>, common: Common) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(index, doors, common))
}

async fn work(index: usize, doors: Vec<Door>, common: Common) -> io::Result<()> {
    let gathered = Arc::new(Gathered::default());
    let tunnels = Arc::new(Tunnels::default());
    // A channel of the worker's own: its receivers are cloned for every request.
    let (tell, stop) = watch::channel(false);
    let (close, rest) = watch::channel(false);
    let shop = Arc::new(Shop {
        index,
        workers: common.workers,
        fast: Arc::new(fast_path(index, &common, gathered.clone())),
        full: request_path(index, &common, gathered.clone(), tunnels.clone()),
        reader: Reader::new(common.published.clone()),
        stop,
        rest,
        kept: common.kept.clone(),
        draining: Arc::default(),
        open: AtomicUsize::new(0),
        left: Notify::new(),
        parking: Parking::new()?,
    });
    let mut accepting = tokio::task::JoinSet::new();
    for Door { socket, entrance } in doors {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        accepting.spawn(accept(shop.clone(), Door { socket, entrance }));
    }
    tokio::spawn(keep_parked(shop.clone()));
    let flushing =
        tokio::spawn(keep_time(shop.clone(), gathered.clone(), common.beats.clone(), tunnels));
    told(&mut common.stop.clone()).await;
    shop.draining.store(true, Relaxed);
    // Where another process goes on, a client that keeps its connection sees no more of it than an
    // answer with `Connection: close`.
    close.send_replace(shop.kept.get().is_none());
    tell.send_replace(true);
    accepting.join_all().await;
    // What still runs at the end of the drain is cut off.
    let drain = shop.reader.current().runtime.upgrade_drain;
    let hurry = async {
        told(&mut common.rest.clone()).await;
        close.send_replace(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = tokio::time::timeout(drain.duration(), shop.empty()) => {}
        () = hurry => {}
    }
    flushing.abort();
    gathered.flush();
    Ok(())
}

fn fast_path(index: usize, common: &Common, gathered: Arc<Gathered>) -> Fast {
    let judge = Judge { failures: common.failures.clone() };
    Fast::new(index, Reader::new(common.published.clone()), judge, gathered)
}

fn request_path(
    index: usize,
    common: &Common,
    gathered: Arc<Gathered>,
    tunnels: Arc<Tunnels>,
) -> Arc<HttpProxy<Full>> {
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: UPSTREAM_IDLE_MAX,
        // The service's own `retries` are far below; this is pingora's last fuse.
        max_retries: 64,
        ..ServerConf::default()
    };
    let full = Full {
        worker: index,
        reader: Reader::new(common.published.clone()),
        judge: Judge { failures: common.failures.clone() },
        peers: Peers::default(),
        tunnels,
        gathered,
        gate: gate::Gate::new(common.gates.clone()),
    };
    Arc::new(http_proxy(&Arc::new(conf), full))
}

/// Hands gathered log lines on, and shows control that this worker is on time: what takes long while it
/// is not is no evidence of a slow pool. Ends tunnels that have gone on for too long.
async fn keep_time(
    shop: Arc<Shop>,
    gathered: Arc<Gathered>,
    beats: Arc<[Beat]>,
    tunnels: Arc<Tunnels>,
) {
    let mut ticks = interval(Beat::PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        gathered.flush();
        let now = Instant::now();
        tunnels.look(now, || shop.reader.current());
        shop.fast.sweep(now);
        shop.parking.sweep(now);
        if let Some(beat) = beats.get(shop.index) {
            beat.0.set(micros(Instant::now()));
        }
    }
}

/// Serves parked connections again when their clients say something; until the process stops.
async fn keep_parked(shop: Arc<Shop>) {
    let mut rest = shop.rest.clone();
    let watched = tokio::select! {
        watched = shop.parking.watch(|awake| shop.wake(awake)) => watched,
        () = told(&mut rest) => shop.parking.clear(|awake| shop.wake(awake)),
    };
    if let Err(error) = watched {
        tracing::error!("worker {} cannot watch idle connections: {error}", shop.index);
    }
}

/// Accepts connections until the process stops; those that wait by then are still served.
async fn accept(shop: Arc<Shop>, door: Door<tokio::net::TcpListener>) {
    let mut stop = shop.stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = async { shop.has_room(&door.entrance).await; door.socket.accept().await } => accepted,
            () = told(&mut stop) => break,
        };
        match accepted {
            Ok((tcp, peer)) => {
                shop.open(tcp, peer, &door.entrance);
                if shop.kept.get().is_some() {
                    // Another process accepts too: it need not be waited for that nobody comes.
                    break;
                }
            }
            Err(error) if is_client_fault(&error) => {}
            Err(error) => {
                let name = &door.entrance.name;
                tracing::warn!("listener {name} cannot accept: {error}; resting a moment");
                sleep(ACCEPT_REST).await;
            }
        }
    }
    close(&shop, door).await;
}

/// Waits until the process stops.
async fn told(stop: &mut ShutdownWatch) {
    // An error means that whoever stops workers is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Closes a listening socket without losing anybody. Where another process has it open and goes on to
/// accept, nobody can be lost; else first no new handshake begins, then those that
/// are under way end, then who waits is let in. Closed at once, the kernel would reset them all.
async fn close(shop: &Arc<Shop>, door: Door<tokio::net::TcpListener>) {
    let Door { socket, entrance } = door;
    let goes_on = |kept: &Vec<SocketAddr>| kept.contains(&entrance.address);
    if entrance.is_foreign || shop.kept.get().is_some_and(goes_on) {
        return;
    }
    let name = &entrance.name;
    if let Err(error) = SockRef::from(&socket).attach_filter(&NO_NEW_HANDSHAKE) {
        tracing::debug!("listener {name} cannot turn newcomers away: {error}");
    }
    sleep(HANDSHAKE).await;
    let Ok(socket) = socket.into_std() else { return };
    while let Ok((tcp, peer)) = socket.accept() {
        let tcp = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp));
        if let Ok(tcp) = tcp {
            shop.open(tcp, peer, &entrance);
        }
    }
}

/// A classic BPF program over a TCP segment: drops it if its SYN flag is set. Their clients try again
/// and then find the port closed.
const NO_NEW_HANDSHAKE: [SockFilter; 4] = {
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 0x02;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_AT),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// Our end of a connection to a listener with this address, which the system is asked for only where the
/// address does not say it.
fn own_end(tcp: &TcpStream, listener: SocketAddr) -> SocketAddr {
    if !listener.ip().is_unspecified() && listener.port() != 0 {
        return listener;
    }
    tcp.local_addr().unwrap_or(listener)
}

/// Errors of one connection, not of accepting.
fn is_client_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

impl Shop {
    fn open(self: &Arc<Self>, tcp: TcpStream, peer: SocketAddr, entrance: &Arc<Entrance>) {
        // A listener that a reload took out of the config stays open until the restart it needs.
        let view = self.reader.current();
        let settings = view.listeners.get(&entrance.name).unwrap_or(&entrance.settings).clone();
        let ends = Ends { client: peer, here: own_end(&tcp, entrance.address) };
        let presence = Presence::new(self.clone(), entrance.tally.clone());
        let (shop, entrance) = (self.clone(), entrance.clone());
        // Boxed: tokio would move it, some kilobytes, from place to place.
        tokio::spawn(Box::pin(async move {
            let admitted = admit(tcp, ends, settings, &entrance, shop.draining.clone()).await;
            match admitted {
                Ok(Admitted { io, counted }) => {
                    shop.serve(io, Lease { presence, _counted: counted }).await;
                }
                // One line for each would be a gift to attackers.
                Err(error) => tracing::debug!("{peer} is not let in: {error}"),
            }
        }));
    }

    /// Serves a connection, and parks it when it rests.
    async fn serve(&self, mut io: Box<EdgeIo>, mut lease: Lease) {
        let refused = |status| self.count_refused(status);
        let stops = (&self.stop, &self.rest);
        while let Some(rests) = serve(io, &self.fast, &self.full, stops, &refused).await {
            io = rests;
            // Where it cannot be parked, it stays as it is.
            let Some(idle) = io.idled() else { continue };
            lease.presence.park();
            match self.parking.park(idle, lease) {
                Ok(()) => return,
                Err(back) => lease = back,
            }
            lease.presence.unpark();
        }
    }

    fn wake(self: &Arc<Self>, Awake { idle, input, mut lease }: Awake<Lease>) {
        lease.presence.unpark();
        // Without a descriptor to watch it by it is closed, as if it had not been accepted.
        let Ok(io) = EdgeIo::awake(idle, input) else { return };
        let shop = self.clone();
        tokio::spawn(Box::pin(async move { shop.serve(Box::new(io), lease).await }));
    }

    /// Each worker keeps to its part of a limit, so that they need not count together.
    fn is_full(&self, entrance: &Entrance) -> bool {
        let view = self.reader.current();
        let listener = view.listeners.get(&entrance.name).and_then(|l| l.max_connections);
        let there = entrance.tally.cell(self.index).open();
        self.open.load(Relaxed) >= view.runtime.max_connections.div_ceil(self.workers)
            || listener.is_some_and(|most| there >= u64::from(most).div_ceil(self.workers as u64))
    }

    async fn has_room(&self, entrance: &Entrance) {
        while self.is_full(entrance) {
            // A reload may raise the limit meanwhile, without anybody leaving.
            let _ = tokio::time::timeout(LIMIT_AGAIN, self.left.notified()).await;
        }
    }

    /// Counts a request whose head was refused.
    fn count_refused(&self, status: u16) {
        let view = self.reader.current();
        let cell = view.unrouted.cell(self.index);
        cell.code(status);
        cell.finished.add(1);
    }

    async fn empty(&self) {
        while self.open.load(Relaxed) > 0 {
            self.left.notified().await;
        }
    }
}

/// What a connection holds until it is closed.
struct Lease {
    presence: Presence,
    _counted: Option<Counted>,
}

/// An open connection; counted until it is dropped, also when its task panics.
struct Presence {
    shop: Arc<Shop>,
    tally: Arc<ListenerTally>,
    is_parked: bool,
}

impl Presence {
    fn new(shop: Arc<Shop>, tally: Arc<ListenerTally>) -> Self {
        shop.open.fetch_add(1, Relaxed);
        tally.cell(shop.index).opened.add(1);
        Self { shop, tally, is_parked: false }
    }

    fn park(&mut self) {
        self.is_parked = true;
        self.tally.cell(self.shop.index).parked.add(1);
    }

    fn unpark(&mut self) {
        if std::mem::take(&mut self.is_parked) {
            let parked = &self.tally.cell(self.shop.index).parked;
            parked.set(parked.get().saturating_sub(1));
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.unpark();
        self.shop.open.fetch_sub(1, Relaxed);
        self.tally.cell(self.shop.index).closed.add(1);
        self.shop.left.notify_waiters();
    }
}
