//! Every kind of client at once: connections that are kept, new ones, TLS, HTTP/2 and WebSocket.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustls::ClientConfig;

use super::{Client, Http2, Lab, Origin, PATIENCE, Pki, Plan, Request, ask, secured};

/// How long a client keeps a WebSocket.
const CHAT: Duration = Duration::from_secs(1);
const NAME: &str = "a.example";

/// The kinds of clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    KeepAlive,
    NewConnection,
    Tls,
    Http2,
    WebSocket,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::KeepAlive, Self::NewConnection, Self::Tls, Self::Http2, Self::WebSocket];
}

/// A plan with a plain and a TLS listener, and with a service that mirrors WebSockets.
pub fn plan(blue: &Origin, pki: &Pki) -> Plan {
    pki.sign("a", &[NAME], 2099);
    let chat = mirror();
    Lab::new().pool("blue", blue).config(&format!(
        "[listener.secure]\naddress = \"127.0.0.1:0\"\ntls = {{ {} }}\n\
         [service.chat]\npaths = [\"/chat\"]\n[service.chat.pool.mirror]\nendpoints = [\"{chat}\"]\n",
        pki.certificates(&["a"])
    ))
}

/// An endpoint that switches protocols, and sends everything back.
fn mirror() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || mirrored(stream));
        }
    });
    address
}

fn mirrored(mut stream: TcpStream) -> io::Result<()> {
    read_head(&mut stream)?;
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )?;
    let mut piece = [0; 1024];
    loop {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            n => stream.write_all(&piece[..n])?,
        }
    }
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Clients of every kind, until they are told to stop.
pub struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    plain: SocketAddr,
    secure: SocketAddr,
    http1: Arc<ClientConfig>,
    pki: Pki,
    stop: AtomicBool,
    done: [AtomicU64; 5],
    failures: Mutex<Vec<String>>,
}

impl Traffic {
    /// So many clients of each kind.
    pub fn start(lab: &Lab, pki: Pki, each: usize) -> Self {
        let listeners = lab.status().listeners.clone();
        let address = |n: usize| listeners[n].address.parse().unwrap();
        let http1 = Arc::new(pki.client(&["http/1.1"]));
        let (stop, done, failures) = (AtomicBool::new(false), Default::default(), Mutex::default());
        let (plain, secure) = (address(0), address(1));
        let shared = Arc::new(Shared { plain, secure, http1, pki, stop, done, failures });
        let clients = Kind::ALL.into_iter().flat_map(|kind| vec![kind; each]);
        let run = |kind| {
            let shared = shared.clone();
            thread::spawn(move || {
                while !shared.stop.load(Relaxed) {
                    if let Err(error) = shared.visit(kind) {
                        let since = shared.done[kind as usize].load(Relaxed);
                        let text = format!("{kind:?} after {since}: {error}");
                        shared.failures.lock().unwrap().push(text);
                    }
                }
            })
        };
        let threads = clients.map(run).collect();
        Self { shared, threads }
    }

    /// Waits until every kind of client had so many more answers.
    pub fn goes_on(&self, more: u64) {
        let goals: Vec<u64> = self.shared.done.iter().map(|n| n.load(Relaxed) + more).collect();
        super::eventually("every kind of client is served", || {
            let done = self.shared.done.iter().zip(&goals);
            done.into_iter().all(|(done, goal)| done.load(Relaxed) >= *goal).then_some(())
        });
    }

    /// Ends it, and asserts that not one answer was missing or wrong. Returns how many there were, by
    /// kind.
    #[track_caller]
    pub fn without_failure(mut self) -> Vec<(Kind, u64)> {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("clients do not panic");
        }
        let failures = self.shared.failures.lock().unwrap();
        assert!(failures.is_empty(), "{} failed: {:#?}", failures.len(), failures.iter().take(8));
        Kind::ALL.into_iter().map(|k| (k, self.shared.done[k as usize].load(Relaxed))).collect()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn count(&self, kind: Kind) {
        self.done[kind as usize].fetch_add(1, Relaxed);
    }

    /// One connection to its end.
    fn visit(&self, kind: Kind) -> io::Result<()> {
        match kind {
            Kind::KeepAlive => self.keep(),
            Kind::NewConnection => {
                let mut client = Client::tcp(self.plain)?;
                good(client.try_call(&Request::get("/"))?.status)?;
                self.count(kind);
                Ok(())
            }
            Kind::Tls => self.secure(),
            Kind::Http2 => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(self.multiplex())
            }
            Kind::WebSocket => self.chat(),
        }
    }

    /// Requests until lbd says that it closes, which is no failure.
    fn keep(&self) -> io::Result<()> {
        let mut client = Client::tcp(self.plain)?;
        while self.goes_on() {
            let answer = client.try_call(&Request::get("/"))?;
            good(answer.status)?;
            self.count(Kind::KeepAlive);
            if answer.header("connection") == Some("close") {
                return Ok(());
            }
        }
        Ok(())
    }

    fn secure(&self) -> io::Result<()> {
        let mut stream = secured(&self.http1, self.secure, NAME)?;
        while self.goes_on() {
            let answer = ask(&mut stream, NAME, "/")?.to_ascii_lowercase();
            if !answer.starts_with("http/1.1 200 ") {
                return Err(io::Error::other(answer));
            }
            self.count(Kind::Tls);
            if answer.contains("connection: close") {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Four requests at once, again and again, until lbd takes no more, which is no failure; one that was
    /// sent must be answered.
    async fn multiplex(&self) -> io::Result<()> {
        let client = Http2::secured(&self.pki, self.secure, NAME).await;
        let uri = format!("https://{NAME}/");
        while self.goes_on() {
            let mut answers = Vec::new();
            let mut is_open = true;
            for _ in 0..4 {
                let Ok(mut send) = client.send.clone().ready().await else {
                    is_open = false;
                    break;
                };
                let request = http::Request::get(&uri).body(()).unwrap();
                match send.send_request(request, true) {
                    Ok((answer, _)) => answers.push(answer),
                    Err(_) => is_open = false,
                }
            }
            for answer in answers {
                let whole = super::h2::whole(answer).await.map_err(io::Error::other)?;
                good(whole.status)?;
                self.count(Kind::Http2);
            }
            if !is_open {
                return Ok(());
            }
        }
        Ok(())
    }

    fn chat(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.plain)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(
            b"GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
              Upgrade: websocket\r\n\r\n",
        )?;
        let head = read_head(&mut stream)?;
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(io::Error::other(head));
        }
        let end = Instant::now() + CHAT;
        while self.goes_on() && Instant::now() < end {
            let said = fastrand::u64(..).to_be_bytes();
            stream.write_all(&said)?;
            let mut heard = [0; 8];
            stream.read_exact(&mut heard)?;
            if said != heard {
                return Err(io::Error::other("the mirror shows something else"));
            }
            self.count(Kind::WebSocket);
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

fn good(status: u16) -> io::Result<()> {
    if status == 200 { Ok(()) } else { Err(io::Error::other(format!("status {status}"))) }
}
