//! One request's way to an endpoint and back, as far as bytes go.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::Buf;

use super::{
    answer::{Answer, Head, slots},
    body::Body,
    wire::Wire,
};
use crate::{
    edge::{
        buffers::{self, Lent},
        io::{EdgeIo, lean::Coming},
        trailers::Trailers,
    },
    model::Millis,
};

/// How much of a body is handed on before others have their turn, in bytes.
pub const AT_ONCE: usize = 512 * 1024;
/// A body that is worth a larger buffer, in bytes.
pub const BULKY: u64 = 64 * 1024;

/// A piece that is rather copied than sent from where it is, in bytes.
const SHORT: usize = 2 * 1024;

/// Why a trip ended before its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The endpoint's connection was lost.
    Lost,
    /// The endpoint says something that is no HTTP.
    Nonsense,
    /// The client is gone.
    Left,
    /// The client's body is broken, or does not come: the status that says so.
    Body(u16),
    /// The request's time is up.
    Late,
}

/// How far sending the request has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Upload {
    /// There is more of it.
    Sending,
    /// The endpoint has all of it.
    Sent,
    /// The endpoint takes no more, or the client sends no more, of what is not complete.
    Over,
}

/// What is asked.
#[derive(Debug)]
pub struct Asked {
    /// The request as it came: its head, and what came with it of its body.
    pub request: Lent,
    /// Bytes of its head.
    pub head: usize,
    /// What the endpoint is to be sent first.
    pub outgoing: Lent,
    /// Whether it is a HEAD.
    pub is_head: bool,
}

/// A request under way.
#[derive(Debug)]
pub struct Trip {
    /// Where to.
    pub wire: Wire,
    /// The request as it came: its head, and what came with it of its body.
    pub request: Lent,
    /// Bytes of its head.
    pub head: usize,
    /// Whether it is a HEAD.
    pub is_head: bool,
    /// What the endpoint is still to be sent.
    pub outgoing: Lent,
    /// What the client gets of the answer's head, without the line that ends it.
    pub reply: Lent,
    /// Bytes of data that came of the request's body.
    pub sent: usize,
    /// Bytes of data that came of the answer's body.
    pub bytes: usize,
    upload: Upload,
    /// How long the endpoint may take for its answer then.
    first_byte: Millis,
    /// Whether lbd says itself for how long browsers are to come over TLS.
    hides_hsts: bool,
    /// Whether the endpoint began to answer.
    has_heard: bool,
    /// Whether the endpoint said more than its answer.
    is_dirty: bool,
    /// Whether a part of the body was sent that is not kept.
    is_streamed: bool,
    /// How much of the wire's input the client may have.
    ready: usize,
    /// What came of the answer's trailers.
    trailers: Trailers,
}

impl Trip {
    /// A request that goes out on `wire` as `outgoing`.
    pub fn new(wire: Wire, asked: Asked, first_byte: Millis, hides_hsts: bool) -> Self {
        let Asked { request, head, outgoing, is_head } = asked;
        let sent = request.len() - head;
        Self {
            wire,
            request,
            head,
            is_head,
            outgoing,
            reply: Lent::default(),
            sent,
            bytes: 0,
            upload: Upload::Sending,
            first_byte,
            hides_hsts,
            has_heard: false,
            is_dirty: false,
            is_streamed: false,
            ready: 0,
            trailers: Trailers::default(),
        }
    }

    /// Whether nothing is left on the endpoint's connection, so that it can serve another request.
    pub fn is_clean(&self) -> bool {
        self.is_sent() && !self.is_dirty && self.wire.input.is_empty()
    }

    /// Whether the whole request is with the endpoint.
    pub fn is_sent(&self) -> bool {
        self.upload == Upload::Sent
    }

    /// Whether the endpoint waits for what the client still owes.
    pub fn is_owed(&self, io: &EdgeIo) -> bool {
        self.outgoing.is_empty() && io.coming() != Coming::Nothing
    }

    /// Sends of the request what can be sent now. Ready when that is over.
    ///
    /// # Errors
    ///
    /// What the client did wrong.
    fn poll_sent(&mut self, io: &mut EdgeIo, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        while self.upload == Upload::Sending {
            while !self.outgoing.is_empty() {
                match ready!(self.wire.poll_write(cx, &self.outgoing)) {
                    Ok(n @ 1..) => {
                        self.outgoing.advance(n);
                        io.client().progress();
                    }
                    // It may have answered before it had everything: that is read first.
                    Ok(0) | Err(_) => {
                        self.upload = Upload::Over;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            if ready!(self.wire.poll_flush(cx)).is_err() {
                self.upload = Upload::Over;
                return Poll::Ready(Ok(()));
            }
            match ready!(io.poll_body(cx, &mut self.outgoing)) {
                Ok(Some(data)) => {
                    self.is_streamed = true;
                    self.sent += data;
                }
                Ok(None) => self.upload = Upload::Sent,
                Err(error) => {
                    self.upload = Upload::Over;
                    return Poll::Ready(Err(of_client(&error)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing comes from the endpoint, nor can more be sent now: waits for the client to leave, or for
    /// the time to be up.
    fn poll_end<T>(&self, io: &mut EdgeIo, cx: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        let late = |error: io::Error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::Late,
            _ => Failure::Left,
        };
        match self.upload {
            // The client has more to say, which is read when there is room for it.
            Upload::Sending => {
                io.poll_deadline::<()>(cx).map(|end| Err(end.map_or_else(late, |()| Failure::Left)))
            }
            Upload::Sent | Upload::Over => {
                io.poll_gone(cx).map(|gone| Err(gone.map_or_else(late, |()| Failure::Left)))
            }
        }
    }

    /// Waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn poll_answer(
        &mut self,
        io: &mut EdgeIo,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, Failure>> {
        if self.upload == Upload::Sending
            && let Poll::Ready(sent) = self.poll_sent(io, cx)
        {
            sent?;
            io.client().wait_for_endpoint(self.first_byte);
        }
        loop {
            if let Some(answer) = self.take_head()? {
                return Poll::Ready(Ok(answer));
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Lost)),
                Poll::Pending => break,
            }
        }
        self.poll_end(io, cx)
    }

    /// Takes the head of the answer from the front of what was read, if it is there, and writes down
    /// what the client gets of it.
    fn take_head(&mut self) -> Result<Option<Answer>, Failure> {
        if self.wire.input.is_empty() {
            return Ok(None);
        }
        let mut slots = slots();
        let read = Head::read(&self.wire.input, &mut slots, self.is_head);
        let Some((head, answer)) = read.map_err(|_| Failure::Nonsense)? else { return Ok(None) };
        self.has_heard = true;
        if self.reply.capacity() == 0 {
            // What is sent is not needed any more, and is large enough.
            match self.upload {
                Upload::Sending => self.reply = buffers::take().into(),
                Upload::Sent | Upload::Over => std::mem::swap(&mut self.reply, &mut self.outgoing),
            }
            self.reply.clear();
        }
        head.write(answer.body, self.hides_hsts, &mut self.reply);
        self.wire.is_bulky = matches!(answer.body, Body::Length(BULKY..));
        let passes = head.passes_trailers(answer.body);
        self.trailers = if passes { Trailers::default() } else { Trailers::private() };
        self.wire.input.advance(answer.length);
        Ok(Some(answer))
    }

    /// Whether the whole request is still here, to be sent again.
    pub fn can_be_sent_again(&self) -> bool {
        !self.is_streamed
    }

    /// Whether a connection that is lost now was lost before this request: it served another, and has said
    /// nothing since.
    pub fn is_stale(&self) -> bool {
        self.wire.is_kept && !self.has_heard && self.wire.input.is_empty()
    }

    /// The connection, for the next request.
    pub fn into_wire(self) -> Wire {
        self.wire
    }

    /// Hands the answer's body on until it is complete.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn poll_handed(
        &mut self,
        io: &mut EdgeIo,
        cx: &mut Context<'_>,
        body: &mut Body,
    ) -> Poll<Result<(), Failure>> {
        // A client that is still sending goes on with that, for as long as it works out.
        let _ = self.poll_sent(io, cx);
        let mut moved = 0;
        loop {
            if moved > AT_ONCE {
                // Small requests of the same worker wait no longer than this takes.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.follow(io, body)?;
            self.gather(io);
            while self.ready > 0 || !io.output().is_empty() {
                let data = self.wire.input.get(..self.ready).unwrap_or_default();
                let taken = ready!(io.poll_send(cx, data)).map_err(|_| Failure::Left)?;
                self.wire.input.advance(taken);
                self.ready -= taken;
            }
            if body.is_done() {
                return Poll::Ready(Ok(()));
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) if io.client().is_over() => {
                    return Poll::Ready(Err(Failure::Late));
                }
                Poll::Ready(Ok(n @ 1..)) => {
                    moved += n;
                    io.client().progress();
                }
                Poll::Ready(Ok(0)) if *body == Body::UntilClosed => {
                    io.output().extend_from_slice(b"0\r\n\r\n");
                    *body = Body::Length(0);
                }
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Lost)),
                Poll::Pending => {
                    if let Poll::Ready(Err(_)) =
                        tokio::io::AsyncWrite::poll_flush(std::pin::Pin::new(&mut *io), cx)
                    {
                        return Poll::Ready(Err(Failure::Left));
                    }
                    return self.poll_end(io, cx);
                }
            }
        }
    }

    /// Puts a short piece of a body behind what is sent before it: one buffer costs the system less than two.
    fn gather(&mut self, io: &mut EdgeIo) {
        let data = self.wire.input.get(..self.ready).unwrap_or_default();
        if self.ready <= SHORT && !io.output().is_empty() {
            io.output().extend_from_slice(data);
            self.wire.input.advance(self.ready);
            self.ready = 0;
        }
    }

    /// Finds out how much of what was read belongs to the body.
    fn follow(&mut self, io: &mut EdgeIo, body: &mut Body) -> Result<(), Failure> {
        let Some(new) = self.wire.input.get_mut(self.ready..).filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        match body {
            Body::Chunked(chunks) => {
                let cleaned =
                    chunks.clean(new, &mut self.trailers).map_err(|_| Failure::Nonsense)?;
                self.is_dirty |= cleaned.taken < new.len();
                self.ready += cleaned.kept;
                self.bytes += cleaned.data;
                // Behind it is what was taken out, or what is no part of the answer.
                self.wire.input.truncate(self.ready);
                if chunks.is_done() && !self.trailers.is_empty() {
                    self.trailers.write(&mut self.wire.input);
                    self.ready = self.wire.input.len();
                }
            }
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(new.len());
                *left -= n as u64;
                self.is_dirty |= n < new.len();
                self.ready += n;
                self.bytes += n;
                self.wire.input.truncate(self.ready);
            }
            Body::UntilClosed => {
                // Whoever speaks HTTP/1.1 gets it in chunks, so that an end that is none can be told.
                let (length, out) = (new.len(), io.output());
                let _ = std::fmt::Write::write_fmt(out, format_args!("{length:x}\r\n"));
                out.extend_from_slice(new);
                out.extend_from_slice(b"\r\n");
                self.bytes += length;
                self.wire.input.clear();
            }
        }
        Ok(())
    }
}

fn of_client(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::Body(400),
        io::ErrorKind::TimedOut => Failure::Body(408),
        _ => Failure::Left,
    }
}
