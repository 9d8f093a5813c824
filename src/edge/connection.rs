//! One client connection: request after request until one side has had enough.

use std::{sync::Arc, time::Duration};

use pingora_core::{
    apps::HttpServerApp,
    protocols::{Stream, http::ServerSession},
    server::ShutdownWatch,
};
use pingora_proxy::HttpProxy;

use super::{
    http2,
    io::{EdgeIo, Next, NoRequest},
};
use crate::{
    page::raw_refusal,
    proxy::{
        exchange::Exchange,
        fast::{Fast, Served},
        full::{Full, Handed},
    },
};

/// How long a stopping process waits for the first request of a connection that was just made: its
/// bytes are likely on their way.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// Serves a connection to its end: `fast` has the first word on each request. The first of `stops` is
/// true once the process stops, the second once connections on which nothing runs are closed.
/// `refused` is told the status of a request that is no request.
pub async fn serve(
    io: EdgeIo,
    fast: &Fast,
    full: &Arc<HttpProxy<Full>>,
    (stop, rest): (ShutdownWatch, ShutdownWatch),
    refused: Arc<dyn Fn(u16) + Send + Sync>,
) {
    let mut io = Box::new(io);
    // What is boxed below is not served on most connections, and would make each of them larger.
    if io.is_http2() {
        io.pass_everything();
        return Box::pin(http2::serve(io, full, stop)).await;
    }
    let mut grace = FIRST_REQUEST;
    loop {
        tokio::select! {
            // Biased: a request that has arrived is served even while stopping.
            biased;
            idle = io.idle() => if idle.is_err() { return },
            () = stopped(rest.clone(), grace) => return,
        }
        match io.next_request().await {
            Ok(Next::Request) => {}
            Ok(Next::Http2) => return Box::pin(http2::serve(io, full, stop)).await,
            Err(NoRequest::Gone) => return,
            Err(NoRequest::Refused(fault)) => {
                refused(fault.status);
                return io.answer_and_close(raw_refusal(fault.status, fault.why).as_bytes()).await;
            }
        }
        let begun = match fast.serve(&mut io).await {
            Served::Left(begun) => begun,
            Served::Kept => {
                grace = Duration::ZERO;
                continue;
            }
            Served::Closed => return close(io).await,
            Served::Broken => return,
        };
        match exchange(io, full, &stop, begun).await {
            Some(kept) => io = kept,
            None => return,
        }
        grace = Duration::ZERO;
    }
}

/// Lets pingora serve one request. `None`: the connection is closed.
async fn exchange(
    io: Box<EdgeIo>,
    full: &Arc<HttpProxy<Full>>,
    stop: &ShutdownWatch,
    begun: Option<Box<Exchange>>,
) -> Option<Box<EdgeIo>> {
    let client = io.client().clone();
    let keepalive = client.listener.timeouts.keepalive.secs_ceil();
    let stream: Stream = io;
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive(Some(keepalive.max(1)));
    session.set_connection_user_context(Some(Box::new(Handed { client, begun })));
    let reused = full.process_new_http(session, stop).await?;
    let (stream, _settings) = reused.consume();
    stream.into_any().downcast().ok()
}

/// Closes the connection behind an answer.
async fn close(mut io: Box<EdgeIo>) {
    // Whether it works out or not, it is closed now.
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut *io).await;
}

async fn stopped(mut stop: ShutdownWatch, grace: Duration) {
    // An error means that whoever stops workers is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(grace).await;
}
