//! A client connection that speaks HTTP/2.
//!
//! Each stream is a request of its own on a task of its own; all run on the worker's thread. What a
//! hostile client could do is bounded: streams at once, the size of heads and buffers, frames that must
//! be answered (the h2 library's own bounds), streams that are begun and given up, malformed requests,
//! bodies that do not come, answers that are not taken.

mod session;
mod sound;
pub mod stream;
mod streams;

use std::{future::poll_fn, pin::pin, sync::Arc, task::Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream, server};
use http::{Request, Response, header};
use pingora_core::{apps::HttpServerApp, protocols::http::ServerSession, server::ShutdownWatch};
use pingora_proxy::HttpProxy;
use tokio::time::timeout;

use self::{
    session::Session,
    stream::Stream,
    streams::{Idle, Place, Streams},
};
use super::io::EdgeIo;
use crate::{
    model::listener::Listener,
    proxy::{
        client::Client,
        fast::{Fast, Served},
        full::Full,
        handed::Handed,
        headers::joined_cookies,
    },
};

/// Requests of one connection that may run at once.
const STREAMS: u32 = 128;
/// How much of a request body a client may send before it is taken, for a stream and for all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of a response is kept for a client that does not take it, for a stream.
const UNSENT: usize = 128 * 1024;
/// Malformed requests after which the connection is closed.
const MALFORMED: u32 = 32;

/// What the requests of a connection share.
struct Shared {
    client: Arc<Client>,
    fast: Arc<Fast>,
    full: Arc<HttpProxy<Full>>,
    stop: ShutdownWatch,
    streams: Arc<Streams>,
}

/// What happens on a connection.
#[expect(clippy::large_enum_variant, reason = "it is looked at once, and never kept")]
enum Event {
    Stop,
    Idle,
    Request(Request<RecvStream>, server::SendResponse<Bytes>),
    Closed,
}

/// Serves a connection to its end.
pub async fn serve(
    io: Box<EdgeIo>,
    fast: &Arc<Fast>,
    full: &Arc<HttpProxy<Full>>,
    mut stop: ShutdownWatch,
) {
    let client = io.client().clone();
    let limits = client.listener.timeouts;
    let shaking = options(&client.listener).handshake(io);
    let Ok(Ok(mut h2)) = timeout(limits.header.duration(), shaking).await else { return };
    let streams = Arc::new(Streams::new());
    let shared = Arc::new(Shared {
        client,
        fast: fast.clone(),
        full: full.clone(),
        stop: stop.clone(),
        streams: streams.clone(),
    });
    let mut stopping = pin!(stop.wait_for(|stop| *stop));
    let mut emptied = pin!(streams.emptied());
    let (mut idle, mut is_leaving, mut malformed) = (Idle::default(), false, 0);
    loop {
        let event = poll_fn(|cx| {
            // The signal is seen before the next request.
            if !is_leaving && stopping.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Stop);
            }
            if let Poll::Ready(accepted) = pin!(h2.accept()).poll(cx) {
                return Poll::Ready(match accepted {
                    Some(Ok((request, respond))) => Event::Request(request, respond),
                    Some(Err(_)) | None => Event::Closed,
                });
            }
            while emptied.as_mut().poll(cx).is_ready() {
                idle.restart();
                emptied.set(streams.emptied());
            }
            let limit = if is_leaving { limits.header } else { limits.keepalive };
            idle.poll(&streams, limit.duration(), cx).map(|()| Event::Idle)
        });
        match event.await {
            Event::Request(request, respond) => {
                malformed += u32::from(!begin(&shared, request, respond));
            }
            // It was told, and says nothing to it.
            Event::Idle if is_leaving => return,
            Event::Stop | Event::Idle => {
                // No further requests are taken; those that run are finished.
                h2.graceful_shutdown();
                is_leaving = true;
                idle.restart();
            }
            Event::Closed => return,
        }
        // The library counts no longer what was given up, lbd until it has left it.
        let are_too_many = streams.running() > 2 * STREAMS;
        if malformed >= MALFORMED || are_too_many || streams.are_mostly_given_up() {
            h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }
}

fn options(listener: &Listener) -> server::Builder {
    let mut options = server::Builder::new();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(listener.max_header_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(UNSENT);
    options
}

/// Begins with a request. False: it is malformed, and was refused.
fn begin(
    shared: &Arc<Shared>,
    request: Request<RecvStream>,
    mut respond: server::SendResponse<Bytes>,
) -> bool {
    let (mut head, body) = request.into_parts();
    if let Some(joined) = joined_cookies(&head.headers) {
        head.headers.insert(header::COOKIE, joined);
    }
    match sound::judge(&head) {
        Ok(length) => {
            let client = Arc::new(shared.client.stream());
            let stream = Stream::new(client, head, length, body, respond);
            let (place, shared) = (Place::take(&shared.streams), shared.clone());
            tokio::spawn(async move {
                let client = stream.client().clone();
                // In a place of its own: that of a task is copied several times.
                Box::pin(exchange(&shared, stream)).await;
                place.leave(client.has_left());
            });
            true
        }
        Err(status) => {
            let mut refusal = Response::new(());
            *refusal.status_mut() = status;
            // A client that is gone cannot be told.
            let _ = respond.send_response(refusal, true);
            false
        }
    }
}

/// Serves one request: the lean path has the first word.
async fn exchange(shared: &Shared, mut stream: Stream) {
    let Served::Left(begun) = shared.fast.serve_stream(&mut stream).await else { return };
    let handed = Handed { client: stream.client().clone(), begun };
    // Boxed: most requests are not served here, and would be larger for it.
    Box::pin(async move {
        let session = ServerSession::new_custom(Box::new(Session::new(stream)));
        handed.during(shared.full.process_new_http(session, &shared.stop)).await;
    })
    .await;
}
