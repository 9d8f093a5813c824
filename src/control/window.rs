//! Rates and percentiles over the last seconds, from readings of the tallies.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use crate::{
    model::{Blame, Millis, Moment, PoolName, ServiceName, histogram::Counts},
    tally::{PoolCounts, PoolTally, Tallies},
};

/// How far back rates and percentiles reach.
pub const SPAN: Millis = Millis(10_000);

/// Readings of the last seconds.
#[derive(Debug, Default)]
pub struct Windows(VecDeque<Reading>);

#[derive(Debug)]
struct Reading {
    at: Moment,
    pools: BTreeMap<(ServiceName, PoolName), Rc<Totals>>,
}

/// What a pool had counted at one moment.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Requests ended.
    pub finished: u64,
    /// Failed first attempts that were replayed on the baseline, which are not among `finished`.
    pub shielded: u64,
    /// Failures by blame.
    pub blames: [u64; Blame::ALL.len()],
    /// Durations, if any were counted.
    pub durations: Option<Counts>,
}

impl Totals {
    /// What the tally has counted until now.
    pub fn of(tally: &PoolTally) -> Self {
        let counts = tally.counts();
        let PoolCounts { finished, shielded, blames, .. } = counts;
        Self { finished, shielded, blames, durations: tally.durations() }
    }

    /// What was counted since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let durations = match (&self.durations, &earlier.durations) {
            (Some(now), Some(then)) => Some(now.since(then)),
            (now, None) => now.clone(),
            (None, Some(_)) => None,
        };
        let mut blames = self.blames;
        blames
            .iter_mut()
            .zip(earlier.blames)
            .for_each(|(now, then)| *now = now.saturating_sub(then));
        Self {
            finished: self.finished.saturating_sub(earlier.finished),
            shielded: self.shielded.saturating_sub(earlier.shielded),
            blames,
            durations,
        }
    }
}

impl Windows {
    /// Reads all tallies. Called once a second.
    pub fn read(&mut self, now: Moment, tallies: &Tallies) {
        let last = self.0.back();
        let pools = tallies.pools().map(|(service, pool, tally)| {
            let key = (service.clone(), pool.clone());
            // A pool at rest shares its last reading.
            let counts = tally.counts();
            let at_rest = last
                .and_then(|r| r.pools.get(&key))
                .filter(|t| t.finished == counts.finished && t.shielded == counts.shielded);
            let totals = at_rest.cloned().unwrap_or_else(|| Rc::new(Totals::of(tally)));
            (key, totals)
        });
        let reading = Reading { at: now, pools: pools.collect() };
        self.0.push_back(reading);
        // A clock that was set back leaves readings from the future; they are no use.
        while self.0.front().is_some_and(|r| r.at > now || now.since(r.at) > SPAN) {
            self.0.pop_front();
        }
    }

    /// The moment from which the window counts, if anything was read yet.
    pub fn begins(&self) -> Option<Moment> {
        self.0.front().map(|r| r.at)
    }

    /// What a pool counted in the window.
    pub fn of(&self, service: &ServiceName, pool: &PoolName, tally: &PoolTally) -> Totals {
        let now = Totals::of(tally);
        let then = self.0.front().and_then(|r| r.pools.get(&(service.clone(), pool.clone())));
        match then {
            Some(then) => now.since(then),
            None => now,
        }
    }
}
