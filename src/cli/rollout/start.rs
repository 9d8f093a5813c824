//! `rollout start`.

use super::wait::{Until, follow};
use crate::{
    api::{Op, release::RolloutBody},
    cli::{
        call::Call,
        exit::Trouble,
        grammar::{Shift, StartArgs},
        session::{CHECK_LIMIT, FOREVER, Session},
    },
    model::{command::PlanChanges, rollout::Stage},
};

/// Starts a rollout and waits for its preflight, or with `--wait` for its end.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`], and what [`follow`] has.
pub async fn run(session: &mut Session<'_>, args: StartArgs) -> Result<(), Trouble> {
    let StartArgs { shift, wait, fresh_cohort, skip_checks } = args;
    let pool = shift.pool.clone();
    let body = RolloutBody { fresh_cohort, skip_checks, ..body(shift) };
    session.change(Call::new(Op::StartRollout).body(&body)?).await?;
    match (session.terms.dry_run, wait) {
        (true, _) => Ok(()),
        (false, true) => follow(session, &pool, Until::Over, FOREVER).await,
        (false, false) => follow(session, &pool, Until::Checked, CHECK_LIMIT).await,
    }
}

/// The shift as the API has it.
pub fn body(shift: Shift) -> RolloutBody {
    let Shift { pool, plan, stages, hold, advance, max_hold, bake, services } = shift;
    let stages = (!stages.is_empty()).then(|| stages.into_iter().map(Stage::of).collect());
    let changes = PlanChanges { stages, hold, advance, max_hold, bake };
    let services = services.names;
    RolloutBody { pool, services, plan, changes, fresh_cohort: false, skip_checks: false }
}
