//! The way of a request of HTTP/2 to an endpoint of HTTP/1 and back, as far as bytes go: what
//! [`super::trip`] is to one that came by HTTP/1.

use std::{
    fmt::Write,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::{
    answer::{Answer, Head, field, slots},
    body::Body,
    stream::response,
    trip::{AT_ONCE, BULKY, Failure, Upload},
    wire::Wire,
};
use crate::{
    edge::{
        buffers::Lent,
        http2::stream::{Broken, Stream},
        io::lean::Coming,
        trailers::{Trailers, may_follow},
    },
    model::Millis,
};

/// How much of a body is taken before its endpoint is asked, in bytes: it can be sent again then.
const EARLY_MAX: usize = 64 * 1024;
/// A piece of an answer that is handed on as it was read; a smaller one is copied, so that the buffer can
/// be used again.
const PIECE: usize = 8 * 1024;

/// What is asked.
#[derive(Debug)]
pub struct Asked {
    /// What the endpoint is to be sent first.
    pub outgoing: Lent,
    /// Whether it is a HEAD.
    pub is_head: bool,
    /// Whether the body goes on in chunks.
    is_chunked: bool,
    /// Whether the chunk that ends it is on its way.
    is_ended: bool,
    /// What was taken of the body, as long as that is all that came.
    early: Vec<Bytes>,
}

impl Asked {
    /// A request whose head is `outgoing`, with what follows on `stream`.
    pub fn new(outgoing: Lent, is_head: bool, stream: &Stream) -> Self {
        let is_chunked = stream.coming() == Coming::Chunks;
        Self { outgoing, is_head, is_chunked, is_ended: !is_chunked, early: Vec::new() }
    }

    /// Takes what has come of the body already.
    pub fn take_early(&mut self, stream: &mut Stream, cx: &mut Context<'_>) {
        let mut taken = 0;
        while taken < EARLY_MAX && stream.coming() != Coming::Nothing {
            let Poll::Ready(Ok(Some(piece))) = stream.poll_body(cx, None) else { break };
            taken += piece.len();
            self.push(&piece, stream);
            self.early.push(piece);
        }
    }

    /// What must be read again by whoever serves the request in this one's place.
    pub fn into_early(self) -> Vec<Bytes> {
        self.early
    }

    /// Adds a piece of the body to what is sent, and the end if that was the last one.
    fn push(&mut self, piece: &[u8], stream: &mut Stream) {
        let out = &mut *self.outgoing;
        if !self.is_chunked {
            out.put_slice(piece);
        } else if !piece.is_empty() {
            // Writing to a buffer that grows cannot fail.
            let _ = write!(out, "{:x}\r\n", piece.len());
            out.put_slice(piece);
            out.put_slice(b"\r\n");
        }
        if stream.coming() == Coming::Nothing {
            self.end(stream);
        }
    }

    /// Adds the end of the body, where it is not told by its length, and what comes behind it.
    fn end(&mut self, stream: &mut Stream) {
        if std::mem::replace(&mut self.is_ended, true) {
            return;
        }
        self.outgoing.put_slice(b"0\r\n");
        let trailers = stream.take_trailers().unwrap_or_default();
        for (name, value) in trailers.iter().filter(|(name, _)| may_follow(name.as_ref())) {
            field(&mut self.outgoing, name.as_ref(), value.as_bytes());
        }
        self.outgoing.put_slice(b"\r\n");
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Crossing {
    /// Where to.
    pub wire: Wire,
    /// What is asked.
    pub asked: Asked,
    /// What the client gets of the answer's head.
    pub reply: Response<()>,
    /// Bytes of data that came of the answer's body.
    pub bytes: usize,
    upload: Upload,
    /// How long the client may let the rest of its body wait, until it is answered.
    patience: Option<Duration>,
    /// How long the endpoint may take for its answer then.
    first_byte: Millis,
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

impl Crossing {
    /// A request that came on `stream` and goes out on `wire`.
    pub fn new(wire: Wire, asked: Asked, stream: &Stream, first_byte: Millis) -> Self {
        let client = stream.client();
        Self {
            wire,
            asked,
            reply: Response::default(),
            bytes: 0,
            upload: Upload::Sending,
            patience: Some(client.listener.timeouts.body.duration()),
            first_byte,
            hides_hsts: client.is_secure && client.listener.hsts.is_some(),
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
    pub fn is_owed(&self, stream: &Stream) -> bool {
        let is_here = matches!(stream.coming(), Coming::Nothing | Coming::Bytes(0));
        self.asked.outgoing.is_empty() && !is_here
    }

    /// Whether a connection that is lost now was lost before this request: it served another, and has said
    /// nothing since.
    pub fn is_stale(&self) -> bool {
        self.wire.is_kept && !self.has_heard && self.wire.input.is_empty()
    }

    /// Whether the whole request is still here, to be sent again.
    pub fn can_be_sent_again(&self) -> bool {
        !self.is_streamed
    }

    /// Sends of the request what can be sent now. Ready when that is over.
    fn poll_sent(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        while self.upload == Upload::Sending {
            while !self.asked.outgoing.is_empty() {
                match ready!(self.wire.poll_write(cx, &self.asked.outgoing)) {
                    Ok(n @ 1..) => {
                        self.asked.outgoing.advance(n);
                        stream.client().progress();
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
            match ready!(stream.poll_body(cx, self.patience)) {
                Ok(Some(piece)) => {
                    self.is_streamed = true;
                    self.asked.early.clear();
                    self.asked.push(&piece, stream);
                }
                Ok(None) if self.asked.is_ended => self.upload = Upload::Sent,
                Ok(None) => self.asked.end(stream),
                Err(broken) => {
                    self.upload = Upload::Over;
                    return Poll::Ready(Err(broken.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn poll_answer(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, Failure>> {
        if self.upload == Upload::Sending
            && let Poll::Ready(sent) = self.poll_sent(stream, cx)
        {
            sent?;
            stream.client().wait_for_endpoint(self.first_byte);
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
        stream.poll_gone(cx).map_err(Failure::from)
    }

    /// Takes the head of the answer from the front of what was read, if it is there.
    fn take_head(&mut self) -> Result<Option<Answer>, Failure> {
        if self.wire.input.is_empty() {
            return Ok(None);
        }
        let mut slots = slots();
        let read = Head::read(&self.wire.input, &mut slots, self.asked.is_head);
        let Some((head, answer)) = read.map_err(|_| Failure::Nonsense)? else { return Ok(None) };
        self.has_heard = true;
        self.reply = response(&head, answer.body, self.hides_hsts).ok_or(Failure::Nonsense)?;
        let passes = head.passes_trailers(answer.body);
        self.trailers = if passes { Trailers::default() } else { Trailers::private() };
        self.wire.is_bulky = matches!(answer.body, Body::Length(BULKY..));
        self.wire.input.advance(answer.length);
        if answer.status >= 200 {
            // From now on it is a talk: whoever speaks keeps it going.
            self.patience = None;
        }
        Ok(Some(answer))
    }

    /// Hands the answer's body on until it is complete.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn poll_handed(
        &mut self,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        body: &mut Body,
        patience: Duration,
    ) -> Poll<Result<(), Failure>> {
        // A client that is still sending goes on with that, for as long as it works out.
        let _ = self.poll_sent(stream, cx);
        let mut moved = 0;
        loop {
            if moved > AT_ONCE {
                // Small requests of the same worker wait no longer than this takes.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.follow(body)?;
            while self.ready > 0 {
                let room = ready!(stream.poll_room(cx, self.ready, patience))?;
                let piece = self.take_piece(room);
                let is_last = self.ready == 0 && body.is_done() && self.trailers.is_empty();
                stream.send(piece, is_last)?;
            }
            if body.is_done() {
                let trailers = fields(&self.trailers);
                let ended = match trailers.is_empty() {
                    true => stream.finish(),
                    false => stream.send_trailers(trailers),
                };
                return Poll::Ready(ended.map_err(Failure::from));
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(1..)) if stream.client().is_over() => {
                    return Poll::Ready(Err(Failure::Late));
                }
                Poll::Ready(Ok(n @ 1..)) => {
                    moved += n;
                    stream.client().progress();
                }
                Poll::Ready(Ok(0)) if *body == Body::UntilClosed => *body = Body::Length(0),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Lost)),
                Poll::Pending => return stream.poll_gone(cx).map_err(Failure::from),
            }
        }
    }

    /// Finds out how much of what was read belongs to the body, and leaves only that.
    fn follow(&mut self, body: &mut Body) -> Result<(), Failure> {
        let Some(new) = self.wire.input.get_mut(self.ready..).filter(|new| !new.is_empty()) else {
            return Ok(());
        };
        let kept = match body {
            Body::Chunked(chunks) => {
                let bare = chunks.bare(new, &mut self.trailers).map_err(|_| Failure::Nonsense)?;
                self.is_dirty |= bare.taken < new.len();
                bare.kept
            }
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(new.len());
                *left -= n as u64;
                self.is_dirty |= n < new.len();
                n
            }
            Body::UntilClosed => new.len(),
        };
        self.ready += kept;
        self.bytes += kept;
        self.wire.input.truncate(self.ready);
        Ok(())
    }

    fn take_piece(&mut self, room: usize) -> Bytes {
        let n = room.min(self.ready);
        self.ready -= n;
        let input: &mut BytesMut = &mut self.wire.input;
        if n >= PIECE {
            return input.split_to(n).freeze();
        }
        let piece = Bytes::copy_from_slice(input.get(..n).unwrap_or_default());
        input.advance(n);
        piece
    }
}

/// Those that go on, as HTTP/2 has them.
fn fields(trailers: &Trailers) -> HeaderMap {
    let field = |(name, value): (&[u8], &[u8])| {
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut fields = HeaderMap::new();
    trailers.fields().filter_map(field).for_each(|(name, value)| _ = fields.append(name, value));
    fields
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Left | Broken::Stalled => Self::Left,
            Broken::Late => Self::Late,
            Broken::Starved => Self::Body(408),
        }
    }
}
