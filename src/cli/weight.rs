//! `weight`, `switch` and `rollback`.

use super::{
    call::Call,
    client::POLL,
    exit::{Exit, Trouble},
    grammar::{RollbackArgs, SwitchArgs, WeightArgs},
    moment::{local, span},
    session::{CHECK_LIMIT, Session, WAIT_LIMIT},
    status::seen,
    table::{
        Side::{Left, Right},
        Table,
    },
};
use crate::{
    api::{
        Op,
        types::{Failure, RollbackBody, ServiceStatus, SplitBody, Status},
    },
    model::{Millis, PoolName, Refusal, Share},
};

/// Gives a pool a share, or shows the shares.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn weight(session: &mut Session<'_>, args: WeightArgs) -> Result<(), Trouble> {
    let services = args.services.names;
    let (Some(pool), Some(share)) = (&args.pool, args.percent) else {
        let call = Call::new(Op::Status).services(&services);
        return show(session, &call, args.pool.as_ref()).await;
    };
    let body = SplitBody {
        pool: pool.clone(),
        share,
        services,
        span: args.span,
        switch: false,
        force: args.force,
        skip_checks: false,
    };
    session.change(Call::new(Op::SetSplit).body(&body)?).await.map(drop)
}

/// Gives a pool all traffic.
///
/// # Errors
///
/// As for [`super::client::Client::call`].
pub async fn switch(session: &mut Session<'_>, args: SwitchArgs) -> Result<(), Trouble> {
    if !args.skip_checks {
        session.allow(CHECK_LIMIT);
    }
    let (share, services) = (Share::WHOLE, args.services.names);
    let body = SplitBody {
        pool: args.pool,
        share,
        services,
        span: None,
        switch: true,
        force: false,
        skip_checks: args.skip_checks,
    };
    session.change(Call::new(Op::SetSplit).body(&body)?).await.map(drop)
}

/// Gives everything back to the baselines.
///
/// # Errors
///
/// As for [`super::client::Client::call`]; with `--wait` also if the ramp does not end, or ends
/// otherwise than at the baselines.
pub async fn rollback(session: &mut Session<'_>, args: RollbackArgs) -> Result<(), Trouble> {
    let status = Call::new(Op::Status).services(&args.services.names);
    let body = RollbackBody { services: args.services.names, ramp: args.ramp };
    session.change(Call::new(Op::Rollback).body(&body)?).await?;
    match args.ramp {
        Some(ramp) if args.wait && !session.terms.dry_run => {
            ramp_down(session, &status, ramp).await
        }
        Some(_) | None => Ok(()),
    }
}

async fn ramp_down(session: &mut Session<'_>, call: &Call, ramp: Millis) -> Result<(), Trouble> {
    let limit = session.wait_limit(Millis(ramp.0.saturating_add(WAIT_LIMIT.0)));
    let mut left = String::from("the ramp is still running");
    let down = async {
        loop {
            let status: Status = session.client.call(call).await?.read()?;
            let running: Vec<String> =
                status.services.iter().filter_map(|s| step(&status, s)).collect();
            if running.is_empty() {
                return ended(&status);
            }
            let now = running.join(", ");
            if now != left {
                session.out.note(&now);
                left = now;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let down = tokio::time::timeout(limit.duration(), down).await;
    down.unwrap_or(Err(Trouble::StillWaiting { limit, left }))
}

/// `app: blue at 75%, 9s left`, if a ramp runs.
fn step(status: &Status, service: &ServiceStatus) -> Option<String> {
    let until = service.ramp_until?;
    let left = span(until.since(status.now));
    let (name, pool, share) = (&service.name, &service.baseline, baseline_share(service));
    Some(format!("{name}: {pool} at {share}, {left} left"))
}

fn baseline_share(service: &ServiceStatus) -> Share {
    let baseline = service.pools.iter().find(|pool| pool.name == service.baseline);
    baseline.map_or(Share::NONE, |pool| pool.share)
}

fn ended(status: &Status) -> Result<(), Trouble> {
    let short = status.services.iter().find(|service| baseline_share(service) != Share::WHOLE);
    short.map_or(Ok(()), |service| {
        let (name, pool, share) = (&service.name, &service.baseline, baseline_share(service));
        let problem =
            format!("the ramp was ended by another command: {pool} of {name} is at {share}");
        let hint = "`lbctl events` shows who did it; `lbctl rollback` goes back at once";
        Err(Trouble::EndedOtherwise { exit: Exit::Failed, problem, hint })
    })
}

async fn show(
    session: &mut Session<'_>,
    call: &Call,
    pool: Option<&PoolName>,
) -> Result<(), Trouble> {
    let reply = session.client.call(call).await?;
    let status: Status = reply.read()?;
    let mut pools = status.services.iter().flat_map(|service| &service.pools);
    if let Some(pool) = pool.filter(|pool| !pools.any(|p| p.name == **pool)) {
        return Err(unknown(pool));
    }
    session.out.reply(&reply)?;
    let lines = render(&status, pool, session);
    session.out.lines(lines)
}

/// What the daemon would say.
fn unknown(pool: &PoolName) -> Trouble {
    let refusal = Refusal::UnknownPool(pool.clone());
    let (code, hint) = (refusal.code().into(), refusal.hint().into());
    Trouble::Answered { status: 404, failure: Failure { error: refusal.to_string(), code, hint } }
}

fn render(status: &Status, only: Option<&PoolName>, session: &Session<'_>) -> Vec<String> {
    let mut lines = table(status, only).lines(session.out.paint);
    for service in &status.services {
        let at = |moment| local(moment, status.now, &session.zone);
        let returns = service.returns_at.map(|m| format!("returns to what it was at {}", at(m)));
        let ramp = service.ramp_until.map(|m| format!("rolls back in steps until {}", at(m)));
        lines
            .extend(returns.into_iter().chain(ramp).map(|text| format!("{} {text}", service.name)));
    }
    lines
}

fn table(status: &Status, only: Option<&PoolName>) -> Table {
    let columns = [("SERVICE", Left), ("POOL", Left), ("WEIGHT", Right), ("OBSERVED", Right)];
    let mut table = Table::new(0, &columns);
    for service in &status.services {
        for pool in service.pools.iter().filter(|p| only.is_none_or(|only| p.name == *only)) {
            let (name, share) = (service.name.to_string(), pool.share.to_string());
            table.row([name.into(), pool.name.to_string().into(), share.into(), seen(pool).into()]);
        }
    }
    table
}
