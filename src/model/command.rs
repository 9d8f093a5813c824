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
    Reloaded(Reload),
    /// Time went by.
    Tick,
}

/// A config file that was accepted.
#[derive(Clone, Debug)]
pub struct Reload {
    /// What it says.
    pub settings: Arc<Settings>,
    /// Who asked.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// What becomes of runtime values that differ from it.
    pub runtime: Runtime,
}

/// What becomes of runtime values at a reload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Runtime {
    /// They stay where the file's own value did not change.
    Kept,
    /// Weights, baselines and endpoints return to what the file says.
    Reset,
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

/// What operators can ask for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Give a pool a share.
    Weight(Weight),
    /// Give everything back to the baseline.
    Rollback(Rollback),
    /// Begin maintenance, of these services or of all, or change its terms.
    MaintenanceOn(Vec<ServiceName>, Maintenance),
    /// End maintenance, of these services or altogether.
    MaintenanceOff(Vec<ServiceName>),
    /// Change an endpoint.
    Endpoint(EndpointChange),
    /// Change a pool's cohort.
    Cohort(CohortChange),
}

/// A share for a pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The pool.
    pub pool: PoolName,
    /// Its share.
    pub share: Share,
    /// Only in these services; empty: in every one that has the pool.
    pub services: Vec<ServiceName>,
    /// Return to the split before after this time.
    pub span: Option<Millis>,
    /// The verb that was used: `weight` or `switch`.
    pub verb: &'static str,
}

/// The way back to the baselines.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// Only in these services; empty: in all.
    pub services: Vec<ServiceName>,
    /// In steps over this time; absent: at once.
    pub ramp: Option<Millis>,
}

/// A change of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointChange {
    /// The pool.
    pub pool: PoolName,
    /// The endpoint.
    pub address: Address,
    /// Only in these services; empty: wherever the pool has it.
    pub services: Vec<ServiceName>,
    /// What to do.
    pub action: EndpointAction,
}

/// A change of a pool's cohort, in every service that has the pool.
#[derive(Clone, Debug, PartialEq)]
pub struct CohortChange {
    /// The pool.
    pub pool: PoolName,
    /// Which list.
    pub list: List,
    /// The users.
    pub users: Vec<Arc<str>>,
    /// Add or remove them.
    pub action: CohortAction,
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
