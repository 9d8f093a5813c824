//! A connection to an endpoint.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::trust::Secured;
use crate::{
    edge::buffers,
    model::{Target, link::Link},
};

/// How much room there is at least when the connection is read.
const ROOM: usize = 4 * 1024;
/// How much is read at once of a large body, in bytes.
const LARGE: usize = 4 * buffers::SIZE;

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// How it was made.
    link: Arc<Link>,
    /// What was read and not used yet.
    pub input: BytesMut,
    /// Whether it served a request before.
    pub is_kept: bool,
    /// Whether much is to be read.
    pub is_bulky: bool,
}

#[derive(Debug)]
enum Stream {
    Plain(Plain),
    Secure(Box<TlsStream<Plain>>),
}

#[derive(Debug)]
enum Plain {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Connects to an endpoint as `link` says, and shakes hands as `secured` says.
    ///
    /// # Errors
    ///
    /// The socket's, or `InvalidData`: that is not the endpoint, or it wants nothing to do with lbd.
    pub async fn connect(
        target: &Target,
        link: &Arc<Link>,
        secured: Option<Secured>,
    ) -> io::Result<Self> {
        let plain = match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Plain::Tcp(stream)
            }
            Target::Unix(path) => Plain::Unix(UnixStream::connect(path).await?),
        };
        let stream = match secured {
            None => Stream::Plain(plain),
            Some(Secured { client, name }) => {
                // Few need the room, and only once.
                let handshake = Box::pin(TlsConnector::from(client).connect(name, plain));
                Stream::Secure(Box::new(handshake.await?))
            }
        };
        let link = link.clone();
        Ok(Self { stream, link, input: BytesMut::new(), is_kept: false, is_bulky: false })
    }

    /// Whether it was made as `link` says: to somebody whom that trusts, and in its protocol.
    pub fn is_of(&mut self, link: &Arc<Link>) -> bool {
        let is_same = Arc::ptr_eq(&self.link, link);
        if !is_same && *self.link == **link {
            // Next time it is found out sooner.
            self.link = link.clone();
        }
        is_same || Arc::ptr_eq(&self.link, link)
    }

    /// Whether it is still open and silent, as a connection that waits must be, as far as the reactor
    /// has heard. Costs no system call where it has heard nothing.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let read = match &mut self.stream {
            Stream::Plain(Plain::Tcp(stream)) => stream.try_read(&mut byte),
            Stream::Plain(Plain::Unix(stream)) => stream.try_read(&mut byte),
            Stream::Secure(stream) => {
                // What concerns TLS alone, as tickets do, may come at any time. A budget that is used up
                // would look like silence.
                let mut buffer = ReadBuf::new(&mut byte);
                let stream = &mut **stream;
                let read =
                    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer));
                let read = pin!(tokio::task::unconstrained(read));
                return read.poll(&mut Context::from_waker(Waker::noop())).is_pending();
            }
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Reads more. 0: the endpoint sends no more.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() == 0 {
            self.input = buffers::take();
        }
        let (room, wanted) = if self.is_bulky { (LARGE / 2, LARGE) } else { (ROOM, buffers::SIZE) };
        if self.input.capacity() - self.input.len() < room {
            self.input.reserve(wanted);
        }
        let read = pin!(tokio::io::AsyncReadExt::read_buf(&mut self.stream, &mut self.input));
        read.poll(cx)
    }

    /// Writes of `data` what the connection takes.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Secure(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    /// Sends what was written: TLS may still hold what it has sealed.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Secure(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// It waits for its next request.
    pub fn rest(&mut self) {
        (self.is_kept, self.is_bulky) = (true, false);
        buffers::give(std::mem::take(&mut self.input));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Stream::Secure(stream) = &mut self.stream {
            // Says that this is the end (RFC 8446, section 6.1), if there is room for that; nobody waits.
            let end = std::future::poll_fn(|cx| Pin::new(&mut **stream).poll_shutdown(cx));
            let end = pin!(tokio::task::unconstrained(end));
            let _ = end.poll(&mut Context::from_waker(Waker::noop()));
        }
        buffers::give(std::mem::take(&mut self.input));
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Plain {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets hold nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
