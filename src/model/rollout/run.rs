//! A rollout and the phase it is in.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Advance, Milestone, Plan};
use crate::model::{
    event::Actor,
    refusal::Refusal,
    units::{Millis, Moment, PoolName, ServiceName, Share},
};

/// A staged shift to a candidate, under way or over. Kept in the state until the next one starts.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Rollout {
    /// Its number; the first is 1.
    pub id: u64,
    /// The pool that is tried.
    pub candidate: PoolName,
    /// The services that are shifted in lock-step.
    pub services: Vec<ServiceName>,
    /// The plan's name, or `custom`.
    pub name: String,
    /// What it is to do; the config file may change meanwhile, this does not.
    pub plan: Plan,
    /// A salt of its own, so that not the same users are first as always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Arc<str>>,
    /// Who started it.
    pub by: Actor,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was started.
    pub began: Moment,
    /// Where it stands.
    pub phase: Phase,
    /// What happened so far.
    pub milestones: Vec<Milestone>,
}

/// Where a rollout stands.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// The candidate's preflight runs; it has no traffic yet.
    Checking,
    /// The share of a stage is in force.
    Holding {
        /// Which stage, from 0.
        stage: usize,
        /// Since when it is held; a restart begins anew.
        since: Moment,
    },
    /// A stage's share is in force, and nothing advances until somebody says so.
    Paused {
        /// Which stage, from 0.
        stage: usize,
        /// How much of its hold had passed.
        held: Millis,
        /// Since when.
        since: Moment,
        /// Why.
        why: String,
    },
    /// The candidate has everything, and is still judged.
    Baking {
        /// Since when.
        since: Moment,
        /// Until when.
        until: Moment,
    },
    /// The candidate is the new baseline.
    Promoted {
        /// Since when.
        at: Moment,
    },
    /// The baseline has everything again.
    RolledBack {
        /// Since when.
        at: Moment,
        /// Why.
        why: String,
    },
}

/// What can move a rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum Signal {
    /// Its preflight ended; `Err` says what is wrong.
    Checked(Result<(), String>),
    /// Time went by, and this is what the guard makes of the stage.
    Time(Merit),
    /// Somebody, or the guard, wants it to wait; why.
    Pause(String),
    /// Somebody lets it go on.
    Resume,
    /// Somebody wants the next stage now, or with `full` all of them.
    Promote {
        /// Pass over all stages that are left.
        full: bool,
    },
    /// Everything goes back; why.
    RollBack(String),
}

/// What the guard makes of a stage so far, over all services.
#[derive(Clone, Debug, PartialEq)]
pub enum Merit {
    /// Shown to be no worse than the baseline.
    Proven,
    /// Enough was seen, and nothing is wrong.
    Clear,
    /// Too little was seen; what is lacking.
    Short(String),
    /// Something is wrong; what.
    Bad(String),
}

impl Phase {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Holding { .. } => "holding",
            Self::Paused { .. } => "paused",
            Self::Baking { .. } => "baking",
            Self::Promoted { .. } => "promoted",
            Self::RolledBack { .. } => "rolled-back",
        }
    }

    /// Whether it is over. Nothing leads out of it then.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Promoted { .. } | Self::RolledBack { .. })
    }

    /// The stage whose share is in force, from 0, while one is.
    pub const fn stage(&self) -> Option<usize> {
        match self {
            Self::Holding { stage, .. } | Self::Paused { stage, .. } => Some(*stage),
            Self::Checking
            | Self::Baking { .. }
            | Self::Promoted { .. }
            | Self::RolledBack { .. } => None,
        }
    }
}

impl Rollout {
    /// The share that the phase asks for; `None` while it asks for none.
    pub fn share(&self) -> Option<Share> {
        match &self.phase {
            Phase::Holding { stage, .. } | Phase::Paused { stage, .. } => {
                self.plan.stages.get(*stage).map(|s| s.share)
            }
            Phase::Baking { .. } => Some(Share::WHOLE),
            Phase::Checking | Phase::Promoted { .. } | Phase::RolledBack { .. } => None,
        }
    }

    /// The phase after `signal`; the same one where it changes nothing. The one place that branches on
    /// phases.
    ///
    /// # Errors
    ///
    /// [`Refusal::WrongPhase`] if somebody asked for what this phase cannot do.
    pub fn next(&self, now: Moment, signal: Signal) -> Result<Phase, Refusal> {
        use Phase::{Baking, Checking, Holding, Paused, Promoted, RolledBack};
        let phase = match (self.phase.clone(), signal) {
            (phase @ (Promoted { .. } | RolledBack { .. }), _) => phase,
            (_, Signal::RollBack(why)) => RolledBack { at: now, why },
            (Checking, Signal::Checked(Ok(()))) => Holding { stage: 0, since: now },
            (Checking, Signal::Checked(Err(why))) => RolledBack { at: now, why },
            (Holding { stage, since }, Signal::Time(merit)) => self.held(now, stage, since, merit),
            (Holding { stage, since }, Signal::Pause(why)) => {
                Paused { stage, held: now.since(since), since: now, why }
            }
            (Paused { stage, held, .. }, Signal::Resume) => {
                // One that was held for too long has its time to be undecided again.
                let spent = held.min(self.hold_of(stage));
                let spent = if held >= self.plan.max_hold { Millis(0) } else { spent };
                Holding { stage, since: Moment(now.0.saturating_sub(spent.0)) }
            }
            (Holding { .. } | Paused { .. }, Signal::Promote { full: true }) => self.baking(now),
            (Holding { stage, .. } | Paused { stage, .. }, Signal::Promote { full: false }) => {
                self.after(now, stage)
            }
            (Baking { .. }, Signal::Promote { .. }) => Promoted { at: now },
            // What the guard objects to is not made the baseline, whatever its action is.
            (Baking { until, .. }, Signal::Time(merit))
                if until <= now && !matches!(merit, Merit::Bad(_)) =>
            {
                Promoted { at: now }
            }
            (_, Signal::Pause(_)) => return Err(self.refuse("paused")),
            (_, Signal::Resume) => return Err(self.refuse("resumed")),
            (Checking, Signal::Promote { .. }) => return Err(self.refuse("promoted")),
            (phase, Signal::Time(_) | Signal::Checked(_)) => phase,
        };
        Ok(phase)
    }

    /// A stage that has been held since `since`.
    fn held(&self, now: Moment, stage: usize, since: Moment, merit: Merit) -> Phase {
        let held = now.since(since);
        let stays = Phase::Holding { stage, since };
        let is_over = held >= self.hold_of(stage);
        match (self.plan.advance, merit) {
            (Advance::Manual, _) => stays,
            (Advance::Evidence, Merit::Proven) => self.after(now, stage),
            (Advance::Hold | Advance::Evidence, Merit::Proven | Merit::Clear) if is_over => {
                self.after(now, stage)
            }
            (_, Merit::Short(why) | Merit::Bad(why)) if is_over && held >= self.plan.max_hold => {
                let why = format!("no verdict within {}: {why}", self.plan.max_hold);
                Phase::Paused { stage, held, since: now, why }
            }
            (Advance::Hold | Advance::Evidence, _) => stays,
        }
    }

    fn after(&self, now: Moment, stage: usize) -> Phase {
        if stage + 1 < self.plan.stages.len() {
            Phase::Holding { stage: stage + 1, since: now }
        } else {
            self.baking(now)
        }
    }

    fn baking(&self, now: Moment) -> Phase {
        Phase::Baking { since: now, until: now.after(self.plan.bake) }
    }

    /// How long a stage is held.
    pub fn hold_of(&self, stage: usize) -> Millis {
        self.plan.stages.get(stage).and_then(|s| s.hold).unwrap_or(self.plan.hold)
    }

    /// When time will next move it, whatever the guard finds until then.
    pub fn due(&self, now: Moment) -> Option<Moment> {
        match &self.phase {
            Phase::Holding { stage, since } if self.plan.advance != Advance::Manual => {
                let ends = [self.hold_of(*stage), self.plan.max_hold].map(|span| since.after(span));
                ends.into_iter().filter(|end| *end > now).min()
            }
            Phase::Baking { until, .. } => Some(*until).filter(|until| *until > now),
            Phase::Holding { .. }
            | Phase::Checking
            | Phase::Paused { .. }
            | Phase::Promoted { .. }
            | Phase::RolledBack { .. } => None,
        }
    }

    /// What becomes of it in `phase`, in words.
    pub fn told(&self, phase: &Phase) -> String {
        let candidate = &self.candidate;
        let stages = self.plan.stages.len();
        let share = |stage: usize| self.plan.stages.get(stage).map(|s| s.share).unwrap_or_default();
        match phase {
            Phase::Checking => "is checked".into(),
            Phase::Holding { stage, .. } => {
                format!("holds stage {} of {stages}: {candidate} at {}", stage + 1, share(*stage))
            }
            Phase::Paused { stage, why, .. } => {
                format!("is paused with {candidate} at {}: {why}", share(*stage))
            }
            Phase::Baking { since, until } => {
                format!(
                    "is baking: {candidate} has everything and is judged for {}",
                    until.since(*since)
                )
            }
            Phase::Promoted { .. } => format!("is done: {candidate} is the new baseline"),
            Phase::RolledBack { why, .. } => format!("is rolled back: {why}"),
        }
    }

    fn refuse(&self, verb: &'static str) -> Refusal {
        Refusal::WrongPhase { id: self.id, phase: self.phase.as_str(), verb }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(phase: Phase, advance: Advance) -> Rollout {
        Rollout {
            id: 1,
            candidate: "green".parse().unwrap(),
            services: vec!["app".parse().unwrap()],
            name: "default".into(),
            plan: Plan { advance, ..Plan::default() },
            salt: None,
            by: Actor::lbd(),
            reason: None,
            began: Moment(0),
            phase,
            milestones: Vec::new(),
        }
    }

    const HOLD: Moment = Moment(300_000);
    const MAX: Moment = Moment(3_600_000);

    fn holding(stage: usize) -> Phase {
        Phase::Holding { stage, since: Moment(0) }
    }

    fn timed(advance: Advance, now: Moment, merit: Merit) -> Phase {
        rollout(holding(0), advance).next(now, Signal::Time(merit)).unwrap()
    }

    #[test]
    fn a_stage_ends_with_its_hold_if_nothing_is_wrong() {
        let early = Moment(HOLD.0 - 1);
        for merit in [Merit::Clear, Merit::Proven] {
            assert_eq!(timed(Advance::Hold, early, merit.clone()), holding(0));
            let next = Phase::Holding { stage: 1, since: HOLD };
            assert_eq!(timed(Advance::Hold, HOLD, merit), next);
        }
        for merit in [Merit::Short("few".into()), Merit::Bad("slow".into())] {
            assert_eq!(timed(Advance::Hold, HOLD, merit.clone()), holding(0));
            let paused = timed(Advance::Hold, MAX, merit);
            assert_eq!(paused.as_str(), "paused");
        }
    }

    #[test]
    fn proof_ends_a_stage_early_only_where_the_plan_says_so() {
        let now = Moment(1);
        assert_eq!(
            timed(Advance::Evidence, now, Merit::Proven),
            Phase::Holding { stage: 1, since: now }
        );
        assert_eq!(timed(Advance::Evidence, now, Merit::Clear), holding(0));
        assert_eq!(timed(Advance::Manual, MAX, Merit::Proven), holding(0));
    }

    #[test]
    fn the_last_stage_leads_to_the_bake_and_that_to_the_end() {
        let last = rollout(holding(4), Advance::Hold);
        let baking = last.next(HOLD, Signal::Time(Merit::Clear)).unwrap();
        let until = HOLD.after(last.plan.bake);
        assert_eq!(baking, Phase::Baking { since: HOLD, until });
        let baking = rollout(baking, Advance::Hold);
        let time = |now| baking.next(now, Signal::Time(Merit::Clear)).unwrap();
        assert_eq!(time(Moment(until.0 - 1)), baking.phase);
        assert_eq!(time(until), Phase::Promoted { at: until });
        let bad = baking.next(until, Signal::Time(Merit::Bad("it fails".into()))).unwrap();
        assert_eq!(bad, baking.phase, "what is objected to is not promoted");
        assert_eq!(baking.due(HOLD), Some(until));
    }

    #[test]
    fn a_pause_keeps_what_was_held() {
        let paused = rollout(holding(1), Advance::Hold)
            .next(Moment(1_000), Signal::Pause("lunch".into()))
            .unwrap();
        let paused = rollout(paused, Advance::Hold);
        let time = paused.next(MAX, Signal::Time(Merit::Proven)).unwrap();
        assert_eq!(time, paused.phase, "nothing advances while paused");
        let resumed = paused.next(Moment(9_000), Signal::Resume).unwrap();
        assert_eq!(resumed, Phase::Holding { stage: 1, since: Moment(8_000) });
    }

    #[test]
    fn what_a_phase_cannot_do_is_refused() {
        let refused = |phase: Phase, signal| rollout(phase, Advance::Hold).next(HOLD, signal);
        for (phase, signal) in [
            (Phase::Checking, Signal::Pause("x".into())),
            (Phase::Checking, Signal::Promote { full: true }),
            (holding(0), Signal::Resume),
            (Phase::Baking { since: HOLD, until: MAX }, Signal::Pause("x".into())),
        ] {
            let text = format!("{phase:?} {signal:?}");
            assert!(matches!(refused(phase, signal), Err(Refusal::WrongPhase { .. })), "{text}");
        }
    }

    #[test]
    fn final_phases_absorb_everything() {
        for phase in [Phase::Promoted { at: HOLD }, Phase::RolledBack { at: HOLD, why: "x".into() }]
        {
            for signal in [
                Signal::Checked(Ok(())),
                Signal::Checked(Err("x".into())),
                Signal::Time(Merit::Bad("x".into())),
                Signal::Pause("x".into()),
                Signal::Resume,
                Signal::Promote { full: true },
                Signal::RollBack("y".into()),
            ] {
                let same = rollout(phase.clone(), Advance::Hold).next(MAX, signal).unwrap();
                assert_eq!(same, phase);
            }
            assert_eq!(rollout(phase, Advance::Hold).due(Moment(0)), None);
        }
    }
}
