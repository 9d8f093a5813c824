//! Who is told of events: a webhook's other end.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
};

use super::{PATIENCE, eventually};

/// A notice as it came over the wire.
#[derive(Clone, Debug)]
pub struct Told {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Told {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a notice is JSON")
    }
}

/// A server that takes notices.
pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    connections: AtomicU64,
}

impl Receiver {
    /// One that takes every notice.
    pub fn taking() -> Self {
        Self::answering(204)
    }

    /// One that answers every notice with this status.
    pub fn answering(status: u16) -> Self {
        Self::run(move |stream, shared| {
            let told = read(&stream)?;
            shared.told.lock().unwrap().push(told);
            let answer = format!("HTTP/1.1 {status} As Told\r\nConnection: close\r\n");
            let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
            (&stream).write_all(format!("{answer}{length}\r\n").as_bytes())
        })
    }

    /// One that accepts connections and never answers.
    pub fn silent() -> Self {
        let kept = Mutex::new(Vec::new());
        Self::run(move |stream, _| {
            kept.lock().unwrap().push(stream);
            Ok(())
        })
    }

    fn run(serve: impl Fn(TcpStream, &Shared) -> io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                of_thread.connections.fetch_add(1, SeqCst);
                // A sender that left is no reason to end.
                let _ = serve(stream, &of_thread);
            }
        });
        Self { url, shared }
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(SeqCst)
    }

    /// The notices that came, oldest first.
    pub fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    /// Waits for a notice of this kind and severity.
    pub fn hears(&self, kind: &str, severity: &str) -> Told {
        eventually(&format!("a notice of a {kind}, {severity}"), || {
            let is = |t: &Told| {
                let body = t.json();
                body["kind"] == kind && body["severity"] == severity
            };
            self.told().into_iter().find(is)
        })
    }
}

fn read(stream: &TcpStream) -> io::Result<Told> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    let mut line = String::new();
    reader.read_line(&mut line)?;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut told = Told { headers, body: Vec::new() };
    let length = told.header("content-length").and_then(|length| length.parse().ok());
    told.body.resize(length.unwrap_or_default(), 0);
    reader.read_exact(&mut told.body)?;
    Ok(told)
}
