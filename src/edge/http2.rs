//! A client connection that speaks HTTP/2.
//!
//! Each stream is a request of its own on a task of its own; all run on the worker's thread. What a
//! hostile client could do is bounded: streams at once, the size of heads and buffers, frames that must
//! be answered (the h2 library's own bounds), streams that are begun and given up, malformed requests,
//! bodies that do not come, answers that are not taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
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
    time::{sleep, sleep_until, timeout},
};

use super::io::EdgeIo;
use crate::{
    model::listener::Listener,
    proxy::{client::Client, full::Full},
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
/// Requests that the client began and gave up, after which it is closed if they were the most.
const GIVEN_UP: u32 = 100;

/// Serves a connection to its end. `counted` is told the status of a request whose body did not come.
pub async fn serve(
    io: Box<EdgeIo>,
    full: &Arc<HttpProxy<Full>>,
    mut stop: ShutdownWatch,
    counted: Arc<dyn Fn(u16) + Send + Sync>,
) {
    let connection = io.client().clone();
    let limits = connection.listener.timeouts;
    let options = options(&connection.listener);
    let shaking = timeout(limits.header.duration(), handshake(io, Some(options)));
    let Ok(Ok(mut h2)) = shaking.await else { return };
    let (digest, streams) = (Arc::new(Digest::default()), Arc::new(Streams::default()));
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
            () = streams.idle(limits.keepalive.duration()), if !is_leaving => {
                leave(&mut h2, &mut is_leaving);
                continue;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                let client = Arc::new(connection.stream());
                let place = Place::take(&streams);
                let (full, stop, counted) = (full.clone(), stop.clone(), counted.clone());
                tokio::spawn(async move {
                    exchange(session, client.clone(), &full, &stop, &*counted).await;
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
    counted: &(dyn Fn(u16) + Send + Sync),
) {
    let serving = full.process_new_http(ServerSession::new_http2(session), stop);
    tokio::select! {
        biased;
        _ = Client::of_request(client.clone(), serving) => {}
        // Dropped, the stream is reset.
        () = body_is_late(&client) => counted(408),
    }
}

/// Waits until the client has not sent anything of its body for too long.
async fn body_is_late(client: &Client) {
    loop {
        match client.body_deadline() {
            Some(deadline) if deadline <= std::time::Instant::now() => return,
            Some(deadline) => sleep_until(deadline.into()).await,
            // Whether it owes a body is known as soon as its request is looked at.
            None => sleep(client.listener.timeouts.body.duration()).await,
        }
    }
}

/// The requests of a connection.
#[derive(Debug, Default)]
struct Streams {
    running: AtomicU32,
    ended: AtomicU32,
    given_up: AtomicU32,
    changed: Notify,
}

impl Streams {
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
