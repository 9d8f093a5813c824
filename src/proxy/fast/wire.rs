//! A connection to an endpoint.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

use crate::{edge::buffers, model::Target};

/// How much room there is at least when the connection is read.
const ROOM: usize = 4 * 1024;
/// How much is read at once of a large body, in bytes.
const LARGE: usize = 4 * buffers::SIZE;

/// A connection to an endpoint.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// What was read and not used yet.
    pub input: BytesMut,
    /// Whether it served a request before.
    pub is_kept: bool,
    /// Whether much is to be read.
    pub is_bulky: bool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    /// Connects to an endpoint.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn connect(target: &Target) -> io::Result<Self> {
        let stream = match target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Target::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        };
        Ok(Self { stream, input: BytesMut::new(), is_kept: false, is_bulky: false })
    }

    /// Whether it is still open and silent, as a connection that waits must be, as far as the reactor
    /// has heard. Costs no system call where it has heard nothing.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match &self.stream {
            Stream::Tcp(stream) => stream.try_read(&mut byte),
            Stream::Unix(stream) => stream.try_read(&mut byte),
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
        let read =
            std::pin::pin!(tokio::io::AsyncReadExt::read_buf(&mut self.stream, &mut self.input));
        read.poll(cx)
    }

    /// Writes of `data` what the connection takes.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, data),
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
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}
