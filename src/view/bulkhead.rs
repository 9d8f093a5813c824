//! How many requests a pool runs at a time, and who waits for a place.
//!
//! One count for all workers, since the pool's endpoints do not know workers either. Only requests of
//! pools with a limit come here.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout_at},
};

use crate::model::limit::{Limit, Seen};

/// How long answers are gathered at least before the limit is looked at again.
const WINDOW: Duration = Duration::from_millis(100);

/// The places of a pool.
#[derive(Debug)]
pub struct Bulkhead {
    places: Semaphore,
    /// Told when another view is in force.
    stirred: Notify,
    waiting: AtomicU32,
    shed: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    limit: Limit,
    /// How many may be in flight now.
    allowed: u32,
    /// How many places there are, taken or not. More than are allowed while requests run that began
    /// when more were.
    places: u32,
    /// How many of them are taken.
    taken: u32,
    seen: Seen,
    since: Instant,
}

/// A request's place. It is given back when this is dropped.
#[derive(Debug)]
pub struct Berth {
    bulkhead: Arc<Bulkhead>,
    asked: Option<Instant>,
    took: Option<Duration>,
}

/// Why a request got no place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unplaced {
    /// There was none in time.
    Shed,
    /// It would not be served here any more.
    Unwanted,
}

impl Bulkhead {
    /// As many places as `limit` says.
    pub fn new(limit: Limit) -> Self {
        let (allowed, since) = (limit.in_flight, Instant::now());
        let books =
            Books { limit, allowed, places: allowed, taken: 0, seen: Seen::default(), since };
        let places = Semaphore::new(allowed as usize);
        let (waiting, shed) = (AtomicU32::new(0), AtomicU64::new(0));
        Self { places, stirred: Notify::new(), waiting, shed, books: Mutex::new(books) }
    }

    /// From now on `limit` holds. Requests that run go on.
    pub fn set(&self, limit: Limit) {
        let mut books = self.books();
        if books.limit != limit {
            books.limit = limit;
            self.allow(&mut books, limit.in_flight);
        }
    }

    /// A place, if one is free.
    pub fn try_enter(self: &Arc<Self>) -> Option<Berth> {
        match self.places.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => {
                self.books().seen.was_full = true;
                return None;
            }
        }
        Some(self.take())
    }

    /// A place as soon as one is free, in the order in which requests came. Whoever waits is asked at
    /// each new view whether they would still be served here.
    ///
    /// # Errors
    ///
    /// If too many wait already, none was free by `end`, or it is wanted no more.
    pub async fn enter(
        self: &Arc<Self>,
        end: Instant,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Berth, Unplaced> {
        if let Some(berth) = self.try_enter() {
            return Ok(berth);
        }
        let Some(_queued) = Queued::new(self) else { return Err(self.refuse()) };
        let mut place = pin!(timeout_at(end, self.places.acquire()));
        loop {
            let mut stirred = pin!(self.stirred.notified());
            // In line before looking, so that a view in between is not missed.
            stirred.as_mut().enable();
            if !is_wanted() {
                return Err(Unplaced::Unwanted);
            }
            tokio::select! {
                biased;
                placed = &mut place => match placed {
                    Ok(Ok(permit)) => {
                        permit.forget();
                        return Ok(self.take());
                    }
                    _ => return Err(self.refuse()),
                },
                () = stirred => {}
            }
        }
    }

    /// Another view is in force.
    pub fn stir(&self) {
        self.stirred.notify_waiters();
    }

    /// How long requests wait at most.
    pub fn patience(&self) -> Duration {
        self.books().limit.wait.duration()
    }

    /// How many may be in flight now.
    pub fn allowed(&self) -> u32 {
        self.books().allowed
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// How many found no place in time.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    fn refuse(&self) -> Unplaced {
        self.shed.fetch_add(1, Relaxed);
        Unplaced::Shed
    }

    fn take(self: &Arc<Self>) -> Berth {
        self.books().taken += 1;
        Berth { bulkhead: self.clone(), asked: None, took: None }
    }

    /// Takes a place back from a request that took `took` to answer, if it was to answer at all.
    fn leave(&self, took: Option<Duration>) {
        let now = Instant::now();
        let mut books = self.books();
        if let (Some(limit), Some(took)) = (books.limit.latency, took) {
            books.seen.answers += 1;
            books.seen.slow += u32::from(took > limit.duration());
            books.seen.peak = books.seen.peak.max(books.taken);
        }
        books.taken -= 1;
        if books.places > books.allowed {
            books.places -= 1;
        } else {
            self.places.add_permits(1);
        }
        let is_due = now.duration_since(books.since) >= WINDOW;
        if is_due && books.seen.answers >= Limit::SAMPLE {
            let seen = std::mem::take(&mut books.seen);
            let next = books.limit.next(books.allowed, seen);
            books.since = now;
            self.allow(&mut books, next);
        }
    }

    /// So many may be in flight from now on. Places that are taken go when they are given back.
    fn allow(&self, books: &mut Books, allowed: u32) {
        books.allowed = allowed;
        if let Some(more) = allowed.checked_sub(books.places) {
            self.places.add_permits(more as usize);
            books.places = allowed;
        } else {
            let fewer = self.places.forget_permits((books.places - allowed) as usize);
            books.places -= u32::try_from(fewer).unwrap_or(0);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Berth {
    /// Whether it is a place there.
    pub fn is_of(&self, bulkhead: &Arc<Bulkhead>) -> bool {
        Arc::ptr_eq(&self.bulkhead, bulkhead)
    }

    /// The request is sent: its answer is waited for from now on.
    pub fn asked(&mut self) {
        self.asked = Some(Instant::now());
    }

    /// The answer has begun.
    pub fn answered(&mut self) {
        self.took = self.asked.take().map(|asked| asked.elapsed());
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        let limit = || self.bulkhead.books().limit.latency;
        // One that was given up says something only if it was late by then.
        let given_up = || {
            let waited = self.asked?.elapsed();
            (waited > limit()?.duration()).then_some(waited)
        };
        self.bulkhead.leave(self.took.or_else(given_up));
    }
}

/// A place in the line.
struct Queued<'b>(&'b Bulkhead);

impl<'b> Queued<'b> {
    fn new(bulkhead: &'b Bulkhead) -> Option<Self> {
        let most = bulkhead.books().limit.queue;
        let place = Self(bulkhead);
        (bulkhead.waiting.fetch_add(1, Relaxed) < most).then_some(place)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use tokio::{task::yield_now, time::advance};

    use super::*;
    use crate::model::Millis;

    const LIMIT: Limit = Limit { in_flight: 2, queue: 1, wait: Millis(1000), latency: None };

    fn bulkhead(limit: Limit) -> Arc<Bulkhead> {
        Arc::new(Bulkhead::new(limit))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    async fn shed(bulkhead: &Arc<Bulkhead>) -> Unplaced {
        bulkhead.enter(soon(), || true).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_run_so_many_wait_and_no_more() {
        let bulkhead = bulkhead(LIMIT);
        let (first, _second) = (bulkhead.try_enter(), bulkhead.try_enter());
        assert!(bulkhead.try_enter().is_none());
        let third = tokio::spawn({
            let bulkhead = bulkhead.clone();
            async move { bulkhead.enter(soon(), || true).await.is_ok() }
        });
        yield_now().await;
        assert_eq!(bulkhead.waiting(), 1);
        assert_eq!(shed(&bulkhead).await, Unplaced::Shed, "the queue is full");
        drop(first);
        assert!(third.await.unwrap());
        assert_eq!((bulkhead.waiting(), bulkhead.shed()), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_they_may() {
        let bulkhead = bulkhead(LIMIT);
        let taken = [bulkhead.try_enter(), bulkhead.try_enter()];
        let begun = Instant::now();
        assert_eq!(shed(&bulkhead).await, Unplaced::Shed);
        assert_eq!(begun.elapsed(), bulkhead.patience());
        assert_eq!((bulkhead.waiting(), bulkhead.shed()), (0, 1));
        drop(taken);
        assert!(bulkhead.try_enter().is_some(), "who left the line takes no place with them");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_wanted_any_more_leaves_the_line() {
        let bulkhead = bulkhead(LIMIT);
        let _taken = [bulkhead.try_enter(), bulkhead.try_enter()];
        let is_wanted = Arc::new(AtomicBool::new(true));
        let waiting = tokio::spawn({
            let (bulkhead, is_wanted) = (bulkhead.clone(), is_wanted.clone());
            async move { bulkhead.enter(soon(), || is_wanted.load(Relaxed)).await.map(drop) }
        });
        yield_now().await;
        bulkhead.stir();
        yield_now().await;
        assert_eq!(bulkhead.waiting(), 1, "still wanted");
        is_wanted.store(false, Relaxed);
        bulkhead.stir();
        assert_eq!(waiting.await.unwrap(), Err(Unplaced::Unwanted));
        assert_eq!((bulkhead.waiting(), bulkhead.shed()), (0, 0));
    }

    #[tokio::test]
    async fn a_new_limit_holds_at_once_and_lets_finish_what_runs() {
        let bulkhead = bulkhead(LIMIT);
        let mut taken = vec![bulkhead.try_enter().unwrap(), bulkhead.try_enter().unwrap()];
        bulkhead.set(Limit { in_flight: 1, ..LIMIT });
        drop(taken.pop());
        assert!(bulkhead.try_enter().is_none(), "one runs, and one may");
        bulkhead.set(Limit { in_flight: 3, ..LIMIT });
        taken.extend([bulkhead.try_enter().unwrap(), bulkhead.try_enter().unwrap()]);
        assert!(bulkhead.try_enter().is_none());
        drop(taken);
        let all: Vec<_> = std::iter::from_fn(|| bulkhead.try_enter()).collect();
        assert_eq!(all.len(), 3);
    }

    /// Serves `rounds` × 25 requests, ten at a time, each of which takes `took`.
    async fn serve(bulkhead: &Arc<Bulkhead>, rounds: u32, took: Duration) {
        for _ in 0..rounds * 25 {
            let mut berths: Vec<_> = std::iter::from_fn(|| bulkhead.try_enter()).take(10).collect();
            berths.iter_mut().for_each(Berth::asked);
            advance(took).await;
            berths.iter_mut().for_each(Berth::answered);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_pool_gets_less_until_it_is_fast_again() {
        let latency = Some(Millis(50));
        let bulkhead = bulkhead(Limit { in_flight: 10, latency, ..LIMIT });
        serve(&bulkhead, 20, Duration::from_millis(20)).await;
        assert_eq!(bulkhead.allowed(), 10);
        serve(&bulkhead, 20, Duration::from_millis(60)).await;
        assert_eq!(bulkhead.allowed(), 1);
        serve(&bulkhead, 20, Duration::from_millis(20)).await;
        assert_eq!(bulkhead.allowed(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_are_given_up_late_count_as_slow() {
        let latency = Some(Millis(50));
        let bulkhead = bulkhead(Limit { in_flight: 10, latency, ..LIMIT });
        for (wait, expected) in [(10, 10), (60, 1)] {
            for _ in 0..500 {
                let mut berth = bulkhead.try_enter().unwrap();
                berth.asked();
                advance(Duration::from_millis(wait)).await;
                drop(berth);
            }
            assert_eq!(bulkhead.allowed(), expected, "after {wait} ms");
        }
    }
}
