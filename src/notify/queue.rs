//! What waits for a receiver's thread.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::notice::Notice;

/// How many notices may wait for one receiver.
pub const WAITING_MAX: usize = 256;

/// Notices in the order of their events. The lock is held for a push or a pop, never for a send.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Notice>,
    /// Whether one was taken and is not done with.
    underway: bool,
    closed: bool,
}

impl Queue {
    /// Adds a notice. Returns the oldest if there was no room for both.
    pub fn push(&self, notice: Notice) -> Option<Notice> {
        let mut state = self.lock();
        let full = state.waiting.len() >= WAITING_MAX;
        let dropped = if full { state.waiting.pop_front() } else { None };
        state.waiting.push_back(notice);
        drop(state);
        self.changed.notify_all();
        dropped
    }

    /// Waits for a notice and takes it, which says that the one before is done with. `None`: the
    /// queue was closed.
    pub fn take(&self) -> Option<Notice> {
        let mut state = self.lock();
        state.underway = false;
        let nothing = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state =
            self.changed.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.underway = true;
        state.waiting.pop_front()
    }

    /// Waits until `span` is over, or until the queue is closed: then it is `None`.
    pub fn rest(&self, span: Duration) -> Option<()> {
        let open = |state: &mut State| !state.closed;
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), span, open)
            .unwrap_or_else(PoisonError::into_inner);
        (!state.closed).then_some(())
    }

    /// Ends the waits: nothing is taken any more. Returns how many notices are lost by that.
    pub fn close(&self) -> usize {
        self.lock().closed = true;
        self.changed.notify_all();
        self.waiting()
    }

    /// How many notices did not arrive yet, with the one under way.
    pub fn waiting(&self) -> usize {
        let state = self.lock();
        state.waiting.len() + usize::from(state.underway)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::{super::fake, *};

    fn notice(n: usize) -> Notice {
        fake::notice(&fake::event("weight", &n.to_string()))
    }

    #[test]
    fn a_full_queue_gives_back_the_oldest() {
        let queue = Queue::default();
        assert!((0..WAITING_MAX).all(|n| queue.push(notice(n)).is_none()));
        assert_eq!(queue.push(notice(WAITING_MAX)).unwrap().event.summary, "0");
        assert_eq!(queue.take().unwrap().event.summary, "1");
        assert_eq!(queue.waiting(), WAITING_MAX);
    }

    #[test]
    fn closing_ends_every_wait() {
        let queue = Arc::new(Queue::default());
        let waiting = [
            thread::spawn({
                let queue = queue.clone();
                move || queue.take().is_none()
            }),
            thread::spawn({
                let queue = queue.clone();
                move || queue.rest(Duration::from_secs(3600)).is_none()
            }),
        ];
        assert_eq!(queue.close(), 0);
        assert!(waiting.into_iter().all(|wait| wait.join().unwrap()));
        queue.push(notice(0));
        assert!(queue.take().is_none());
    }
}
