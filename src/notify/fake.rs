//! For tests: an event, and receivers that answer as they are told.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use super::{notice::Notice, patience::Patience};
use crate::model::{
    event::{Event, Severity},
    units::{Moment, Revision},
};

/// How long a test waits before it fails.
pub const WAIT_MAX: Duration = Duration::from_secs(20);

/// Limits for tests: long where the test waits for an answer, short between tries.
pub const PATIENCE: Patience = Patience {
    connect: WAIT_MAX,
    whole: WAIT_MAX,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(4),
    tries_max: 4,
    span_max: WAIT_MAX,
};

/// A critical event of lbd's own.
pub fn event(kind: &str, summary: &str) -> Event {
    let time = Moment(1_767_323_045_000);
    let event = Event::new(time, Revision(7), kind, Severity::Critical, summary);
    Event {
        services: ["app", "web"].map(|name| name.parse().unwrap()).into(),
        before: "green 50%".into(),
        after: "green 0%".into(),
        ..event
    }
}

/// A notice of an event on `edge-1`.
pub fn notice(event: &Event) -> Notice {
    Notice::news(&Arc::new(event.clone()), &"edge-1".into())
}

/// What a fake HTTP receiver answers.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// A status line's end, header lines, a body.
    Status(&'static str, &'static str, &'static str),
    /// Nothing, while the connection stays.
    Never,
}

impl Answer {
    /// Success.
    pub const OK: Self = Self::Status("200 OK", "", "ok");
}

/// What a fake HTTP receiver got.
#[derive(Debug)]
pub struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// An HTTP server that gives its answers in turn, and the last one for ever.
pub struct HttpServer {
    address: SocketAddr,
    requests: mpsc::Receiver<Request>,
}

impl HttpServer {
    pub fn start(answers: &[Answer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, requests) = mpsc::channel();
        let answers = answers.to_vec();
        thread::spawn(move || {
            let mut open = Vec::new();
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let Some(request) = read_request(&stream) else { continue };
                match answers[n.min(answers.len() - 1)] {
                    Answer::Never => open.push(stream),
                    Answer::Status(status, headers, body) => {
                        let length = body.len();
                        let head =
                            format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}");
                        // The client may have gone away.
                        let _ = write!(stream, "{head}\r\nconnection: close\r\n\r\n{body}");
                    }
                }
                if tell.send(request).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The next request.
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(WAIT_MAX).unwrap()
    }

    /// Whether no request came but those that were read.
    pub fn is_quiet(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let mut request = Request { head, body: Vec::new() };
    let length = request.header("content-length")?.parse().unwrap();
    reader.take(length).read_to_end(&mut request.body).ok()?;
    Some(request)
}

/// What a fake mail server says.
#[derive(Clone, Copy, Debug)]
pub struct SmtpWords {
    /// To EHLO.
    pub ehlo: &'static str,
    /// To MAIL; empty: nothing at all.
    pub mail: &'static str,
    /// The recipient that it does not know.
    pub refused: &'static str,
}

impl Default for SmtpWords {
    fn default() -> Self {
        Self { ehlo: "250 fake", mail: "250 ok", refused: "-" }
    }
}

/// A mail server that tells of every session when it is over.
pub struct SmtpServer {
    address: SocketAddr,
    sessions: mpsc::Receiver<Vec<String>>,
}

impl SmtpServer {
    pub fn start(words: SmtpWords) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, sessions) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if tell.send(session(stream.unwrap(), words)).is_err() {
                    return;
                }
            }
        });
        Self { address, sessions }
    }

    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// The lines of the next session.
    pub fn next(&self) -> Vec<String> {
        self.sessions.recv_timeout(WAIT_MAX).unwrap()
    }
}

fn session(mut stream: TcpStream, words: SmtpWords) -> Vec<String> {
    let mut lines = Vec::new();
    let mut data = false;
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut say = |text: &str| !text.is_empty() && write!(stream, "{text}\r\n").is_ok();
    say("220 fake");
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or_default() == 0 {
            return lines;
        }
        let line = line.trim_end().to_owned();
        match line.get(..4).unwrap_or_default() {
            _ if data => {
                if line == "." {
                    data = false;
                    say("250 taken");
                }
            }
            "EHLO" => drop(say(words.ehlo)),
            "MAIL" => drop(say(words.mail)),
            "RCPT" if line.contains(words.refused) => drop(say("550 no such user")),
            "DATA" => data = say("354 go on"),
            _ => drop(say("250 ok")),
        }
        lines.push(line);
    }
}
