//! One receiver: what it wants, and the thread that brings it.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    counts::{Counts, ReceiverCounts},
    failure::Failure,
    incident::{Action, Open, incident},
    notice::Notice,
    patience::Patience,
    queue::Queue,
    sender::Sender,
};
use crate::model::{
    event::Event,
    notify::{Channel, Receiver},
};

/// One receiver. Its thread ends when this goes.
#[derive(Debug)]
pub struct Courier {
    settings: Receiver,
    host: Arc<str>,
    /// Troubles that the receiver knows of; only PagerDuty keeps such.
    open: Option<Arc<Open>>,
    route: Arc<Route>,
    /// Set when a notice was dropped, until the queue is empty again.
    full: AtomicBool,
}

/// What the courier shares with its thread.
#[derive(Debug)]
struct Route {
    queue: Queue,
    counts: Counts,
    sender: Arc<Sender>,
}

impl Courier {
    /// Starts the thread of a receiver.
    pub fn start(settings: &Receiver, host: &Arc<str>, patience: Patience) -> Self {
        let pages = matches!(settings.channel, Channel::Pagerduty { .. });
        let courier = Self {
            settings: settings.clone(),
            host: host.clone(),
            open: pages.then(Arc::default),
            route: Arc::new(Route {
                queue: Queue::default(),
                counts: Counts::default(),
                sender: Arc::new(Sender::new(&settings.channel, patience)),
            }),
            full: AtomicBool::new(false),
        };
        if let Err(error) = courier.spawn(patience) {
            let name = &settings.name;
            tracing::error!("notices to {name} cannot be sent: no thread for them: {error}");
            courier.route.counts.problem(&format!("no thread: {error}"));
        }
        courier
    }

    /// What goes when both this and its thread are gone.
    #[cfg(test)]
    pub fn watch(&self) -> std::sync::Weak<impl Sized + use<>> {
        Arc::downgrade(&self.route)
    }

    fn spawn(&self, patience: Patience) -> io::Result<()> {
        let mut round = Round {
            name: self.settings.name.to_string(),
            open: self.open.clone(),
            route: self.route.clone(),
            patience,
            complained: false,
        };
        thread::Builder::new().name("notify".into()).spawn(move || round.run())?;
        Ok(())
    }

    /// What it was started with.
    pub fn settings(&self) -> &Receiver {
        &self.settings
    }

    /// Hands over an event, if the receiver wants it. Never waits.
    pub fn tell(&self, event: &Arc<Event>) {
        self.notices(event).into_iter().for_each(|notice| self.hand(notice));
    }

    /// What an event gives to send: mostly one notice, or none that the receiver wants.
    fn notices(&self, event: &Arc<Event>) -> Vec<Notice> {
        let severe = event.severity >= self.settings.severity;
        let notice = Notice::news(event, &self.host);
        let Some(open) = &self.open else { return severe.then_some(notice).into_iter().collect() };
        let incident = incident(event, &self.host);
        let incidents = match incident.action {
            Action::Trigger | Action::Alert if !severe => Vec::new(),
            Action::Alert => vec![incident],
            Action::Trigger => {
                open.add(incident.clone());
                vec![incident]
            }
            // Good news is wanted whatever its severity, but only if the bad news was told.
            Action::Resolve => open.take(&incident),
        };
        let of = |incident| Notice { incident: Some(incident), ..notice.clone() };
        incidents.into_iter().map(of).collect()
    }

    fn hand(&self, notice: Notice) {
        if self.route.queue.waiting() == 0 {
            self.full.store(false, Relaxed);
        }
        let Some(dropped) = self.route.queue.push(notice) else { return };
        self.route.counts.dropped();
        keep_open(self.open.as_deref(), &dropped);
        if !self.full.swap(true, Relaxed) {
            let name = &self.settings.name;
            tracing::warn!("too many notices wait for {name}: the oldest are dropped");
        }
    }

    /// Sends a test notice at once, on a thread of its own.
    pub fn test(&self) -> oneshot::Receiver<Result<(), String>> {
        let (tell, result) = oneshot::channel();
        let notice = Notice::test(&self.settings.name, &self.host);
        let sender = self.route.sender.clone();
        let run = move || {
            // Nobody waits for the result any more if this fails.
            let _ = tell.send(sender.send(&notice).map_err(|failure| failure.text));
        };
        match thread::Builder::new().name("notify-test".into()).spawn(run) {
            Ok(_) => result,
            Err(error) => {
                // The first channel went with the closure.
                let (tell, result) = oneshot::channel();
                let _ = tell.send(Err(format!("no thread: {error}")));
                result
            }
        }
    }

    /// How it fares.
    pub fn counts(&self) -> ReceiverCounts {
        self.route.counts.read(&self.settings.name, self.route.queue.waiting())
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        let lost = self.route.queue.close();
        if lost > 0 {
            let name = &self.settings.name;
            tracing::warn!("receiver {name} ends or changed: {lost} notices may not arrive");
        }
    }
}

/// A resolve that gets lost would leave its incident open for ever: it is sent with the next good
/// news instead. PagerDuty does not mind one too many.
fn keep_open(open: Option<&Open>, lost: &Notice) {
    let resolve = lost.incident.as_ref().filter(|incident| incident.action == Action::Resolve);
    if let (Some(open), Some(incident)) = (open, resolve) {
        open.add(incident.clone());
    }
}

/// The thread's own part.
struct Round {
    name: String,
    open: Option<Arc<Open>>,
    route: Arc<Route>,
    patience: Patience,
    /// Whether the log has the trouble that lasts, so that it is not said with every notice.
    complained: bool,
}

impl Round {
    fn run(&mut self) {
        while let Some(notice) = self.route.queue.take() {
            if self.bring(&notice).is_none() {
                return;
            }
        }
    }

    /// Tries until the notice arrives or is given up. `None`: the receiver ended meanwhile.
    fn bring(&mut self, notice: &Notice) -> Option<()> {
        let since = Instant::now();
        let mut tries = 0;
        loop {
            let Err(failure) = self.route.sender.send(notice) else {
                self.arrived();
                return Some(());
            };
            tries += 1;
            self.route.counts.problem(&failure.text);
            match self.patience.wait(tries, since.elapsed(), failure.retry, fastrand::f64()) {
                Some(wait) => self.route.queue.rest(wait)?,
                None => {
                    self.give_up(notice, &failure, tries);
                    return Some(());
                }
            }
        }
    }

    fn arrived(&mut self) {
        self.route.counts.sent();
        if std::mem::take(&mut self.complained) {
            tracing::info!("notices to {} arrive again", self.name);
        }
    }

    fn give_up(&mut self, notice: &Notice, failure: &Failure, tries: u32) {
        self.route.counts.failed();
        keep_open(self.open.as_deref(), notice);
        if !std::mem::replace(&mut self.complained, true) {
            let (name, text) = (&self.name, &failure.text);
            tracing::warn!("a notice to {name} is given up, tries {tries}: {text}");
        }
    }
}
