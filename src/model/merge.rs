//! Config file against runtime: a runtime value yields to the file only where the file's own value
//! changed since it was loaded last.

use std::sync::Arc;

use super::{
    settings::{self, Settings},
    split::Split,
    state::{EndpointState, FileState, ServiceState, State},
    units::{PoolName, Share},
};

impl State {
    /// The state under a newly loaded file. The revision stays; the caller counts.
    pub fn merged(&self, settings: &Settings) -> Self {
        let merged = |name, file: &settings::Service| match self.services.get(name) {
            Some(state) => Arc::new(state.merged(file)),
            None => Arc::new(ServiceState::new(file)),
        };
        let services = settings.service.iter().map(|(name, s)| (name.clone(), merged(name, s)));
        let mut next = Self { services: services.collect(), ..self.clone() };
        let State { services, cohorts, .. } = &mut next;
        cohorts.retain(|pool| services.values().any(|s| s.split.has(pool)));
        next
    }
}

impl ServiceState {
    fn merged(&self, settings: &settings::Service) -> Self {
        let file = FileState::new(settings);
        let split = self.merged_split(&file);
        let keeps_split = split.is_some();
        let baseline_stays = file.baseline == self.file.baseline && file.split.has(&self.baseline);
        Self {
            baseline: if baseline_stays { self.baseline.clone() } else { file.baseline.clone() },
            split: split.unwrap_or_else(|| file.split.clone()),
            endpoints: file.endpoints.keys().map(|pool| (pool.clone(), self.merged_pool(pool, &file))).collect(),
            revert: self.revert.clone().filter(|r| keeps_split && same_pools(&r.split, &file.split)),
            ramp: self.ramp.clone().filter(|r| keeps_split && same_pools(&r.from, &file.split)),
            maintenance: self.maintenance.clone(),
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
        let find = |in_: &[EndpointState], e: &EndpointState| in_.iter().find(|f| f.address == e.address).cloned();
        let kept = runtime.iter().filter_map(|e| match (find(&before, e), find(&after, e)) {
            (Some(_), None) => None,
            (Some(old), Some(new)) if old.weight != new.weight => Some(EndpointState { weight: new.weight, ..e.clone() }),
            (Some(_) | None, Some(_)) | (None, None) => Some(e.clone()),
        });
        let added = after.iter().filter(|e| find(&before, e).is_none() && find(&runtime, e).is_none());
        kept.chain(added.cloned()).collect()
    }
}

fn same_pools(a: &Split, b: &Split) -> bool {
    a.iter().map(|(pool, _)| pool).eq(b.iter().map(|(pool, _)| pool))
}
