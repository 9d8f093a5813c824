//! Holds what is in force for each listener.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;

use super::{
    automatic::{Automatic, Proofs},
    own::proving,
    server::{Tickets, server},
};
use crate::model::{
    listener::Listener,
    tls::{Certificate, ListenerTls},
    units::ListenerName,
};

/// What handshakes are made with.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// With clients.
    pub config: Arc<ServerConfig>,
    /// With who looks whether a name is lbd's; while that is to be proved.
    pub proving: Option<Arc<ServerConfig>>,
}

/// What a listener's handshakes are made with; nothing while it speaks plain HTTP.
#[derive(Debug, Default)]
pub struct Holder(ArcSwapOption<Handshake>);

impl Holder {
    /// What a handshake that begins now is made with.
    pub fn current(&self) -> Option<Arc<Handshake>> {
        self.0.load_full()
    }
}

/// The holders of all listeners, for the one who fills them.
#[derive(Debug, Default)]
pub struct Holders {
    holders: BTreeMap<ListenerName, Held>,
    proofs: Proofs,
    proving: Option<Arc<ServerConfig>>,
}

#[derive(Debug, Default)]
struct Held {
    holder: Arc<Holder>,
    wanted: Option<Wanted>,
    tickets: Option<Tickets>,
}

/// What makes a listener's handshakes.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    tls: ListenerTls,
    http2: bool,
    issued: Option<Arc<Certificate>>,
}

impl Holders {
    /// The holder of a listener.
    pub fn of(&mut self, name: &ListenerName) -> Arc<Holder> {
        self.holders.entry(name.clone()).or_default().holder.clone()
    }

    /// Puts in force what the settings say, and what lbd got by itself. A listener for which that fails
    /// keeps what it has.
    ///
    /// # Errors
    ///
    /// Which listeners failed and why; the config check has ruled that out.
    pub fn update(
        &mut self,
        listeners: &BTreeMap<ListenerName, Arc<Listener>>,
        automatic: &Automatic,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        if self.proofs != automatic.proofs {
            self.proofs.clone_from(&automatic.proofs);
            self.proving = None;
            if !self.proofs.is_empty() {
                match proving(&self.proofs) {
                    Ok(config) => self.proving = Some(Arc::new(config)),
                    Err(problem) => problems.push(format!("acme: {problem}")),
                }
            }
        }
        for (name, listener) in listeners {
            let held = self.holders.entry(name.clone()).or_default();
            let wanted = listener.tls.clone().map(|tls| Wanted {
                issued: automatic.issued.get(name).filter(|_| !tls.acme.is_empty()).cloned(),
                tls,
                http2: listener.http2,
            });
            if let Err(problem) = held.update(wanted, self.proving.as_ref()) {
                problems.push(format!("listener.{name}.tls: {problem}"));
            }
        }
        problems
    }
}

impl Held {
    fn update(
        &mut self,
        wanted: Option<Wanted>,
        proving: Option<&Arc<ServerConfig>>,
    ) -> Result<(), String> {
        let old = self.holder.0.load_full();
        let Some(wanted) = wanted else {
            self.holder.0.store(None);
            self.wanted = None;
            return Ok(());
        };
        let config = match &old {
            Some(old) if self.wanted.as_ref() == Some(&wanted) => old.config.clone(),
            Some(_) | None => {
                let Wanted { tls, http2, issued } = &wanted;
                let made = server(tls, issued.as_deref(), *http2, self.tickets.as_ref())?;
                self.tickets = Some(made.1);
                Arc::new(made.0)
            }
        };
        self.wanted = Some(wanted);
        let is_proving = |old: &Handshake| match (&old.proving, proving) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !old.is_some_and(|old| Arc::ptr_eq(&old.config, &config) && is_proving(&old)) {
            self.holder.0.store(Some(Arc::new(Handshake { config, proving: proving.cloned() })));
        }
        Ok(())
    }
}
