//! For tests: endpoints that answer as they are told, byte by byte.

use std::{cell::RefCell, future::pending, path::Path, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixListener},
    runtime::Builder,
    sync::{Notify, mpsc},
    task::{JoinSet, LocalSet},
    time::timeout,
};

use super::super::dial::Stream;
use crate::model::Target;

/// How long a connection of this machine to itself takes at most, if it is made.
const ENOUGH: Duration = Duration::from_millis(200);

/// Runs a test that needs local tasks.
pub fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Where nobody listens, for as long as the second value is kept.
pub fn nobody() -> (Target, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (Target::Tcp(socket.local_addr().unwrap()), socket)
}

/// Where so many wait to be accepted that no more can connect, for as long as the second value is kept.
pub async fn crowded() -> (Target, (TcpListener, Vec<TcpStream>)) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = timeout(ENOUGH, TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (Target::Tcp(address), (listener, waiting))
}

/// What a connection gets.
#[derive(Clone, Debug)]
pub struct Reply {
    bytes: String,
    /// Not before [`Fake::release`].
    held: bool,
    /// The connection stays open afterwards.
    open: bool,
}

impl Reply {
    pub fn new(bytes: &str) -> Self {
        Self { bytes: bytes.to_owned(), held: false, open: false }
    }

    pub fn held(bytes: &str) -> Self {
        Self { held: true, ..Self::new(bytes) }
    }

    pub fn open(bytes: &str) -> Self {
        Self { open: true, ..Self::new(bytes) }
    }

    /// An answer with this status line's end, and a body.
    pub fn status(status: &str, body: &str) -> Self {
        let length = body.len();
        Self::new(&format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    pub fn ok() -> Self {
        Self::status("200 OK", "healthy")
    }
}

/// An endpoint. It gives its replies in turn, one to each request, and the last one for ever.
pub struct Fake {
    pub target: Target,
    requests: mpsc::UnboundedReceiver<String>,
    gate: Rc<Notify>,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub async fn tcp<const N: usize>(replies: [Reply; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::Tcp(listener.local_addr().unwrap());
        let accept = async move || listener.accept().await.unwrap().0;
        Self::new(target, accept, replies.into())
    }

    pub fn unix<const N: usize>(path: &Path, replies: [Reply; N]) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let accept = async move || listener.accept().await.unwrap().0;
        Self::new(Target::Unix(path.into()), accept, replies.into())
    }

    fn new<S: Stream + 'static>(
        target: Target,
        accept: impl AsyncFn() -> S + 'static,
        replies: Vec<Reply>,
    ) -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let gate = Rc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let opened = gate.clone();
        tasks.spawn_local(async move {
            let mut answering = JoinSet::new();
            let replies = Rc::new(RefCell::new(replies));
            loop {
                let stream = accept().await;
                let (replies, sender, gate) = (replies.clone(), sender.clone(), opened.clone());
                answering.spawn_local(answer(stream, replies, sender, gate));
            }
        });
        Self { target, requests, gate, _tasks: tasks }
    }

    /// Lets a held reply go.
    pub fn release(&self) {
        self.gate.notify_one();
    }

    /// The next request that came: its head and body.
    pub async fn request(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }

    /// The first lines of all requests that came.
    pub fn asked(&mut self) -> Vec<String> {
        let requests = std::iter::from_fn(|| self.requests.try_recv().ok());
        requests.map(|r| r.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

async fn answer(
    mut stream: impl Stream,
    replies: Rc<RefCell<Vec<Reply>>>,
    requests: mpsc::UnboundedSender<String>,
    gate: Rc<Notify>,
) {
    let Some(request) = read(&mut stream).await else { return };
    let reply = next(&mut replies.borrow_mut());
    // A test that has what it wanted may be gone.
    let _ = requests.send(request);
    if reply.held {
        gate.notified().await;
    }
    // A client that has read enough may be gone too.
    let _ = stream.write_all(reply.bytes.as_bytes()).await;
    if reply.open {
        pending().await
    }
}

fn next(replies: &mut Vec<Reply>) -> Reply {
    if replies.len() > 1 { replies.remove(0) } else { replies[0].clone() }
}

/// A request with the body that it says it has; none if the client only connected.
async fn read(stream: &mut impl Stream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |n| n.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
        text += std::str::from_utf8(&bytes[..n]).unwrap();
    }
}
