//! Config file against runtime: a runtime value yields to the file only where the file's own value
//! changed since it was loaded last.

use std::sync::Arc;

use super::{
    settings::{self, Settings},
    split::Split,
    state::{EndpointState, FileState, Lockout, ServiceState, State},
    units::{PoolName, Share},
};

impl State {
    /// The state under a newly loaded file. The revision stays; the caller counts.
    pub fn merged(&self, settings: &Settings) -> Self {
        let merged = |name, file: &settings::Service| match self.services.get(name) {
            Some(state) => Arc::new(state.merged(file)),
            None => Arc::new(ServiceState::new(file, None)),
        };
        let services = settings.service.iter().map(|(name, s)| (name.clone(), merged(name, s)));
        // Cohorts of pools that are gone stay: a pool may be away for one reload only.
        Self { services: services.collect(), ..self.clone() }
    }
}

impl State {
    /// The state of the last run under the file of this start. A file that was edited in between makes
    /// a new revision, as a reload would have.
    pub fn restarted(&self, settings: &Settings) -> Self {
        let merged = self.merged(settings);
        let revision = if merged == *self { self.revision } else { self.revision.next() };
        Self { revision, ..merged }
    }

    /// The state with weights, baselines and endpoints as the file says. Maintenance and cohorts are
    /// not the file's to say.
    pub fn reset(&self, settings: &Settings) -> Self {
        let reset = |name, file: &settings::Service| {
            let old = self.services.get(name);
            let maintenance = old.and_then(|s| s.maintenance.clone());
            Arc::new(ServiceState { maintenance, ..ServiceState::new(file, old.map(|s| &s.split)) })
        };
        let services = settings.service.iter().map(|(name, s)| (name.clone(), reset(name, s)));
        Self { services: services.collect(), ..self.clone() }
    }
}

impl ServiceState {
    fn merged(&self, settings: &settings::Service) -> Self {
        let file = FileState::new(settings);
        let baseline_stays = file.baseline == self.file.baseline && file.split.has(&self.baseline);
        let baseline = if baseline_stays { &self.baseline } else { &file.baseline };
        let kept = self.merged_split(&file);
        let keeps = |split: &Split| kept.is_some() && split.has_pools_of(&file.split);
        let has = |pool: &PoolName| file.split.has(pool);
        let keeps_pool = |pool: &PoolName| kept.is_some() && has(pool) && pool != baseline;
        let owned = |(pool, lockout): (&PoolName, &Lockout)| (pool.clone(), lockout.clone());
        let split = kept.clone().unwrap_or_else(|| file.split.clone());
        // A weight that is new in the file is an order to serve; one that only stands there still is none.
        let is_old = |pool: &PoolName| {
            pool != baseline && has(pool) && file.split.share(pool) == self.file.split.share(pool)
        };
        let without = |split: Split, pool: &PoolName| {
            split.with_share(pool, Share::NONE, baseline).unwrap_or(split)
        };
        let split = self.lockouts.keys().filter(|pool| is_old(pool)).fold(split, without);
        let split = split.settled(Some(&self.split), baseline);
        let is_out =
            |pool: &PoolName| pool != baseline && has(pool) && split.share(pool) == Share::NONE;
        let lockouts = self.lockouts.iter().filter(|(pool, _)| is_out(pool)).map(owned).collect();
        Self {
            baseline: baseline.clone(),
            revert: self.revert.clone().filter(|r| keeps(&r.split)),
            ramp: self.ramp.clone().filter(|r| keeps(&r.from)),
            split,
            endpoints: file
                .endpoints
                .keys()
                .map(|pool| (pool.clone(), self.merged_pool(pool, &file)))
                .collect(),
            maintenance: self.maintenance.clone(),
            guard: self.guard.clone().filter(|_| file.guard == self.file.guard),
            lockouts,
            alarm: self.alarm.clone().filter(|alarm| keeps_pool(&alarm.pool)),
            bake: self.bake.clone().filter(|bake| keeps_pool(&bake.pool)),
            salt: self.salt.clone(),
            pause: self.pause,
            profile: self.profile.clone(),
            file,
        }
    }

    /// The runtime split over the file's pools, or `None` where the file's own weights changed.
    fn merged_split(&self, file: &FileState) -> Option<Split> {
        let unchanged = file.split.iter().all(|(pool, share)| match self.file.split.has(pool) {
            true => self.file.split.share(pool) == share,
            false => share == Share::NONE,
        });
        let shares: Vec<_> =
            file.split.iter().map(|(pool, _)| (pool.clone(), self.split.share(pool))).collect();
        // A pool that is gone with a share leaves less than the whole: then the file decides.
        if unchanged { shares.try_into().ok() } else { None }
    }

    fn merged_pool(&self, pool: &PoolName, file: &FileState) -> Vec<EndpointState> {
        let list = |of: &FileState| of.endpoints.get(pool).cloned().unwrap_or_default();
        let (before, after) = (list(&self.file), list(file));
        let runtime = self.endpoints.get(pool).cloned().unwrap_or_default();
        let find = |in_: &[EndpointState], e: &EndpointState| {
            in_.iter().find(|f| f.address == e.address).cloned()
        };
        let kept = runtime.iter().filter_map(|e| match (find(&before, e), find(&after, e)) {
            (Some(_), None) => None,
            (Some(old), Some(new)) if old.weight != new.weight => {
                Some(EndpointState { weight: new.weight, ..e.clone() })
            }
            // Added here first and written into the file later: the file's weight is a new word.
            (None, Some(new)) => Some(EndpointState { weight: new.weight, ..e.clone() }),
            (Some(_), Some(_)) | (None, None) => Some(e.clone()),
        });
        let added =
            after.iter().filter(|e| find(&before, e).is_none() && find(&runtime, e).is_none());
        kept.chain(added.cloned()).collect()
    }
}
