//! An OpenTelemetry collector: takes spans by OTLP over HTTP.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use tokio::sync::{oneshot, watch};

use super::eventually;

/// A collector on a port of its own.
pub struct Collector {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it ends the server.
    _running: oneshot::Sender<()>,
}

struct Shared {
    posts: Mutex<Vec<Post>>,
    /// How posts are answered, if not with success.
    status: Mutex<u16>,
    refuses: Mutex<i64>,
    held: watch::Sender<bool>,
}

/// A post, as it came.
#[derive(Clone, Debug)]
pub struct Post {
    pub path: String,
    pub headers: HeaderMap,
    pub body: ExportTraceServiceRequest,
    /// What it was answered with.
    pub status: u16,
}

/// What a request left in a trace: its own span, and those of its attempts in their order.
#[derive(Debug)]
pub struct Traced {
    pub server: Seen,
    pub attempts: Vec<Seen>,
}

/// A span.
#[derive(Clone, Debug)]
pub struct Seen(pub Span);

impl Collector {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            posts: Mutex::default(),
            status: Mutex::new(200),
            refuses: Mutex::new(0),
            held: watch::Sender::new(false),
        });
        let (running, stop) = oneshot::channel();
        let of_thread = shared.clone();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, of_thread) => {}
                    _ = stop => {}
                }
            });
        });
        Self { address, shared, _running: running }
    }

    /// `[tracing]` with this collector and these lines more.
    pub fn section(&self, more: &str) -> String {
        format!("[tracing]\nendpoint = \"http://{}\"\n{more}\n", self.address)
    }

    /// From now on it answers with this status; 429 and 503 ask for a second's wait.
    pub fn status(&self, status: u16) {
        *self.shared.status.lock().unwrap() = status;
    }

    /// From now on it says of each post that it refuses so many spans.
    pub fn refuses(&self, count: i64) {
        *self.shared.refuses.lock().unwrap() = count;
    }

    /// From now on it does not answer until it is released.
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// What came so far.
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// The spans that it took so far.
    pub fn spans(&self) -> Vec<Seen> {
        let taken = self.posts().into_iter().filter(|post| post.status == 200);
        let resources = taken.flat_map(|post| post.body.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(Seen).collect()
    }

    /// Waits for the spans of the request for this path.
    pub fn traced(&self, path: &str) -> Traced {
        eventually(&format!("spans of {path}"), || {
            let spans = self.spans();
            let is_it = |s: &&Seen| s.is(SpanKind::Server) && s.text("url.path") == Some(path);
            let server = spans.iter().find(is_it)?.clone();
            let is_part = |span: &&Seen| span.0.parent_span_id == server.0.span_id;
            let mut attempts: Vec<_> = spans.iter().filter(is_part).cloned().collect();
            attempts.sort_by_key(|span| span.0.start_time_unix_nano);
            Some(Traced { server, attempts })
        })
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, shared.clone()));
            // A sender that left is no reason to end.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    let body = ExportTraceServiceRequest::decode(body).expect("a message of OTLP");
    shared.held.subscribe().wait_for(|held| !held).await.expect("the collector runs");
    let status = *shared.status.lock().unwrap();
    let path = head.uri.path().to_owned();
    shared.posts.lock().unwrap().push(Post { path, headers: head.headers, body, status });
    let rejected_spans = *shared.refuses.lock().unwrap();
    let error_message = "too many".to_owned();
    let partial = ExportTracePartialSuccess { rejected_spans, error_message };
    let partial_success = Some(partial).filter(|_| rejected_spans > 0);
    let told = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let mut answer = Response::builder().status(status);
    answer = answer.header("content-type", "application/x-protobuf");
    if matches!(status, 429 | 503) {
        answer = answer.header("retry-after", "1");
    }
    Ok(answer.body(Full::from(told)).unwrap())
}

/// A value of a list of attributes.
pub fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let mut named = attributes.iter().filter(|pair| pair.key == key);
    let value = named.next()?.value.as_ref()?.value.as_ref();
    assert!(named.next().is_none(), "{key} is there twice");
    value
}

impl Seen {
    pub fn is(&self, kind: SpanKind) -> bool {
        self.0.kind == kind as i32
    }

    /// An attribute that is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match value(&self.0.attributes, key)? {
            Value::StringValue(text) => Some(text),
            other => panic!("{key} is {other:?}"),
        }
    }

    /// An attribute that is a number.
    pub fn number(&self, key: &str) -> Option<i64> {
        match value(&self.0.attributes, key)? {
            Value::IntValue(number) => Some(*number),
            other => panic!("{key} is {other:?}"),
        }
    }

    pub fn is_failed(&self) -> bool {
        self.0.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
    }

    pub fn trace(&self) -> String {
        hex(&self.0.trace_id)
    }

    pub fn id(&self) -> String {
        hex(&self.0.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.0.parent_span_id)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
