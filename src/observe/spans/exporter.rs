//! The thread's life: from when the config names a collector until it names another.

use std::{
    io,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Fill, Order, Sink, round::Round};
use crate::model::spans::Tracing;

/// How long a stopping process waits for the collector.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Brings spans to the collector that the config names.
#[derive(Debug, Default)]
pub struct Exporter {
    current: Option<(Arc<Tracing>, Arc<Sink>)>,
    /// The ways to collectors that the config named before, while requests still know of them.
    former: Vec<Weak<Sink>>,
    lost: Arc<AtomicU64>,
}

impl Exporter {
    /// The way to the collector of these settings. If they are new, a thread is started for them; the one
    /// before ends when every worker has seen that, and the last request is over that it is to hear of.
    pub fn sink(&mut self, settings: Option<&Arc<Tracing>>) -> Option<Arc<Sink>> {
        if self.current.as_ref().map(|(known, _)| known) != settings {
            self.former.retain(|sink| sink.strong_count() > 0);
            self.former.extend(self.current.take().map(|(_, sink)| Arc::downgrade(&sink)));
            self.current = settings.and_then(|settings| {
                let started = start(settings, &self.lost);
                let failed = |error| tracing::error!("no spans are exported: no thread: {error}");
                started.map_err(failed).ok().map(|sink| (settings.clone(), sink))
            });
        }
        self.current.as_ref().map(|(_, sink)| sink.clone())
    }

    /// Waits until what was handed on so far has been brought, but some seconds at most: a collector that
    /// hangs must not keep the process.
    pub fn flush(&self) {
        let until = Instant::now() + FLUSH_MAX;
        let current = self.current.iter().map(|(_, sink)| sink.clone());
        let sinks = self.former.iter().filter_map(Weak::upgrade).chain(current);
        let told = sinks.filter_map(|sink| {
            let (done, wait) = sync_channel(1);
            sink.queue.send(Order::Flush(until, done)).ok().map(|()| wait)
        });
        // All are told before the first is waited for.
        for wait in told.collect::<Vec<_>>() {
            let _ = wait.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }

    /// How many spans were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

fn start(settings: &Tracing, lost: &Arc<AtomicU64>) -> io::Result<Arc<Sink>> {
    let (queue, orders) = channel();
    let fill = Fill { lost: lost.clone(), ..Fill::default() };
    let round = Round::new(settings, orders, fill.clone());
    thread::Builder::new().name("spans".into()).spawn(move || round.run())?;
    Ok(Arc::new(Sink { sample: settings.sample, queue, fill }))
}
