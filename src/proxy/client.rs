//! One client connection, as the request path sees it: who it is, and how long it may wait.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::model::{Millis, announcement::Ends, listener::Listener};

/// A client connection, or a stream of one. Shared by its transport and the requests on it, all on one
/// thread; the atomics are there because pingora's types must be `Sync`, and are never contended.
#[derive(Debug)]
pub struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end of it.
    pub here: SocketAddr,
    /// The listener that accepted it.
    pub listener: Arc<Listener>,
    /// Whether TLS protects it.
    pub is_secure: bool,
    /// Whether the process is stopping, so that the connection must end with this request.
    draining: Arc<AtomicBool>,
    epoch: Instant,
    /// When waiting ends, in milliseconds since `epoch`; 0: never.
    deadline: AtomicU64,
    /// How long the next wait may take after progress, in milliseconds; 0: progress does not matter.
    patience: AtomicU64,
    /// When the whole request ends, in milliseconds since `epoch`; 0: never.
    end: AtomicU64,
    expired: AtomicBool,
    owes_body: AtomicBool,
    left: AtomicBool,
    switched: AtomicBool,
}

impl Client {
    /// A connection that was accepted now.
    pub fn new(ends: Ends, listener: Arc<Listener>, draining: Arc<AtomicBool>) -> Self {
        Self {
            peer: ends.client,
            here: ends.here,
            listener,
            is_secure: false,
            draining,
            epoch: Instant::now(),
            deadline: AtomicU64::new(0),
            patience: AtomicU64::new(0),
            end: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            owes_body: AtomicBool::new(false),
            left: AtomicBool::new(false),
            switched: AtomicBool::new(false),
        }
    }

    /// A further stream of this connection.
    pub fn stream(&self) -> Self {
        let stream = Self::new(self.ends(), self.listener.clone(), self.draining.clone());
        Self { is_secure: self.is_secure, ..stream }
    }

    /// Whether the rest of the request's body must come in time, or may take its own.
    pub fn owe_body(&self, owes: bool) {
        self.owes_body.store(owes, Relaxed);
    }

    /// Whether it must.
    pub fn owes_body(&self) -> bool {
        self.owes_body.load(Relaxed)
    }

    /// The client went away before its answer was complete.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether it did.
    pub fn has_left(&self) -> bool {
        self.left.load(Relaxed)
    }

    /// Both ends of it.
    pub fn ends(&self) -> Ends {
        Ends { client: self.peer, here: self.here }
    }

    /// Whether the connection must end with this request.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the peer's `X-Forwarded-*` headers are believed.
    pub fn is_trusted(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.listener.trusted_proxies.iter().any(|net| net.contains(&address))
    }

    /// A request begins; it ends after `total` at the latest.
    pub fn begin(&self, total: Option<Millis>) {
        self.expired.store(false, Relaxed);
        self.switched.store(false, Relaxed);
        self.end.store(total.map_or(0, |total| self.now() + total.0), Relaxed);
        self.patience.store(0, Relaxed);
        self.deadline.store(self.end.load(Relaxed), Relaxed);
    }

    /// From now on the endpoint may keep the request waiting for `patience`, counted anew whenever
    /// the client takes something.
    pub fn wait_for_endpoint(&self, patience: Millis) {
        self.patience.store(patience.0, Relaxed);
        self.progress();
    }

    /// Something went on: the wait is counted anew.
    pub fn progress(&self) {
        let patience = self.patience.load(Relaxed);
        if patience != 0 {
            let end = self.end.load(Relaxed);
            let next = self.now() + patience;
            self.deadline.store(if end == 0 { next } else { next.min(end) }, Relaxed);
        }
    }

    /// The request is tried again: it may wait anew, but not beyond its end.
    pub fn again(&self) {
        self.expired.store(false, Relaxed);
        self.patience.store(0, Relaxed);
        self.deadline.store(self.end.load(Relaxed), Relaxed);
    }

    /// Whether the time of the whole request is up.
    pub fn is_over(&self) -> bool {
        let end = self.end.load(Relaxed);
        end != 0 && end <= self.now()
    }

    /// The endpoint switches to another protocol: from now on the client's bytes are that's, and the
    /// request has been served, whatever it may take as a whole.
    pub fn switch(&self) {
        self.end.store(0, Relaxed);
        self.switched.store(true, Relaxed);
    }

    /// Whether the connection's protocol is another by now.
    pub fn is_switched(&self) -> bool {
        self.switched.load(Relaxed)
    }

    /// The request is over.
    pub fn rest(&self) {
        self.deadline.store(0, Relaxed);
        self.patience.store(0, Relaxed);
        self.end.store(0, Relaxed);
    }

    /// When waiting ends, if it does.
    pub fn deadline(&self) -> Option<Instant> {
        match self.deadline.load(Relaxed) {
            0 => None,
            at => Some(self.epoch + Millis(at).duration()),
        }
    }

    /// The transport found that waiting has ended.
    pub fn expire(&self) {
        self.expired.store(true, Relaxed);
    }

    /// Whether waiting has ended, rather than the client gone away.
    pub fn has_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    fn now(&self) -> u64 {
        // Never 0, which stands for "never".
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
