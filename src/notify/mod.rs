//! Tells receivers of events: webhooks, Slack, PagerDuty, mail.
//!
//! Every receiver has a thread and a bounded queue of its own. Handing over an event never waits, and
//! a receiver that is dead, slow or hanging delays its own notices and nothing else: no other
//! receiver, not control, not traffic.
//!
//! | part | what it is |
//! |---|---|
//! | `courier` | one receiver: its thread, what it wants, when it tries again |
//! | `queue` | what waits for that thread |
//! | `patience` | all limits of time and tries |
//! | `sender` | the receiver's form; sends one notice once |
//! | `incident` | which events belong to one trouble, for PagerDuty |
//!
//! What waits is in memory only: a notice that did not arrive before the process ends is in the
//! journal, but is not sent by the next one.

use std::sync::Arc;

use tokio::sync::oneshot;

use self::courier::Courier;
pub use self::{
    counts::ReceiverCounts,
    failure::{Failure, Retry},
    patience::Patience,
};
use crate::model::{event::Event, notify::Receiver, units::ReceiverName};

mod counts;
mod courier;
mod email;
mod failure;
#[cfg(test)]
mod fake;
mod http;
mod incident;
mod notice;
mod pagerduty;
mod patience;
mod queue;
mod sender;
mod slack;
mod smtp;
#[cfg(test)]
mod tests;
mod webhook;
pub mod words;

/// All receivers, each with its thread and its bounded queue.
///
/// When this goes, the threads end: at once if they wait, else when the send under way is over.
#[derive(Debug)]
pub struct Notifiers {
    couriers: Vec<Courier>,
    /// This machine's name; notices say where they come from.
    host: Arc<str>,
    patience: Patience,
}

impl Notifiers {
    /// Starts a thread for every receiver.
    pub fn start(receivers: &[Receiver]) -> Self {
        Self::with_patience(receivers, Patience::DEFAULT)
    }

    fn with_patience(receivers: &[Receiver], patience: Patience) -> Self {
        let mut notifiers = Self { couriers: Vec::new(), host: host_name(), patience };
        notifiers.update(receivers);
        notifiers
    }

    /// Keeps receivers whose settings did not change, with their queues, ends the others, and starts
    /// new ones.
    pub fn update(&mut self, receivers: &[Receiver]) {
        let mut old = std::mem::take(&mut self.couriers);
        let keep_or_start = |settings: &Receiver| {
            let known = old.iter().position(|courier| courier.settings() == settings);
            match known {
                Some(at) => old.swap_remove(at),
                None => Courier::start(settings, &self.host, self.patience),
            }
        };
        self.couriers = receivers.iter().map(keep_or_start).collect();
    }

    /// Hands an event to everyone who wants it. Never waits: where a queue is full, the oldest notice
    /// that waits is dropped and counted.
    pub fn tell(&self, event: &Event) {
        let event = Arc::new(event.clone());
        for courier in &self.couriers {
            courier.tell(&event);
        }
    }

    /// Sends a test notice to one receiver, once, outside its queue, on a thread of its own. The
    /// result arrives on the returned channel, at the latest when the time limits of one send have
    /// passed; the error says in words what went wrong. `None`: nobody has that name.
    pub fn test(&self, name: &ReceiverName) -> Option<oneshot::Receiver<Result<(), String>>> {
        let courier = self.couriers.iter().find(|courier| courier.settings().name == *name)?;
        Some(courier.test())
    }

    /// How every receiver fares, in the order of the config.
    pub fn counts(&self) -> Vec<ReceiverCounts> {
        self.couriers.iter().map(Courier::counts).collect()
    }
}

/// The name of this machine.
fn host_name() -> Arc<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".into(),
        name => name.into(),
    }
}
