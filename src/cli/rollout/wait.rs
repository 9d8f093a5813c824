//! Follows a rollout: a line for each step, and an exit code for its outcome.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    api::{Op, release::RolloutStatus},
    cli::{
        call::Call,
        client::{Client, POLL},
        exit::{Exit, Trouble},
        session::Session,
    },
    model::{
        Actor, Millis, PoolName, Share,
        rollout::{Phase, Record, Rollout},
    },
};

/// The longest bake that is waited for.
const BAKE_MAX: Millis = Millis::from_secs(15 * 60);
/// For how long the daemon may be away, as it is while it restarts.
const ABSENCE_MAX: Duration = Duration::from_secs(30);

/// Until when a rollout is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Until {
    /// Its preflight is over.
    Checked,
    /// It is over, or bakes for long, or is paused.
    Over,
}

/// Follows the rollout of `candidate` that was just started, for as long as `--timeout` says or else
/// `limit`.
///
/// # Errors
///
/// What the rollout came to, if not what was asked for; or that the daemon is away for long.
pub async fn follow(
    session: &mut Session<'_>,
    candidate: &PoolName,
    until: Until,
    limit: Millis,
) -> Result<(), Trouble> {
    let limit = session.wait_limit(limit);
    let mut follower = Follower::new(session.poller(), until);
    let end = follower.run(session, candidate);
    let in_time = tokio::time::timeout(limit.duration(), end).await;
    in_time.unwrap_or(Err(Trouble::StillWaiting { limit, left: follower.last }))
}

/// What is known of the rollout that is followed.
struct Follower {
    client: Client,
    until: Until,
    /// Its number, once it was seen.
    id: Option<u64>,
    /// Phase and stage that were told last.
    told: Option<(&'static str, Option<usize>)>,
    /// What it goes on with.
    last: String,
    absence: Absence,
}

impl Follower {
    fn new(client: Client, until: Until) -> Self {
        let last = "the rollout goes on; nothing was seen of it yet".into();
        Self { client, until, id: None, told: None, last, absence: Absence::default() }
    }

    async fn run(
        &mut self,
        session: &mut Session<'_>,
        candidate: &PoolName,
    ) -> Result<(), Trouble> {
        loop {
            match self.look(candidate).await {
                Ok(rollout) => {
                    if std::mem::take(&mut self.absence).began.is_some() {
                        session.out.note("lbd is back");
                    }
                    if let Some(outcome) = self.takes_in(session, &rollout) {
                        return outcome;
                    }
                }
                Err(trouble) if trouble.is_absence() => {
                    let known = self.absence.began.is_some();
                    if self.absence.is_over(Instant::now()) {
                        return Err(trouble);
                    }
                    if !known {
                        session.out.note(&format!("{trouble}; trying again"));
                    }
                }
                Err(trouble) => return Err(trouble),
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The rollout that is followed, as it is now. If another one took its place, it is over, and its
    /// record says how it ended.
    async fn look(&mut self, candidate: &PoolName) -> Result<Rollout, Trouble> {
        let call = Call::new(Op::CurrentRollout);
        let status: RolloutStatus = self.client.call(&call).await?.read()?;
        let current = status.rollout;
        let id = *self.id.get_or_insert(current.id);
        if current.id == id && current.candidate == *candidate {
            return Ok(current);
        }
        if current.id == id {
            return Err(replaced(candidate, &current));
        }
        let record: Record = self.client.call(&Call::new(Op::GetRollout).at(&id)).await?.read()?;
        Ok(record.rollout)
    }

    /// Tells a step, unless it is a bad end, which is told by the trouble that it leads to.
    fn takes_in(
        &mut self,
        session: &mut Session<'_>,
        rollout: &Rollout,
    ) -> Option<Result<(), Trouble>> {
        let outcome = outcome(rollout, self.until);
        let step = (rollout.phase.as_str(), rollout.phase.stage());
        let is_new = self.told.replace(step) != Some(step);
        let (id, text) = (rollout.id, rollout.told(&rollout.phase));
        if is_new && !matches!(outcome, Some(Err(_))) {
            session.out.note(&format!("rollout {id} {text}"));
        }
        self.last = format!("rollout {id} goes on; it {text}");
        if is_left_baking(rollout, self.until) {
            session.out.note("--wait ends here: the bake takes longer than 15 minutes");
        }
        outcome
    }
}

/// What came of the rollout, if that is known.
fn outcome(rollout: &Rollout, until: Until) -> Option<Result<(), Trouble>> {
    match (&rollout.phase, until) {
        (Phase::Checking, _) => None,
        (Phase::RolledBack { .. }, _) => Some(Err(rolled_back(rollout))),
        (Phase::Promoted { .. }, _) => Some(Ok(())),
        (_, Until::Checked) => Some(Ok(())),
        (Phase::Paused { .. }, Until::Over) => Some(Err(paused(rollout))),
        (Phase::Baking { .. }, Until::Over) if is_left_baking(rollout, until) => Some(Ok(())),
        (Phase::Holding { .. } | Phase::Baking { .. }, Until::Over) => None,
    }
}

fn is_left_baking(rollout: &Rollout, until: Until) -> bool {
    let bakes = matches!(rollout.phase, Phase::Baking { .. });
    bakes && until == Until::Over && rollout.plan.bake > BAKE_MAX
}

/// What ends before the candidate had traffic was refused, unless somebody ended it.
fn rolled_back(rollout: &Rollout) -> Trouble {
    let had_traffic = rollout.milestones.iter().any(|milestone| milestone.share > Share::NONE);
    let by_lbd = rollout.milestones.last().is_none_or(|last| last.by == Actor::lbd());
    let problem = format!("rollout {} {}", rollout.id, rollout.told(&rollout.phase));
    if !had_traffic && by_lbd {
        let hint = "the candidate got no traffic; `lbctl check POOL` repeats its checks, \
                    --skip-checks goes on without them";
        return Trouble::EndedOtherwise { exit: Exit::Refused, problem, hint };
    }
    let hint = "`lbctl rollout why` shows the evidence, `lbctl rollout report` all of it";
    Trouble::EndedOtherwise { exit: Exit::RolledBack, problem, hint }
}

fn paused(rollout: &Rollout) -> Trouble {
    let problem = format!("rollout {} {}", rollout.id, rollout.told(&rollout.phase));
    let hint = "`lbctl rollout why` shows the evidence; `lbctl rollout resume` goes on, `promote` \
                takes the next stage, `abort` ends it";
    Trouble::EndedOtherwise { exit: Exit::Held, problem, hint }
}

fn replaced(candidate: &PoolName, by: &Rollout) -> Trouble {
    let problem = format!("rollout {} of {} runs instead of {candidate}'s", by.id, by.candidate);
    let hint = "`lbctl rollout history` shows how it ended, `lbctl events` who did it";
    Trouble::EndedOtherwise { exit: Exit::RolledBack, problem, hint }
}

/// Since when the daemon has been away, if it is.
#[derive(Debug, Default)]
struct Absence {
    began: Option<Instant>,
}

impl Absence {
    /// Whether it has lasted too long.
    fn is_over(&mut self, now: Instant) -> bool {
        now.duration_since(*self.began.get_or_insert(now)) >= ABSENCE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_tolerated_for_half_a_minute() {
        let (mut absence, begin) = (Absence::default(), Instant::now());
        let after = |secs| begin + Duration::from_secs(secs);
        assert_eq!([0, 1, 29, 30].map(|s| absence.is_over(after(s))), [false, false, false, true]);
    }
}
