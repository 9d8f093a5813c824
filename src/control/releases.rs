//! What is answered about rollouts, the guard, preflight and notices.

use std::collections::BTreeMap;

use http::{HeaderValue, Response, StatusCode, header};
use jiff::tz::TimeZone;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    Control, Shared,
    commands::{parse, start},
    fault::Fault,
    handler::{Body, ok, text},
    outlook::outlook,
    preflight::preflight,
    records,
    terms::Query,
};
use crate::{
    api::{
        Op,
        release::{
            CheckBody, GuardList, GuardStatus, NoBody, NotifyTest, ReceiverList, ReceiverStatus,
            RolloutBody, RolloutList, RolloutStatus, SelfTestStatus, SimulateBody, Simulated,
        },
    },
    model::{
        Moment, Refusal, ServiceName,
        guard::{rejudge, terms::changed},
        rollout::{Record, Rollout},
        units::{NotAName, ReceiverName},
    },
    report,
};

/// Answers an operation about releases.
///
/// # Errors
///
/// A [`Fault`] that says what is wrong with it.
pub async fn answer(
    op: Op,
    values: &[String],
    query: &Query,
    body: &[u8],
    control: &Shared,
) -> Result<Response<Body>, Fault> {
    let first = || values.first().map(String::as_str).unwrap_or_default();
    match op {
        Op::ListRollouts => Ok(ok(&RolloutList { rollouts: control.borrow().records.list() })),
        Op::CurrentRollout => current(control),
        Op::PlanRollout => {
            Ok(ok(&outlook(&control.borrow(), &start(parse::<RolloutBody>(body)?, 0))?))
        }
        Op::GetRollout => {
            let record = record(control, first()).await?;
            aside(move || Ok(ok(&record.without_tapes()))).await
        }
        Op::ReportRollout => {
            let (record, form) = (record(control, first()).await?, Form::of(query)?);
            aside(move || Ok(report_on(&record, form))).await
        }
        Op::SimulateRollout => {
            let body: SimulateBody = parse(body)?;
            let record = record(control, first()).await?;
            aside(move || Ok(ok(&simulated(&record, &body)?))).await
        }
        Op::Check => {
            let CheckBody { pool, services } = parse(body)?;
            Ok(ok(&preflight(control, &pool, &services).await?))
        }
        Op::GetGuard => guard(control, &query.services()?),
        Op::SelfTest => self_tests(control, &query.services()?),
        Op::ListReceivers => Ok(ok(&receivers(&control.borrow()))),
        Op::TestReceiver => {
            parse::<NoBody>(body)?;
            test(control, first()).await
        }
        _ => Err(Fault::bad("this is not about releases")),
    }
}

impl Control {
    /// A rollout as the status shows it.
    pub fn rollout_status(&self, rollout: &Rollout, now: Moment) -> RolloutStatus {
        let findings: BTreeMap<_, _> = rollout
            .services
            .iter()
            .filter_map(|name| {
                let finding = self.model.finding(name, &rollout.candidate)?;
                Some((name.clone(), finding.clone()))
            })
            .collect();
        RolloutStatus {
            share: rollout.share().unwrap_or_default(),
            text: rollout.told(&rollout.phase),
            waits_for: self.model.waits_for(rollout, now),
            due: rollout.due(now),
            findings,
            rollout: rollout.clone(),
        }
    }
}

fn no_rollout() -> Fault {
    let hint = "`lbctl rollout history` lists them; `lbctl rollout start POOL` starts one";
    Fault::new(StatusCode::NOT_FOUND, "no_rollout", "there is no such rollout", hint)
}

fn current(control: &Shared) -> Result<Response<Body>, Fault> {
    let control = control.borrow();
    let rollout = control.model.state.rollout.as_ref().ok_or_else(no_rollout)?;
    Ok(ok(&control.rollout_status(rollout, super::clock::now())))
}

/// The record of the rollout with this number, or of the last one.
async fn record(control: &Shared, id: &str) -> Result<Record, Fault> {
    let path = {
        let control = control.borrow();
        let last = control.model.state.rollout.as_ref().map(|rollout| rollout.id);
        let id = match id {
            "last" | "current" => last,
            number => number.parse().ok(),
        };
        let id = id.ok_or_else(no_rollout)?;
        let running = control.recorder.record().filter(|r| r.rollout.id == id);
        if let Some(record) = running.or(control.records.unwritten(id)) {
            return Ok(record.clone());
        }
        control.records.path(id)
    };
    let read = spawn_blocking(move || records::read(&path)).await;
    read.ok().flatten().ok_or_else(no_rollout)
}

/// Works something out beside control's thread, which has a guard to serve. One such at a time.
async fn aside(
    work: impl FnOnce() -> Result<Response<Body>, Fault> + Send + 'static,
) -> Result<Response<Body>, Fault> {
    static ONE: Semaphore = Semaphore::const_new(1);
    let failed = || {
        let hint = "see lbd's log";
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "it could not be worked out", hint)
    };
    let _turn = ONE.acquire().await.map_err(|_| failed())?;
    spawn_blocking(work).await.map_err(|_| failed())?
}

/// The form of a report.
#[derive(Clone, Copy, Debug)]
enum Form {
    Markdown,
    Json,
    Html,
}

impl Form {
    fn of(query: &Query) -> Result<Self, Fault> {
        match query.first("format").unwrap_or("md") {
            "md" => Ok(Self::Markdown),
            "json" => Ok(Self::Json),
            "html" => Ok(Self::Html),
            other => {
                Err(Fault::bad(format!("a report has the format md, json or html, not `{other}`")))
            }
        }
    }
}

fn report_on(record: &Record, form: Form) -> Response<Body> {
    let zone = TimeZone::system();
    match form {
        Form::Markdown => {
            text(StatusCode::OK, "text/markdown; charset=utf-8", report::markdown(record, &zone))
        }
        Form::Json => text(StatusCode::OK, "application/json", report::json(record)),
        Form::Html => {
            let page = report::html(record, &zone);
            let mut response = text(StatusCode::OK, "text/html; charset=utf-8", page);
            let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
            response
        }
    }
}

/// What other terms would have made of the evidence that was stored.
fn simulated(record: &Record, body: &SimulateBody) -> Result<Vec<Simulated>, Refusal> {
    let judged = record.services.iter().map(|(name, service)| {
        let terms = changed(&service.terms.clone().unwrap_or_default(), &body.terms)?;
        let replay = rejudge(&service.tape, &terms, &record.rollout.candidate);
        Ok(Simulated {
            service: name.clone(),
            then: service.finding.as_ref().map(|finding| finding.verdict.clone()),
            now: replay.as_ref().map(|replay| replay.verdict.clone()),
            at: replay.as_ref().map(|replay| replay.at),
            terms,
        })
    });
    judged.collect()
}

fn named(control: &Control, services: &[ServiceName]) -> Result<Vec<ServiceName>, Refusal> {
    control.model.named_or_all(services)
}

fn guard(control: &Shared, services: &[ServiceName]) -> Result<Response<Body>, Fault> {
    let control = control.borrow();
    let names = named(&control, services)?;
    let status = |name: ServiceName| {
        let state = control.model.state.services.get(&name)?;
        let findings =
            state.candidates().filter_map(|(pool, _)| control.model.finding(&name, pool));
        Some(GuardStatus {
            baseline: state.baseline.clone(),
            terms: state.terms().clone(),
            differs_from_file: state.guard.is_some(),
            findings: findings.cloned().collect(),
            alarm: state.alarm.clone(),
            lockouts: state.lockouts.clone(),
            service: name,
        })
    };
    let services = names.into_iter().filter_map(status).collect();
    Ok(ok(&GuardList { revision: control.model.state.revision, services }))
}

fn self_tests(control: &Shared, services: &[ServiceName]) -> Result<Response<Body>, Fault> {
    let control = control.borrow();
    let status = |name: ServiceName| {
        let report = control.model.watch(&name)?.selftest()?;
        Some(SelfTestStatus {
            service: name,
            since: report.since,
            runs: report.runs,
            alarms: report.alarms,
            samples: report.samples,
            alpha: report.alpha,
        })
    };
    let tests: Vec<_> = named(&control, services)?.into_iter().filter_map(status).collect();
    Ok(ok(&tests))
}

fn receivers(control: &Control) -> ReceiverList {
    let kinds = &control.model.settings.notify;
    let status = |counts: crate::notify::ReceiverCounts| {
        let receiver = kinds.iter().find(|receiver| receiver.name == counts.name);
        ReceiverStatus {
            kind: receiver.map_or("", |r| r.channel.kind()).into(),
            name: counts.name,
            sent: counts.sent,
            failed: counts.failed,
            dropped: counts.dropped,
            waiting: counts.waiting,
            problem: counts.problem.unwrap_or_default(),
        }
    };
    ReceiverList { receivers: control.notifiers.counts().into_iter().map(status).collect() }
}

async fn test(control: &Shared, name: &str) -> Result<Response<Body>, Fault> {
    let name: ReceiverName = name.parse().map_err(|e: NotAName| Fault::bad(e.to_string()))?;
    let answer = control.borrow().notifiers.test(&name).ok_or_else(|| {
        let error = format!("there is no receiver named `{name}`");
        let hint = "`lbctl notify list` lists them; [[notify]] sections make them";
        Fault::new(StatusCode::NOT_FOUND, "unknown_receiver", error, hint)
    })?;
    let result = answer.await.unwrap_or_else(|_| Err("lbd is stopping".into()));
    let problem = result.err().unwrap_or_default();
    Ok(ok(&NotifyTest { sent: problem.is_empty(), problem }))
}
