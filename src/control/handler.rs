//! Answers the operations of the admin API.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited, channel::Channel};
use hyper::body::{Body as _, Bytes, Incoming};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tokio::{sync::broadcast::error::RecvError, task::spawn_local, time::timeout};

use super::{
    Rehearse, Shared,
    access::Caller,
    clock,
    commands::{command, parse, pool},
    commit, configs,
    fault::Fault,
    preflight, releases,
    status::Secrets,
    terms::{Query, Terms},
    upgrade,
};
use crate::{
    api::{
        self, Op, Role,
        release::NoBody,
        types::{
            CohortList, EndpointList, EventList, ExplainBody, PoolEndpoints, ReloadBody, SplitBody,
            Version,
        },
        upgrade::UpgradeBody,
    },
    model::{
        Command, Event, Millis, Moment, Order, PoolName, Refusal, ServiceName, Severity,
        command::Runtime,
    },
};

/// How large a request's body may be, in bytes: room for a hundred thousand users of a cohort.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// How long a request's body may take.
const BODY_TIME: Duration = Duration::from_secs(30);
/// How often a follower of events is sent a sign of life, which also finds those who left.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How many events `GET /v1/events` returns where it is not told.
const EVENTS: usize = 100;

pub(super) type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// Answers one request.
pub async fn handle(
    request: Request<Incoming>,
    control: &Shared,
    caller: &Caller,
) -> Response<Body> {
    let result = match admit(&request, caller) {
        Ok((op, values)) => answer(op, values, request, control, caller).await,
        Err(fault) => {
            note_refusal(&fault, &request, control, caller);
            Err(fault)
        }
    };
    result.unwrap_or_else(|fault| {
        let mut response = json(fault.status, &fault.failure);
        if let Some(allow) = fault.allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    })
}

/// Finds the operation and checks that the caller may have it.
fn admit(request: &Request<Incoming>, caller: &Caller) -> Result<(Op, Vec<String>), Fault> {
    let path = request.uri().path();
    let (op, values) = Op::find(request.method().as_str(), path).map_err(|methods| {
        let hint = "GET /v1/openapi.json lists every operation";
        if methods.is_empty() {
            Fault::new(
                StatusCode::NOT_FOUND,
                "not_found",
                format!("there is nothing at {path}"),
                hint,
            )
        } else {
            let methods = methods.join(", ");
            let error = format!("{path} takes {methods}");
            let allow = HeaderValue::try_from(methods).ok();
            let fault =
                Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error, hint);
            Fault { allow, ..fault }
        }
    })?;
    let needed = op.spec().role;
    if caller.role < needed {
        let who = &caller.actor.name;
        let list = if needed == Role::Operator { "admin.operators" } else { "admin.viewers" };
        let error = format!("{who} may not do this");
        let hint = match caller.actor.uid {
            Some(_) => format!("be root or lbd's own user, or add `{who}` to {list}"),
            None => "use the admin socket".to_owned(),
        };
        return Err(Fault::new(StatusCode::FORBIDDEN, "forbidden", error, hint));
    }
    let decode = |value: &str| percent_decode_str(value).decode_utf8().map(|v| v.into_owned());
    let values: Result<Vec<String>, _> = values.into_iter().map(decode).collect();
    Ok((op, values.map_err(|_| Fault::bad("the path is not UTF-8"))?))
}

/// A change that somebody was not allowed to make belongs into the journal.
fn note_refusal(fault: &Fault, request: &Request<Incoming>, control: &Shared, caller: &Caller) {
    // Strangers over TCP could fill the disk with their attempts.
    let is_known = caller.actor.uid.is_some();
    if is_known && fault.status == StatusCode::FORBIDDEN && request.method() != "GET" {
        let path: String = request.uri().path().chars().take(200).collect();
        let summary = format!("refused: {} {path}", request.method());
        control.borrow_mut().note("access", Severity::Warning, caller.actor.clone(), summary);
    }
}

async fn answer(
    op: Op,
    values: Vec<String>,
    request: Request<Incoming>,
    control: &Shared,
    caller: &Caller,
) -> Result<Response<Body>, Fault> {
    let query = Query::of(request.uri().query().unwrap_or_default(), op)?;
    let terms = Terms::of(&request, &query, &caller.actor)?;
    let wants_stream =
        request.headers().get(header::ACCEPT).is_some_and(|a| a == "text/event-stream");
    let body = match op.spec().body {
        Some(_) => read(request).await?,
        None if request.body().is_end_stream() => Bytes::new(),
        None => return Err(Fault::bad("this takes no body, only query parameters")),
    };
    let secrets = if caller.role == Role::Operator { Secrets::Shown } else { Secrets::Hidden };
    let first = || values.first().map(String::as_str).unwrap_or_default();
    match op {
        Op::Status => {
            Ok(ok(&control.borrow().status(&known(control, query.services()?)?, secrets)))
        }
        Op::SetSplit
        | Op::Rollback
        | Op::SetMaintenance
        | Op::EndMaintenance
        | Op::AddEndpoint
        | Op::SetEndpoint
        | Op::RemoveEndpoint
        | Op::AddToCohort
        | Op::RemoveFromCohort
        | Op::StartRollout
        | Op::PauseRollout
        | Op::ResumeRollout
        | Op::PromoteRollout
        | Op::AbortRollout
        | Op::SetGuard
        | Op::Pause
        | Op::Resume => {
            let salt = fastrand::u64(..);
            let command = command(op, &values, &query, &body, clock::now(), salt)?;
            if op == Op::SetSplit && terms.rehearse == Rehearse::No {
                check_switch(control, &body).await?;
            }
            order(control, terms, command).await
        }
        Op::ListRollouts
        | Op::PlanRollout
        | Op::CurrentRollout
        | Op::GetRollout
        | Op::ReportRollout
        | Op::SimulateRollout
        | Op::Check
        | Op::GetGuard
        | Op::SelfTest
        | Op::ListReceivers
        | Op::TestReceiver => releases::answer(op, &values, &query, &body, control).await,
        Op::GetMaintenance => Ok(ok(&control.borrow().maintenance_views(secrets))),
        Op::ListEndpoints => {
            list_endpoints(control, pool(first())?, &known(control, query.services()?)?)
        }
        Op::ListCohort => list_cohort(control, &pool(first())?),
        Op::Explain => Ok(ok(&control.borrow().explain(&parse::<ExplainBody>(&body)?)?)),
        Op::Events if wants_stream => Ok(follow(control)),
        Op::Events => {
            let since = Moment(query.number("since")?.unwrap_or(0));
            let limit =
                query.number("limit")?.map_or(EVENTS, |n| usize::try_from(n).unwrap_or(usize::MAX));
            Ok(ok(&EventList { events: control.borrow().journal.latest(since, limit) }))
        }
        Op::ShowConfig => Ok(ok(&control.borrow().show_config())),
        Op::DiffConfig => Ok(ok(&control.borrow().diff_config())),
        Op::ReloadConfig => {
            let ReloadBody { reset_runtime } = parse(&body)?;
            let runtime = if reset_runtime { Runtime::Reset } else { Runtime::Kept };
            Ok(ok(&configs::reload(control, terms, runtime).await?))
        }
        Op::Upgrade => {
            let UpgradeBody { ready_within } = parse(&body)?;
            let ready_within = ready_within.map_or(upgrade::READY_WITHIN, Millis::duration);
            Ok(ok(&upgrade::upgrade(control, terms, ready_within).await?))
        }
        Op::GetUpgrade => Ok(ok(&control.borrow().upgrade_status())),
        Op::ListCertificates => Ok(ok(&control.borrow().certificates(clock::now()))),
        Op::ReloadCertificates => {
            parse::<NoBody>(&body)?;
            Ok(ok(&configs::reload_certificates(control, terms).await?))
        }
        Op::OpenApi => Ok(ok(&api::document())),
        Op::Version => Ok(ok(&Version { version: env!("CARGO_PKG_VERSION").into() })),
        Op::Metrics => {
            Ok(text(StatusCode::OK, "text/plain; version=0.0.4", control.borrow().metrics()))
        }
        Op::Healthz => Ok(text(StatusCode::OK, "text/plain", "ok\n".into())),
        Op::Readyz => Ok(readiness(control)),
    }
}

async fn order(control: &Shared, terms: Terms, command: Command) -> Result<Response<Body>, Fault> {
    let Terms { actor, reason, if_revision, rehearse } = terms;
    let order = Order { actor, reason, if_revision, command };
    Ok(ok(&commit::order(control, order, rehearse).await?))
}

/// A cutover needs the preflight of the pool that gets everything, unless it is trusted already.
async fn check_switch(control: &Shared, body: &[u8]) -> Result<(), Fault> {
    let SplitBody { pool, services, switch, skip_checks, .. } = parse(body)?;
    let trusted = {
        let state = &control.borrow().model.state;
        let trusts = |name: &ServiceName| {
            state.services.get(name).is_none_or(|service| service.baseline == pool)
        };
        if services.is_empty() {
            state.with_pool(&pool).all(trusts)
        } else {
            services.iter().all(trusts)
        }
    };
    if !switch || skip_checks || trusted {
        return Ok(());
    }
    let report = preflight::preflight(control, &pool, &services).await?;
    match preflight::problems(&report) {
        None => Ok(()),
        Some(problems) => Err(Refusal::ChecksFailed { pool, problems }.into()),
    }
}

fn known(control: &Shared, services: Vec<ServiceName>) -> Result<Vec<ServiceName>, Refusal> {
    let control = control.borrow();
    match services.iter().find(|name| !control.model.state.services.contains_key(*name)) {
        Some(unknown) => Err(Refusal::UnknownService(unknown.clone())),
        None => Ok(services),
    }
}

fn list_endpoints(
    control: &Shared,
    pool: PoolName,
    services: &[ServiceName],
) -> Result<Response<Body>, Fault> {
    let control = control.borrow();
    let state = &control.model.state;
    let named = |name: &ServiceName| services.is_empty() || services.contains(name);
    let having = state.services.iter().filter(|(name, s)| named(name) && s.split.has(&pool));
    let services: Vec<PoolEndpoints> = having
        .map(|(name, s)| PoolEndpoints {
            service: name.clone(),
            endpoints: control.endpoint_statuses(
                name,
                &pool,
                s.endpoints.get(&pool).map_or(&[], Vec::as_slice),
            ),
        })
        .collect();
    if services.is_empty() {
        return Err(Refusal::UnknownPool(pool).into());
    }
    Ok(ok(&EndpointList { revision: state.revision, services }))
}

fn list_cohort(control: &Shared, pool: &PoolName) -> Result<Response<Body>, Fault> {
    let control = control.borrow();
    let state = &control.model.state;
    if state.with_pool(pool).next().is_none() {
        return Err(Refusal::UnknownPool(pool.clone()).into());
    }
    let texts =
        |set: &std::collections::BTreeSet<Arc<str>>| set.iter().map(ToString::to_string).collect();
    let list = state.cohorts.of(pool).map_or_else(CohortList::default, |cohort| CohortList {
        allow: texts(&cohort.allow),
        deny: texts(&cohort.deny),
    });
    Ok(ok(&list))
}

fn readiness(control: &Shared) -> Response<Body> {
    if control.borrow().is_stopping() {
        text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "stopping\n".into())
    } else {
        text(StatusCode::OK, "text/plain", "ready\n".into())
    }
}

/// Sends events as they happen. The stream ends for a reader that is too slow.
fn follow(control: &Shared) -> Response<Body> {
    const BUFFER: usize = 16;
    let mut events = control.borrow().journal.follow();
    let (mut sender, body) = Channel::new(BUFFER);
    spawn_local(async move {
        loop {
            let piece = match timeout(SIGN_OF_LIFE, events.recv()).await {
                Ok(Ok(event)) => event_piece(&event),
                // A follower that missed something reads it from the journal when it comes again.
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return,
                Err(_) => ":\n\n".to_owned(),
            };
            if sender.send_data(piece.into()).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Either::Right(body));
    let media = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn event_piece(event: &Event) -> String {
    // Events are plain values: turning them into JSON cannot fail.
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", event.kind)
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Fault> {
    let body = timeout(BODY_TIME, Limited::new(request.into_body(), BODY_MAX).collect());
    match body.await.unwrap_or_else(|late| Err(late.into())) {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let hint = "send the users of a cohort in several requests";
            Err(Fault::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than 8 MiB",
                hint,
            ))
        }
        Err(error) => Err(Fault::bad(format!("the body cannot be read: {error}"))),
    }
}

pub(super) fn ok<T: Serialize>(value: &T) -> Response<Body> {
    json(StatusCode::OK, value)
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Body> {
    // Replies are plain values: turning them into JSON cannot fail.
    let mut body = serde_json::to_string(value).unwrap_or_default();
    body.push('\n');
    text(status, "application/json", body)
}

pub(super) fn text(status: StatusCode, media: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}
