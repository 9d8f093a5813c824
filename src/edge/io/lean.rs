//! What the lean path needs of a client connection besides reading and writing: the request as the
//! bytes it came in.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::time::{Instant, sleep_until};

use super::{EdgeIo, Rest, buffers, wait_until};
use crate::edge::chunks::Cleaned;

/// What is left of a request's body on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coming {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Bytes(u64),
    /// Chunks.
    Chunks,
    /// Another protocol.
    Tunnel,
}

impl EdgeIo {
    /// The request's head, until it is taken.
    pub fn head(&self) -> &[u8] {
        self.input.get(..self.head).unwrap_or_default()
    }

    /// What is left of the request's body.
    pub fn coming(&self) -> Coming {
        match &self.rest {
            Rest::Length(0) => Coming::Nothing,
            Rest::Length(left) => Coming::Bytes(*left),
            Rest::Chunked(chunks) if chunks.is_done() => Coming::Nothing,
            Rest::Chunked(_) => Coming::Chunks,
            Rest::Tunnel | Rest::Everything => Coming::Tunnel,
        }
    }

    /// Takes the request: its head, and behind it as much of its body as has come, if that is not
    /// chunked.
    pub fn take_request(&mut self) -> BytesMut {
        let behind = self.input.len() - self.head;
        let of_body = match &mut self.rest {
            Rest::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(behind);
                *left -= n as u64;
                n
            }
            Rest::Chunked(_) | Rest::Tunnel | Rest::Everything => 0,
        };
        let length = std::mem::take(&mut self.head) + of_body;
        if length == self.input.len() {
            return std::mem::take(&mut self.input);
        }
        let mut request = buffers::take();
        request.extend_from_slice(self.input.get(..length).unwrap_or_default());
        self.input.advance(length);
        request
    }

    /// Undoes [`Self::take_request`], for a request whose head has so many bytes. Only if nothing more
    /// of it was taken.
    pub fn return_request(&mut self, mut request: BytesMut, head: usize) {
        if let Rest::Length(left) = &mut self.rest {
            *left += (request.len() - head) as u64;
        }
        request.extend_from_slice(&self.input);
        self.head = head;
        buffers::give(std::mem::replace(&mut self.input, request));
    }

    /// Puts a request's head back before the rest of its body, for the answer that is all it gets.
    pub fn return_head(&mut self, head: &[u8]) {
        let mut input = buffers::take();
        input.extend_from_slice(head);
        input.extend_from_slice(&self.input);
        self.head = head.len();
        buffers::give(std::mem::replace(&mut self.input, input));
    }

    /// Adds to `out` what has come of the request's body, and behind its end of its trailers what goes on.
    /// Ready with how many bytes of data that were, or
    /// with `None`: it is complete.
    ///
    /// # Errors
    ///
    /// The socket's; `InvalidData` if the body's framing is broken, `UnexpectedEof` if it breaks off,
    /// `TimedOut` if nothing comes for the listener's `body` timeout or the request's time is up.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut BytesMut,
    ) -> Poll<io::Result<Option<usize>>> {
        if self.coming() == Coming::Nothing {
            return Poll::Ready(Ok(None));
        }
        if self.input.is_empty() {
            match self.poll_fill(cx) {
                Poll::Ready(more) => {
                    if !more? {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    self.starved = None;
                }
                Poll::Pending => return self.poll_starved(cx),
            }
        }
        let of_body = self.clean_body().map_err(|()| io::ErrorKind::InvalidData)?;
        out.extend_from_slice(self.input.get(..of_body.kept).unwrap_or_default());
        self.input.advance(of_body.taken);
        if !self.trailers.is_empty() && self.coming() == Coming::Nothing {
            self.trailers.write(out);
        }
        Poll::Ready(Ok(Some(of_body.data)))
    }

    /// The client was told to send its body: the time in which it must begins now.
    pub fn give_leave(&mut self) {
        self.starved = None;
    }

    fn clean_body(&mut self) -> Result<Cleaned, ()> {
        match &mut self.rest {
            Rest::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                *left -= n as u64;
                Ok(Cleaned { taken: n, kept: n, data: n })
            }
            Rest::Chunked(chunks) => {
                chunks.clean(&mut self.input, &mut self.trailers).map_err(|_| ())
            }
            Rest::Tunnel | Rest::Everything => Err(()),
        }
    }

    /// The client sends nothing: waits until it must have.
    fn poll_starved<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let patience = self.client.listener.timeouts.body.duration();
        let limit = *self.starved.get_or_insert_with(|| Instant::now() + patience);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        ready!(wait_until(timer, limit, cx));
        self.starved = None;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Where what is sent next is gathered.
    pub fn output(&mut self) -> &mut BytesMut {
        if self.output.capacity() == 0 {
            self.output = buffers::take();
        }
        &mut self.output
    }

    /// Waits until everything is sent.
    pub async fn flushed(&mut self) -> io::Result<()> {
        tokio::io::AsyncWriteExt::flush(self).await
    }
}
