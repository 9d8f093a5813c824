//! How often lbd allocates: one worker in this process, under an allocator that counts.
//!
//! `allocations REQUESTS` prints JSON: allocations per request on a connection that is kept, and per
//! request on a connection of its own. Two pools, users by a header, metrics and the guard's counts are on;
//! the access log is off. What the worker does besides, ten times a second, is counted with it. Client and
//! origin are threads of this process that allocate nothing.

use std::{
    alloc::{GlobalAlloc, Layout},
    env,
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use lbd::{
    config,
    control::{
        Before, Content, Control, Listening, Place, clock, disk::Disk, journal, store::FileStore,
        upgrade::Estate,
    },
    edge::{
        listener::{Bound, bind},
        worker::{self, Common},
    },
    handover::origin::Origin,
    observe::access_log::Writer,
    tls::{self, Holders},
};
use mimalloc::MiMalloc;
use tokio::sync::{Notify, watch};

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static COUNT: AtomicU64 = AtomicU64::new(0);

/// What is served before it is counted.
const WARM_UP: u64 = 2_000;
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: text/plain\r\n\r\nblue";

/// lbd's allocator, counted.
struct Counting;

// SAFETY: all of it is the inner allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Relaxed);
        unsafe { MiMalloc.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(at, layout) }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let requests: u64 = env::args().nth(1).ok_or("usage: allocations REQUESTS")?.parse()?;
    let folder = tempfile::tempdir()?;
    let (lbd, _stop) = start(folder.path(), origin()?)?;
    let mut kept = TcpStream::connect(lbd)?;
    kept.set_nodelay(true)?;
    let mut ask_again = |n| ask(&mut kept, n, "keep-alive");
    let again = counted(requests, &mut ask_again)?;
    let mut ask_anew = |n| {
        let mut client = TcpStream::connect(lbd)?;
        ask(&mut client, n, "close")
    };
    let anew = counted(requests, &mut ask_anew)?;
    println!("{{\"requests\": {requests}, \"kept\": {again}, \"new\": {anew}}}");
    Ok(())
}

/// Allocations per request.
fn counted(requests: u64, ask: &mut dyn FnMut(u64) -> std::io::Result<()>) -> std::io::Result<f64> {
    (0..WARM_UP).try_for_each(&mut *ask)?;
    let before = COUNT.load(Relaxed);
    (0..requests).try_for_each(ask)?;
    Ok((COUNT.load(Relaxed) - before) as f64 / requests as f64)
}

/// Asks as one of a hundred users, and reads the answer.
fn ask(client: &mut TcpStream, n: u64, connection: &str) -> std::io::Result<()> {
    let mut request = [0; 256];
    let mut rest = &mut request[..];
    write!(
        rest,
        "GET /128 HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\
         X-User-Id: user-{}\r\nConnection: {connection}\r\n\r\n",
        n % 100
    )?;
    let left = rest.len();
    client.write_all(&request[..request.len() - left])?;
    let (mut answer, mut length) = ([0; 1024], 0);
    while !answer[..length].ends_with(b"\r\n\r\nblue") {
        match client.read(&mut answer[length..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => length += read,
        }
    }
    Ok(())
}

/// An endpoint that answers whatever ends like a head.
fn origin() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || answer(client));
        }
    });
    Ok(address)
}

fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut request = [0; 4096];
    let mut length = 0;
    loop {
        length += match client.read(&mut request[length..])? {
            0 => return Ok(()),
            read => read,
        };
        if request[..length].ends_with(b"\r\n\r\n") {
            client.write_all(ANSWER)?;
            length = 0;
        }
    }
}

/// lbd with one worker, as its binary assembles it, but for what it does besides serving.
fn start(
    folder: &Path,
    origin: SocketAddr,
) -> Result<(SocketAddr, watch::Sender<bool>), Box<dyn Error>> {
    let file = folder.join("lbd.toml");
    let text = format!(
        "[admin]\nsocket = '{0}/admin.sock'\nstate_dir = '{0}/state'\n[runtime]\nworkers = 1\n\
         [listener.http]\naddress = '127.0.0.1:0'\n\
         [service.app]\nbaseline = 'blue'\naccess_log = 'off'\nuser_id = ['header:X-User-Id']\n\
         [service.app.pool.blue]\nendpoints = ['{origin}']\n\
         [service.app.pool.green]\nendpoints = ['{origin}']\nweight = 25\n",
        folder.display()
    );
    std::fs::write(&file, text)?;
    let loaded = config::load(&file).map_err(|problems| problems.to_string())?;
    let content = Content::of(&loaded);
    let settings = Arc::new(loaded.settings);
    tls::install_provider();
    let mut holders = Holders::default();
    let open = |(name, listener)| bind(name, listener, holders.of(name), 1);
    let mut listeners: Vec<Bound> = settings.listener.iter().map(open).collect::<Result<_, _>>()?;
    let entrance = listeners.first().ok_or("no listener")?.entrance.clone();
    let failures = Arc::new(Notify::new());
    let place = Place {
        config: file,
        loaded: content,
        started_with: settings.clone(),
        started: clock::now(),
        listeners: vec![Listening {
            name: entrance.name.clone(),
            address: entrance.address,
            tally: entrance.tally.clone(),
        }],
        workers: 1,
        failures: failures.clone(),
    };
    let store = FileStore::new(&settings.admin.state_dir, None)?;
    let (journal, journal_file) = journal::open(&settings.admin.state_dir)?;
    let disk = Disk::start(Box::new(store), journal_file)?;
    let estate = Estate::new(Origin::here()?, Vec::new());
    let written = (disk, journal);
    let logs = Writer::start()?;
    let mut control =
        Control::new(settings, Before::Nothing, written, logs, holders, place, estate);
    control.begin();
    let (stop, stopping) = watch::channel(false);
    let common = Common {
        published: control.published(),
        failures,
        rest: stopping.clone(),
        stop: stopping,
        kept: Arc::default(),
        workers: 1,
        beats: control.tallies.beats(),
        gates: Arc::default(),
    };
    worker::start(&mut listeners, &common)?;
    // Its tallies and files are used until the process ends.
    std::mem::forget(control);
    Ok((entrance.address, stop))
}
