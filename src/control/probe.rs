//! Active health checks: one small task for each endpoint that is in use.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use tokio::{
    task::{AbortHandle, spawn_local},
    time::{sleep, timeout},
};

use super::{
    Shared,
    dial::{Dialer, with_cause},
};
use crate::model::{EndpointKey, Sight, Target, health::AdminState, link::Link, settings::Probe};

/// How much of an answer's body is looked at, in bytes.
const BODY_MAX: usize = 256 * 1024;
/// First probes are spread over this time, so that checks never run in step.
const SPREAD: Duration = Duration::from_millis(200);

/// Keeps a probing task for every endpoint whose service has an active check.
pub async fn keep_probing(control: Shared) {
    let mut changes = control.borrow().changes();
    let mut running: HashMap<EndpointKey, (Asked, AbortHandle)> = HashMap::new();
    loop {
        let wanted = wanted(&control);
        running.retain(|key, (asked, task)| {
            let keep = wanted.get(key) == Some(asked);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, asked) in wanted {
            running.entry(key).or_insert_with_key(|key| {
                let task = spawn_local(probe_forever(control.clone(), key.clone(), asked.clone()));
                (asked, task.abort_handle())
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What an endpoint is asked, and how.
type Asked = (Probe, Arc<Link>);

fn wanted(control: &Shared) -> HashMap<EndpointKey, Asked> {
    let control = control.borrow();
    let model = &control.model;
    if !control.is_own() {
        return HashMap::new();
    }
    model
        .endpoints()
        .filter(|(_, endpoint)| endpoint.admin != AdminState::Maint)
        .filter_map(|(key, _)| {
            let probe = model.settings.service.get(&key.service)?.health.probe.clone()?;
            let link = model.link(&key.service, &key.pool);
            Some((key, (probe, link)))
        })
        .collect()
}

async fn probe_forever(control: Shared, key: EndpointKey, (probe, link): Asked) {
    let dialer = Dialer::new(link);
    sleep(SPREAD.mul_f64(fastrand::f64())).await;
    loop {
        let result = probe_once(&key, &probe, &dialer).await;
        control.borrow_mut().see(Sight::Probed(key.clone(), result.map_err(Into::into)));
        // A tenth more or less, so that checks of many endpoints drift apart.
        sleep(probe.interval.duration().mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

/// Makes one probe of an endpoint. `Err` says why it failed.
pub async fn probe_once(key: &EndpointKey, probe: &Probe, dialer: &Dialer) -> Result<(), String> {
    let answer = timeout(probe.timeout.duration(), ask(key, probe, dialer)).await;
    answer.unwrap_or_else(|_| Err(format!("no answer within {}", probe.timeout)))
}

async fn ask(key: &EndpointKey, probe: &Probe, dialer: &Dialer) -> Result<(), String> {
    let stream = dialer.connect(&key.address, &key.target).await;
    let stream = stream.map_err(|error| format!("no connection: {error}"))?;
    let host = probe.host.as_deref().map_or_else(|| default_host(key), ToOwned::to_owned);
    let request = Request::get(&*probe.path)
        .header("host", host)
        .header("user-agent", concat!("lbd/", env!("CARGO_PKG_VERSION"), " (health check)"))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the check cannot be asked: {error}"))?;
    let (response, _connection) = dialer
        .send(stream, request)
        .await
        .map_err(|error| format!("no HTTP answer: {}", with_cause(&error)))?;
    judge(response, probe).await
}

async fn judge(response: Response<Incoming>, probe: &Probe) -> Result<(), String> {
    let status = response.status().as_u16();
    if !probe.expect.accepts(status) {
        return Err(format!("status {status}, expected {}", probe.expect));
    }
    let Some(wanted) = &probe.body else { return Ok(()) };
    let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(|error| format!("the body cannot be read: {error}"))?.to_bytes();
    if memchr::memmem::find(&body, wanted.as_bytes()).is_some() {
        Ok(())
    } else {
        Err(format!("the body does not contain `{wanted}`"))
    }
}

/// The `Host` header for an endpoint where the config names none.
pub fn default_host(key: &EndpointKey) -> String {
    match &key.target {
        Target::Tcp(_) => key.address.to_string(),
        Target::Unix(_) => "localhost".to_owned(),
    }
}
