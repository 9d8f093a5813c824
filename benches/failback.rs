//! How long a bad release stays on the air, on real sockets: a benchmark, `make failback`.
//!
//! 2,000 requests a second over 5 % on green, from users with ids and keep-alive connections. Green is
//! healthy, then fails all, fails half, hangs or is five times slower. Measured on green itself: from
//! its first bad answer (the first request that it gets when it hangs) to the last request that it is
//! sent. And at the clients: how many requests failed.
//!
//! The times hold for the machine they are measured on, with clients and origins on the same cores.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

#[allow(dead_code, unused_imports, reason = "the bench uses a part of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use support::Lab;

const RATE: u64 = 2_000;
const CLIENTS: u64 = 40;
const USERS: u64 = 20_000;
/// How long green is healthy first.
const HEALTHY: Duration = Duration::from_secs(12);
/// How long a bad green is waited for.
const LIMIT: Duration = Duration::from_secs(20);
/// What a healthy answer takes.
const LATENCY: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Mood {
    Healthy,
    FailsAll,
    FailsHalf,
    Hangs,
    Slow,
}

const MOODS: [(Mood, &str, &str); 4] = [
    (Mood::FailsAll, "fails all", "0.3 s"),
    (Mood::FailsHalf, "fails half", "0.5 s"),
    (Mood::Hangs, "hangs", "limit 0.5 s + 0.3 s"),
    (Mood::Slow, "is 5 times slower", "1 s"),
];

/// A server with a thread for each connection, which notes when it is asked and when it is bad.
struct Server {
    address: SocketAddr,
    mood: AtomicU8,
    asked: AtomicU64,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Default)]
struct Times {
    first_bad: Option<Instant>,
    last_asked: Option<Instant>,
}

impl Server {
    fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            mood: AtomicU8::new(Mood::Healthy as u8),
            asked: AtomicU64::new(0),
            times: Mutex::default(),
        });
        let serving = server.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = serving.clone();
                thread::spawn(move || server.serve(stream));
            }
        });
        server
    }

    fn serve(&self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        while skip_head(&mut reader) {
            let n = self.asked.fetch_add(1, SeqCst);
            let mood = self.mood.load(SeqCst);
            let is = |other: Mood| mood == other as u8;
            self.times.lock().unwrap().last_asked = Some(Instant::now());
            thread::sleep(if is(Mood::Slow) { LATENCY * 5 } else { LATENCY });
            let fails = is(Mood::FailsAll) || (is(Mood::FailsHalf) && n.is_multiple_of(2));
            if fails || is(Mood::Slow) || is(Mood::Hangs) {
                self.times.lock().unwrap().first_bad.get_or_insert_with(Instant::now);
            }
            while self.mood.load(SeqCst) == Mood::Hangs as u8 {
                thread::sleep(LATENCY);
            }
            let status = if fails { "500 Internal Server Error" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
            if writer.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Reads a request's head. False at the end of the connection.
fn skip_head(reader: &mut impl BufRead) -> bool {
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return false,
            Ok(_) if line == "\r\n" => return true,
            Ok(_) => {}
        }
    }
}

/// Sends requests at a steady rate until told to stop; counts what it gets.
fn client(n: u64, address: SocketAddr, stop: &AtomicBool, good: &AtomicU64, bad: &AtomicU64) {
    let gap =
        Duration::from_secs(1) * u32::try_from(CLIENTS).unwrap() / u32::try_from(RATE).unwrap();
    let mut next =
        Instant::now() + gap * u32::try_from(n).unwrap() / u32::try_from(CLIENTS).unwrap();
    let mut connection: Option<(BufReader<TcpStream>, TcpStream)> = None;
    let mut random = fastrand::Rng::with_seed(n);
    while !stop.load(SeqCst) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += gap;
        let (reader, writer) = connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            (BufReader::new(stream.try_clone().unwrap()), stream)
        });
        let user = random.u64(..USERS);
        let head = format!("GET / HTTP/1.1\r\nhost: app\r\nx-user-id: user-{user}\r\n\r\n");
        match writer.write_all(head.as_bytes()).and_then(|()| answer(reader)) {
            Ok(200) => good.fetch_add(1, SeqCst),
            Ok(_) => bad.fetch_add(1, SeqCst),
            Err(_) => {
                connection = None;
                bad.fetch_add(1, SeqCst)
            }
        };
    }
}

fn answer(reader: &mut BufReader<TcpStream>) -> std::io::Result<u16> {
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            head => {
                if let Some(n) = head.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap_or(0);
                }
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(status)
}

fn run(mood: Mood, name: &str, target: &str) {
    let (blue, green) = (Server::start(), Server::start());
    let lab = Lab::new()
        .config("[guard]\np99 = \"500ms\"\n[service.app.timeouts]\nfirst_byte = \"10s\"")
        .pool("blue", blue.address)
        .pool("green", green.address)
        .start();
    lab.ctl("weight green 5").succeeds();
    let (stop, good, bad) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (stop, good, bad, address) = (&stop, &good, &bad, lab.address());
            scope.spawn(move || client(n, address, stop, good, bad));
        }
        thread::sleep(HEALTHY);
        let (before, failed_before) = (good.load(SeqCst), bad.load(SeqCst));
        let asked_before = green.asked.load(SeqCst);
        green.mood.store(mood as u8, SeqCst);
        let changed = Instant::now();
        let mut gone = None;
        while changed.elapsed() < LIMIT && gone.is_none() {
            thread::sleep(Duration::from_millis(5));
            gone = (lab.status().share("green") == "0%").then(|| changed.elapsed());
        }
        thread::sleep(Duration::from_secs(1));
        green.mood.store(Mood::Healthy as u8, SeqCst);
        let times = *green.times.lock().unwrap();
        let on_air =
            times.first_bad.zip(times.last_asked).map(|(a, b)| b.saturating_duration_since(a));
        let asked = green.asked.load(SeqCst) - asked_before;
        let served = good.load(SeqCst) - before;
        let failed = bad.load(SeqCst) - failed_before;
        match gone.and(on_air) {
            Some(time) => println!(
                "| {name} | {:.0} ms | {target} | {asked} | {failed} of {} |",
                time.as_secs_f64() * 1000.0,
                served + failed
            ),
            None => {
                println!("| {name} | not taken back in {LIMIT:?} | {target} | {asked} | {failed} |")
            }
        }
        stop.store(true, SeqCst);
    });
    if let Some(event) = lab.events().iter().find(|e| e["kind"] == "rollback") {
        println!("<!-- {} -->", event["summary"].as_str().unwrap_or_default());
    }
}

fn main() {
    println!("{RATE} requests/s, 5 % on green, {LATENCY:?} an answer, shield on\n");
    println!(
        "| green | from its first bad answer to its last request | target | requests it got meanwhile | failed at the clients |"
    );
    println!("|---|---|---|---|---|");
    // cargo bench adds a flag of its own.
    let only = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    for (mood, name, target) in MOODS {
        if only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            run(mood, name, target);
        }
    }
}
