//! How changes take effect: in which order they are written and published, and who waits for the disk.
//!
//! What is to be in force at once is published and then written ([`Commit::LiveFirst`]); everything
//! else is written first ([`Commit::DurableFirst`]). Control's thread goes on while the disk is at it.
//! A change that waits for the disk may be overtaken by one that does not: then it is thought out
//! anew, and written over what was written before.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::{
    task::spawn_local,
    time::{Instant, timeout_at},
};

use super::{
    Control, Rehearse, Shared, clock,
    disk::{SILENT, Writing},
};
use crate::model::{Changed, Commit, Input, Model, Order, Refusal, Revision, Severity, Step};

/// How long a change that is in force waits to learn that it was written.
const LIVE_MAX: Duration = Duration::from_secs(2);
/// How long a change that must be written first may take, its turn included.
const DURABLE_MAX: Duration = Duration::from_secs(8);

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is to change.
    pub input: Input,
    /// Only on this revision, where the input itself does not say so.
    pub if_revision: Option<Revision>,
    /// Whether it is only a rehearsal.
    pub rehearse: Rehearse,
    /// Until when it may wait for its turn and for the disk.
    pub deadline: Instant,
}

/// Carries out an operator's order; with `rehearse` only says what it would do.
///
/// # Errors
///
/// A [`Refusal`]; nothing was changed.
pub async fn order(control: &Shared, order: Order, rehearse: Rehearse) -> Result<Changed, Refusal> {
    let input = Input::Order(order);
    change(control, Ask { input, if_revision: None, rehearse, deadline: deadline() }).await
}

/// Until when a change that is asked for now may wait.
pub fn deadline() -> Instant {
    Instant::now() + DURABLE_MAX
}

/// A change that was not made because the disk did not answer in time.
pub fn silent() -> Refusal {
    Refusal::NotWritten(SILENT.into())
}

/// Makes a change, and waits until it is written or cannot be.
///
/// # Errors
///
/// A [`Refusal`]; nothing was changed.
pub async fn change(control: &Shared, ask: Ask) -> Result<Changed, Refusal> {
    control.borrow().refuse_if_handed_over()?;
    let asked_on = Base::of(&control.borrow());
    let step = ask.think(&control.borrow().model)?;
    if ask.rehearse == Rehearse::Yes {
        return Ok(Changed { dry_run: true, revision: asked_on.revision, ..step.reply });
    }
    match step.commit {
        Commit::Nothing => Ok(step.reply),
        Commit::LiveFirst => Ok(live(control, step).await),
        Commit::DurableFirst => {
            // A task of its own: who asked may go away, but a change must not end half made.
            let task = spawn_local(durable(control.clone(), ask, asked_on));
            task.await.unwrap_or_else(|error| Err(Refusal::NotWritten(error.to_string())))
        }
    }
}

/// Waits until all is written that was handed to the disk so far, `patience` at most.
///
/// # Errors
///
/// If the disk does not answer.
pub async fn settle(control: &Shared, patience: Duration) -> Result<(), String> {
    let (flush, end) = (control.borrow().disk.flush(), Instant::now() + patience);
    let flushed = flush.until(end).await;
    // Records are written one after the other, beside the rest.
    while Instant::now() < end && !control.borrow_mut().are_records_written() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    flushed
}

impl Ask {
    fn think(&self, model: &Model) -> Result<Step, Refusal> {
        let current = model.state.revision;
        match self.if_revision {
            Some(asked) if asked != current => Err(Refusal::StaleRevision { asked, current }),
            Some(_) | None => model.handle(clock::now(), self.input.clone()),
        }
    }
}

/// What a change is thought out on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Base {
    revision: Revision,
    /// How often traffic was taken back so far.
    taken_back: u64,
}

impl Base {
    const fn of(control: &Control) -> Self {
        Self { revision: control.model.state.revision, taken_back: control.taken_back }
    }

    /// Refuses to shift traffic if some was taken back since this was asked for: that is the later
    /// decision, and must not be undone by what only waited for the disk.
    fn refuse_late(self, now: Self, step: &Step, model: &Model) -> Result<(), Refusal> {
        let shifts = !step.reply.splits.is_empty() || step.state.rollout != model.state.rollout;
        if shifts && now.taken_back != self.taken_back {
            return Err(Refusal::StaleRevision { asked: self.revision, current: now.revision });
        }
        Ok(())
    }
}

impl Control {
    /// Does at once what lbd asks for by itself, in the name of time and of the guard: it is in force
    /// when this returns, and is written after. Nothing is waited for.
    pub(super) fn apply(&mut self, input: Input) -> Result<Changed, Refusal> {
        self.refuse_if_handed_over()?;
        let step = self.model.handle(clock::now(), input)?;
        match step.commit {
            Commit::Nothing => Ok(step.reply),
            Commit::LiveFirst | Commit::DurableFirst => Ok(self.put_in_force(step).0),
        }
    }

    /// Publishes a step and hands it to the disk.
    fn put_in_force(&mut self, step: Step) -> (Changed, Writing) {
        let takes_back = step.events.iter().any(|event| event.severity > Severity::Info);
        self.taken_back += u64::from(takes_back);
        self.model.adopt(clock::now(), step.settings, step.state);
        self.publish();
        let writing = self.save();
        self.announce();
        self.record(step.events);
        (step.reply, writing)
    }

    /// Publishes a step that is written.
    fn adopt(&mut self, step: Step) -> Changed {
        self.model.adopt(clock::now(), step.settings, step.state);
        self.publish();
        self.announce();
        self.record(step.events);
        step.reply
    }

    /// Hands to the disk what is in force.
    pub(super) fn save(&self) -> Writing {
        self.disk.save(self.model.state.clone())
    }
}

/// Publishes first, and writes after.
async fn live(control: &Shared, step: Step) -> Changed {
    let deadline = Instant::now() + LIVE_MAX;
    let (mut reply, writing) = control.borrow_mut().put_in_force(step);
    match writing.until(deadline).await {
        Ok(()) => journaled(control, deadline).await,
        Err(problem) => reply.warnings.push(format!(
            "in force, but the state could not be written ({problem}): a restart would undo it"
        )),
    }
    reply
}

/// Writes first, and publishes after; one such change at a time.
async fn durable(control: Shared, ask: Ask, asked_on: Base) -> Result<Changed, Refusal> {
    let turns = control.borrow().turns.clone();
    let _turn = timeout_at(ask.deadline, turns.lock()).await.map_err(|_| silent())?;
    control.borrow().refuse_if_handed_over()?;
    loop {
        let base = Base::of(&control.borrow());
        let step = ask.think(&control.borrow().model)?;
        match step.commit {
            Commit::Nothing => return Ok(step.reply),
            Commit::LiveFirst => return Ok(live(&control, step).await),
            Commit::DurableFirst => asked_on.refuse_late(base, &step, &control.borrow().model)?,
        }
        let writing = control.borrow().disk.save(step.state.clone());
        let written = writing.until(ask.deadline).await;
        if let Err(problem) = written {
            // It may have been written all the same, or still be: what is in force goes over it.
            drop(control.borrow().save());
            return Err(Refusal::NotWritten(problem));
        }
        if base == Base::of(&control.borrow()) {
            let reply = control.borrow_mut().adopt(step);
            journaled(&control, Instant::now() + LIVE_MAX).await;
            return Ok(reply);
        }
    }
}

/// An operator who is told of a change finds it in the journal. One that cannot be written is no
/// reason to refuse.
async fn journaled(control: &Shared, deadline: Instant) {
    let flush = control.borrow().disk.flush();
    let _ = flush.until(deadline).await;
}
