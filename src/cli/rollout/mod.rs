//! `rollout`: staged shifts to a candidate.
//!
//! - `start` begins one, `wait` follows it to an exit code.
//! - `show` is `status` and `history`, `why` the evidence behind a verdict.
//! - `plan` and `simulate` are what would be noticed, and what would have been.
//! - `report` is one rollout on paper.

mod plan;
mod report;
mod show;
mod simulate;
mod start;
#[cfg(test)]
mod tests;
mod wait;
mod why;

pub use show::{ending, headline};

use super::{call::Call, exit::Trouble, grammar::Rollout, session::Session};
use crate::api::{
    Op,
    release::{NoBody, PromoteBody},
};

/// Does what was typed.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; for `start` also if the rollout ends otherwise.
pub async fn run(session: &mut Session<'_>, verb: Rollout) -> Result<(), Trouble> {
    match verb {
        Rollout::Start(args) => start::run(session, args).await,
        Rollout::Status => show::status(session).await,
        Rollout::Pause => plain(session, Op::PauseRollout).await,
        Rollout::Resume => plain(session, Op::ResumeRollout).await,
        Rollout::Promote { full } => {
            let call = Call::new(Op::PromoteRollout).body(&PromoteBody { full })?;
            session.change(call).await.map(drop)
        }
        Rollout::Abort => plain(session, Op::AbortRollout).await,
        Rollout::History => show::history(session).await,
        Rollout::Why { id } => why::run(session, id).await,
        Rollout::Plan(shift) => plan::run(session, shift).await,
        Rollout::Simulate(args) => simulate::run(session, args).await,
        Rollout::Report(args) => report::run(session, args).await,
    }
}

async fn plain(session: &mut Session<'_>, op: Op) -> Result<(), Trouble> {
    session.change(Call::new(op).body(&NoBody {})?).await.map(drop)
}
