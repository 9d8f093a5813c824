//! A client connection that speaks HTTP/2.
//!
//! Each stream is a request of its own on a task of its own; all run on the worker's thread. What a
//! hostile client could do is bounded: streams at once, the size of heads and buffers, frames that must
//! be answered (the h2 library's own bounds), streams that are begun and given up, malformed requests,
//! bodies that do not come, answers that are not taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use h2::{Reason, server};
use pingora_core::{
    apps::HttpServerApp,
    protocols::{
        Digest,
        http::{
            ServerSession,
            v2::server::{H2Accept, H2Options, HttpSession, handshake},
        },
    },
    server::ShutdownWatch,
};
use pingora_proxy::HttpProxy;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::io::EdgeIo;
use crate::{
    model::listener::Listener,
    proxy::{
        client::{Client, Late},
        full::Full,
    },
};

/// Requests of one connection that may run at once.
const STREAMS: u32 = 128;
/// How much of a request body a client may send before it is taken, for a stream and for all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How much of a response is kept for a client that does not take it, for a stream.
const UNSENT: usize = 128 * 1024;
/// How often a stream's deadlines are looked at, at least.
const LOOK: Duration = Duration::from_millis(500);
/// Malformed requests after which the connection is closed.
const MALFORMED: u32 = 32;
/// Requests that the client began and gave up unanswered within [`STORM`], after which it is closed if
/// they were the most.
const GIVEN_UP: u32 = 100;
const STORM: Duration = Duration::from_secs(10);

/// Serves a connection to its end.
pub async fn serve(io: Box<EdgeIo>, full: &Arc<HttpProxy<Full>>, mut stop: ShutdownWatch) {
    let connection = io.client().clone();
    let limits = connection.listener.timeouts;
    let options = options(&connection.listener);
    let shaking = timeout(limits.header.duration(), handshake(io, Some(options)));
    let Ok(Ok(mut h2)) = shaking.await else { return };
    let (digest, streams) = (Arc::new(Digest::default()), Arc::new(Streams::new()));
    let (mut is_leaving, mut malformed) = (false, 0);
    loop {
        let accepted = tokio::select! {
            // Biased: the signal is seen before the next request.
            biased;
            _ = stop.wait_for(|stop| *stop), if !is_leaving => {
                leave(&mut h2, &mut is_leaving);
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut h2, digest.clone()) => accepted,
            () = streams.idle(if is_leaving { limits.header } else { limits.keepalive }.duration()) => {
                if is_leaving {
                    // It was told, and says nothing to it.
                    return;
                }
                leave(&mut h2, &mut is_leaving);
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                let client = Arc::new(connection.stream());
                let place = Place::take(&streams);
                let (full, stop) = (full.clone(), stop.clone());
                tokio::spawn(async move {
                    exchange(session, client.clone(), &full, &stop).await;
                    place.leave(client.has_left());
                });
            }
            Ok(Some(H2Accept::Rejected)) => malformed += 1,
            Ok(None) | Err(_) => return,
        }
        if malformed >= MALFORMED || streams.are_mostly_given_up() {
            h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }
}

fn options(listener: &Listener) -> H2Options {
    let mut options = H2Options::default();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(listener.max_header_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(UNSENT);
    options
}

/// Lets the client know that no further requests are taken; those that run are finished.
fn leave<T>(h2: &mut server::Connection<T, bytes::Bytes>, is_leaving: &mut bool)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    h2.graceful_shutdown();
    *is_leaving = true;
}

/// Lets pingora serve one request.
async fn exchange(
    session: HttpSession,
    client: Arc<Client>,
    full: &Arc<HttpProxy<Full>>,
    stop: &ShutdownWatch,
) {
    let serving = full.process_new_http(ServerSession::new_http2(session), stop);
    tokio::select! {
        biased;
        _ = Client::of_request(client.clone(), serving) => {}
        // Dropped, the stream is reset, and its exchange counts what it was.
        () = is_late(&client) => {}
    }
}

/// Waits until the client or the endpoint has said nothing for too long. pingora's own limit for the
/// endpoint comes first where it can, and is answered with 504.
async fn is_late(client: &Client) {
    const GRACE: Duration = Duration::from_millis(250);
    loop {
        let now = Instant::now();
        let body = client.body_deadline().map(Instant::from_std);
        let answer = client.deadline().map(|deadline| Instant::from_std(deadline) + GRACE);
        if body.is_some_and(|deadline| deadline <= now) {
            return client.give_up(Late::Body);
        }
        if answer.is_some_and(|deadline| deadline <= now) {
            return client.give_up(Late::Answer);
        }
        // Deadlines move while requests go on; none is much shorter than this.
        let next = body.into_iter().chain(answer).min();
        sleep_until(next.unwrap_or(now + LOOK).min(now + LOOK)).await;
    }
}

/// The requests of a connection.
#[derive(Debug)]
struct Streams {
    running: AtomicU32,
    ended: AtomicU32,
    given_up: AtomicU32,
    /// When `ended` and `given_up` began to be counted, in milliseconds since `begun`.
    counted_since: AtomicU64,
    begun: Instant,
    changed: Notify,
}

impl Streams {
    fn new() -> Self {
        Self {
            running: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            given_up: AtomicU32::new(0),
            counted_since: AtomicU64::new(0),
            begun: Instant::now(),
            changed: Notify::new(),
        }
    }

    /// What was long ago is forgotten.
    fn forget(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        if u128::from(now - self.counted_since.load(Relaxed)) >= STORM.as_millis() {
            self.counted_since.store(now, Relaxed);
            self.ended.store(0, Relaxed);
            self.given_up.store(0, Relaxed);
        }
    }

    /// Waits until nothing has run for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            if self.running.load(Relaxed) == 0
                && timeout(limit, self.changed.notified()).await.is_err()
            {
                return;
            }
            if self.running.load(Relaxed) > 0 {
                self.changed.notified().await;
            }
        }
    }

    fn are_mostly_given_up(&self) -> bool {
        let given_up = self.given_up.load(Relaxed);
        given_up >= GIVEN_UP && given_up > self.ended.load(Relaxed) / 2
    }
}

/// A request's place among those of its connection, until it is dropped.
struct Place(Arc<Streams>);

impl Place {
    fn take(streams: &Arc<Streams>) -> Self {
        streams.running.fetch_add(1, Relaxed);
        streams.changed.notify_one();
        Self(streams.clone())
    }

    fn leave(self, given_up: bool) {
        self.0.forget();
        self.0.given_up.fetch_add(u32::from(given_up), Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Relaxed);
        self.0.ended.fetch_add(1, Relaxed);
        self.0.changed.notify_one();
    }
}
