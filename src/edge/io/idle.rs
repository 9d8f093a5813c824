//! A client connection between its requests.

use std::{
    future::poll_fn,
    io,
    os::fd::AsFd,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{self, Duration},
};

use bytes::BytesMut;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, Sleep, sleep_until},
};

use super::{EdgeIo, NoRequest, buffers, make_room, wait_until};
use crate::{edge::socket::Socket, proxy::client::Client};

/// How long a plain connection is idle before it is parked. Busy ones never are, and set no timer for it
/// more often than this.
const PARKED_AFTER: Duration = Duration::from_secs(1);

/// How the wait for a request went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Something came.
    Over,
    /// Nothing has come for so long that the connection is better parked.
    Long,
}

/// An idle plain connection without all that requests on it would need.
#[derive(Debug)]
pub struct Idle {
    /// Its socket, which does not block.
    pub tcp: std::net::TcpStream,
    /// Whose it is.
    pub client: Arc<Client>,
    /// Whether no request has come yet.
    pub is_new: bool,
    /// When it has been idle for too long.
    pub until: time::Instant,
}

impl EdgeIo {
    /// A connection that was parked.
    ///
    /// # Errors
    ///
    /// If its socket cannot be watched.
    pub fn awake(idle: Idle, input: BytesMut) -> io::Result<Self> {
        let mut io = Self::new(Socket::Plain(TcpStream::from_std(idle.tcp)?), idle.client);
        io.may_switch &= idle.is_new;
        io.is_new = idle.is_new;
        io.idle_until = Some(idle.until.into());
        io.input = input;
        Ok(io)
    }

    /// Waits until the client sends something, and reads that; holds no buffer meanwhile.
    ///
    /// # Errors
    ///
    /// [`NoRequest::Gone`] after the listener's `keepalive`.
    pub async fn idle(&mut self) -> Result<Wait, NoRequest> {
        if self.has_begun() {
            return Ok(Wait::Over);
        }
        buffers::give(std::mem::take(&mut self.input));
        buffers::give(std::mem::take(&mut self.output));
        let now = Instant::now();
        let keepalive = self.client.listener.timeouts.keepalive.duration();
        let end = *self.idle_until.get_or_insert_with(|| now + keepalive);
        // Parked, what TLS keeps would be as large as before.
        let pause = if self.socket.is_secure() { end } else { end.min(now + PARKED_AFTER) };
        let came = match &self.socket {
            Socket::Plain(_) => poll_fn(|cx| self.poll_come(cx, pause)).await,
            Socket::Tls(_) => {
                let mut readable = pin!(self.socket.readable());
                let timer = &mut self.timer;
                poll_fn(|cx| match readable.as_mut().poll(cx) {
                    Poll::Ready(readable) => Poll::Ready(Some(readable.is_ok())),
                    Poll::Pending => poll_pause(timer, pause, cx).map(|()| None),
                })
                .await
            }
        };
        match came {
            Some(true) => Ok(Wait::Over),
            None if pause < end => Ok(Wait::Long),
            None | Some(false) => Err(NoRequest::Gone),
        }
    }

    /// Reads what comes on a plain connection: whether there is anything. `None`: not until `pause` ends.
    fn poll_come(&mut self, cx: &mut Context<'_>, pause: Instant) -> Poll<Option<bool>> {
        // A new socket is taken for readable until it was read once.
        if let Poll::Ready(ready) = self.socket.poll_readable(cx) {
            if ready.is_err() {
                return Poll::Ready(Some(false));
            }
            make_room(&mut self.input);
            // Not `try_read`, after which the socket would count as readable still, and be read once more.
            let read = pin!(self.socket.read_buf(&mut self.input)).poll(cx);
            if let Poll::Ready(read) = read {
                return Poll::Ready(Some(read.is_ok_and(|read| read > 0)));
            }
            buffers::give(std::mem::take(&mut self.input));
        }
        poll_pause(&mut self.timer, pause, cx).map(|()| None)
    }

    /// The idle connection as it can be parked, once this one is dropped. `None`: it must stay.
    pub fn idled(&self) -> Option<Idle> {
        let until = self.idle_until?.into_std();
        let Socket::Plain(tcp) = &self.socket else { return None };
        // A descriptor of its own: tokio's goes with this.
        let tcp = tcp.as_fd().try_clone_to_owned().ok()?.into();
        Some(Idle { tcp, client: self.client.clone(), is_new: self.is_new, until })
    }
}

/// Waits until `pause` ends.
fn poll_pause(
    timer: &mut Option<Pin<Box<Sleep>>>,
    pause: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    wait_until(timer.get_or_insert_with(|| Box::pin(sleep_until(pause))), pause, cx)
}
