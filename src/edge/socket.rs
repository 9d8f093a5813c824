//! The bytes of a client connection, plain or through TLS.

use std::{
    fmt,
    io::{self, IoSlice},
    os::fd::AsRawFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, server::Acceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, server::TlsStream};

use crate::tls::{ACME_TLS, Handshake};

/// What rustls keeps unsent at most before it takes no more.
const UNSENT_MAX: usize = 32 * 1024;

/// How often a connection is looked at that has bytes to be read later.
const LOOK: Duration = Duration::from_millis(100);

/// How a peer closed its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closed {
    /// It sends no more.
    Sending,
    /// It takes no more either.
    Wholly,
}

/// A client connection's bytes.
pub enum Socket {
    /// As they are.
    Plain(TcpStream),
    /// Through TLS. Boxed: it is large, and most connections of a plain listener have none.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Shakes hands, within `limit`.
    ///
    /// # Errors
    ///
    /// If the two cannot agree, or it takes too long, or that was all the peer came for.
    pub async fn secure(
        tcp: TcpStream,
        handshake: &Handshake,
        limit: Duration,
    ) -> io::Result<Self> {
        let shaking = async {
            match &handshake.proving {
                None => accepted(tcp, handshake.config.clone()).await,
                Some(proving) => accepted_or_proved(tcp, handshake, proving.clone()).await,
            }
        };
        let stream = timeout(limit, shaking).await.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Whether TLS protects it.
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the two agreed on HTTP/2.
    pub fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// Waits until there may be something to read, where that can be told without a buffer; reading
    /// is what tells.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.readable().await,
            // What TLS has read already is not seen by the socket.
            Self::Tls(stream) if stream.get_ref().1.wants_read() => {
                stream.get_ref().0.readable().await
            }
            Self::Tls(_) => Ok(()),
        }
    }

    /// The same in passing, where it can be told; reading is what tells.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => tcp.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the peer has closed its side, or the connection. It is told without reading anything,
    /// as soon as it is known, or a short while later where bytes wait to be read.
    pub async fn closed(&self) -> Closed {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(stream) => stream.get_ref().0,
        };
        loop {
            match tcp.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_error() => return Closed::Wholly,
                Err(_) => return Closed::Wholly,
                Ok(ready) if ready.is_read_closed() => return Closed::Sending,
                // What waits is not to be read yet, and hides what comes behind it.
                Ok(_) => sleep(LOOK).await,
            }
        }
    }

    /// Writes what the socket takes at once; for a connection that is dropped.
    pub fn write_last(&mut self, data: &[u8]) {
        match self {
            // The client gets what there was of it, or is gone.
            Self::Plain(tcp) => _ = tcp.try_write(data),
            Self::Tls(stream) => {
                let (tcp, connection) = stream.get_mut();
                let _ = io::Write::write(&mut connection.writer(), data);
                let _ = connection.write_tls(&mut Unwaiting(tcp));
            }
        }
    }

    /// The descriptor's number.
    pub fn id(&self) -> i32 {
        match self {
            Self::Plain(tcp) => tcp.as_raw_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_raw_fd(),
        }
    }
}

async fn accepted(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
    let limit = |connection: &mut ServerConnection| {
        connection.set_buffer_limit(Some(UNSENT_MAX));
    };
    TlsAcceptor::from(config).accept_with(tcp, limit).await
}

/// The same while names are being proved: who offers nothing but that protocol gets the proof, which
/// ends the connection (RFC 8737, section 3).
async fn accepted_or_proved(
    tcp: TcpStream,
    handshake: &Handshake,
    proving: Arc<ServerConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
    let offered = start.client_hello().alpn().map(|names| names.collect::<Vec<_>>());
    if offered.as_deref() != Some(&[ACME_TLS]) {
        let limit = |connection: &mut ServerConnection| {
            connection.set_buffer_limit(Some(UNSENT_MAX));
        };
        return start.into_stream_with(handshake.config.clone(), limit).await;
    }
    let mut stream = start.into_stream(proving).await?;
    stream.shutdown().await?;
    Err(io::Error::other("it came for the proof of a name"))
}

/// Writes to a socket without waiting for it.
struct Unwaiting<'t>(&'t TcpStream);

impl io::Write for Unwaiting<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                // Many clients hang up without a word; where the message ends says its framing.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_secure() { "Tls" } else { "Plain" })
    }
}
