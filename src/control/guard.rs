//! Carries what workers tell to the guard, and does at once what it finds.

use std::{collections::BTreeMap, time::Instant};

use super::{Control, clock};
use crate::{
    model::{Millis, Moment, ServiceName, guard::Sample},
    tally::{Beat, micros},
};

/// How often evidence is read while a candidate is on trial, besides at every failure.
pub const PACE: Millis = Millis(50);
/// How often it is read else: for the baseline's profile.
pub const PACE_AT_REST: Millis = Millis(250);
/// How much later than that a reading, or a worker's sign of life, may be before we were held up.
const LATE: u64 = 250_000;
/// For how long after a hold-up nothing that took long is believed.
const DISTRUST: Millis = Millis(1_000);

/// How far control has read what workers tell.
#[derive(Debug, Default)]
pub struct Ears {
    seen: BTreeMap<(ServiceName, usize), u64>,
    /// When it read last, by [`micros`], and how soon it meant to read again, in microseconds.
    last: Option<(u64, u64)>,
    samples: Vec<Sample>,
    waiting: Vec<Sample>,
}

impl Control {
    /// Reads what workers told, judges, and acts. Returns when to do so again.
    pub fn guard(&mut self) -> Millis {
        let (now, at) = (clock::now(), micros(Instant::now()));
        if !self.is_own() {
            return PACE;
        }
        self.distrust_if_late(now, at);
        self.hear(now, at);
        self.recorder.note(&self.model);
        if self.model.is_due(now) {
            self.tick();
        }
        let services = self.model.state.services.values();
        let on_trial = services.into_iter().any(|s| s.candidates().next().is_some());
        let pace = if on_trial { PACE } else { PACE_AT_REST };
        self.ears.last = Some((at, pace.0 * 1000));
        pace
    }

    /// What took long is no evidence if we ourselves were held up.
    fn distrust_if_late(&mut self, now: Moment, at: u64) {
        let late = self.ears.last.is_some_and(|(last, pace)| at > last + pace + LATE);
        let beats = self.tallies.beats();
        let limit = Beat::PACE.as_micros() as u64 + LATE;
        // A worker that has not begun yet has no beat.
        let held_up = |beat: u64| beat != 0 && at > beat + limit;
        if late || beats.iter().any(|beat| held_up(beat.0.get())) {
            self.model.distrust(now.after(DISTRUST));
        }
    }

    fn hear(&mut self, now: Moment, at: u64) {
        let Self { model, tallies, ears, recorder, .. } = self;
        for (service, tally) in tallies.guards() {
            ears.samples.clear();
            ears.waiting.clear();
            let state = model.state.services.get(service);
            let on_trial = state.is_some_and(|s| s.candidates().next().is_some());
            for (worker, cell) in tally.made() {
                let seen = ears.seen.entry((service.clone(), worker)).or_default();
                cell.read(seen, &mut ears.samples);
                if on_trial {
                    cell.read_waiting(at, &mut ears.waiting);
                }
            }
            recorder.hear(model, service, &ears.samples);
            model.judge(now, service, &ears.samples, &ears.waiting);
        }
    }
}
