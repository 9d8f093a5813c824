//! Tunnels: what becomes of a connection whose protocol was changed, as to WebSocket.
//!
//! A tunnel is told apart from an answer that never ends by its end of the endpoint's connection
//! ([`TunnelIo`]). It can be closed there from outside, as if the endpoint had closed it; and it lets no
//! answer through before pingora has finished with the request: a 101 that comes earlier would end the
//! tunnel at once (pingora issue 946).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU8,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use http::{Version, header};
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use pingora_http::RequestHeader;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    model::{Address, Millis, PoolName, Rule, ServiceName, Share, Snapshot, health::AdminState},
    proxy::exchange::Exchange,
    view::LocalView,
};

/// Everything passes: before the request, and once it is finished.
const OPEN: u8 = 0;
/// The request is being sent: no answer passes.
const SENDING: u8 = 1;
/// The request's end is on its way: with the next flush everything passes.
const ENDING: u8 = 2;

/// One tunnel, or what may become one.
#[derive(Debug)]
pub struct Tunnel {
    service: ServiceName,
    pool: PoolName,
    address: Address,
    /// Whether it is one of its pool's share of users, rather than of those who chose it.
    is_of_share: bool,
    gate: AtomicU8,
    closed: AtomicBool,
    reader: Mutex<Option<Waker>>,
    /// Since when its users belong elsewhere.
    homeless: Mutex<Option<Instant>>,
}

/// A worker's open tunnels. Only its own thread looks at them.
#[derive(Debug, Default)]
pub struct Tunnels(Mutex<Vec<Arc<Tunnel>>>);

/// A tunnel that is open for as long as this is kept.
#[derive(Debug)]
pub struct Opened {
    tunnel: Arc<Tunnel>,
    tunnels: Arc<Tunnels>,
}

/// The endpoint's side of a tunnel.
#[derive(Debug)]
pub struct TunnelIo<T> {
    stream: T,
    tunnel: Arc<Tunnel>,
}

/// Whether a request asks for WebSocket, the one protocol that is let through.
pub fn is_wanted(request: &RequestHeader) -> bool {
    request.version == Version::HTTP_11
        && request
            .headers
            .get(header::UPGRADE)
            .is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

impl Tunnel {
    /// What the running attempt may become.
    pub fn new(exchange: &Exchange) -> Option<Arc<Self>> {
        let (field, choice) = (exchange.field()?, exchange.choice()?);
        let pool = field.service.pools.get(choice.pool)?;
        let rule = exchange.placement.map(|placement| placement.rule);
        Some(Arc::new(Self {
            service: field.service.name.clone(),
            pool: pool.name.clone(),
            address: exchange.endpoint()?.address.clone(),
            is_of_share: matches!(rule, Some(Rule::Bucket | Rule::Draw))
                && pool.share > Share::NONE,
            gate: AtomicU8::new(OPEN),
            closed: AtomicBool::new(false),
            reader: Mutex::default(),
            homeless: Mutex::default(),
        }))
    }

    /// The request is sent from now on: no answer passes before its end.
    pub fn hold(&self) {
        self.gate.store(SENDING, Release);
    }

    /// The end of the request comes next.
    pub fn end_request(&self) {
        // Nothing to do where the gate is open.
        let _ = self.gate.compare_exchange(SENDING, ENDING, AcqRel, Acquire);
    }

    /// Ends the tunnel, as if the endpoint had.
    pub fn close(&self) {
        self.closed.store(true, Release);
        self.wake();
    }

    /// Whether it was ended from here.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    fn flushed(&self) {
        if self.gate.compare_exchange(ENDING, OPEN, AcqRel, Acquire).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        let waker = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the reader must wait; it is woken when it need not any more, or when the tunnel closes.
    fn is_held(&self, cx: &Context<'_>) -> bool {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.gate.load(Acquire) != OPEN
    }

    /// Whether its users belong elsewhere by now, and it should not go on for ever.
    fn is_homeless(&self, snapshot: &Snapshot) -> bool {
        let service = snapshot.services.iter().find(|service| service.name == self.service);
        let pool = service.and_then(|s| s.pools.iter().find(|pool| pool.name == self.pool));
        let Some(pool) = pool else { return true };
        let mut own = pool.endpoints.iter().filter(|e| e.address == self.address);
        let is_gone = own.next().is_none_or(|endpoint| endpoint.admin == AdminState::Maint);
        is_gone || (self.is_of_share && pool.share == Share::NONE)
    }
}

impl Tunnels {
    /// Counts a tunnel as open.
    pub fn open(self: &Arc<Self>, tunnel: Arc<Tunnel>) -> Opened {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(tunnel.clone());
        Opened { tunnel, tunnels: self.clone() }
    }

    /// Closes those whose users have belonged elsewhere for longer than their service allows.
    /// The view is asked for only if any is open.
    pub fn look(&self, now: Instant, view: impl FnOnce() -> Arc<LocalView>) {
        let tunnels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tunnels.is_empty() {
            return;
        }
        let view = view();
        let snapshot = &view.snapshot;
        for tunnel in tunnels.iter() {
            let mut since = tunnel.homeless.lock().unwrap_or_else(PoisonError::into_inner);
            if !tunnel.is_homeless(snapshot) {
                *since = None;
                continue;
            }
            let since = *since.get_or_insert(now);
            let service = snapshot.services.iter().find(|s| s.name == tunnel.service);
            // A service that is gone has no say: its endpoints may be gone as well.
            let drain = service.map_or(Some(Millis(0)), |s| s.settings.tunnel_drain);
            if drain.is_some_and(|drain| now.saturating_duration_since(since) >= drain.duration()) {
                tunnel.close();
            }
        }
    }
}

impl Opened {
    /// Whether it was ended from here, and so is nobody's failure.
    pub fn is_closed(&self) -> bool {
        self.tunnel.is_closed()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = self.tunnels.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|tunnel| !Arc::ptr_eq(tunnel, &self.tunnel));
    }
}

impl<T> TunnelIo<T> {
    /// The endpoint's side of what may become `tunnel`.
    pub fn new(stream: T, tunnel: Arc<Tunnel>) -> Self {
        Self { stream, tunnel }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TunnelIo<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let is_held = io.tunnel.is_held(cx);
        if io.tunnel.closed.load(Relaxed) {
            // As if the endpoint had ended it.
            return Poll::Ready(Ok(()));
        }
        if is_held { Poll::Pending } else { Pin::new(&mut io.stream).poll_read(cx, buf) }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TunnelIo<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let flushed = Pin::new(&mut io.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            io.tunnel.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl<T> VirtualSocket for TunnelIo<T>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug,
{
    // Set where the connection was made.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
