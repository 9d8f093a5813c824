//! What the model can be told.

use std::{net::IpAddr, sync::Arc};

use super::{
    address::{Address, Target},
    cohort::List,
    event::Actor,
    health::AdminState,
    maintenance::Maintenance,
    settings::Settings,
    units::{Millis, PoolName, Revision, ServiceName, Share},
};

/// What asks for a change of state.
#[derive(Clone, Debug)]
pub enum Input {
    /// An operator's command.
    Order(Order),
    /// A new config file was accepted.
    Reloaded(Arc<Settings>, Actor),
    /// Time went by.
    Tick,
}

/// What was seen of the world. Changes which endpoints are fit, never what operators decided.
#[derive(Clone, Debug)]
pub enum Sight {
    /// A probe of an endpoint ended; `Err` says why it failed.
    Probed(EndpointKey, Result<(), Arc<str>>),
    /// An endpoint's traffic failed so many times in a row that the passive check takes it out.
    Failing(EndpointKey),
    /// A host name was resolved; `Err` says why not.
    Resolved(Arc<str>, Result<Vec<IpAddr>, Arc<str>>),
}

/// Identity of an endpoint's address in use: its service, pool, address and where that leads.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct EndpointKey {
    /// The service.
    pub service: ServiceName,
    /// The pool.
    pub pool: PoolName,
    /// What the operator wrote.
    pub address: Address,
    /// Where it leads.
    pub target: Target,
}

/// A command with who gives it and on what terms.
#[derive(Clone, Debug)]
pub struct Order {
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// Refuse unless this revision is in force.
    pub if_revision: Option<Revision>,
    /// What.
    pub command: Command,
}

/// What operators can ask for. `services` empty means every service that is concerned.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Give a pool a share.
    Weight {
        /// The pool.
        pool: PoolName,
        /// Its share.
        share: Share,
        /// Only in these services.
        services: Vec<ServiceName>,
        /// Return to the split before after this time.
        span: Option<Millis>,
        /// The verb that was used: `weight` or `switch`.
        verb: &'static str,
    },
    /// Give everything back to the baseline, at once or in steps over `ramp`.
    Rollback {
        /// Only in these services.
        services: Vec<ServiceName>,
        /// Over this time.
        ramp: Option<Millis>,
    },
    /// Begin or change maintenance.
    MaintenanceOn {
        /// Only of these services.
        services: Vec<ServiceName>,
        /// Until when, who passes, what the page says.
        maintenance: Maintenance,
    },
    /// End maintenance.
    MaintenanceOff {
        /// Only of these services.
        services: Vec<ServiceName>,
    },
    /// Change an endpoint.
    Endpoint {
        /// The pool.
        pool: PoolName,
        /// The endpoint.
        address: Address,
        /// Only in these services.
        services: Vec<ServiceName>,
        /// What to do.
        action: EndpointAction,
    },
    /// Change a pool's cohort.
    Cohort {
        /// The pool.
        pool: PoolName,
        /// Which list.
        list: List,
        /// The users.
        users: Vec<Arc<str>>,
        /// Add or remove them.
        action: CohortAction,
    },
    /// Return splits, baselines and endpoints to what the file says.
    ResetRuntime,
}

/// What to do with an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndpointAction {
    /// Put a new one into the pool.
    Add {
        /// Its weight inside the pool.
        weight: u16,
    },
    /// Take it out of the pool for good.
    Remove,
    /// Change what the operator wants of it.
    Set(AdminState),
}

/// What to do with users.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CohortAction {
    /// Put them on the list.
    Add,
    /// Take them off the list.
    Remove,
}
