//! Plain client connections that have been idle for a while: each is a small record instead of a task.
//!
//! A task that waits holds all that its requests need, some kilobytes. A parked connection is its
//! descriptor and what must not be forgotten of it; the worker watches all of them through one epoll
//! instance, which tokio watches. Connections through TLS stay tasks: what rustls keeps of them is most
//! of what they take.

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, RawFd},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::BytesMut;
use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};
use slab::Slab;
use tokio::io::{Interest, unix::AsyncFd};

use super::{buffers, io::idle::Idle};

/// How many connections are woken in one go.
const WOKEN_MAX: usize = 64;
/// How much is read of a connection that wakes up; its task reads on.
const READ: usize = 4 * 1024;

/// A connection that is to be served again.
#[derive(Debug)]
pub struct Awake<L> {
    /// As it was parked.
    pub idle: Idle,
    /// What its client has sent; nothing only while the worker stops.
    pub input: BytesMut,
    /// What was parked with it.
    pub lease: L,
}

/// A worker's parked connections, each with something that is dropped when it is closed.
#[derive(Debug)]
pub struct Parking<L> {
    watch: AsyncFd<Watch>,
    places: Mutex<Places<L>>,
}

#[derive(Debug)]
struct Places<L> {
    taken: Slab<(Idle, L)>,
    /// No connection's time is up before.
    next: Option<Instant>,
}

/// The epoll instance, as tokio wants to have it.
#[derive(Debug)]
struct Watch(Epoll);

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

impl<L> Parking<L> {
    /// An empty one, for the worker of the current runtime.
    ///
    /// # Errors
    ///
    /// If the system has no descriptor left.
    #[expect(deprecated, reason = "unsafe is asked for only of those whose descriptor may change")]
    pub fn new() -> io::Result<Self> {
        let watch = Watch(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let watch = AsyncFd::with_interest(watch, Interest::READABLE)?;
        Ok(Self { watch, places: Mutex::new(Places { taken: Slab::new(), next: None }) })
    }

    /// Parks a connection.
    ///
    /// # Errors
    ///
    /// The lease, if the connection cannot be watched; it is closed then, but for its other descriptors.
    pub fn park(&self, idle: Idle, lease: L) -> Result<(), L> {
        let mut places = self.places();
        let place = places.taken.vacant_entry();
        let event =
            EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP, place.key() as u64);
        if self.epoll().add(&idle.tcp, event).is_err() {
            return Err(lease);
        }
        let until = idle.until;
        place.insert((idle, lease));
        places.next = Some(places.next.map_or(until, |next| next.min(until)));
        Ok(())
    }

    /// Gives connections whose client sent something to `wake`, for ever; closes those whose client left.
    ///
    /// # Errors
    ///
    /// Those of watching.
    pub async fn watch(&self, wake: impl Fn(Awake<L>)) -> io::Result<()> {
        loop {
            let mut ready = self.watch.readable().await?;
            if self.look(&wake)? {
                drop(ready);
                // Those who woke up have their turn before the rest of a crowd.
                tokio::task::yield_now().await;
            } else {
                ready.clear_ready();
            }
        }
    }

    /// Empties it, since the worker stops: `wake` is given whoever has sent something, and whoever is yet
    /// to send a first request; the others are closed.
    ///
    /// # Errors
    ///
    /// Those of watching.
    pub fn clear(&self, wake: impl Fn(Awake<L>)) -> io::Result<()> {
        while self.look(&wake)? {}
        let taken = std::mem::take(&mut self.places().taken);
        for (_, (idle, lease)) in taken.into_iter().filter(|(_, (idle, _))| idle.is_new) {
            // Watched no longer: its descriptor goes on elsewhere.
            self.epoll().delete(&idle.tcp)?;
            wake(Awake { idle, input: BytesMut::new(), lease });
        }
        Ok(())
    }

    /// Closes connections that have been idle for too long.
    pub fn sweep(&self, now: Instant) {
        let mut places = self.places();
        if places.next.is_none_or(|next| next > now) {
            return;
        }
        let mut next: Option<Instant> = None;
        places.taken.retain(|_, (idle, _)| {
            if idle.until <= now {
                return false;
            }
            next = Some(next.map_or(idle.until, |next| next.min(idle.until)));
            true
        });
        places.next = next;
    }

    /// Looks once who woke up. Whether there may be more of them.
    fn look(&self, wake: &impl Fn(Awake<L>)) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); WOKEN_MAX];
        let woken = match self.epoll().wait(&mut events, 0u8) {
            Ok(woken) => woken,
            Err(Errno::EINTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        for event in events.iter().take(woken) {
            let place = usize::try_from(event.data()).unwrap_or(usize::MAX);
            if let Some(awake) = self.wake(place) {
                wake(awake);
            }
        }
        Ok(woken == WOKEN_MAX)
    }

    fn wake(&self, place: usize) -> Option<Awake<L>> {
        let mut places = self.places();
        let (idle, _) = places.taken.get(place)?;
        let mut bytes = [0; READ];
        let read = (&idle.tcp).read(&mut bytes);
        if read.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            return None;
        }
        let (idle, lease) = places.taken.remove(place);
        drop(places);
        let read = bytes.get(..read.unwrap_or(0)).filter(|read| !read.is_empty())?;
        self.epoll().delete(&idle.tcp).ok()?;
        let mut input = buffers::take();
        input.extend_from_slice(read);
        Some(Awake { idle, input, lease })
    }

    fn epoll(&self) -> &Epoll {
        &self.watch.get_ref().0
    }

    fn places(&self) -> MutexGuard<'_, Places<L>> {
        // Only this worker's thread takes the lock.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
