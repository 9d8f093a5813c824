//! A stream of HTTP/2: one request and its answer. What either path needs of it, with the same time
//! limits as a connection of HTTP/1 ([`crate::edge::io`]).

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, Response, request::Parts};
use tokio::time::Instant;

use crate::{
    edge::{io::lean::Coming, timer::Timer},
    proxy::client::Client,
};

/// Why a stream is of no more use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// The client is gone, or has given the request up, or its body is not what it said.
    Left,
    /// The request's time is up.
    Late,
    /// The client sends nothing of what it owes.
    Starved,
    /// The client takes nothing of what is there.
    Stalled,
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Left => io::ErrorKind::ConnectionReset.into(),
            Broken::Late | Broken::Starved | Broken::Stalled => io::ErrorKind::TimedOut.into(),
        }
    }
}

/// One request and its answer.
pub struct Stream {
    client: Arc<Client>,
    head: Parts,
    /// The announced length of the body.
    length: Option<u64>,
    body: RecvStream,
    /// Whether the body's end was read.
    is_whole: bool,
    /// Bytes that were read of the body.
    received: u64,
    /// What came behind the body.
    trailers: Option<HeaderMap>,
    /// What was read and must be read again, the latest first.
    returned: Vec<Bytes>,
    respond: SendResponse<Bytes>,
    answer: Option<SendStream<Bytes>>,
    /// Whether the answer is complete.
    is_ended: bool,
    timer: Timer,
    /// Until when the client must send something, while it sends nothing.
    starved: Option<Instant>,
    /// Until when the client must take something, while it takes nothing.
    stalled: Option<Instant>,
}

impl Stream {
    /// A request that `client` sent, of which a body with this announced length may follow.
    pub fn new(
        client: Arc<Client>,
        head: Parts,
        length: Option<u64>,
        body: RecvStream,
        respond: SendResponse<Bytes>,
    ) -> Self {
        Self {
            client,
            head,
            length,
            is_whole: length == Some(0) || body.is_end_stream(),
            body,
            received: 0,
            trailers: None,
            returned: Vec::new(),
            respond,
            answer: None,
            is_ended: false,
            timer: Timer::default(),
            starved: None,
            stalled: None,
        }
    }

    /// Who sent it.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The request's head.
    pub fn head(&self) -> &Parts {
        &self.head
    }

    /// What is left of the request's body.
    pub fn coming(&self) -> Coming {
        match self.length {
            _ if self.is_whole && self.returned.is_empty() => Coming::Nothing,
            Some(length) => Coming::Bytes(length.saturating_sub(self.received)),
            None => Coming::Chunks,
        }
    }

    /// Bytes that were read of the body.
    pub fn received(&self) -> usize {
        usize::try_from(self.received).unwrap_or(usize::MAX)
    }

    /// Reads a piece of the body, for which nobody waits longer than `patience`. `None`: it is complete.
    ///
    /// # Errors
    ///
    /// Why it does not go on.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        patience: Option<Duration>,
    ) -> Poll<Result<Option<Bytes>, Broken>> {
        if let Some(piece) = self.returned.pop() {
            self.received += piece.len() as u64;
            return Poll::Ready(Ok(Some(piece)));
        }
        if self.is_whole {
            return Poll::Ready(Ok(None));
        }
        match self.poll_piece(cx) {
            Poll::Ready(Ok(Some(piece))) => {
                self.starved = None;
                self.received += piece.len() as u64;
                self.is_whole = self.body.is_end_stream();
                // The next piece is only read when there is room for it.
                let _ = self.body.flow_control().release_capacity(piece.len());
                self.client.progress();
                Poll::Ready(Ok(Some(piece)))
            }
            Poll::Ready(Ok(None)) => {
                self.is_whole = true;
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Broken::Left)),
            Poll::Pending => {
                if let Poll::Ready(late) = self.poll_deadline::<()>(cx) {
                    late?;
                }
                let Some(patience) = patience else { return Poll::Pending };
                let limit = *self.starved.get_or_insert_with(|| Instant::now() + patience);
                ready!(self.poll_until(limit, cx));
                self.starved = None;
                Poll::Ready(Err(Broken::Starved))
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, h2::Error>> {
        if let Some(piece) = ready!(self.body.poll_data(cx)) {
            return Poll::Ready(piece.map(Some));
        }
        self.trailers = ready!(self.body.poll_trailers(cx))?;
        Poll::Ready(Ok(None))
    }

    /// Takes what came behind the body, once that is complete.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    /// The client was told to send its body: the time in which it must begins now.
    pub fn give_leave(&mut self) {
        self.starved = None;
    }

    /// Puts pieces of the body back that were read, the first one first.
    pub fn put_back(&mut self, mut pieces: Vec<Bytes>) {
        self.received -= pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        pieces.reverse();
        self.returned.append(&mut pieces);
    }

    /// Waits for the client to give the request up, or for the deadline.
    pub fn poll_gone<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Broken>> {
        let reset = match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        if reset.is_ready() { Poll::Ready(Err(Broken::Left)) } else { self.poll_deadline(cx) }
    }

    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, Broken>> {
        let Some(deadline) = self.client.deadline() else { return Poll::Pending };
        ready!(self.poll_until(deadline.into(), cx));
        self.client.expire();
        Poll::Ready(Err(Broken::Late))
    }

    fn poll_until(&mut self, limit: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.poll(limit, cx)
    }

    /// Sends an interim answer.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn inform(&mut self, interim: Response<()>) -> Result<(), Broken> {
        self.respond.send_informational(interim).map_err(|_| Broken::Left)
    }

    /// Sends the head of the answer; `ends`: there is no more of it.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn answer(&mut self, head: Response<()>, ends: bool) -> Result<(), Broken> {
        let answer = self.respond.send_response(head, ends).map_err(|_| Broken::Left)?;
        self.answer = Some(answer);
        self.is_ended = ends;
        Ok(())
    }

    /// Whether the answer is complete.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Waits until the client takes something of a piece of `wanted` bytes, and returns how much. Nobody
    /// waits for that longer than `patience`.
    ///
    /// # Errors
    ///
    /// Why it takes nothing.
    pub fn poll_room(
        &mut self,
        cx: &mut Context<'_>,
        wanted: usize,
        patience: Duration,
    ) -> Poll<Result<usize, Broken>> {
        let Some(answer) = &mut self.answer else { return Poll::Ready(Err(Broken::Left)) };
        answer.reserve_capacity(wanted);
        loop {
            let room = answer.capacity();
            if room > 0 {
                self.stalled = None;
                self.client.progress();
                return Poll::Ready(Ok(room.min(wanted)));
            }
            match answer.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Broken::Left)),
                Poll::Pending => break,
            }
        }
        let limit = *self.stalled.get_or_insert_with(|| Instant::now() + patience);
        ready!(self.poll_until(limit, cx));
        Poll::Ready(Err(Broken::Stalled))
    }

    /// Sends a piece that there is room for; `ends`: it is the last one.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn send(&mut self, piece: Bytes, ends: bool) -> Result<(), Broken> {
        let Some(answer) = self.answer.as_mut().filter(|_| !self.is_ended) else {
            return Err(Broken::Left);
        };
        self.is_ended = ends;
        answer.send_data(piece, ends).map_err(|_| Broken::Left)
    }

    /// Ends the answer, if it has not ended.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn finish(&mut self) -> Result<(), Broken> {
        if self.is_ended { Ok(()) } else { self.send(Bytes::new(), true) }
    }

    /// Ends the answer with trailers.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), Broken> {
        let Some(answer) = self.answer.as_mut().filter(|_| !self.is_ended) else {
            return Err(Broken::Left);
        };
        self.is_ended = true;
        answer.send_trailers(trailers).map_err(|_| Broken::Left)
    }

    /// Ends it at once, if the answer is not complete.
    pub fn reset(&mut self, reason: Reason) {
        if !self.is_ended {
            self.is_ended = true;
            self.respond.send_reset(reason);
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("peer", &self.client.peer).finish_non_exhaustive()
    }
}
