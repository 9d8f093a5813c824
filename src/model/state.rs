//! What survives a restart.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    address::Address,
    cohort::Cohorts,
    guard::{Profile, Terms},
    health::AdminState,
    maintenance::Maintenance,
    rollout::Rollout,
    settings::{self, Settings},
    split::Split,
    units::{Millis, Moment, PoolName, Revision, ServiceName, Share},
};

/// The form of the state that this release writes.
pub const FORMAT: u32 = 1;

/// What operators decided while lbd ran. Written whole to the state file.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct State {
    /// [`FORMAT`] of the release that wrote it.
    pub format: u32,
    /// The number of this state.
    pub revision: Revision,
    /// By service.
    pub services: BTreeMap<ServiceName, Arc<ServiceState>>,
    /// Maintenance of all services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Arc<Maintenance>>,
    /// Users who always or never go to a pool.
    #[serde(default)]
    pub cohorts: Cohorts,
    /// The number of the last rollout.
    #[serde(default)]
    pub last_rollout: u64,
    /// The rollout that runs, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Arc<Rollout>>,
}

/// What operators decided about one service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ServiceState {
    /// What the config file said when it was loaded last.
    pub file: FileState,
    /// The pool that is trusted.
    pub baseline: PoolName,
    /// The shares.
    pub split: Split,
    /// The endpoints by pool.
    pub endpoints: BTreeMap<PoolName, Vec<EndpointState>>,
    /// The split to return to, of a weight set for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<Revert>,
    /// A rollback in steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
    /// Maintenance of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Arc<Maintenance>>,
    /// Its own salt, while a rollout brings one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Arc<str>>,
    /// What candidates are judged by, where it differs from the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Arc<Terms>>,
    /// Pools that were taken back by the guard and get no traffic before somebody says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lockouts: BTreeMap<PoolName, Lockout>,
    /// What the guard objects to and does not act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// A candidate that was given everything by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
    /// New requests are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// What the baseline was like when a candidate was given everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Arc<Profile>>,
}

/// Why a pool gets no traffic.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Lockout {
    /// Since when.
    pub since: Moment,
    /// What the guard found.
    pub cause: String,
}

/// What the guard objects to and does not act on, because it is told not to or it would not help.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Alarm {
    /// The candidate.
    pub pool: PoolName,
    /// The verdict, as one word.
    pub verdict: String,
    /// Since when.
    pub since: Moment,
    /// What it found, and why it does not act.
    pub text: String,
}

/// A candidate that has everything without a rollout, and becomes the baseline by itself.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Bake {
    /// The candidate.
    pub pool: PoolName,
    /// When it becomes the baseline.
    pub until: Moment,
}

/// New requests are held until somebody lets them go on.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Pause {
    /// Since when.
    pub since: Moment,
    /// How long each of them is held at most.
    pub max: Millis,
}

/// What the file said of a service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FileState {
    /// The pool that is trusted.
    pub baseline: PoolName,
    /// The shares.
    pub split: Split,
    /// The endpoints by pool.
    pub endpoints: BTreeMap<PoolName, Vec<EndpointState>>,
    /// What candidates are judged by.
    #[serde(default)]
    pub guard: Arc<Terms>,
}

/// An endpoint of a pool.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EndpointState {
    /// Its identity.
    pub address: Address,
    /// Its weight inside the pool.
    pub weight: u16,
    /// What the operator wants of it.
    #[serde(default)]
    pub admin: AdminState,
}

/// A return to an earlier split at a set time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Revert {
    /// When.
    pub at: Moment,
    /// To which split.
    pub split: Split,
    /// And to which bake, if a candidate had everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
}

/// A rollback in steps from a split to the baseline.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Ramp {
    /// The split it began with.
    pub from: Split,
    /// When it began.
    pub began: Moment,
    /// How long it takes.
    pub span: Millis,
}

impl Ramp {
    /// The time between two steps: twenty of them, but not more than four in a second.
    pub fn step(&self) -> Millis {
        Millis((self.span.0 / 20).max(250))
    }

    /// How much of the ramp has passed, in whole steps.
    pub fn done(&self, now: Moment) -> Millis {
        let passed = now.since(self.began);
        if passed >= self.span { self.span } else { Millis(passed.0 - passed.0 % self.step().0) }
    }

    /// When the next step is due after `now`.
    pub fn next(&self, now: Moment) -> Moment {
        let end = self.began.after(self.span);
        self.began.after(Millis(self.done(now).0 + self.step().0)).min(end)
    }
}

impl State {
    /// The state of a first start: what the file says.
    pub fn new(settings: &Settings) -> Self {
        let services = settings.service.iter();
        Self {
            format: FORMAT,
            revision: Revision(1),
            services: services
                .map(|(name, s)| (name.clone(), Arc::new(ServiceState::new(s, None))))
                .collect(),
            maintenance: None,
            cohorts: Cohorts::default(),
            last_rollout: 0,
            rollout: None,
        }
    }

    /// The services that have `pool`.
    pub fn with_pool(&self, pool: &PoolName) -> impl Iterator<Item = &ServiceName> {
        self.services.iter().filter(|(_, s)| s.split.has(pool)).map(|(name, _)| name)
    }

    /// The rollout that runs, if one does.
    pub fn running(&self) -> Option<&Arc<Rollout>> {
        self.rollout.as_ref().filter(|rollout| !rollout.phase.is_final())
    }

    /// One service, to change.
    pub fn service_mut(&mut self, name: &ServiceName) -> Option<&mut ServiceState> {
        self.services.get_mut(name).map(Arc::make_mut)
    }
}

impl ServiceState {
    /// What the file says, for a service that had the split `before`.
    pub fn new(settings: &settings::Service, before: Option<&Split>) -> Self {
        let file = FileState::new(settings);
        Self {
            baseline: file.baseline.clone(),
            split: file.split.clone().settled(before, &file.baseline),
            endpoints: file.endpoints.clone(),
            file,
            revert: None,
            ramp: None,
            maintenance: None,
            salt: None,
            guard: None,
            lockouts: BTreeMap::new(),
            alarm: None,
            bake: None,
            pause: None,
            profile: None,
        }
    }

    /// What candidates are judged by.
    pub fn terms(&self) -> &Terms {
        self.guard.as_deref().unwrap_or(&self.file.guard)
    }

    /// The pools that are tried: all with a share but the baseline.
    pub fn candidates(&self) -> impl Iterator<Item = (&PoolName, Share)> {
        self.split.iter().filter(|(pool, share)| **pool != self.baseline && *share > Share::NONE)
    }

    /// The split with everything on the baseline.
    pub fn rolled_back(&self) -> Split {
        Split::all_to(&self.baseline, self.split.iter().map(|(pool, _)| pool.clone()))
    }
}

impl FileState {
    /// What the file says.
    pub fn new(settings: &settings::Service) -> Self {
        let pools = settings.pool.keys().cloned();
        let endpoint = |e: &settings::EndpointSpec| EndpointState {
            address: e.address.clone(),
            weight: e.weight,
            admin: AdminState::Ready,
        };
        Self {
            baseline: settings.baseline.clone(),
            // The config check has made sure that the weights sum to the whole.
            split: settings.split().unwrap_or_else(|| Split::all_to(&settings.baseline, pools)),
            endpoints: settings
                .pool
                .iter()
                .map(|(name, pool)| (name.clone(), pool.endpoints.iter().map(endpoint).collect()))
                .collect(),
            guard: Arc::new(settings.guard.clone()),
        }
    }
}
