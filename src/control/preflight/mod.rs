//! Preflight: asks a candidate's endpoints what they must answer before they get traffic.
//!
//! Every ready endpoint of the pool must be healthy and pass every `[[service.NAME.check]]`, asked
//! straight and not through the listeners. An endpoint's checks are made in the order of the file, so
//! that a login can come before an order, and all of them, so that one report names every problem. Up
//! to eight endpoints are asked at a time. And no certificate that the service's clients are shown may
//! end very soon: within 7 days, or a twelfth of its life where lbd renews it.
//!
//! A request has the check's headers, and where they say nothing: `Host` as for health probes, lbd's
//! `User-Agent`, and `Content-Type: application/json` if the data begins with `{` or `[`. Redirects are
//! not followed. The time that `max_latency` limits is that of the whole answer, with the connection;
//! of a body beyond 256 KiB only the beginning is read and timed.

#[cfg(test)]
mod fake;
mod trial;

use std::{collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{
    Shared, certificates, clock,
    dial::Dialer,
    probe::{default_host, probe_once},
};
use crate::{
    api::release::{CheckReport, CheckRow},
    model::{
        Address, EndpointKey, Model, PoolName, Refusal, ServiceName,
        health::{AdminState, Standing},
        link::Link,
        preflight::Check,
        rollout::Requirement,
        settings::{Probe, Service},
        state::EndpointState,
    },
};
use trial::{Site, rounded};

/// How many endpoints are asked at a time.
const AT_A_TIME: usize = 8;
/// What a row about an endpoint's fitness is called.
const HEALTH: &str = "health";
/// What a row about a whole pool is called.
const ENDPOINTS: &str = "endpoints";

/// Asks the pool's endpoints in every service that has it, or in those named.
///
/// # Errors
///
/// If a pool or service is named that does not exist. What the endpoints answer is no error.
pub async fn preflight(
    control: &Shared,
    pool: &PoolName,
    services: &[ServiceName],
) -> Result<CheckReport, Refusal> {
    let round = Round::new(&control.borrow().model, pool, services)?;
    let services = round.services.clone();
    let mut report = round.make().await;
    let (control, now) = (control.borrow(), clock::now());
    report.rows.extend(services.iter().flat_map(|service| control.certificate_rows(service, now)));
    report.passed = report.rows.iter().all(|row| row.passed);
    Ok(report)
}

/// Whether a plan that requires this much minds how a row went.
pub fn is_required(row: &CheckRow, required: &[Requirement]) -> bool {
    let what = match row.check.as_str() {
        HEALTH | ENDPOINTS | certificates::CHECK => Requirement::Health,
        _ => Requirement::Checks,
    };
    required.contains(&what)
}

/// What did not pass, on one line; `None` if everything did.
pub fn problems(report: &CheckReport) -> Option<String> {
    let mut failed = report.rows.iter().filter(|row| !row.passed);
    let row = failed.next()?;
    // What a check looks for may have several lines.
    let text = row.text.lines().collect::<Vec<_>>().join(" ");
    let first = match &row.endpoint {
        Some(endpoint) => format!("{} at {endpoint}: {text}", row.check),
        None if row.check == certificates::CHECK => {
            format!("{}: the certificate {text}", row.service)
        }
        None => format!("{}: {text}", row.service),
    };
    Some(match failed.count() {
        0 => first,
        more => format!("{first}; and {more} more"),
    })
}

/// Everything that is asked, worked out beforehand: the model may change meanwhile.
#[derive(Debug)]
struct Round {
    pool: PoolName,
    services: BTreeSet<ServiceName>,
    /// In the order of the services.
    visits: Vec<Visit>,
}

impl Round {
    fn new(model: &Model, pool: &PoolName, named: &[ServiceName]) -> Result<Self, Refusal> {
        // A service that is named twice gets its orders once.
        let services: BTreeSet<_> = model.services_with(pool, named)?.into_iter().collect();
        let visits = services.iter().flat_map(|service| visits(model, service, pool)).collect();
        Ok(Self { pool: pool.clone(), services, visits })
    }

    async fn make(self) -> CheckReport {
        let permits = Rc::new(Semaphore::new(AT_A_TIME));
        let mut visits = JoinSet::new();
        for (n, visit) in self.visits.into_iter().enumerate() {
            let permits = permits.clone();
            visits.spawn_local(async move {
                // Nobody closes the semaphore.
                let _permit = permits.acquire().await;
                (n, visit.make().await)
            });
        }
        let mut visited = visits.join_all().await;
        visited.sort_unstable_by_key(|(n, _)| *n);
        let visited: Vec<_> = visited.into_iter().map(|(_, visited)| visited).collect();
        let rows: Vec<_> = self.services.iter().flat_map(|s| rows_of(s, &visited)).collect();
        CheckReport { pool: self.pool, passed: rows.iter().all(|row| row.passed), rows }
    }
}

/// A service's rows, with one for the pool if nobody could serve.
fn rows_of(service: &ServiceName, visited: &[Visited]) -> Vec<CheckRow> {
    let visited: Vec<_> = visited.iter().filter(|v| v.service == *service).collect();
    let mut rows: Vec<_> = visited.iter().flat_map(|v| v.rows.iter().cloned()).collect();
    if !visited.iter().any(|v| v.is_usable) {
        rows.push(CheckRow {
            service: service.clone(),
            endpoint: None,
            check: ENDPOINTS.to_owned(),
            passed: false,
            text: "no usable endpoint".to_owned(),
            took_ms: None,
        });
    }
    rows
}

/// One endpoint to ask.
#[derive(Debug)]
struct Visit {
    service: ServiceName,
    settings: Arc<Service>,
    link: Arc<Link>,
    /// Its name, as the status has it.
    endpoint: String,
    known: Known,
}

/// What is known of an endpoint beforehand.
#[derive(Debug)]
enum Known {
    /// Its name leads nowhere, and why.
    Lost(String),
    /// Where it is, how it stands, and why its last probe failed, if it did.
    At(EndpointKey, Standing, Arc<str>),
}

/// What asking an endpoint found.
#[derive(Debug)]
struct Visited {
    service: ServiceName,
    is_usable: bool,
    rows: Vec<CheckRow>,
}

/// The endpoints of a pool that are not taken out by the operator, each of their addresses for itself.
fn visits(model: &Model, service: &ServiceName, pool: &PoolName) -> Vec<Visit> {
    let settings = model.settings.service.get(service);
    let state = model.state.services.get(service);
    let (Some(settings), Some(state)) = (settings, state) else { return Vec::new() };
    let endpoints = state.endpoints.get(pool).map(Vec::as_slice).unwrap_or_default();
    let ready = endpoints.iter().filter(|endpoint| endpoint.admin == AdminState::Ready);
    let known = ready.flat_map(|endpoint| known(model, service, pool, endpoint));
    let link = model.link(service, pool);
    let visit = |(endpoint, known)| Visit {
        service: service.clone(),
        settings: settings.clone(),
        link: link.clone(),
        endpoint,
        known,
    };
    known.map(visit).collect()
}

/// What is known of each address of an endpoint, with its name.
fn known(
    model: &Model,
    service: &ServiceName,
    pool: &PoolName,
    endpoint: &EndpointState,
) -> Vec<(String, Known)> {
    let address = &endpoint.address;
    let targets = model.targets(address);
    if targets.is_empty() {
        return vec![(address.to_string(), Known::Lost(unresolved(model, address)))];
    }
    let at = |target| {
        let (service, pool) = (service.clone(), pool.clone());
        let key = EndpointKey { service, pool, address: address.clone(), target };
        let (standing, reason) = (model.standing(&key, endpoint), model.health(&key).reason);
        (address.label(&key.target), Known::At(key, standing, reason))
    };
    targets.into_iter().map(at).collect()
}

fn unresolved(model: &Model, address: &Address) -> String {
    let problem = match address {
        Address::Host { host, .. } => model.resolution(host).map(|r| r.problem.clone()),
        Address::Ip(_) | Address::Unix(_) => None,
    };
    let problem = problem.filter(|problem| !problem.is_empty());
    format!("does not resolve: {}", problem.as_deref().unwrap_or("no answer yet"))
}

impl Visit {
    async fn make(self) -> Visited {
        let (key, standing, reason) = match &self.known {
            Known::At(key, standing, reason) => (key, *standing, reason),
            Known::Lost(why) => {
                let rows = vec![self.row(HEALTH, Err(why.clone()), None)];
                return Visited { service: self.service, is_usable: false, rows };
            }
        };
        let probe = self.settings.health.probe.as_ref();
        let host = probe.and_then(|probe| probe.host.as_deref());
        let host = host.map_or_else(|| default_host(key), ToOwned::to_owned);
        let connect = self.settings.timeouts.connect;
        let dialer = &Dialer::new(self.link.clone());
        let (address, target) = (&key.address, &key.target);
        let site = Site { address, target, dialer, host: &host, connect };
        let health = match (standing, probe) {
            (Standing::Out, _) => self.row(HEALTH, Err(down(reason)), None),
            (Standing::Suspended, _) => {
                let why = "its requests failed in a row: it is left out for a while";
                self.row(HEALTH, Err(why.to_owned()), None)
            }
            (Standing::Up, Some(_)) => self.row(HEALTH, Ok("up".to_owned()), None),
            (Standing::Unproven, Some(probe)) => self.probed(key, probe, dialer).await,
            (Standing::Up | Standing::Unproven, None) => self.connected(site).await,
        };
        let is_usable = health.passed || standing == Standing::Suspended;
        let mut rows = vec![health];
        for check in &self.settings.check {
            rows.push(self.checked(site, check).await);
        }
        Visited { service: self.service, is_usable, rows }
    }

    /// Probes are made, but none of this endpoint yet: one is made now.
    async fn probed(&self, key: &EndpointKey, probe: &Probe, dialer: &Dialer) -> CheckRow {
        let began = Instant::now();
        let result = probe_once(key, probe, dialer).await;
        let took = began.elapsed();
        let result = result.map(|()| format!("GET {} passed in {}", probe.path, rounded(took)));
        self.row(HEALTH, result, Some(took))
    }

    /// Nobody probes: at least it must be there.
    async fn connected(&self, site: Site<'_>) -> CheckRow {
        let began = Instant::now();
        let result = trial::connect(site).await;
        let took = began.elapsed();
        let result = result.map(|_| format!("connected in {}", rounded(took)));
        self.row(HEALTH, result.map_err(|problem| problem.to_string()), Some(took))
    }

    async fn checked(&self, site: Site<'_>, check: &Check) -> CheckRow {
        let trial = trial::run(site, check).await;
        let result = match trial.result {
            Ok(status) => Ok(format!("{status} in {}", rounded(trial.took))),
            Err(problem) => Err(problem.to_string()),
        };
        self.row(&format!("{} {}", check.method, check.path), result, Some(trial.took))
    }

    fn row(&self, check: &str, result: Result<String, String>, took: Option<Duration>) -> CheckRow {
        CheckRow {
            service: self.service.clone(),
            endpoint: Some(self.endpoint.clone()),
            check: check.to_owned(),
            passed: result.is_ok(),
            text: result.unwrap_or_else(|why| why),
            took_ms: took.map(in_millis),
        }
    }
}

fn down(reason: &str) -> String {
    if reason.is_empty() {
        return "down: it passes again, but not often enough in a row yet".to_owned();
    }
    format!("down: {reason}")
}

/// To the microsecond: more digits would only be noise.
fn in_millis(took: Duration) -> f64 {
    f64::from(u32::try_from(took.as_micros()).unwrap_or(u32::MAX)) / 1000.0
}

#[cfg(test)]
mod tests;
