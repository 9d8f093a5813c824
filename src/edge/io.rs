//! The transport of a client connection: what pingora reads from and writes to.
//!
//! It hands out exactly one message at a time. The head was judged before ([`super::head`]), the body
//! ends where its framing says; bytes of the next request stay here until their turn. So pipelined
//! requests are answered in order, and pingora's probe for a client that left sees only that.
//! Writes are gathered until they are flushed. Waiting has a deadline ([`Client`]).

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "what is handed out is bounded by what was read")
)]

pub mod idle;
pub mod lean;
mod stream;

use std::{
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, Sleep, sleep_until, timeout_at},
};

use super::{
    buffers,
    chunks::Chunks,
    head::{Fault, Framing, Inspected, inspect},
    socket::{Closed, Socket},
    timer::wait_until,
    trailers::Trailers,
};
use crate::{model::Millis, proxy::client::Client};

/// How much room there is at least when the socket is read.
const READ: usize = 4 * 1024;
/// How much of later requests is kept while one is served.
const AHEAD_MAX: usize = 64 * 1024;
/// How much is gathered before it is written.
const GATHER_MAX: usize = 16 * 1024;
/// How HTTP/2 begins where nothing was agreed before (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";
/// How long a client that still sends is listened to after the answer.
const LINGER: Millis = Millis::from_secs(5);

/// A client connection's bytes.
pub struct EdgeIo {
    socket: Socket,
    client: Arc<Client>,
    input: BytesMut,
    output: BytesMut,
    /// Bytes of the current head not handed out yet.
    head: usize,
    rest: Rest,
    /// What came of the current message's trailers, for the lean path.
    trailers: Trailers,
    /// Whether HTTP/2 may still begin by itself: only at the very first byte, and without TLS, where
    /// the two would have agreed on it (RFC 9113, section 3.3).
    may_switch: bool,
    /// Whether no request has come yet.
    is_new: bool,
    /// When the wait for the next request ends, while there is one.
    idle_until: Option<Instant>,
    ended: bool,
    /// Whether what is gathered has waited through a whole round of the task already.
    overdue: bool,
    /// Until when the client must take something, while it takes nothing.
    stalled: Option<Instant>,
    /// Until when the client must send something of a body, while it sends nothing.
    starved: Option<Instant>,
    /// Whether the connection is closed on our side, and only what still comes is awaited.
    lingering: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// What is left of the current message behind its head.
#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunks),
    /// Everything once the protocol is another, nothing before: bytes right behind the request are
    /// the new protocol's, or the next request if the endpoint does not switch.
    Tunnel,
    Everything,
}

/// What came first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// A request.
    Request,
    /// The beginning of HTTP/2, which the client knows to be spoken here.
    Http2,
}

/// What came in place of a request.
#[derive(Debug)]
pub enum NoRequest {
    /// The client went away, or said nothing for too long.
    Gone,
    /// Something that is not served.
    Refused(Fault),
}

impl EdgeIo {
    /// The transport of an accepted connection.
    pub fn new(socket: Socket, client: Arc<Client>) -> Self {
        Self {
            may_switch: client.listener.http2 && matches!(socket, Socket::Plain(_)),
            socket,
            client,
            input: BytesMut::new(),
            output: BytesMut::new(),
            head: 0,
            rest: Rest::Length(0),
            trailers: Trailers::default(),
            is_new: true,
            idle_until: None,
            ended: false,
            overdue: false,
            stalled: None,
            starved: None,
            lingering: false,
            timer: None,
        }
    }

    /// The connection.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Whether bytes of a next request have arrived already.
    pub fn has_begun(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether no request has come yet.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Reads the next request's head and prepares to hand the request out.
    ///
    /// # Errors
    ///
    /// [`NoRequest`]: there is no request to serve, and the connection must be closed.
    pub async fn next_request(&mut self) -> Result<Next, NoRequest> {
        let mut limit = None;
        self.starved = None;
        self.idle_until = None;
        loop {
            self.skip_empty_line();
            if self.may_switch && self.input.starts_with(HTTP2) {
                self.pass_everything();
                return Ok(Next::Http2);
            }
            match inspect(&self.input, self.client.listener.max_header_bytes) {
                Inspected::Whole { length, body } => {
                    self.may_switch = false;
                    self.is_new = false;
                    self.head = length;
                    self.trailers = Trailers::default();
                    self.rest = match body {
                        Framing::Length(length) => Rest::Length(length),
                        Framing::Chunked => Rest::Chunked(Chunks::default()),
                        Framing::Upgrade => Rest::Tunnel,
                    };
                    return Ok(Next::Request);
                }
                Inspected::Refused(fault) => return Err(NoRequest::Refused(fault)),
                Inspected::Partial => {}
            }
            make_room(&mut self.input);
            // Most heads come whole: then nobody asks for the time.
            let patience = self.client.listener.timeouts.header.duration();
            let limit = *limit.get_or_insert_with(|| Instant::now() + patience);
            match timeout_at(limit, self.socket.read_buf(&mut self.input)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return Err(NoRequest::Gone),
                Err(_) if self.input.is_empty() => return Err(NoRequest::Gone),
                Err(_) => {
                    let why = "the request's head did not arrive in time";
                    return Err(NoRequest::Refused(Fault { status: 408, why }));
                }
            }
        }
    }

    /// Hands everything out as it comes: what follows is not HTTP/1.
    pub fn pass_everything(&mut self) {
        (self.head, self.rest) = (0, Rest::Everything);
    }

    /// Whether the client and this side agreed on HTTP/2 already.
    pub fn is_http2(&self) -> bool {
        self.socket.is_http2()
    }

    /// RFC 9112, section 2.2: an empty line before a request is ignored.
    fn skip_empty_line(&mut self) {
        if self.input.starts_with(b"\r\n") {
            self.input.advance(2);
            self.may_switch = false;
        }
    }

    /// Sends `answer` and closes, without a reset that could destroy the answer on its way: what the
    /// client still sends is read and dropped for a short while.
    pub async fn answer_and_close(mut self, answer: &[u8]) {
        self.output.clear();
        self.output.extend_from_slice(answer);
        // Whatever the head said: more may come, and has to be read.
        self.rest = Rest::Everything;
        // Whether it worked out or not, the connection is closed now.
        let _ = AsyncWriteExt::shutdown(&mut self).await;
    }

    /// Reads more from the socket. `Ok(false)`: the client will send no more.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        // A connection that waits needs no room.
        match self.socket.poll_readable(cx) {
            Poll::Ready(ready) => ready?,
            Poll::Pending => return self.poll_deadline(cx),
        }
        make_room(&mut self.input);
        let read = std::pin::pin!(self.socket.read_buf(&mut self.input));
        match std::future::Future::poll(read, cx) {
            Poll::Ready(read) => {
                self.ended = read? == 0;
                if !self.is_complete() {
                    // A client that still sends keeps nobody waiting but itself.
                    self.client.progress();
                }
                Poll::Ready(Ok(!self.ended))
            }
            Poll::Pending => self.poll_deadline(cx),
        }
    }

    /// While an answer is under way: waits for the client to leave. Bytes of later requests are kept.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended && self.input.len() < AHEAD_MAX {
            ready!(self.poll_fill(cx))?;
        }
        // A client that sent more and then closed its side still waits for the answers.
        if self.input.is_empty() { Poll::Ready(Ok(())) } else { self.poll_deadline(cx) }
    }

    /// Before an answer is under way: waits for the client to leave, and takes nothing of what it sent.
    pub async fn gone(&self) {
        // A client that sent a further request and then closed its side still waits for the answers.
        let has_more = match &self.rest {
            Rest::Length(left) => self.input.len().saturating_sub(self.head) as u64 > *left,
            Rest::Chunked(_) | Rest::Tunnel | Rest::Everything => false,
        };
        if self.socket.closed().await == Closed::Sending && has_more {
            // Its connection may still be reset, which the answer meets.
            std::future::pending().await
        }
    }

    /// Nothing to read: what was gathered is sent if nobody adds to it in this round, and the
    /// deadline is watched.
    pub fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.output.is_empty() {
            if self.overdue {
                // If the socket is full its readiness wakes the task.
                if let Poll::Ready(Err(error)) = Pin::new(&mut *self).poll_flush(cx) {
                    return Poll::Ready(Err(error));
                }
            } else {
                self.overdue = true;
                cx.waker().wake_by_ref();
            }
        }
        let Some(deadline) = self.client.deadline().map(Instant::from_std) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(wait_until(timer, deadline, cx));
        self.client.expire();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes what was gathered and then `data`, as far as the socket takes it; returns how much of
    /// `data` was taken.
    ///
    /// # Errors
    ///
    /// Besides the socket's own: `TimedOut` if the client takes nothing for the listener's `write`.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let socket = Pin::new(&mut self.socket);
        let written = if data.is_empty() {
            socket.poll_write(cx, &self.output)
        } else {
            let parts = [IoSlice::new(&self.output), IoSlice::new(data)];
            socket.poll_write_vectored(cx, &parts)
        };
        let Poll::Ready(written) = written else { return self.poll_stalled(cx) };
        let written = written?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.stalled = None;
        self.client.progress();
        let of_output = written.min(self.output.len());
        self.output.advance(of_output);
        Poll::Ready(Ok(written - of_output))
    }

    /// The client takes nothing: waits until it must have.
    fn poll_stalled<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let patience = self.client.listener.timeouts.write.duration();
        let limit = *self.stalled.get_or_insert_with(|| Instant::now() + patience);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        ready!(wait_until(timer, limit, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// How many bytes of the input may be handed out now.
    fn available(&mut self, room: usize) -> io::Result<usize> {
        let within = self.input.len().min(room);
        if self.head > 0 {
            let n = within.min(self.head);
            self.head -= n;
            return Ok(n);
        }
        match &mut self.rest {
            Rest::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(within);
                *left -= n as u64;
                Ok(n)
            }
            Rest::Chunked(chunks) => {
                chunks.follow(&self.input[..within]).map_err(|_| io::ErrorKind::InvalidData.into())
            }
            Rest::Tunnel | Rest::Everything => Ok(within),
        }
    }

    fn is_complete(&self) -> bool {
        self.head == 0
            && match &self.rest {
                Rest::Length(left) => *left == 0,
                Rest::Chunked(chunks) => chunks.is_done(),
                Rest::Tunnel => !self.client.is_switched(),
                Rest::Everything => false,
            }
    }
}

impl AsyncRead for EdgeIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if io.is_complete() {
            return io.poll_gone(cx);
        }
        if io.input.is_empty() && !ready!(io.poll_fill(cx))? {
            return Poll::Ready(Ok(()));
        }
        let n = io.available(buf.remaining())?;
        buf.put_slice(&io.input[..n]);
        io.input.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for EdgeIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        io.overdue = false;
        while io.output.len() + data.len() > GATHER_MAX {
            match ready!(io.poll_send(cx, data))? {
                0 => {}
                of_data => return Poll::Ready(Ok(of_data)),
            }
        }
        if io.output.capacity() == 0 {
            io.output = buffers::take();
        }
        io.output.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        while !io.output.is_empty() {
            ready!(io.poll_send(cx, &[]))?;
        }
        // TLS may still hold what it has sealed.
        match Pin::new(&mut io.socket).poll_flush(cx) {
            Poll::Ready(flushed) => {
                io.stalled = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => io.poll_stalled(cx),
        }
    }

    /// Closes the writing side. If the client still sends, what it sends is dropped for a short while:
    /// a socket that is closed with unread bytes resets the connection, and the answer with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        let io = self.get_mut();
        if !io.lingering {
            if io.is_complete() && !io.socket.is_secure() {
                // Nothing is left to be read: that it is dropped next says the same.
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut io.socket).poll_shutdown(cx))?;
            if io.is_complete() {
                return Poll::Ready(Ok(()));
            }
            io.lingering = true;
            io.client.begin(Some(LINGER));
        }
        // A client that sends without pause never lets the timer be asked.
        let in_time =
            |io: &Self| io.client.deadline().is_some_and(|end| Instant::now() < end.into());
        while in_time(io) && ready!(io.poll_fill(cx))? {
            io.input.clear();
        }
        Poll::Ready(Ok(()))
    }
}

/// Makes room for what is read next.
fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() == 0 {
        *buffer = buffers::take();
    } else if buffer.capacity() - buffer.len() < READ {
        buffer.reserve(buffers::SIZE);
    }
}

impl Drop for EdgeIo {
    fn drop(&mut self) {
        // A response that broke off: the client gets what there was of it.
        if !self.output.is_empty() {
            self.socket.write_last(&self.output);
        }
        buffers::give(std::mem::take(&mut self.input));
        buffers::give(std::mem::take(&mut self.output));
    }
}

impl fmt::Debug for EdgeIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeIo").field("peer", &self.client.peer).finish_non_exhaustive()
    }
}
