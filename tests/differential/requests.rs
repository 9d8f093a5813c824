//! A client's bytes, as lbd reads them and as hyper's server does.

use std::{cell::RefCell, convert::Infallible, rc::Rc};

use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use lbd::edge::{
    chunks::Chunks,
    head::{Framing, Inspected, inspect},
};
use pingora_core::protocols::http::v1::server::HttpSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};

/// The largest head, in bytes.
const LIMIT: usize = 8 * 1024;
/// How much may be sent in one go.
const ROOM: usize = 256 * 1024;

/// One request.
#[derive(Debug)]
struct Message {
    method: Method,
    target: String,
    headers: HeaderMap,
    /// `None`: it did not come to its end, or is broken.
    body: Option<Vec<u8>>,
}

/// Holds the law on a connection that begins with `bytes` and then ends. Returns how many requests lbd
/// takes.
pub fn check(bytes: &[u8]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (ours, theirs) = runtime.block_on(async { (ours(bytes).await, theirs(bytes).await) });
    let shown = bytes.escape_ascii();
    for (at, our) in ours.iter().enumerate() {
        let Some(their) = theirs.0.get(at) else {
            panic!("hyper refuses request {at} ({:?}): {our:?} of {shown}", theirs.1);
        };
        assert_eq!(our.method, their.method, "request {at} of {shown}");
        let target: Option<Uri> = our.target.parse().ok();
        assert_eq!(
            target.map(|uri| uri.to_string()),
            Some(their.target.clone()),
            "request {at} of {shown}"
        );
        assert_eq!(our.headers, their.headers, "request {at} of {shown}");
        if our.body.is_some() {
            assert_eq!(our.body, their.body, "request {at} of {shown}");
        }
    }
    ours.len()
}

/// What lbd serves of them: its transport cuts the bytes into requests, pingora reads each.
async fn ours(bytes: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut rest = bytes;
    loop {
        rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
        let Inspected::Whole { length, body } = inspect(rest, LIMIT) else { break };
        let Some(size) = body_size(&rest[length..], body) else {
            // The head went on already.
            messages.extend(read(&rest[..length], false).await.map(|(message, _)| message));
            break;
        };
        let (one, next) = rest.split_at(length + size);
        let Some((message, goes_on)) = read(one, true).await else { break };
        messages.push(message);
        if !goes_on {
            break;
        }
        rest = next;
    }
    messages
}

/// How long the body at the beginning of these bytes is; `None`: it goes on, or is broken.
fn body_size(bytes: &[u8], framing: Framing) -> Option<usize> {
    match framing {
        Framing::Length(length) => usize::try_from(length).ok().filter(|size| *size <= bytes.len()),
        Framing::Chunked => {
            let mut chunks = Chunks::default();
            let size = chunks.follow(bytes).ok()?;
            chunks.is_done().then_some(size)
        }
        // Nobody switches here.
        Framing::Upgrade => Some(0),
    }
}

/// One request as pingora reads it, and whether another may follow.
async fn read(one: &[u8], is_whole: bool) -> Option<(Message, bool)> {
    let (here, mut there) = duplex(ROOM);
    there.write_all(one).await.expect("room for a request");
    // Its end is the connection's: pingora must not want more than was cut out.
    there.shutdown().await.expect("an open connection");
    let mut session = HttpSession::new(Box::new(here));
    session.read_request().await.ok()??;
    session.respect_keepalive();
    let head = session.req_header();
    let (method, headers) = (head.method.clone(), head.headers.clone());
    let target = String::from_utf8(head.raw_path().to_vec()).expect("an address is ASCII");
    let says_close = headers.get_all(header::CONNECTION).iter().any(|value| {
        let value = value.as_bytes().to_ascii_lowercase();
        value.split(|byte| *byte == b',').any(|word| word.trim_ascii() == b"close")
    });
    let goes_on = session.will_keepalive() && head.version == Version::HTTP_11 && !says_close;
    let mut body = is_whole.then(Vec::new);
    if let Some(body) = &mut body {
        while let Some(piece) = session.read_body_bytes().await.expect("the body was judged before")
        {
            body.extend_from_slice(&piece);
        }
        assert!(session.is_body_done(), "pingora wants more of {}", one.escape_ascii());
    }
    Some((Message { method, target, headers, body }, goes_on))
}

/// What hyper serves of them, and what it says of the connection.
async fn theirs(bytes: &[u8]) -> (Vec<Message>, Option<hyper::Error>) {
    let (here, there) = duplex(ROOM);
    let messages: Rc<RefCell<Vec<Message>>> = Rc::default();
    let of_service = messages.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let messages = of_service.clone();
        async move {
            let (head, body) = request.into_parts();
            let at = messages.borrow().len();
            let (method, target, headers) = (head.method, head.uri.to_string(), head.headers);
            messages.borrow_mut().push(Message { method, target, headers, body: None });
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            messages.borrow_mut()[at].body = body;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection =
        http1::Builder::new().half_close(true).serve_connection(TokioIo::new(here), service);
    let (end, ()) = tokio::join!(connection, talk(there, bytes));
    (Rc::try_unwrap(messages).expect("it is over").into_inner(), end.err())
}

/// Sends everything and reads what comes back, to its end.
async fn talk(stream: DuplexStream, bytes: &[u8]) {
    let (mut reading, mut writing) = split(stream);
    let send = async {
        // A server that refuses does not read on.
        let _ = writing.write_all(bytes).await;
        let _ = writing.shutdown().await;
    };
    let mut heard = Vec::new();
    let _ = tokio::join!(send, reading.read_to_end(&mut heard));
}
