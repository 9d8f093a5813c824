//! The guard inside the model: evidence comes in, findings come out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    command::EndpointKey,
    guard::{Finding, Lacking, Sample, Verdict, Watch},
    rollout::{Advance, Merit, Phase, Rollout},
    state::{ServiceState, State},
    step::Model,
    units::{Millis, Moment, PoolName, ServiceName, Share},
};

impl Model {
    /// Takes in what workers told of a service, and judges its candidates. `waiting` are requests
    /// without an answer yet.
    pub fn judge(
        &mut self,
        now: Moment,
        service: &ServiceName,
        samples: &[Sample],
        waiting: &[Sample],
    ) {
        let Some(state) = self.state.services.get(service).cloned() else { return };
        let Some(watch) = self.watches.get_mut(service) else { return };
        watch.take(now, samples, state.terms());
        for (pool, among) in self.trials.get(service).into_iter().flatten() {
            let finding = watch.judge(now, pool, state.terms(), *among, waiting);
            let key = (service.clone(), pool.clone());
            match finding {
                Some(finding) => self.findings.insert(key, finding),
                None => self.findings.remove(&key),
            };
        }
    }

    /// Says that lbd itself was held up until `until`: what took long until then is not evidence.
    pub fn distrust(&mut self, until: Moment) {
        self.watches.values_mut().for_each(|watch| watch.distrust(until));
    }

    /// What the guard found last of a candidate that is on trial.
    pub fn finding(&self, service: &ServiceName, pool: &PoolName) -> Option<&Finding> {
        self.findings.get(&(service.clone(), pool.clone()))
    }

    /// The guard's evidence on a service.
    pub fn watch(&self, service: &ServiceName) -> Option<&Watch> {
        self.watches.get(service)
    }

    /// Whether [`super::command::Input::Tick`] would do something that only the guard's findings call
    /// for.
    pub fn is_due(&self, now: Moment) -> bool {
        self.objections().next().is_some()
            || self.calms(now).next().is_some()
            || self.moved_by_time(now).is_some()
    }

    /// The services that a pool is tried in together with `service`: those of its rollout, or all others
    /// where it got its share by hand.
    pub(super) fn shifted_with(&self, pool: &PoolName, service: &ServiceName) -> Vec<ServiceName> {
        let rollout = self.state.running().filter(|r| r.candidate == *pool);
        let rolled = rollout.map(|r| r.services.as_slice()).unwrap_or_default();
        if rolled.contains(service) {
            return rolled.to_vec();
        }
        let tried = |s: &ServiceState| s.baseline != *pool && s.split.share(pool) > Share::NONE;
        let services = self.state.services.iter();
        let by_hand = services.filter(|(name, s)| tried(s) && !rolled.contains(name));
        by_hand.map(|(name, _)| name.clone()).collect()
    }

    /// The candidates of each service, each with in how many services it is tried together: as many as
    /// [`Self::shifted_with`] names, counted once for all.
    fn trials(&self) -> BTreeMap<ServiceName, Vec<(PoolName, usize)>> {
        let rollout = self.state.running();
        let rolled: BTreeSet<_> = rollout.iter().flat_map(|r| &r.services).collect();
        let is_rolled = |pool: &PoolName, service: &ServiceName| {
            rollout.is_some_and(|r| r.candidate == *pool) && rolled.contains(service)
        };
        let mut by_hand = BTreeMap::<&PoolName, usize>::new();
        for (service, state) in &self.state.services {
            for (pool, _) in state.candidates().filter(|(pool, _)| !is_rolled(pool, service)) {
                *by_hand.entry(pool).or_default() += 1;
            }
        }
        let among = |pool: &PoolName, service: &ServiceName| match by_hand.get(pool) {
            Some(services) if !is_rolled(pool, service) => *services,
            _ => rolled.len(),
        };
        let services = self.state.services.iter().map(|(service, state)| {
            let candidates = state.candidates().map(|(pool, _)| pool);
            let counted = candidates.map(|pool| (pool.clone(), among(pool, service)));
            (service.clone(), counted.collect())
        });
        services.collect()
    }

    /// What the guard makes of a rollout's stage, over all its services.
    pub(super) fn merit(&self, rollout: &Rollout) -> Merit {
        let merits = rollout.services.iter().map(|service| self.merit_of(rollout, service));
        let rank = |merit: &Merit| match merit {
            Merit::Proven => 0,
            Merit::Clear => 1,
            Merit::Short(_) => 2,
            Merit::Bad(_) => 3,
        };
        merits.max_by_key(rank).unwrap_or_else(|| Merit::Short("no service is left".into()))
    }

    /// What a rollout waits for, in words; `None` if it is over.
    pub fn waits_for(&self, rollout: &Rollout, now: Moment) -> Option<String> {
        let merit = || match self.merit(rollout) {
            Merit::Proven | Merit::Clear => "nothing is wrong".to_owned(),
            Merit::Short(why) | Merit::Bad(why) => why,
        };
        match &rollout.phase {
            Phase::Checking => Some("the preflight".into()),
            Phase::Holding { stage, since } => {
                let left = rollout.hold_of(*stage).0.saturating_sub(now.since(*since).0);
                let left = Millis(left.div_ceil(1000) * 1000);
                Some(match (rollout.plan.advance, left) {
                    (Advance::Manual, _) => format!("`lbctl rollout promote`; {}", merit()),
                    (_, Millis(0)) => format!("the guard; {}", merit()),
                    (Advance::Evidence, left) => {
                        format!("the verdict, or {left} more of its hold; {}", merit())
                    }
                    (Advance::Hold, left) => format!("{left} more of its hold; {}", merit()),
                })
            }
            Phase::Paused { .. } => Some("`lbctl rollout resume`".into()),
            Phase::Baking { until, .. } => {
                let left = Millis::from_secs(until.since(now).secs_ceil());
                Some(format!("{left} more of its bake"))
            }
            Phase::Promoted { .. } | Phase::RolledBack { .. } => None,
        }
    }

    fn merit_of(&self, rollout: &Rollout, service: &ServiceName) -> Merit {
        let Some(finding) = self.finding(service, &rollout.candidate) else {
            return Merit::Short(format!("nothing was judged of {service} yet"));
        };
        let stage = rollout.phase.stage().and_then(|n| rollout.plan.stages.get(n));
        let own = stage.and_then(|stage| stage.min_requests);
        let terms = self.state.services.get(service).map(|s| s.terms().min_requests);
        let need = u64::from(own.or(terms).unwrap_or_default());
        let have = finding.evidence.candidate.stage_requests;
        let short = || Merit::Short(format!("{have} of {need} requests of {service} judged"));
        match &finding.verdict {
            Verdict::NoGo(breach) | Verdict::BothDegraded(breach) => {
                Merit::Bad(format!("{service}: {}", breach.text))
            }
            Verdict::Go | Verdict::Undecided(_) if have < need => short(),
            Verdict::Go => Merit::Proven,
            Verdict::Undecided(Lacking::Requests { have, need }) if own.is_none() => {
                Merit::Short(format!("{have} of {need} requests of {service} judged"))
            }
            Verdict::Undecided(_) => Merit::Clear,
        }
    }

    /// Tells the watches how services are divided now, and which endpoints are fresh on trial.
    pub(super) fn divide(
        &mut self,
        now: Moment,
        before: &BTreeMap<ServiceName, Arc<ServiceState>>,
    ) {
        let services = self.state.services.clone();
        self.watches.retain(|name, _| services.contains_key(name));
        for (name, state) in &services {
            let watch = self.watches.entry(name.clone()).or_default();
            for (pool, _) in state.split.iter() {
                watch.tag(pool);
            }
            let old = before.get(name);
            if old.is_some_and(|old| old.split == state.split && old.baseline == state.baseline) {
                continue;
            }
            watch.divide(now, &state.baseline, &state.split);
            self.findings.retain(|(service, _), _| service != name);
            let rising: BTreeSet<&PoolName> = state
                .candidates()
                .map(|(pool, _)| pool)
                .filter(|pool| old.is_none_or(|old| old.split.share(pool) == Share::NONE))
                .collect();
            let keys: Vec<EndpointKey> = self
                .endpoints_of(name, state)
                .map(|(key, _)| key)
                .filter(|key| rising.contains(&key.pool))
                .collect();
            keys.into_iter().for_each(|key| self.warm_up(now, key));
        }
        self.trials = self.trials();
    }

    /// The state with the profiles of baselines that have given everything away: they are what the
    /// candidate is compared with from now on, over a restart too.
    pub(super) fn with_profiles(&self, mut state: State) -> State {
        let names: Vec<ServiceName> = state.services.keys().cloned().collect();
        for name in names {
            let Some(service) = state.services.get(&name) else { continue };
            let is_alone = service.candidates().any(|(_, share)| share == Share::WHOLE);
            let profile = match (is_alone, &service.profile) {
                (true, None) => self.watch(&name).and_then(Watch::profile).map(Arc::new),
                (false, Some(_)) => None,
                (true, Some(_)) | (false, None) => continue,
            };
            if service.profile != profile
                && let Some(service) = state.service_mut(&name)
            {
                service.profile = profile;
            }
        }
        state
    }

    /// From `now` on the endpoint is fresh, for as long as its service says.
    pub(super) fn warm_up(&mut self, now: Moment, key: EndpointKey) {
        let Some(state) = self.state.services.get(&key.service) else { return };
        let warmup = state.terms().warmup;
        if warmup.0 > 0 {
            self.warming.insert(key, now.after(warmup));
        }
    }
}
