//! Active health checks: one small task for each endpoint that is in use.

use std::{collections::HashMap, io, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::{AbortHandle, spawn_local},
    time::{sleep, timeout},
};

use super::Shared;
use crate::model::{EndpointKey, Sight, Target, health::AdminState, settings::Probe};

/// How much of an answer's body is looked at, in bytes.
const BODY_MAX: usize = 256 * 1024;
/// First probes are spread over this time, so that checks never run in step.
const SPREAD: Duration = Duration::from_millis(200);

/// Keeps a probing task for every endpoint whose service has an active check.
pub async fn keep_probing(control: Shared) {
    let mut changes = control.borrow().changes();
    let mut running: HashMap<EndpointKey, (Probe, AbortHandle)> = HashMap::new();
    loop {
        let wanted = wanted(&control);
        running.retain(|key, (probe, task)| {
            let keep = wanted.get(key) == Some(probe);
            if !keep {
                task.abort();
            }
            keep
        });
        for (key, probe) in wanted {
            running.entry(key).or_insert_with_key(|key| {
                let task = spawn_local(probe_forever(control.clone(), key.clone(), probe.clone()));
                (probe, task.abort_handle())
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn wanted(control: &Shared) -> HashMap<EndpointKey, Probe> {
    let control = control.borrow();
    let model = &control.model;
    model
        .endpoints()
        .filter(|(_, endpoint)| endpoint.admin != AdminState::Maint)
        .filter_map(|(key, _)| {
            let probe = model.settings.service.get(&key.service)?.health.probe.clone()?;
            Some((key, probe))
        })
        .collect()
}

async fn probe_forever(control: Shared, key: EndpointKey, probe: Probe) {
    sleep(SPREAD.mul_f64(fastrand::f64())).await;
    loop {
        let answer = timeout(probe.timeout.duration(), ask(&key.target, &key, &probe)).await;
        let result = answer.unwrap_or_else(|_| Err(format!("no answer within {}", probe.timeout)));
        control.borrow_mut().see(Sight::Probed(key.clone(), result.map_err(Into::into)));
        // A tenth more or less, so that checks of many endpoints drift apart.
        sleep(probe.interval.duration().mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}

async fn ask(target: &Target, key: &EndpointKey, probe: &Probe) -> Result<(), String> {
    let refused = |error: io::Error| format!("no connection: {error}");
    match target {
        Target::Tcp(address) => {
            exchange(TcpStream::connect(address).await.map_err(refused)?, key, probe).await
        }
        Target::Unix(path) => {
            exchange(UnixStream::connect(path).await.map_err(refused)?, key, probe).await
        }
    }
}

async fn exchange<S>(stream: S, key: &EndpointKey, probe: &Probe) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let broken = |error: hyper::Error| format!("no HTTP answer: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = spawn_local(connection);
    let host = probe.host.as_deref().map_or_else(|| default_host(key), ToOwned::to_owned);
    let request = Request::get(&*probe.path)
        .header("host", host)
        .header("user-agent", concat!("lbd/", env!("CARGO_PKG_VERSION"), " (health check)"))
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the check cannot be asked: {error}"))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let verdict = judge(response, probe).await;
    connection.abort();
    verdict
}

async fn judge(
    response: http::Response<hyper::body::Incoming>,
    probe: &Probe,
) -> Result<(), String> {
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

fn default_host(key: &EndpointKey) -> String {
    match &key.target {
        Target::Tcp(_) => key.address.to_string(),
        Target::Unix(_) => "localhost".to_owned(),
    }
}
