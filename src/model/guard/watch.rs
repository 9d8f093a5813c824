//! The evidence on one service's candidates, and the judgement on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    judge::Question,
    recent::{Marks, Profile, Recent},
    sample::{Epoch, Fate, PoolTag, Sample},
    selftest::{SelfTest, SelfTestReport},
    terms::{Terms, Tolerance},
    trial::{Context, Side, Trial},
    verdict::{Finding, Tape},
};
use crate::model::{
    split::Split,
    units::{Millis, Moment, PoolName, Share},
};

/// How many splits are remembered, so that late answers are judged by the one they began under.
const EPOCHS: usize = 256;
/// The part of failures that is thought of as usual where nothing is known of the baseline.
const UNKNOWN: f64 = 0.01;
/// How long what follows from the baseline's latest answers holds.
const MARK: Millis = Millis(200);
/// Below so many requests nothing is known of the baseline.
const KNOWN: u64 = 100;

/// What the guard knows of one service. Lives in memory only: an upgrade hands it over, after a restart
/// it begins anew.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Watch {
    tags: Vec<PoolName>,
    divisions: BTreeMap<Epoch, Division>,
    epoch: Epoch,
    trials: BTreeMap<PoolName, Trial>,
    /// The trial that ended last, with its candidate.
    last: Option<(PoolName, Trial)>,
    recent: Recent,
    distrusted_until: Moment,
    selftest: SelfTest,
    #[serde(skip)]
    marked: Option<Marked>,
}

/// What follows from the baseline's latest answers, worked out a few times a second.
#[derive(Clone, Copy, Debug)]
struct Marked {
    at: Moment,
    tolerance: Tolerance,
    marks: Marks,
    profile_marks: Marks,
    allowed: f64,
}

/// How a service is divided.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Division {
    baseline: PoolTag,
    shares: Vec<(PoolTag, Share)>,
}

impl Watch {
    /// The pool's number; a new one if it has none yet.
    pub fn tag(&mut self, pool: &PoolName) -> PoolTag {
        let at = self.tags.iter().position(|p| p == pool).unwrap_or_else(|| {
            self.tags.push(pool.clone());
            self.tags.len() - 1
        });
        PoolTag(at as u8)
    }

    /// The pool's number, if it has one.
    pub fn find_tag(&self, pool: &PoolName) -> Option<PoolTag> {
        self.tags.iter().position(|p| p == pool).map(|at| PoolTag(at as u8))
    }

    /// Says how the service is divided from `now` on. Candidates that rise from nothing are put on
    /// trial, those that fall to nothing are let go; a changed share begins a stage.
    pub fn divide(&mut self, now: Moment, baseline: &PoolName, split: &Split) {
        let base = self.tag(baseline);
        let shares = split.iter().map(|(pool, share)| (self.tag(pool), share)).collect();
        let division = Division { baseline: base, shares };
        let old = self.divisions.get(&self.epoch).cloned().unwrap_or_default();
        if old.baseline != base || self.divisions.is_empty() {
            self.trials.clear();
            (self.recent, self.selftest) = (Recent::default(), SelfTest::default());
            self.marked = None;
        }
        for (pool, share) in split.iter().filter(|(pool, _)| *pool != baseline) {
            let tag = self.tag(pool);
            let before = old.share(tag);
            match (share, self.trials.get_mut(pool)) {
                (Share::NONE, _) => {
                    if let Some(trial) = self.trials.remove(pool) {
                        self.last = Some((pool.clone(), trial));
                    }
                }
                (_, None) => drop(self.trials.insert(pool.clone(), Trial::new(now))),
                (share, Some(trial)) if share != before => trial.begin_stage(now),
                (_, Some(_)) => {}
            }
        }
        self.trials.retain(|pool, _| split.has(pool));
        self.epoch = Epoch(self.epoch.0.wrapping_add(1));
        self.divisions.insert(self.epoch, division);
        debug_assert!(self.divisions.len() <= EPOCHS);
    }

    /// Until `until` what took long is not evidence: lbd itself was held up.
    pub fn distrust(&mut self, until: Moment) {
        self.distrusted_until = self.distrusted_until.max(until);
    }

    /// The number of the division in force.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Takes in what workers told, each worker's oldest first.
    pub fn take(&mut self, now: Moment, samples: &[Sample], terms: &Terms) {
        self.recent.turn(now);
        self.trials.values_mut().for_each(|trial| trial.begin_minute(now));
        if samples.is_empty() {
            return;
        }
        let mut context = self.context(now, terms);
        for sample in samples {
            let Some(division) = self.divisions.get(&sample.epoch) else { continue };
            let is_baseline = sample.pool == division.baseline;
            for (pool, trial) in &mut self.trials {
                let tag = self.tags.iter().position(|p| p == pool).map(|at| PoolTag(at as u8));
                let Some(share) = tag.and_then(|tag| division.part(tag)) else { continue };
                context.share = share;
                if is_baseline {
                    trial.take(Side::Baseline, *sample, &context);
                } else if tag == Some(sample.pool) {
                    trial.take(Side::Candidate, *sample, &context);
                }
            }
            if is_baseline {
                self.selftest.take(*sample, &context);
                match sample.fate {
                    Fate::Good if context.is_punctual => self.recent.add(sample.latency, false),
                    Fate::Failed => self.recent.add(sample.latency, true),
                    Fate::Good | Fate::Broke | Fate::Left | Fate::Waiting => {}
                }
            }
        }
        self.selftest.judge(now, terms, &context);
    }

    /// Judges a candidate. `waiting` are requests without an answer yet, of both sides; `among` is the
    /// number of services that are shifted together and share the budget of false alarms. `None` if
    /// the pool is not on trial.
    pub fn judge(
        &mut self,
        now: Moment,
        pool: &PoolName,
        terms: &Terms,
        among: usize,
        waiting: &[Sample],
    ) -> Option<Finding> {
        let context = self.context(now, terms);
        let tag = self.find_tag(pool)?;
        let share = self.divisions.get(&self.epoch)?.part(tag)?;
        let of_trial = |sample: &Sample| {
            let division = self.divisions.get(&sample.epoch)?;
            division.part(tag)?;
            match sample.pool {
                own if own == tag => Some((Side::Candidate, *sample)),
                base if base == division.baseline => Some((Side::Baseline, *sample)),
                _ => None,
            }
        };
        let waiting: Vec<_> = if context.is_punctual {
            waiting.iter().filter_map(of_trial).collect()
        } else {
            Vec::new()
        };
        let trial = self.trials.get_mut(pool)?;
        let (verdict, evidence) = trial.judge(&Question {
            now,
            pool,
            terms,
            among: among.max(1),
            share,
            marks: context.marks,
            profile_marks: context.profile_marks,
            allowed: context.allowed,
            waiting: &waiting,
        });
        Some(Finding { pool: pool.clone(), at: now, verdict, evidence })
    }

    /// The evidence on a candidate, to be stored; of its last trial if it is no longer on one.
    pub fn tape(&self, pool: &PoolName) -> Tape {
        let last = self.last.as_ref().filter(|(last, _)| last == pool).map(|(_, trial)| trial);
        let trial = self.trials.get(pool).or(last);
        trial.map(|trial| trial.seconds.tape(trial.since)).unwrap_or_default()
    }

    /// What the baseline was like, to be kept over a restart; `None` if too little is known.
    pub fn profile(&self) -> Option<Profile> {
        Some(self.recent.profile()).filter(|profile| profile.requests >= KNOWN)
    }

    /// Goes on with what was kept.
    pub fn set_profile(&mut self, now: Moment, profile: &Profile) {
        self.recent = Recent::of(profile, now);
    }

    /// How the guard fares between two halves of the baseline; `None` before it had any traffic.
    pub fn selftest(&self) -> Option<SelfTestReport> {
        self.selftest.report()
    }

    fn context(&mut self, now: Moment, terms: &Terms) -> Context {
        let is_fresh = |m: &Marked| now.since(m.at) < MARK && m.tolerance == terms.tolerance;
        let marked = match self.marked.filter(is_fresh) {
            Some(marked) => marked,
            None => *self.marked.insert(self.mark(now, terms)),
        };
        let Marked { marks, profile_marks, allowed, .. } = marked;
        let is_punctual = now >= self.distrusted_until;
        Context { now, share: 0.0, marks, profile_marks, allowed, is_punctual }
    }

    fn mark(&self, now: Moment, terms: &Terms) -> Marked {
        let (requests, failed) = self.recent.failures();
        let usual =
            if requests >= KNOWN { super::bounds::upper(failed, requests, 0.95) } else { UNKNOWN };
        // There is no protection from drift where nothing is served beside it: twice the tolerance.
        let allowed = (usual + 2.0 * terms.tolerance.errors.ratio()).min(0.9);
        Marked {
            at: now,
            tolerance: terms.tolerance,
            marks: self.recent.marks(terms, 1.0),
            // Response times drift with the hour and with what else the machine does.
            profile_marks: self.recent.marks(terms, 5.0),
            allowed,
        }
    }
}

impl Division {
    fn share(&self, tag: PoolTag) -> Share {
        self.shares.iter().find(|(t, _)| *t == tag).map_or(Share::NONE, |(_, share)| *share)
    }

    /// A candidate's part of what it and the baseline serve; `None` if it has no share.
    fn part(&self, tag: PoolTag) -> Option<f64> {
        let (own, base) = (self.share(tag).ratio(), self.share(self.baseline).ratio());
        (own > 0.0 && tag != self.baseline).then(|| own / (own + base))
    }
}

#[cfg(test)]
mod tests;
