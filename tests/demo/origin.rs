//! Two small applications: one answers as blue, one as green.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Request, Response, body::Bytes, header::HeaderValue, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::task::{LocalSet, spawn_local};

use crate::ledger::Side;

/// The header in which an origin says who it is.
pub const SERVED_BY: &str = "x-served-by";
/// The header in which a user says who they are.
pub const USER: &str = "x-user-id";

/// Where the two listen.
#[derive(Clone, Copy, Debug)]
pub struct Origins {
    /// Blue's address.
    pub blue: SocketAddr,
    /// Green's address.
    pub green: SocketAddr,
}

/// Starts both on free ports, in a thread of their own that ends with the process.
pub fn start() -> io::Result<Origins> {
    let (blue, green) = (listener()?, listener()?);
    let origins = Origins { blue: blue.local_addr()?, green: green.local_addr()? };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("origins".into()).spawn(move || {
        LocalSet::new().block_on(&runtime, async {
            tokio::join!(serve(blue, Side::Blue), serve(green, Side::Green))
        })
    })?;
    Ok(origins)
}

fn listener() -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(listener: TcpListener, side: Side) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn_local(async move {
            let answer = service_fn(move |request| answer(request, side));
            // A connection that breaks shows at the other end, where it counts as a failure.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer<B>(request: Request<B>, side: Side) -> Result<Response<Full<Bytes>>, Infallible> {
    let user = request.headers().get(USER).and_then(|user| user.to_str().ok()).unwrap_or("nobody");
    let text = format!("Hello {user}, this is {}.\n", side.name());
    if request.uri().path() != "/healthz" {
        // A little work, more for some users than for others: 1 to 4 ms.
        tokio::time::sleep(Duration::from_millis(1 + user.len() as u64 % 4)).await;
    }
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(SERVED_BY, HeaderValue::from_static(side.name()));
    Ok(response)
}
