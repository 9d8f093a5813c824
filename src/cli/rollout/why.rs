//! `rollout why`: the evidence behind a verdict, from what was stored of it.

use super::show::headline;
use crate::{
    api::{
        Op,
        release::{GuardList, RolloutStatus},
    },
    cli::{
        call::Call,
        client::Reply,
        exit::Trouble,
        judged::{evidence, terms, verdict_lines},
        moment::Clock,
        session::Session,
        table::{Paint, wrapped},
        values::RolloutId,
    },
    model::{
        PoolName, ServiceName,
        guard::{Finding, Terms},
        rollout::{Record, Rollout},
    },
};

/// Shows why: of the rollout that is named; else of the candidates on trial; else of the last one.
///
/// # Errors
///
/// As for [`crate::cli::client::Client::call`].
pub async fn run(session: &mut Session<'_>, id: Option<RolloutId>) -> Result<(), Trouble> {
    let (reply, lines) = match id {
        Some(id) => recorded(session, id).await?,
        None => match on_trial(session).await? {
            Some(shown) => shown,
            None => recorded(session, RolloutId::Last).await?,
        },
    };
    session.out.reply(&reply)?;
    session.out.lines(lines)
}

type Shown = (Reply, Vec<String>);

async fn recorded(session: &Session<'_>, id: RolloutId) -> Result<Shown, Trouble> {
    let reply = session.client.call(&Call::new(Op::GetRollout).at(&id)).await?;
    let lines = of_record(&reply.read()?, &session.clock(), session.out.paint);
    Ok((reply, lines))
}

/// What the guard finds now, or that the rollout that runs has nothing to judge yet; `None` where no
/// candidate is on trial.
async fn on_trial(session: &Session<'_>) -> Result<Option<Shown>, Trouble> {
    let (clock, paint) = (session.clock(), session.out.paint);
    let running = running(session).await?;
    let guard = session.client.call(&Call::new(Op::GetGuard)).await?;
    let list: GuardList = guard.read()?;
    let head = running.as_ref().map(|(_, status)| headline(&status.rollout, &status.text, paint));
    let mut lines = head.unwrap_or_default();
    for service in &list.services {
        let judged = Judged { baseline: Some(&service.baseline), terms: Some(&service.terms) };
        let findings = service.findings.iter();
        lines.extend(findings.flat_map(|f| judged.lines(&service.service, f, &clock, paint)));
    }
    let found = list.services.iter().any(|service| !service.findings.is_empty());
    Ok(match running {
        _ if found => Some((guard, lines)),
        Some((reply, _)) => {
            lines.push("  nothing was judged yet".into());
            Some((reply, lines))
        }
        None => None,
    })
}

/// The rollout that runs, if one does.
async fn running(session: &Session<'_>) -> Result<Option<(Reply, RolloutStatus)>, Trouble> {
    match session.client.call(&Call::new(Op::CurrentRollout)).await {
        Ok(reply) => {
            let status: RolloutStatus = reply.read()?;
            let runs = !status.rollout.phase.is_final();
            Ok(runs.then_some((reply, status)))
        }
        Err(trouble) if trouble.is_refusal("no_rollout") => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn of_record(record: &Record, clock: &Clock, paint: Paint) -> Vec<String> {
    let rollout: &Rollout = &record.rollout;
    let mut lines = headline(rollout, &rollout.told(&rollout.phase), paint);
    for (name, service) in &record.services {
        let judged = Judged { baseline: service.baseline.as_ref(), terms: service.terms.as_ref() };
        match &service.finding {
            Some(finding) => lines.extend(judged.lines(name, finding, clock, paint)),
            None => lines.extend(wrapped(0, &format!("{name}: nothing was judged"))),
        }
    }
    lines
}

/// What is known besides of a service whose candidate was judged.
struct Judged<'j> {
    baseline: Option<&'j PoolName>,
    terms: Option<&'j Terms>,
}

impl Judged<'_> {
    fn lines(
        &self,
        service: &ServiceName,
        finding: &Finding,
        clock: &Clock,
        paint: Paint,
    ) -> Vec<String> {
        let who = format!("{service}: {} at {}", finding.pool, clock.past(finding.at));
        let mut lines = verdict_lines(0, &who, &finding.verdict, paint);
        lines.extend(evidence(finding, self.baseline, clock, paint));
        lines.extend(self.terms.map(terms).unwrap_or_default());
        lines
    }
}
