//! The model: state, settings and what was seen of the endpoints, and the one way to change them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    address::{Address, Target},
    change::{Changed, SplitChange},
    command::{Command, EndpointKey, Input, Order, Reload, Runtime},
    diff::{differences, lines},
    event::{Actor, Event, Severity},
    guard::{Finding, Watch},
    health::{AdminState, Health, Standing},
    limit::Limit,
    link::Link,
    refusal::Refusal,
    rollout::{Phase, Signal},
    route::Routes,
    settings::{self, Settings},
    snapshot::{Endpoint, Pool, Service, Snapshot},
    split::Places,
    state::{EndpointState, ServiceState, State},
    units::{Moment, PoolName, Revision, ServiceName, Share},
};

/// Everything lbd knows. Owned by control, the single writer.
#[derive(Clone, Debug)]
pub struct Model {
    /// The config in force.
    pub settings: Arc<Settings>,
    /// What operators decided.
    pub state: State,
    routes: Arc<Routes>,
    pub(super) health: BTreeMap<EndpointKey, Health>,
    pub(super) resolved: BTreeMap<Arc<str>, Resolution>,
    /// Until when endpoints are fresh, and what they do is not judged.
    pub(super) warming: BTreeMap<EndpointKey, Moment>,
    /// The guard's evidence.
    pub(super) watches: BTreeMap<ServiceName, Watch>,
    /// What the guard found last, of candidates that are on trial.
    pub(super) findings: BTreeMap<(ServiceName, PoolName), Finding>,
    /// The candidates of each service, each with in how many services it is tried together.
    pub(super) trials: BTreeMap<ServiceName, Vec<(PoolName, usize)>>,
}

/// What the name servers said of a host.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resolution {
    /// The addresses, in order; the last good answer.
    pub addresses: Vec<IpAddr>,
    /// Why the last question failed; empty if it did not.
    pub problem: Arc<str>,
}

/// A change that was thought out but not made. Nothing is in force before [`Model::adopt`].
#[derive(Clone, Debug)]
pub struct Step {
    /// The settings afterwards.
    pub settings: Arc<Settings>,
    /// The state afterwards.
    pub state: State,
    /// In which order it takes effect.
    pub commit: Commit,
    /// What to answer.
    pub reply: Changed,
    /// What to journal.
    pub events: Vec<Event>,
}

/// In which order a change is written and published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Commit {
    /// Nothing changed.
    Nothing,
    /// Written first; if that fails the change is refused.
    DurableFirst,
    /// Published first, written after: a full disk cannot delay a rollback.
    LiveFirst,
}

impl Model {
    /// The model at start, from the config and what the last run left.
    pub fn new(settings: Arc<Settings>, kept: Option<State>) -> Self {
        let state = kept.map_or_else(|| State::new(&settings), |state| state.restarted(&settings));
        let routes = routes(&settings);
        let mut model = Self {
            settings,
            state,
            routes,
            health: BTreeMap::new(),
            resolved: BTreeMap::new(),
            warming: BTreeMap::new(),
            watches: BTreeMap::new(),
            findings: BTreeMap::new(),
            trials: BTreeMap::new(),
        };
        model.divide(Moment(0), &BTreeMap::new());
        model
    }

    /// Goes on at `now` with what the last run left: what time measures begins anew, since nothing is
    /// known of what happened meanwhile.
    pub fn resume(&mut self, now: Moment) {
        if let Some(rollout) = &mut self.state.rollout
            && let Phase::Holding { since, .. } = &mut Arc::make_mut(rollout).phase
        {
            *since = now;
        }
        self.watches.clear();
        self.divide(now, &BTreeMap::new());
        for (name, service) in &self.state.services {
            if let (Some(profile), Some(watch)) = (&service.profile, self.watches.get_mut(name)) {
                watch.set_profile(now, profile);
            }
        }
    }

    /// Thinks out what `input` changes.
    ///
    /// # Errors
    ///
    /// A [`Refusal`]; the model is as it was in any case.
    pub fn handle(&self, now: Moment, input: Input) -> Result<Step, Refusal> {
        match input {
            Input::Order(order) => self.order(now, order),
            Input::Reloaded(reload) => Ok(self.reloaded(now, reload)),
            Input::Checked(id, result) => Ok(self.checked(now, id, result)),
            Input::Tick => Ok(self.tick(now)),
        }
    }

    /// Makes a step's change.
    pub fn adopt(&mut self, now: Moment, settings: Arc<Settings>, state: State) {
        if !Arc::ptr_eq(&self.settings, &settings) {
            self.routes = routes(&settings);
            self.settings = settings;
        }
        let before = std::mem::replace(&mut self.state, state);
        self.divide(now, &before.services);
        self.forget_old_health();
        let hosts = self.hosts();
        self.resolved.retain(|host, _| hosts.contains(host));
    }

    /// Health belongs to endpoints in use and to checks that are still made. One that comes back from
    /// `maint` is judged anew.
    pub(super) fn forget_old_health(&mut self) {
        let probed = |e: &EndpointState| e.admin != AdminState::Maint;
        let known: BTreeSet<EndpointKey> =
            self.endpoints().filter(|(_, e)| probed(e)).map(|(key, _)| key).collect();
        self.health.retain(|key, _| known.contains(key));
        for (key, health) in &mut self.health {
            let checks = self.settings.service.get(&key.service).map(|s| &s.health);
            if checks.is_none_or(|c| c.probe.is_none()) {
                health.forget_probes();
            }
            if checks.is_none_or(|c| c.passive.is_none()) {
                health.suspended = None;
            }
        }
    }

    /// Lets suspended endpoints back whose time is served, and ends warm-ups. Returns whether a snapshot
    /// would change, and what to journal.
    pub fn release(&mut self, now: Moment) -> (bool, Vec<Event>) {
        // All of them, not only the first: no short cut here.
        let released: Vec<EndpointKey> = self
            .health
            .iter_mut()
            .filter_map(|(key, health)| health.release(now).then(|| key.clone()))
            .collect();
        let warming = self.warming.len();
        self.warming.retain(|_, until| *until > now);
        let changed = !released.is_empty() || self.warming.len() != warming;
        let back = |key: &EndpointKey| self.endpoint_event(now, key, Severity::Info, "is back");
        let events = released.iter().map(back).collect();
        for key in released {
            self.warm_up(now, key);
        }
        (changed, events)
    }

    /// When [`Input::Tick`] or [`Model::release`] will next have something to do.
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let services = self.state.services.values().flat_map(|s| {
            let maintenance = s.maintenance.as_ref().and_then(|m| m.until);
            [
                s.revert.as_ref().map(|r| r.at),
                s.ramp.as_ref().map(|r| r.next(now)),
                s.bake.as_ref().filter(|_| s.alarm.is_none()).map(|b| b.until),
                maintenance,
            ]
        });
        let rollout = self.state.running().and_then(|rollout| rollout.due(now));
        let warm = self.warming.values().min().copied();
        let everywhere = self.state.maintenance.as_ref().and_then(|m| m.until);
        let suspended = self.health.values().map(|h| h.suspended.map(|(until, _)| until));
        services.chain([everywhere, rollout, warm]).chain(suspended).flatten().min()
    }

    /// What workers need, in one value.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            revision: self.state.revision,
            routes: self.routes.clone(),
            services: self
                .services()
                .map(|(settings, name, s)| Arc::new(self.service(settings, name, s)))
                .collect(),
            always_allow: self.settings.maintenance.allow.clone().into(),
        }
    }

    /// Every endpoint in use, with its settings: what is probed and counted.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointKey, &EndpointState)> {
        let services = self.state.services.iter();
        services.flat_map(move |(service, state)| self.endpoints_of(service, state))
    }

    /// All endpoints of a service.
    pub(super) fn endpoints_of<'m>(
        &'m self,
        service: &'m ServiceName,
        state: &'m ServiceState,
    ) -> impl Iterator<Item = (EndpointKey, &'m EndpointState)> {
        state.endpoints.iter().flat_map(move |(pool, endpoints)| {
            endpoints.iter().flat_map(move |endpoint| {
                self.targets(&endpoint.address).into_iter().map(move |target| {
                    let (service, pool) = (service.clone(), pool.clone());
                    let address = endpoint.address.clone();
                    (EndpointKey { service, pool, address, target }, endpoint)
                })
            })
        })
    }

    /// The endpoint with this identity, if it is still in use.
    pub fn endpoint(&self, key: &EndpointKey) -> Option<&EndpointState> {
        let pool = self.state.services.get(&key.service)?.endpoints.get(&key.pool)?;
        let endpoint = pool.iter().find(|e| e.address == key.address)?;
        self.targets(&key.address).contains(&key.target).then_some(endpoint)
    }

    /// The host names that endpoints have.
    pub fn hosts(&self) -> BTreeSet<Arc<str>> {
        let endpoints = self.state.services.values().flat_map(|s| s.endpoints.values().flatten());
        endpoints
            .filter_map(|e| match &e.address {
                Address::Host { host, .. } => Some(host.clone()),
                Address::Ip(_) | Address::Unix(_) => None,
            })
            .collect()
    }

    /// What is known of an endpoint's health.
    pub fn health(&self, key: &EndpointKey) -> Health {
        self.health.get(key).cloned().unwrap_or_default()
    }

    /// What the name servers said of a host.
    pub fn resolution(&self, host: &str) -> Option<&Resolution> {
        self.resolved.get(host)
    }

    /// Where an address leads now.
    pub fn targets(&self, address: &Address) -> Vec<Target> {
        match (address, address.fixed_target()) {
            (_, Some(target)) => vec![target],
            (Address::Host { host, port }, None) => {
                let known =
                    self.resolved.get(host).map(|r| r.addresses.as_slice()).unwrap_or_default();
                known.iter().map(|ip| Target::Tcp((*ip, *port).into())).collect()
            }
            (Address::Ip(_) | Address::Unix(_), None) => Vec::new(),
        }
    }

    /// How fit an endpoint is to serve.
    pub fn standing(&self, key: &EndpointKey, endpoint: &EndpointState) -> Standing {
        let probing =
            self.settings.service.get(&key.service).is_some_and(|s| s.health.probe.is_some());
        let health = self.health.get(key);
        let nothing = Health::default();
        Standing::of(endpoint.admin, health.unwrap_or(&nothing), probing)
    }

    fn order(&self, now: Moment, order: Order) -> Result<Step, Refusal> {
        let current = self.state.revision;
        match order.if_revision {
            Some(asked) if asked != current => {
                return Err(Refusal::StaleRevision { asked, current });
            }
            Some(_) | None => {}
        }
        match &order.command {
            Command::Weight(weight) => self.set_weight(now, &order, weight),
            Command::Rollback(rollback) => self.roll_back(now, &order, rollback),
            Command::MaintenanceOn(services, terms) => {
                self.maintenance_on(now, &order, services, terms)
            }
            Command::MaintenanceOff(services) => self.maintenance_off(now, &order, services),
            Command::Endpoint(change) => self.change_endpoint(now, &order, change),
            Command::Cohort(change) => self.change_cohort(now, &order, change),
            Command::RolloutStart(start) => self.start_rollout(now, &order, start),
            Command::RolloutPause => self.move_rollout(now, &order, Signal::Pause(order.why())),
            Command::RolloutResume => self.move_rollout(now, &order, Signal::Resume),
            Command::RolloutPromote { full } => self.promote(now, &order, *full),
            Command::RolloutAbort => self.abort_rollout(now, &order),
            Command::Guard(change) => self.change_guard(now, &order, change),
            Command::Pause(services, span) => self.pause(now, &order, services, *span),
            Command::Resume(services) => self.unpause(now, &order, services),
        }
    }

    fn reloaded(&self, now: Moment, reload: Reload) -> Step {
        let Reload { settings, actor, reason, runtime } = reload;
        let state = match runtime {
            Runtime::Kept => self.state.merged(&settings),
            Runtime::Reset => self.state.reset(&settings),
        }
        .without_lost_rollout(now, &self.state);
        let mut step = self.step(now, state, &actor, reason);
        if !step.reply.changed && *settings != *self.settings {
            // What operators decided is the same, but the file is a new one.
            step.changed(self.state.revision.next());
        }
        let summary = match (step.reply.changed, runtime) {
            (false, _) => "the config file has not changed",
            (true, Runtime::Kept) => "config reloaded",
            (true, Runtime::Reset) => "config reloaded, runtime values returned to the file",
        };
        Step { settings, ..step }.described("reload", summary.into(), Commit::DurableFirst)
    }

    /// A step to `state`, with its revision, the splits that changed, and one event whose words are
    /// still to come.
    pub(super) fn step(
        &self,
        now: Moment,
        state: State,
        actor: &Actor,
        reason: Option<String>,
    ) -> Step {
        let state = self.with_profiles(state);
        let differences = differences(&self.state, &state);
        let (before, after) = lines(&differences);
        let mut services: Vec<_> = differences.into_iter().filter_map(|d| d.service).collect();
        services.dedup();
        let event = Event {
            actor: actor.clone(),
            services,
            reason,
            before,
            after,
            ..Event::new(now, state.revision, "", Severity::Info, "")
        };
        let splits = self.split_changes(&state).filter(SplitChange::is_change).collect();
        let changed = state != self.state;
        let mut step = Step {
            settings: self.settings.clone(),
            reply: Changed { revision: self.state.revision, splits, ..Changed::default() },
            state,
            commit: Commit::Nothing,
            events: vec![event],
        };
        if changed {
            step.changed(self.state.revision.next());
        }
        step
    }

    /// Old and new shares of every service that is in both states.
    pub(super) fn split_changes(&self, state: &State) -> impl Iterator<Item = SplitChange> {
        state.services.iter().filter_map(|(name, new)| {
            let old = self.state.services.get(name)?;
            Some(SplitChange::between(name, &old.split, &new.split))
        })
    }

    fn services(
        &self,
    ) -> impl Iterator<Item = (&Arc<settings::Service>, &ServiceName, &ServiceState)> {
        // Both maps have the same keys in the same order; the routes' indexes rely on it.
        self.settings.service.iter().filter_map(|(name, settings)| {
            self.state.services.get(name).map(|state| (settings, name, state.as_ref()))
        })
    }

    fn service(
        &self,
        settings: &Arc<settings::Service>,
        name: &ServiceName,
        s: &ServiceState,
    ) -> Service {
        let shares: Vec<Share> = s.split.iter().map(|(_, share)| share).collect();
        let baseline = s.split.iter().position(|(pool, _)| *pool == s.baseline).unwrap_or_default();
        Service {
            name: name.clone(),
            settings: settings.clone(),
            baseline,
            salt: s.salt.clone().unwrap_or_else(|| self.settings.bucketing.salt.clone()),
            epoch: self.watches.get(name).map(Watch::epoch).unwrap_or_default(),
            judged: s.split.iter().count() > 1,
            shield: s.terms().shield,
            paused: s.pause,
            places: Places::new(&shares, baseline),
            pools: s.split.iter().map(|(pool, share)| self.pool(name, s, pool, share)).collect(),
            maintenance: s.maintenance.clone().or_else(|| self.state.maintenance.clone()),
        }
    }

    /// How a pool's endpoints are spoken to.
    pub fn link(&self, service: &ServiceName, pool: &PoolName) -> Arc<Link> {
        let service = self.settings.service.get(service);
        service.and_then(|s| s.pool.get(pool)).map(|pool| pool.link.clone()).unwrap_or_default()
    }

    /// How many requests a pool is given at a time, if that is limited.
    pub fn limit(&self, service: &ServiceName, pool: &PoolName) -> Option<Limit> {
        self.settings.service.get(service)?.pool.get(pool)?.limit
    }

    fn pool(&self, service: &ServiceName, s: &ServiceState, pool: &PoolName, share: Share) -> Pool {
        let specs = s.endpoints.get(pool).map(Vec::as_slice).unwrap_or_default();
        let endpoints = specs.iter().flat_map(|spec| {
            self.targets(&spec.address).into_iter().map(move |target| {
                let key = EndpointKey {
                    service: service.clone(),
                    pool: pool.clone(),
                    address: spec.address.clone(),
                    target,
                };
                let standing = self.standing(&key, spec);
                let is_fresh = self.warming.contains_key(&key);
                let EndpointKey { address, target, .. } = key;
                let (admin, weight) = (spec.admin, spec.weight);
                Endpoint { address, target, weight, admin, standing, is_fresh }
            })
        });
        Pool {
            name: pool.clone(),
            tag: self.watches.get(service).and_then(|w| w.find_tag(pool)).unwrap_or_default(),
            in_use: specs.iter().any(|e| e.admin == AdminState::Ready),
            share,
            cohort: self.state.cohorts.of(pool).cloned(),
            link: self.link(service, pool),
            limit: self.limit(service, pool),
            endpoints: endpoints.collect(),
        }
    }
}

impl Step {
    fn changed(&mut self, revision: Revision) {
        self.reply.changed = true;
        self.reply.revision = revision;
        self.state.revision = revision;
        for event in &mut self.events {
            event.revision = revision;
        }
    }

    /// Puts words to the step; without a change it commits and journals nothing.
    pub(super) fn described(mut self, kind: &str, summary: String, commit: Commit) -> Self {
        self.reply.summary.push(summary.clone());
        self.commit = if self.reply.changed { commit } else { Commit::Nothing };
        if self.reply.changed {
            for event in &mut self.events {
                event.kind = kind.to_owned();
                event.summary.clone_from(&summary);
            }
        } else {
            self.events.clear();
        }
        self
    }
}

fn routes(settings: &Settings) -> Arc<Routes> {
    let mut routes = Routes::default();
    for (n, service) in settings.service.values().enumerate() {
        // The config check refuses conflicts; here the first service would keep the place.
        let _ = routes.add(n, &service.hosts, &service.paths);
    }
    Arc::new(routes)
}
