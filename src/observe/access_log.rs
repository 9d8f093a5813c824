//! The access log: lines are formed on the workers and written by a thread of their own.
//!
//! A worker gathers lines and hands them on without waiting; if the writer cannot keep up, or the
//! disk is full, lines are lost and counted, requests are not slowed.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;

use crate::model::settings::{AccessLog, LogFormat};

/// How much a worker gathers for one log before it hands it on, in bytes.
const GATHER: usize = 16 * 1024;
/// How many such pieces may wait for the writer.
const WAITING_MAX: usize = 1024;

/// How long a stopping process waits for the writer.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// One request in the log.
#[derive(Clone, Debug, Serialize)]
pub struct Line<'a> {
    /// When it was over.
    pub time: jiff::Timestamp,
    /// Its id.
    pub request_id: &'a str,
    /// The state it was served by.
    pub revision: u64,
    /// Who sent it.
    pub client: String,
    /// Its method.
    pub method: &'a str,
    /// Its Host header.
    pub host: &'a str,
    /// Path and query, as sent.
    pub path: Cow<'a, str>,
    /// The protocol's version.
    pub protocol: &'static str,
    /// The status that the client saw; 499 if it went away before.
    pub status: u16,
    /// Bytes of the response's body.
    pub bytes: usize,
    /// Bytes of the request's body.
    pub bytes_in: usize,
    /// From the request's head to the response's last byte.
    pub duration_ms: f64,
    /// From the request's head to the response's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<f64>,
    /// The service, or `-`.
    pub service: &'a str,
    /// The pool that served it, or `-`.
    pub pool: &'a str,
    /// The pool that it was meant for, if another served it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_from: Option<&'a str>,
    /// The pool whose failed attempt was replayed on the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shielded_from: Option<&'a str>,
    /// Whose fault that attempt was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shielded_blame: Option<&'static str>,
    /// The endpoint of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The rule that chose the pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// The bucket that chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
    /// How many endpoints were tried.
    pub attempts: u32,
    /// Whose fault a failure was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<&'static str>,
    /// The Referer header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<&'a str>,
    /// The User-Agent header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
}

impl Line<'_> {
    fn write(&self, format: LogFormat, to: &mut Vec<u8>) -> io::Result<()> {
        match format {
            LogFormat::Json => serde_json::to_writer(&mut *to, self)?,
            LogFormat::Combined => self.combined(to)?,
        }
        to.push(b'\n');
        Ok(())
    }

    fn combined(&self, to: &mut Vec<u8>) -> io::Result<()> {
        let time = self.time.strftime("%d/%b/%Y:%H:%M:%S +0000");
        let quoted = |text: Option<&str>| text.unwrap_or("-").escape_default().to_string();
        write!(
            to,
            "{} - - [{time}] \"{} {} {}\" {} {} \"{}\" \"{}\"",
            self.client,
            self.method,
            self.path.escape_default(),
            self.protocol,
            self.status,
            self.bytes,
            quoted(self.referer),
            quoted(self.user_agent)
        )
    }
}

/// Where one log goes.
#[derive(Debug)]
pub struct Sink {
    log: AccessLog,
    queue: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Order {
    Lines(Box<str>, Vec<u8>),
    Flush(SyncSender<()>),
}

impl Sink {
    fn send(&self, lines: Vec<u8>) {
        let count = lines.iter().filter(|b| **b == b'\n').count() as u64;
        if self.queue.try_send(Order::Lines(self.log.target.clone(), lines)).is_err() {
            self.lost.fetch_add(count, Relaxed);
        }
    }
}

/// One worker's gathered lines.
#[derive(Debug, Default)]
pub struct Buffers(Mutex<Vec<(Arc<Sink>, Vec<u8>)>>);

impl Buffers {
    /// Adds a line for a log. Only the owning worker calls this, so the lock is never contended.
    pub fn write(&self, sink: &Arc<Sink>, line: &Line<'_>) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at =
            buffers.iter().position(|(known, _)| Arc::ptr_eq(known, sink)).unwrap_or_else(|| {
                buffers.push((sink.clone(), Vec::with_capacity(2 * GATHER)));
                buffers.len() - 1
            });
        let Some((_, lines)) = buffers.get_mut(at) else { return };
        let before = lines.len();
        if line.write(sink.log.format, lines).is_err() {
            lines.truncate(before);
            sink.lost.fetch_add(1, Relaxed);
        }
        if lines.len() >= GATHER {
            sink.send(std::mem::replace(lines, Vec::with_capacity(2 * GATHER)));
        }
    }

    /// Hands on what was gathered.
    pub fn flush(&self) {
        let mut buffers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (sink, lines) in buffers.drain(..) {
            if !lines.is_empty() {
                sink.send(lines);
            }
        }
    }
}

/// The thread that writes.
#[derive(Clone, Debug)]
pub struct Writer {
    queue: SyncSender<Order>,
    lost: Arc<AtomicU64>,
    /// Set to have the files opened anew.
    stale: Arc<AtomicBool>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// If no thread can be made.
    pub fn start() -> io::Result<Self> {
        let (queue, orders) = sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let stale = Arc::new(AtomicBool::new(false));
        let (lost_there, stale_there) = (lost.clone(), stale.clone());
        let run = move || run(&orders, &lost_there, &stale_there);
        thread::Builder::new().name("access-log".into()).spawn(run)?;
        Ok(Self { queue, lost, stale })
    }

    /// The way to a log.
    pub fn sink(&self, log: &AccessLog) -> Arc<Sink> {
        Arc::new(Sink { log: log.clone(), queue: self.queue.clone(), lost: self.lost.clone() })
    }

    /// Opens all files anew, after rotation.
    pub fn reopen(&self) {
        self.stale.store(true, Relaxed);
    }

    /// Waits until everything handed on so far is written, but a second at most: a reader of the log
    /// that reads no more must not keep the process.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Order::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(FLUSH_MAX);
        }
    }

    /// How many lines were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

fn run(orders: &Receiver<Order>, lost: &AtomicU64, stale: &AtomicBool) {
    let mut files: HashMap<Box<str>, File> = HashMap::new();
    let mut complained = false;
    for order in orders {
        if stale.swap(false, Relaxed) {
            files.clear();
        }
        match order {
            Order::Lines(target, lines) => match write(&mut files, &target, &lines) {
                Ok(()) => complained = false,
                Err(error) => {
                    files.remove(&target);
                    lost.fetch_add(lines.iter().filter(|b| **b == b'\n').count() as u64, Relaxed);
                    if !complained {
                        tracing::error!(
                            "access log {target}: {error}; lines are lost until this is mended"
                        );
                        complained = true;
                    }
                }
            },
            // Nobody waits any more if this fails.
            Order::Flush(done) => drop(done.send(())),
        }
    }
}

fn write(files: &mut HashMap<Box<str>, File>, target: &str, lines: &[u8]) -> io::Result<()> {
    if target == "stdout" {
        return io::stdout().lock().write_all(lines);
    }
    if !files.contains_key(target) {
        let file = OpenOptions::new().create(true).append(true).open(target)?;
        files.insert(target.into(), file);
    }
    match files.get_mut(target) {
        Some(file) => file.write_all(lines),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line<'static> {
        Line {
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            request_id: "r1",
            revision: 7,
            client: "192.0.2.1".into(),
            method: "GET",
            host: "a",
            path: "/x\"y".into(),
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 5,
            bytes_in: 0,
            duration_ms: 1.5,
            first_byte_ms: None,
            service: "app",
            pool: "green",
            failover_from: None,
            shielded_from: None,
            shielded_blame: None,
            endpoint: None,
            rule: Some("bucket"),
            bucket: Some(42),
            attempts: 1,
            blame: None,
            referer: None,
            user_agent: Some("curl"),
        }
    }

    #[test]
    fn lines_have_both_forms() {
        let mut text = Vec::new();
        line().write(LogFormat::Combined, &mut text).unwrap();
        let combined =
            r#"192.0.2.1 - - [02/Jan/2026:03:04:05 +0000] "GET /x\"y HTTP/1.1" 200 5 "-" "curl""#;
        assert_eq!(String::from_utf8(text).unwrap(), format!("{combined}\n"));
        let mut text = Vec::new();
        line().write(LogFormat::Json, &mut text).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!((&json["pool"], &json["bucket"]), (&"green".into(), &42.into()));
    }

    #[test]
    fn lines_reach_the_file_and_a_reopened_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let target: Box<str> = path.to_str().unwrap().into();
        let writer = Writer::start().unwrap();
        let sink = writer.sink(&AccessLog { target, format: LogFormat::Json });
        let buffers = Buffers::default();
        for part in ["one", "two"] {
            buffers.write(&sink, &line());
            buffers.flush();
            writer.flush();
            let kept = folder.path().join(part);
            std::fs::rename(&path, &kept).unwrap();
            writer.reopen();
            assert_eq!(std::fs::read_to_string(kept).unwrap().lines().count(), 1);
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_loses_lines_and_counts_them() {
        let writer = Writer::start().unwrap();
        let sink =
            writer.sink(&AccessLog { target: "/nonexistent/x".into(), format: LogFormat::Json });
        let buffers = Buffers::default();
        buffers.write(&sink, &line());
        buffers.flush();
        writer.flush();
        assert_eq!(writer.lost(), 1);
    }
}
