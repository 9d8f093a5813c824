//! Applications behind lbd.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use http_body_util::{BodyExt, Either, Full, channel::Channel};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    header::{HeaderName, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{oneshot, watch},
};
use tokio_rustls::TlsAcceptor;

use super::eventually;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

type Body = Either<Full<Bytes>, Channel<Bytes, io::Error>>;

/// An HTTP server that answers with its label, in the body and in the header `x-origin`.
///
/// Some paths are special: `/healthz` has a status of its own and is not counted; `/echo` answers
/// with the request as JSON; `/mirror` sends the request's body back while it comes; `/204`, `/304`
/// and other numbers have that status; `/bytes/N` has N bytes, `/chunks/N` N pieces without a length;
/// `/grpc/head/N` and `/grpc/end/N` have that gRPC status, `/grpc/none` has none.
pub struct Origin {
    pub address: String,
    shared: Arc<Shared>,
    /// Dropping it ends the server.
    _running: oneshot::Sender<()>,
}

/// What an origin speaks.
#[derive(Clone, Default)]
pub struct Speech {
    pub http2: bool,
    pub tls: Option<Arc<ServerConfig>>,
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Manner {
    /// With the status.
    Answer,
    /// Not at all: the connection is closed.
    Close,
    /// With so many bytes of a longer body, then the connection is closed.
    Cut(usize),
    /// With so many bytes of a longer body, then nothing more.
    Stall(usize),
}

struct Shared {
    label: String,
    manner: Mutex<Manner>,
    status: Mutex<u16>,
    /// Statuses of paths that have one of their own.
    at: Mutex<BTreeMap<String, u16>>,
    health: Mutex<u16>,
    delay: Mutex<Duration>,
    held: watch::Sender<bool>,
    /// Counts how often connections were to be closed.
    hung_up: watch::Sender<u64>,
    failing_checks: AtomicU64,
    requests: AtomicU64,
    checks: AtomicU64,
    running: AtomicU64,
    connections: AtomicU64,
    users: Mutex<BTreeSet<String>>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl Origin {
    /// An origin on a port of its own.
    pub fn answering(label: &str) -> Self {
        Self::speaking(label, Speech::default())
    }

    /// An origin on a port of its own that speaks something else than plain HTTP/1.
    pub fn speaking(label: &str, speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        Self::run(label, address, move |shared| async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (shared, http2) = (shared.clone(), speech.http2);
                let Some(tls) = speech.tls.clone() else {
                    shared.connected(stream, http2);
                    continue;
                };
                tokio::spawn(async move {
                    // Handshakes that fail are what some tests are about.
                    if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                        shared.connected(stream, http2);
                    }
                });
            }
        })
    }

    /// An origin on a Unix socket.
    pub fn on_socket(label: &str, path: &Path) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::run(label, format!("unix:{}", path.display()), move |shared| async move {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.clone().connected(stream, false);
            }
        })
    }

    fn run<F, S>(label: &str, address: String, serve: S) -> Self
    where
        F: Future<Output = ()> + 'static,
        S: FnOnce(Arc<Shared>) -> F + Send + 'static,
    {
        let shared = Arc::new(Shared {
            label: label.into(),
            manner: Mutex::new(Manner::Answer),
            status: Mutex::new(200),
            at: Mutex::default(),
            health: Mutex::new(200),
            delay: Mutex::default(),
            held: watch::Sender::new(false),
            hung_up: watch::Sender::new(0),
            failing_checks: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            checks: AtomicU64::new(0),
            running: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            users: Mutex::default(),
        });
        let (running, stop) = oneshot::channel();
        let of_thread = shared.clone();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(of_thread) => {}
                    _ = stop => {}
                }
            });
        });
        Self { address, shared, _running: running }
    }

    /// From now on it answers with this status.
    pub fn status(&self, status: u16) {
        *self.shared.status.lock().unwrap() = status;
    }

    /// From now on this path has a status of its own.
    pub fn status_at(&self, path: &str, status: u16) {
        self.shared.at.lock().unwrap().insert(path.to_owned(), status);
    }

    /// From now on health checks get this status.
    pub fn health(&self, status: u16) {
        *self.shared.health.lock().unwrap() = status;
    }

    /// From now on it takes so long for every answer.
    pub fn delay(&self, millis: u64) {
        *self.shared.delay.lock().unwrap() = Duration::from_millis(millis);
    }

    /// From now on requests get no answer until they are released.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Requests are answered again, those that were held too.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// From now on it answers well.
    pub fn answer(&self) {
        *self.shared.manner.lock().unwrap() = Manner::Answer;
    }

    /// From now on it closes connections instead of answering.
    pub fn close(&self) {
        *self.shared.manner.lock().unwrap() = Manner::Close;
    }

    /// From now on it sends so many bytes of 1,000, then closes the connection.
    pub fn cut(&self, bytes: usize) {
        *self.shared.manner.lock().unwrap() = Manner::Cut(bytes);
    }

    /// From now on it sends so many bytes of 1,000, then nothing more.
    pub fn stall(&self, bytes: usize) {
        *self.shared.manner.lock().unwrap() = Manner::Stall(bytes);
    }

    /// Closes every connection, and waits until they are closed.
    pub fn disconnect(&self) {
        self.shared.hung_up.send_modify(|times| *times += 1);
        eventually("all connections are closed", || {
            (self.shared.hung_up.receiver_count() == 0).then_some(())
        });
    }

    /// The next health check fails, and only that.
    pub fn fail_one_check(&self) {
        self.shared.failing_checks.store(1, SeqCst);
    }

    /// How many requests came, health checks left out.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(SeqCst)
    }

    /// How many health checks came.
    pub fn checks(&self) -> u64 {
        self.shared.checks.load(SeqCst)
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(SeqCst)
    }

    /// The user ids that were seen.
    pub fn users(&self) -> BTreeSet<String> {
        self.shared.users.lock().unwrap().clone()
    }

    /// Waits until so many requests are being answered.
    pub fn until_running(&self, count: u64) {
        let what = format!("{} requests run at {}", count, self.shared.label);
        eventually(&what, || (self.shared.running.load(SeqCst) == count).then_some(()));
    }

    /// Waits until so many more health checks have been answered.
    pub fn until_checked(&self, more: u64) {
        let goal = self.checks() + more;
        let what = format!("{} is checked {more} times", self.shared.label);
        eventually(&what, || (self.checks() >= goal).then_some(()));
    }
}

impl Shared {
    fn connected<S>(self: Arc<Self>, stream: S, http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.connections.fetch_add(1, SeqCst);
        let mut hung_up = self.hung_up.subscribe();
        tokio::spawn(async move {
            let serve = service_fn(|request| self.clone().serve(request));
            let stream = TokioIo::new(stream);
            let connection = async move {
                match http2 {
                    false => http1::Builder::new().serve_connection(stream, serve).await,
                    true => {
                        http2::Builder::new(TokioExecutor::new())
                            .serve_connection(stream, serve)
                            .await
                    }
                }
            };
            // Broken connections are what some tests are about.
            tokio::select! {
                _ = connection => {}
                _ = hung_up.changed() => {}
            }
        });
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if request.uri().path() == "/healthz" {
            let fails =
                self.failing_checks.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok();
            let status = if fails { 500 } else { *self.health.lock().unwrap() };
            self.checks.fetch_add(1, SeqCst);
            return Ok(self.respond(status, whole("healthy")));
        }
        self.requests.fetch_add(1, SeqCst);
        if let Some(user) = request.headers().get("x-user-id").and_then(|u| u.to_str().ok()) {
            self.users.lock().unwrap().insert(user.to_owned());
        }
        let _running = Running::begin(self.clone());
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // The sender lives as long as `self`.
        let _ = self.held.subscribe().wait_for(|held| !held).await;
        let manner = *self.manner.lock().unwrap();
        match manner {
            Manner::Answer => self.answer(request).await,
            Manner::Close => Err(io::Error::other("closed as the test wants")),
            Manner::Cut(bytes) => Ok(self.broken(bytes, false)),
            Manner::Stall(bytes) => Ok(self.broken(bytes, true)),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let own = self.at.lock().unwrap().get(&path).copied();
        if let Some(status) = own {
            return Ok(self.respond(status, whole(self.label.clone())));
        }
        let number = |prefix: &str| path.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
        if path == "/echo" {
            return self.echo(request).await;
        }
        if path == "/mirror" {
            return Ok(self.respond(200, mirror(request.into_body())));
        }
        if let Some(status) = path.strip_prefix("/grpc/head/") {
            return Ok(self.grpc(Some(status), None));
        }
        if let Some(status) = path.strip_prefix("/grpc/end/") {
            return Ok(self.grpc(None, Some(status)));
        }
        if path == "/grpc/none" {
            return Ok(self.grpc(None, None));
        }
        if let Some(bytes) = number("/bytes/")
            && request.method() == "HEAD"
        {
            // hyper leaves this to applications in HTTP/2.
            let mut response = self.respond(200, whole(""));
            response.headers_mut().insert("content-length", bytes.into());
            return Ok(response);
        }
        if let Some(bytes) = number("/bytes/") {
            return Ok(self.respond(200, whole("x".repeat(bytes))));
        }
        if let Some(pieces) = number("/chunks/") {
            return Ok(self.respond(200, chunks(pieces)));
        }
        match number("/") {
            Some(status @ (204 | 304)) => Ok(self.respond(status as u16, whole(""))),
            Some(status @ 100..=599) => Ok(self.respond(status as u16, whole(self.label.clone()))),
            Some(_) | None => {
                let status = *self.status.lock().unwrap();
                Ok(self.respond(status, whole(self.label.clone())))
            }
        }
    }

    async fn echo(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let headers: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        let seen = json!({
            "method": head.method.as_str(),
            "target": head.uri.to_string(),
            "version": format!("{:?}", head.version),
            "headers": headers,
            "length": body.len(),
            "hash": hash(&body),
            "body": if body.len() <= 4096 { String::from_utf8_lossy(&body) } else { "".into() },
        });
        Ok(self.respond(200, whole(seen.to_string())))
    }

    /// An answer of gRPC with its status in the head or at the end.
    fn grpc(&self, head: Option<&str>, end: Option<&str>) -> Response<Body> {
        let (mut sender, body) = Channel::new(2);
        let end = end.map(|status| HeaderMap::from_iter([(GRPC_STATUS, status.parse().unwrap())]));
        if let Some(end) = end {
            tokio::spawn(async move {
                // The other side may be gone.
                let _ = sender.send_data(Bytes::from_static(b"\0\0\0\0\0")).await;
                let _ = sender.send_trailers(end).await;
            });
        }
        let mut response = self.respond(200, Either::Right(body));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        if let Some(status) = head {
            response.headers_mut().insert(GRPC_STATUS, status.parse().unwrap());
        }
        response
    }

    fn broken(&self, bytes: usize, stalls: bool) -> Response<Body> {
        let (mut sender, body) = Channel::new(1);
        tokio::spawn(async move {
            // The other side may be gone.
            let _ = sender.send_data(Bytes::from(vec![b'x'; bytes])).await;
            match stalls {
                true => std::future::pending::<()>().await,
                false => drop(sender),
            }
        });
        let mut response = self.respond(200, Either::Right(body));
        response.headers_mut().insert("content-length", 1000.into());
        response
    }

    fn respond(&self, status: u16, body: Body) -> Response<Body> {
        let response = Response::builder().status(status).header("x-origin", &self.label);
        response.body(body).expect("a sound response")
    }
}

struct Running(Arc<Shared>);

impl Running {
    fn begin(shared: Arc<Shared>) -> Self {
        shared.running.fetch_add(1, SeqCst);
        Self(shared)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

fn whole(body: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(body.into()))
}

fn mirror(mut incoming: Incoming) -> Body {
    let (mut sender, body) = Channel::new(4);
    tokio::spawn(async move {
        while let Some(Ok(frame)) = incoming.frame().await {
            if let Ok(data) = frame.into_data()
                && sender.send_data(data).await.is_err()
            {
                return;
            }
        }
    });
    Either::Right(body)
}

fn chunks(pieces: usize) -> Body {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for n in 0..pieces {
            if sender.send_data(format!("piece {n}\n").into()).await.is_err() {
                return;
            }
        }
    });
    Either::Right(body)
}

/// A number for a body.
pub fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
