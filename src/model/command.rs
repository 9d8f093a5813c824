//! What the model can be told.

use std::{net::IpAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    address::{Address, Target},
    cohort::List,
    event::Actor,
    health::AdminState,
    maintenance::Maintenance,
    rollout::{Advance, Stage},
    settings::Settings,
    units::{Millis, PlanName, PoolName, Revision, ServiceName, Share},
};

/// What asks for a change of state.
#[derive(Clone, Debug)]
pub enum Input {
    /// An operator's command.
    Order(Order),
    /// A new config file was accepted.
    Reloaded(Reload),
    /// The preflight of the rollout with this number ended; `Err` says what is wrong.
    Checked(u64, Result<(), String>),
    /// Time went by, or the guard found something.
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
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
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

impl Order {
    /// Why, in words; who, where they did not say.
    pub fn why(&self) -> String {
        self.reason.clone().unwrap_or_else(|| format!("by {}", self.actor.name))
    }
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
    /// Start a rollout.
    RolloutStart(RolloutStart),
    /// Hold the rollout where it is.
    RolloutPause,
    /// Let the rollout go on.
    RolloutResume,
    /// Go on to the rollout's next stage now; with `full`, or while it bakes, to its end.
    RolloutPromote {
        /// Pass over all stages that are left.
        full: bool,
    },
    /// End the rollout and give everything back.
    RolloutAbort,
    /// Change what candidates are judged by.
    Guard(GuardChange),
    /// Hold new requests, of these services or of all, for so long at most.
    Pause(Vec<ServiceName>, Millis),
    /// Let held requests go on, of these services or of all.
    Resume(Vec<ServiceName>),
}

/// A rollout to start.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutStart {
    /// The candidate.
    pub pool: PoolName,
    /// Only in these services; empty: in every one that has the pool.
    pub services: Vec<ServiceName>,
    /// Which plan; `default` if not said.
    pub plan: Option<PlanName>,
    /// What to do otherwise than the plan.
    pub changes: PlanChanges,
    /// A salt of its own.
    pub salt: Option<Arc<str>>,
    /// Give it traffic whatever its preflight would say.
    pub skip_checks: bool,
}

/// What a rollout does otherwise than its plan.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PlanChanges {
    /// Other stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<Stage>>,
    /// Another hold, of all stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Millis>,
    /// Another end of stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advance: Option<Advance>,
    /// Another limit of undecided holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hold: Option<Millis>,
    /// Another bake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Millis>,
}

/// What candidates are to be judged by from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardChange {
    /// Only in these services; empty: in all.
    pub services: Vec<ServiceName>,
    /// The terms that are to be changed, by their keys in the config file; empty: back to the file.
    pub terms: serde_json::Map<String, serde_json::Value>,
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
    /// Even where the pool is locked out or a rollout runs, which it ends.
    pub force: bool,
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
