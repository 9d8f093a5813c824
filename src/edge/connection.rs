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
    io::{EdgeIo, Next, NoRequest, idle::Wait},
};
use crate::{
    page::raw_refusal,
    proxy::{
        exchange::Exchange,
        fast::{Fast, Served},
        full::Full,
        handed::Handed,
    },
};

/// How long a stopping process waits for the first request of a connection that was just made: its
/// bytes are likely on their way.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// Serves a connection until it ends, or has been idle for so long that it is better parked: then it is
/// returned. `fast` has the first word on each request. The first of `stops` is true once the process
/// stops, the second once connections on which nothing runs are closed. `refused` is told the status of
/// a request that is no request.
pub async fn serve(
    mut io: Box<EdgeIo>,
    fast: &Arc<Fast>,
    full: &Arc<HttpProxy<Full>>,
    (stop, rest): (&ShutdownWatch, &ShutdownWatch),
    refused: &(dyn Fn(u16) + Send + Sync),
) -> Option<Box<EdgeIo>> {
    // What is boxed below is not served on most connections, and would make each of them larger.
    if io.is_http2() {
        io.pass_everything();
        Box::pin(http2::serve(io, fast, full, stop.clone())).await;
        return None;
    }
    loop {
        let grace = if io.is_new() { FIRST_REQUEST } else { Duration::ZERO };
        tokio::select! {
            // Biased: a request that has arrived is served even while stopping.
            biased;
            idle = io.idle() => match idle {
                Ok(Wait::Over) => {}
                // While stopping, it is only waited for what is on its way.
                Ok(Wait::Long) if io.client().is_draining() => continue,
                Ok(Wait::Long) => return Some(io),
                Err(_) => return None,
            },
            () = stopped(rest, grace) => return None,
        }
        match io.next_request().await {
            Ok(Next::Request) => {}
            Ok(Next::Http2) => {
                Box::pin(http2::serve(io, fast, full, stop.clone())).await;
                return None;
            }
            Err(NoRequest::Gone) => return None,
            Err(NoRequest::Refused(fault)) => {
                refused(fault.status);
                let answer = raw_refusal(fault.status, fault.why, jiff::Timestamp::now());
                Box::pin(io.answer_and_close(answer.as_bytes())).await;
                return None;
            }
        }
        let begun = match fast.serve(&mut io).await {
            Served::Left(begun) => begun,
            Served::Kept => continue,
            Served::Closed => {
                close(io).await;
                return None;
            }
            Served::Broken => return None,
        };
        io = exchange(io, full, stop, begun).await?;
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

async fn stopped(stop: &ShutdownWatch, grace: Duration) {
    // Here, since a request that is there already is served without.
    let mut stop = stop.clone();
    // An error means that whoever stops workers is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(grace).await;
}
