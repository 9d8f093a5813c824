//! What the guard is told of a request: once, of its first attempt on the pool it belongs to.

use std::time::Instant;

use super::exchange::Exchange;
use crate::{
    model::{
        Rule,
        guard::{Fate, Sample},
        histogram::bucket_of,
    },
    tally::{GuardCell, Waiting, micros},
};

/// How far the guard has been told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// When the answer began to be waited for.
    asked: Option<Instant>,
    /// When it was there, if that was not when it was told.
    answered: Option<Instant>,
    waiting: Option<Waiting>,
    told: Option<Fate>,
}

impl Exchange {
    /// An attempt begins: the first one is what the guard judges. `is_sent`: the request has no body
    /// that is still to come, so that the answer is waited for from now on.
    pub fn tell_attempt(&mut self, is_sent: bool) {
        if self.telling.told.is_some() || self.telling.asked.is_some() {
            return;
        }
        if self.failed_over() {
            // Its pool had nobody to serve it, unless the operator wants it so.
            self.tell(if self.is_wanted() { Fate::Failed } else { Fate::Left });
        } else if is_sent {
            self.tell_sent();
        }
    }

    /// The request is sent: its answer is waited for from now on.
    pub fn tell_sent(&mut self) {
        if self.telling.told.is_some() || self.telling.asked.is_some() {
            return;
        }
        let now = Instant::now();
        self.telling.asked = Some(now);
        self.telling.waiting =
            self.told_to(Fate::Waiting).and_then(|(cell, sample)| cell.wait(micros(now), sample));
    }

    /// The answer has begun, but how it went is told at its end: it is waited for no more.
    pub fn tell_answered(&mut self) {
        self.telling.answered.get_or_insert_with(Instant::now);
        self.tell_over();
    }

    /// How the first attempt went. True if the guard should look at once. A second word counts only
    /// where an answer that was good broke off.
    pub fn tell(&mut self, fate: Fate) -> bool {
        let fate = match (self.telling.told, fate) {
            (None, fate) => fate,
            (Some(Fate::Good), Fate::Failed) => Fate::Broke,
            (Some(_), _) => return false,
        };
        self.telling.told = Some(fate);
        let told = self.told_to(fate);
        if let Some((cell, sample)) = told {
            cell.tell(sample);
        }
        let is_failure = told.is_some() && matches!(fate, Fate::Failed | Fate::Broke);
        self.tell_over();
        is_failure
    }

    /// What happens to the request is not the pool's doing: the guard is told nothing more.
    pub fn tell_nothing(&mut self) {
        self.telling.told.get_or_insert(Fate::Left);
        self.tell_over();
    }

    /// The request waits for no answer any more.
    pub fn tell_over(&mut self) {
        if let Some(waiting) = self.telling.waiting.take()
            && let Some((cell, _)) = self.told_to(Fate::Waiting)
        {
            cell.answered(waiting);
        }
    }

    /// Where the guard is told of this request, and what, if it judges it at all.
    fn told_to(&self, fate: Fate) -> Option<(&GuardCell, Sample)> {
        let (field, placement) = (self.field()?, self.placement?);
        let is_chance = matches!(placement.rule, Rule::Bucket | Rule::Draw);
        let is_fresh = self.attempts <= 1 && self.endpoint().is_some_and(|e| e.is_fresh);
        if !field.service.judged || !is_chance || is_fresh {
            return None;
        }
        let until = self.telling.answered.unwrap_or_else(Instant::now);
        let took =
            self.telling.asked.map_or(0, |asked| micros(until).saturating_sub(micros(asked)));
        let sample = Sample {
            pool: field.service.pools.get(placement.pool)?.tag,
            epoch: field.service.epoch,
            user: placement.user,
            fate,
            latency: bucket_of(took) as u16,
        };
        Some((field.view.guard.cell(self.worker), sample))
    }

    /// Whether the operator wants any endpoint of the request's own pool to serve.
    pub fn is_wanted(&self) -> bool {
        let pool = self.field().zip(self.placement).and_then(|(f, p)| f.service.pools.get(p.pool));
        pool.is_some_and(|pool| pool.in_use)
    }
}
