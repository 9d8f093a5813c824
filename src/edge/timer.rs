//! Timers that a worker lends to what waits, so that a wait that is over in time costs nothing: a timer
//! is set anew only when it must ring earlier, or has rung too early.

use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// How many a worker keeps.
const KEPT_MAX: usize = 256;

thread_local! {
    static FREE: RefCell<Vec<Pin<Box<Sleep>>>> = const { RefCell::new(Vec::new()) };
}

/// A timer that goes back by itself.
#[derive(Debug, Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits for a deadline that may have moved since it was asked last.
    pub fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let lent = || FREE.with_borrow_mut(Vec::pop);
        let timer =
            self.0.get_or_insert_with(|| lent().unwrap_or_else(|| Box::pin(sleep_until(deadline))));
        wait_until(timer, deadline, cx)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(timer) = self.0.take() else { return };
        // One that outlives its thread's is simply gone.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT_MAX {
                free.push(timer);
            }
        });
    }
}

/// Waits for a deadline that may have moved: the timer is only set anew when it must ring earlier, or
/// has rung too early.
pub fn wait_until(
    timer: &mut Pin<Box<Sleep>>,
    deadline: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    loop {
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    #[tokio::test]
    async fn a_timer_that_was_lent_before_keeps_the_new_time() {
        let hour = Duration::from_secs(3600);
        for (before, now) in [(Duration::ZERO, 20), (hour, 20)] {
            let begun = Instant::now();
            let mut timer = Timer::default();
            poll_fn(|cx| Poll::Ready(_ = timer.poll(begun + before, cx))).await;
            drop(timer);
            let mut timer = Timer::default();
            poll_fn(|cx| timer.poll(begun + Duration::from_millis(now), cx)).await;
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(now) && took < hour, "{took:?}");
        }
    }
}
