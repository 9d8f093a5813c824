//! Control's own connections to endpoints, made as traffic makes them: probes and checks.

use std::{error::Error, io, sync::Arc};

use http::{HeaderValue, Request, Response, Uri, header, uri};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    task::{JoinSet, spawn_local},
};
use tokio_rustls::TlsConnector;

use crate::{
    model::{Address, Target, link::Link},
    tls,
};

/// Bytes to and from an endpoint.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Connects to the endpoints of a pool.
#[derive(Clone, Debug)]
pub struct Dialer {
    link: Arc<Link>,
    /// TLS with the files and the system's CAs as they were when the dialer was made.
    tls: Option<Result<Arc<ClientConfig>, String>>,
}

impl Dialer {
    /// A dialer that speaks as `link` says.
    pub fn new(link: Arc<Link>) -> Self {
        let tls = link.protocol.is_tls().then(|| tls::client(&link));
        Self { link, tls }
    }

    /// Connects to where an endpoint is, and makes sure that it is that endpoint.
    ///
    /// # Errors
    ///
    /// If nobody is there, or somebody else.
    pub async fn connect(&self, address: &Address, target: &Target) -> io::Result<Box<dyn Stream>> {
        let mut stream: Box<dyn Stream> = match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // What is measured is the endpoint, not how long its system waits to acknowledge.
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        if let Some(form) = self.link.proxy_protocol {
            stream.write_all(&form.announce(None)).await?;
        }
        let Some(tls) = &self.tls else { return Ok(stream) };
        let config = tls.clone().map_err(io::Error::other)?;
        let name = self.link.server_name(address).unwrap_or_default().to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
    }

    /// Sends one request. The connection is open for as long as the second value is kept.
    ///
    /// # Errors
    ///
    /// If what comes is no HTTP, or nothing.
    pub async fn send<B>(
        &self,
        stream: Box<dyn Stream>,
        mut request: Request<B>,
    ) -> hyper::Result<(Response<Incoming>, JoinSet<hyper::Result<()>>)>
    where
        B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let mut task = JoinSet::new();
        if self.link.protocol.is_http2() {
            self.for_http2(&mut request);
            let (mut sender, connection) = hyper::client::conn::http2::handshake(Here, io).await?;
            task.spawn_local(connection);
            Ok((sender.send_request(request).await?, task))
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            task.spawn_local(connection);
            Ok((sender.send_request(request).await?, task))
        }
    }

    /// HTTP/2 knows no `Connection`, and its `Host` is a part of the address (RFC 9113, section 8).
    fn for_http2<B>(&self, request: &mut Request<B>) {
        request.headers_mut().remove(header::CONNECTION);
        let host = request.headers_mut().remove(header::HOST);
        let host = host.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        let mut parts = request.uri().clone().into_parts();
        let (secure, plain) = (uri::Scheme::HTTPS, uri::Scheme::HTTP);
        parts.scheme = Some(if self.link.protocol.is_tls() { secure } else { plain });
        parts.authority = uri::Authority::try_from(host).ok();
        // Without a host there is no address; hyper then says that the request is wrong.
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
}

/// Runs what hyper needs for HTTP/2 on control's own thread.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, work: F) {
        spawn_local(async move { drop(work.await) });
    }
}

/// An error of hyper's in words; its own do not name the cause.
pub fn with_cause(error: &hyper::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
