//! Turns an admin request into a command of the model. Pure: the moment is an argument.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::{fault::Fault, terms::Query};
use crate::{
    api::{
        Op,
        release::{GuardBody, NoBody, PauseBody, PromoteBody, RolloutBody},
        types::{
            CohortBody, EndpointBody, EndpointStateBody, MaintenanceBody, RollbackBody, SplitBody,
        },
    },
    model::{
        Command, Millis, Moment, PoolName, ServiceName, Share,
        address::NotAnAddress,
        command::{
            CohortAction, CohortChange, EndpointAction, EndpointChange, GuardChange, Rollback,
            RolloutStart, Weight,
        },
        maintenance::Maintenance,
    },
};

/// How long requests are held at most where the command does not say.
const PAUSE: Millis = Millis::from_secs(30);

/// The command that an operation asks for, with the values of its path, its query and its body.
///
/// `salt` is a random number, for the rollout that wants a fresh cohort.
///
/// # Errors
///
/// A [`Fault`] if a part is not what it should be, or the operation is no command.
pub fn command(
    op: Op,
    values: &[String],
    query: &Query,
    body: &[u8],
    now: Moment,
    salt: u64,
) -> Result<Command, Fault> {
    let first = || values.first().map(String::as_str).unwrap_or_default();
    match op {
        Op::SetSplit => split(parse(body)?),
        Op::Rollback => {
            let RollbackBody { services, ramp } = parse(body)?;
            Ok(Command::Rollback(Rollback { services, ramp }))
        }
        Op::SetMaintenance => maintenance(parse(body)?, now),
        Op::EndMaintenance => Ok(Command::MaintenanceOff(query.services()?)),
        Op::AddEndpoint => {
            let EndpointBody { address, weight, services } = parse(body)?;
            let action = EndpointAction::Add { weight: weight.unwrap_or(1) };
            let pool = pool(first())?;
            Ok(Command::Endpoint(EndpointChange { pool, address, services, action }))
        }
        Op::SetEndpoint => {
            let EndpointStateBody { state, services } = parse(body)?;
            endpoint(values, services, EndpointAction::Set(state))
        }
        Op::RemoveEndpoint => endpoint(values, query.services()?, EndpointAction::Remove),
        Op::AddToCohort => Ok(cohort(pool(first())?, parse(body)?, CohortAction::Add)),
        Op::RemoveFromCohort => Ok(cohort(pool(first())?, parse(body)?, CohortAction::Remove)),
        Op::StartRollout => Ok(Command::RolloutStart(start(parse(body)?, salt))),
        Op::PauseRollout => parse::<NoBody>(body).map(|_| Command::RolloutPause),
        Op::ResumeRollout => parse::<NoBody>(body).map(|_| Command::RolloutResume),
        Op::PromoteRollout => {
            let PromoteBody { full } = parse(body)?;
            Ok(Command::RolloutPromote { full })
        }
        Op::AbortRollout => parse::<NoBody>(body).map(|_| Command::RolloutAbort),
        Op::SetGuard => {
            let GuardBody { services, terms } = parse(body)?;
            Ok(Command::Guard(GuardChange { services, terms }))
        }
        Op::Pause => {
            let PauseBody { services, max } = parse(body)?;
            Ok(Command::Pause(services, max.unwrap_or(PAUSE)))
        }
        Op::Resume => Ok(Command::Resume(query.services()?)),
        Op::Status
        | Op::ListRollouts
        | Op::PlanRollout
        | Op::CurrentRollout
        | Op::GetRollout
        | Op::ReportRollout
        | Op::SimulateRollout
        | Op::Check
        | Op::GetGuard
        | Op::SelfTest
        | Op::ListReceivers
        | Op::TestReceiver
        | Op::GetMaintenance
        | Op::ListEndpoints
        | Op::ListCohort
        | Op::Explain
        | Op::Events
        | Op::ShowConfig
        | Op::DiffConfig
        | Op::ReloadConfig
        | Op::Upgrade
        | Op::GetUpgrade
        | Op::ListCertificates
        | Op::ReloadCertificates
        | Op::OpenApi
        | Op::Version
        | Op::Metrics
        | Op::Healthz
        | Op::Readyz => Err(Fault::bad("this is no command")),
    }
}

/// Reads the name of a pool in a path.
///
/// # Errors
///
/// If it cannot be a name.
pub fn pool(text: &str) -> Result<PoolName, Fault> {
    text.parse().map_err(|e: crate::model::units::NotAName| Fault::bad(e.to_string()))
}

/// Reads a JSON body; an empty one is an empty object.
///
/// # Errors
///
/// If it is not of the operation's schema.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body })
        .map_err(|error| Fault::bad(format!("the body is not what it should be: {error}")))
}

fn split(body: SplitBody) -> Result<Command, Fault> {
    let SplitBody { pool, share, services, span, switch, force, .. } = body;
    if switch && share != Share::WHOLE {
        return Err(Fault::bad("a switch gives the pool 100%"));
    }
    let verb = if switch { "switch" } else { "weight" };
    Ok(Command::Weight(Weight { pool, share, services, span, verb, force }))
}

/// The rollout that is asked for.
pub fn start(body: RolloutBody, salt: u64) -> RolloutStart {
    let RolloutBody { pool, services, plan, changes, fresh_cohort, skip_checks } = body;
    let salt = fresh_cohort.then(|| Arc::from(format!("{salt:016x}")));
    RolloutStart { pool, services, plan, changes, salt, skip_checks }
}

fn maintenance(body: MaintenanceBody, now: Moment) -> Result<Command, Fault> {
    let until = match (body.until, body.span) {
        (Some(_), Some(_)) => return Err(Fault::bad("give `until` or `for`, not both")),
        (until, span) => until.or_else(|| span.map(|span| now.after(span))),
    };
    let sound = |s: &String| {
        (8..=128).contains(&s.len())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if !body.secret.as_ref().is_none_or(sound) {
        return Err(Fault::bad("a secret has 8 to 128 letters, digits, `-` and `_`"));
    }
    let maintenance = Maintenance {
        since: now,
        until,
        message: body.message.map(Arc::from),
        allow: body.allow,
        secret: body.secret.map(Arc::from),
    };
    Ok(Command::MaintenanceOn(body.services, maintenance))
}

fn cohort(pool: PoolName, body: CohortBody, action: CohortAction) -> Command {
    let users = body.users.into_iter().map(Arc::from).collect();
    Command::Cohort(CohortChange { pool, list: body.list, users, action })
}

/// A change of the endpoint that the path names.
fn endpoint(
    values: &[String],
    services: Vec<ServiceName>,
    action: EndpointAction,
) -> Result<Command, Fault> {
    let [at, address] = values else { return Err(Fault::bad("the path names no endpoint")) };
    let address = address.parse().map_err(|e: NotAnAddress| Fault::bad(e.to_string()))?;
    Ok(Command::Endpoint(EndpointChange { pool: pool(at)?, address, services, action }))
}
