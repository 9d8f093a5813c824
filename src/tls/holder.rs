//! Holds what is in force for each listener.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;

use super::server::{Tickets, server};
use crate::model::{listener::Listener, tls::ListenerTls, units::ListenerName};

/// What a listener's handshakes are made with; nothing while it speaks plain HTTP.
#[derive(Debug, Default)]
pub struct Holder(ArcSwapOption<ServerConfig>);

impl Holder {
    /// What a handshake that begins now is made with.
    pub fn current(&self) -> Option<Arc<ServerConfig>> {
        self.0.load_full()
    }
}

/// The holders of all listeners, for the one who fills them.
#[derive(Debug, Default)]
pub struct Holders {
    holders: BTreeMap<ListenerName, Held>,
}

#[derive(Debug, Default)]
struct Held {
    holder: Arc<Holder>,
    tls: Option<(ListenerTls, bool)>,
    tickets: Option<Tickets>,
}

impl Holders {
    /// The holder of a listener.
    pub fn of(&mut self, name: &ListenerName) -> Arc<Holder> {
        self.holders.entry(name.clone()).or_default().holder.clone()
    }

    /// Puts in force what the settings say. A listener for which that fails keeps what it has.
    ///
    /// # Errors
    ///
    /// Which listeners failed and why; the config check has ruled that out.
    pub fn update(&mut self, listeners: &BTreeMap<ListenerName, Arc<Listener>>) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, listener) in listeners {
            let held = self.holders.entry(name.clone()).or_default();
            if let Err(problem) = held.update(listener) {
                problems.push(format!("listener.{name}.tls: {problem}"));
            }
        }
        problems
    }
}

impl Held {
    fn update(&mut self, listener: &Listener) -> Result<(), String> {
        let wanted = listener.tls.clone().map(|tls| (tls, listener.http2));
        if wanted == self.tls {
            return Ok(());
        }
        match &wanted {
            None => self.holder.0.store(None),
            Some((tls, http2)) => {
                let (config, tickets) = server(tls, *http2, self.tickets.as_ref())?;
                self.holder.0.store(Some(Arc::new(config)));
                self.tickets = Some(tickets);
            }
        }
        self.tls = wanted;
        Ok(())
    }
}
