//! Load at a fixed rate, whatever the server does: `open_loop ADDRESS RATE CONNECTIONS SECONDS [HEADER]…`.
//!
//! Request *n* is due *n* / RATE seconds after the start. Whichever connection is free sends it, at once
//! if it is late, and its response time counts from when it was **due**. So a server that stalls is
//! charged for all requests that should have come meanwhile, not only for those it was holding
//! (coordinated omission). In a HEADER, `{n}` is the request's number modulo 100,000.
//!
//! The first second is sent but not counted. Prints one line of JSON, times in microseconds; `lag` is how
//! late requests left, which is the generator's own share where connections are free.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

use std::{
    env,
    error::Error,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// What is sent before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);
/// No answer takes longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
const USERS: u64 = 100_000;
const STACK: usize = 128 * 1024;

#[derive(Clone)]
struct Plan {
    address: SocketAddr,
    rate: f64,
    end: Duration,
    headers: Vec<String>,
}

impl Plan {
    /// When request `n` is due, after the start.
    fn due(&self, n: u64) -> Duration {
        Duration::from_secs_f64(n as f64 / self.rate)
    }

    fn request(&self, n: u64) -> String {
        let user = (n % USERS).to_string();
        let mut head = String::from("GET /128 HTTP/1.1\r\n");
        for header in &self.headers {
            head.push_str(&header.replace("{n}", &user));
            head.push_str("\r\n");
        }
        head + "\r\n"
    }
}

/// What one connection saw, in microseconds.
#[derive(Default)]
struct Seen {
    times: Vec<u64>,
    lags: Vec<u64>,
    errors: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, rate, connections, seconds, headers @ ..] = arguments.as_slice() else {
        return Err("usage: open_loop ADDRESS RATE CONNECTIONS SECONDS [HEADER]…".into());
    };
    let plan = Arc::new(Plan {
        address: address.parse()?,
        rate: rate.parse()?,
        end: WARM_UP + Duration::from_secs_f64(seconds.parse()?),
        headers: headers.to_vec(),
    });
    let next = Arc::new(AtomicU64::new(0));
    // Time to start the threads.
    let start = Instant::now() + Duration::from_millis(200);
    let clients = (0..connections.parse::<usize>()?).map(|_| {
        let (plan, next) = (plan.clone(), next.clone());
        thread::Builder::new().stack_size(STACK).spawn(move || client(&plan, &next, start))
    });
    let clients: Vec<_> = clients.collect::<Result<_, _>>()?;

    let mut all = Seen::default();
    for client in clients {
        let seen = client.join().map_err(|_| "a client panicked")?;
        all.times.extend(seen.times);
        all.lags.extend(seen.lags);
        all.errors += seen.errors;
    }
    println!("{}", report(all));
    Ok(())
}

fn client(plan: &Plan, next: &AtomicU64, start: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    loop {
        let n = next.fetch_add(1, Relaxed);
        let due = plan.due(n);
        if due >= plan.end {
            return seen;
        }
        thread::sleep((start + due).saturating_duration_since(Instant::now()));
        let sent = start.elapsed();
        let outcome = exchange(&mut connection, plan, n);
        let done = start.elapsed();
        match outcome {
            Err(_) => {
                connection = None;
                seen.errors += 1;
            }
            Ok(()) if due >= WARM_UP => {
                seen.times.push(micros(done.saturating_sub(due)));
                seen.lags.push(micros(sent.saturating_sub(due)));
            }
            Ok(()) => {}
        }
    }
}

/// One request and its answer, on the connection that is there or a new one.
fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    plan: &Plan,
    n: u64,
) -> std::io::Result<()> {
    let reader = match connection {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect(plan.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(BufReader::new(stream))
        }
    };
    reader.get_mut().write_all(plan.request(n).as_bytes())?;
    let length = head(reader)?;
    let mut body = [0; 4096];
    let body = body.get_mut(..length).ok_or_else(|| bad("the body is too long"))?;
    reader.read_exact(body)
}

/// Reads an answer's head. Returns the body's length.
fn head(reader: &mut impl BufRead) -> std::io::Result<usize> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(bad("the answer is not 200"));
    }
    let mut length = None;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            return length.ok_or_else(|| bad("the body has no length"));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

fn bad(what: &str) -> std::io::Error {
    std::io::Error::other(what)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn report(mut all: Seen) -> String {
    all.times.sort_unstable();
    all.lags.sort_unstable();
    let (times, lags) = (&all.times, &all.lags);
    format!(
        r#"{{"requests": {}, "errors": {}, "p50": {}, "p99": {}, "p999": {}, "max": {}, "lag_p50": {}, "lag_p99": {}}}"#,
        times.len(),
        all.errors,
        quantile(times, 0.5),
        quantile(times, 0.99),
        quantile(times, 0.999),
        quantile(times, 1.0),
        quantile(lags, 0.5),
        quantile(lags, 0.99),
    )
}

/// The smallest value that at least `part` of the sorted `values` do not exceed; 0 if there are none.
fn quantile(values: &[u64], part: f64) -> u64 {
    let rank = (values.len() as f64 * part).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}
