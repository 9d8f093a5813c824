//! Status: what is in force and what is happening.

use crate::{
    api::types::{
        EndpointStatus, ListenerStatus, MaintenanceView, PoolStatus, ServiceStatus, Status,
    },
    model::{
        Blame, EndpointKey, Millis, PoolName, ServiceName,
        health::{AdminState, Probed, Standing},
        maintenance::{BYPASS_PATH, Maintenance},
        state::{EndpointState, ServiceState},
    },
};

use super::{Control, clock, window::Totals};

/// Whether the reader may see secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrets {
    /// Operators may.
    Shown,
    /// Viewers may not.
    Hidden,
}

impl Control {
    /// The status of all services, or of those named.
    pub fn status(&self, services: &[ServiceName], secrets: Secrets) -> Status {
        let now = clock::now();
        let begins = self.windows.begins().unwrap_or(self.place.started);
        let window = now.since(begins).max(Millis(1));
        let wanted = |name: &ServiceName| services.is_empty() || services.contains(name);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            revision: self.model.state.revision,
            started: self.place.started,
            now,
            window,
            rollout: self.model.state.rollout.as_ref().map(|r| self.rollout_status(r, now)),
            listeners: self.listeners(),
            services: self
                .model
                .state
                .services
                .iter()
                .filter(|(name, _)| wanted(name))
                .map(|(name, state)| self.service_status(name, state, window, secrets))
                .collect(),
        }
    }

    fn listeners(&self) -> Vec<ListenerStatus> {
        let listeners = self.place.listeners.iter();
        listeners
            .map(|l| ListenerStatus {
                name: l.name.clone(),
                address: l.address.to_string(),
                connections: l.tally.open(),
            })
            .collect()
    }

    fn service_status(
        &self,
        name: &ServiceName,
        state: &ServiceState,
        window: Millis,
        secrets: Secrets,
    ) -> ServiceStatus {
        let counted: Vec<(PoolName, Totals)> = state
            .split
            .iter()
            .map(|(pool, _)| (pool.clone(), self.window_of(name, pool)))
            .collect();
        let all: u64 = counted.iter().map(|(_, totals)| totals.finished + totals.shielded).sum();
        let everywhere = self.model.state.maintenance.as_deref();
        let maintenance = state.maintenance.as_deref().map(|m| (Some(name), m));
        ServiceStatus {
            name: name.clone(),
            baseline: state.baseline.clone(),
            maintenance: maintenance
                .or(everywhere.map(|m| (None, m)))
                .map(|(service, m)| self.maintenance_view(service, m, secrets)),
            returns_at: state.revert.as_ref().map(|r| r.at),
            ramp_until: state.ramp.as_ref().map(|r| r.began.after(r.span)),
            paused_since: state.pause.map(|pause| pause.since),
            held: self.publisher.held(name),
            bake: state.bake.clone(),
            findings: state
                .candidates()
                .filter_map(|(pool, _)| self.model.finding(name, pool).cloned())
                .collect(),
            alarm: state.alarm.clone(),
            lockouts: state.lockouts.clone(),
            pools: counted
                .iter()
                .map(|(pool, totals)| self.pool_status(name, state, pool, totals, all, window))
                .collect(),
        }
    }

    fn window_of(&self, service: &ServiceName, pool: &PoolName) -> Totals {
        let tally = self.tallies.find_pool(service, pool);
        tally.map(|tally| self.windows.of(service, pool, tally)).unwrap_or_default()
    }

    fn pool_status(
        &self,
        service: &ServiceName,
        state: &ServiceState,
        pool: &PoolName,
        totals: &Totals,
        all: u64,
        window: Millis,
    ) -> PoolStatus {
        let endpoints = self.endpoint_statuses(
            service,
            pool,
            state.endpoints.get(pool).map_or(&[], Vec::as_slice),
        );
        let counts = self.tallies.find_pool(service, pool).map(|t| t.counts()).unwrap_or_default();
        let failed: u64 =
            blames(totals).filter(|(blame, _)| blame.is_upstream()).map(|(_, n)| n).sum();
        let quantile =
            |q| totals.durations.as_ref().and_then(|d| d.quantile(q)).map(|us| us as f64 / 1000.0);
        let attempts = totals.finished + totals.shielded;
        PoolStatus {
            name: pool.clone(),
            share: state.split.share(pool),
            observed: (all > 0).then(|| attempts as f64 / all as f64),
            rps: attempts as f64 * 1000.0 / window.0 as f64,
            failures: blames(totals).map(|(blame, n)| (blame.as_str().to_owned(), n)).collect(),
            error_ratio: match attempts {
                0 => 0.0,
                attempts => failed as f64 / attempts as f64,
            },
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            in_flight: endpoints.iter().map(|e| e.in_flight).sum(),
            requests: counts.finished,
            failovers: counts.failovers,
            shielded: counts.shielded,
            endpoints,
        }
    }

    /// The endpoints of a pool; one whose name leads to several addresses is there several times.
    pub fn endpoint_statuses(
        &self,
        service: &ServiceName,
        pool: &PoolName,
        endpoints: &[EndpointState],
    ) -> Vec<EndpointStatus> {
        endpoints
            .iter()
            .flat_map(|endpoint| self.endpoint_status(service, pool, endpoint))
            .collect()
    }

    fn endpoint_status(
        &self,
        service: &ServiceName,
        pool: &PoolName,
        endpoint: &EndpointState,
    ) -> Vec<EndpointStatus> {
        let mut targets = self.model.targets(&endpoint.address);
        // Addresses that a name has lost still finish what they began.
        let all = self.tallies.endpoints_at(service, pool, &endpoint.address);
        let lost =
            all.filter(|(key, tally)| !targets.contains(&key.target) && tally.in_flight() > 0);
        let lost: Vec<_> = lost.map(|(key, _)| key.target.clone()).collect();
        targets.extend(lost);
        let blank = EndpointStatus {
            address: endpoint.address.clone(),
            target: None,
            weight: endpoint.weight,
            state: endpoint.admin,
            standing: Standing::Out,
            reason: self.unresolved(endpoint),
            in_flight: 0,
            requests: 0,
        };
        if targets.is_empty() {
            return vec![blank];
        }
        let at = |target| {
            let key = EndpointKey {
                service: service.clone(),
                pool: pool.clone(),
                address: endpoint.address.clone(),
                target,
            };
            let tally = self.tallies.find(&key);
            EndpointStatus {
                target: Some(key.target.to_string()),
                standing: self.model.standing(&key, endpoint),
                reason: self.reason(&key, endpoint),
                in_flight: tally.map_or(0, |t| t.in_flight()),
                requests: tally.map_or(0, |t| t.started()),
                ..blank.clone()
            }
        };
        targets.into_iter().map(at).collect()
    }

    fn unresolved(&self, endpoint: &EndpointState) -> String {
        match &endpoint.address {
            crate::model::Address::Host { host, .. } => {
                let problem = self.model.resolution(host).map(|r| r.problem.to_string());
                format!(
                    "does not resolve: {}",
                    problem.filter(|p| !p.is_empty()).unwrap_or("no answer yet".into())
                )
            }
            crate::model::Address::Ip(_) | crate::model::Address::Unix(_) => String::new(),
        }
    }

    fn reason(&self, key: &EndpointKey, endpoint: &EndpointState) -> String {
        let health = self.model.health(key);
        match (endpoint.admin, health.probed) {
            (AdminState::Drain | AdminState::Maint, _) => "by the operator".into(),
            (AdminState::Ready, Probed::Down) => health.reason.to_string(),
            (AdminState::Ready, _) if health.suspended.is_some() => {
                "its requests failed in a row".into()
            }
            (AdminState::Ready, Probed::Unknown | Probed::Up) => health.reason.to_string(),
        }
    }

    /// All maintenance that is on.
    pub fn maintenance_views(&self, secrets: Secrets) -> Vec<MaintenanceView> {
        let everywhere = self
            .model
            .state
            .maintenance
            .as_deref()
            .map(|m| self.maintenance_view(None, m, secrets));
        let services = self.model.state.services.iter();
        let own = services.filter_map(|(name, s)| {
            s.maintenance.as_deref().map(|m| self.maintenance_view(Some(name), m, secrets))
        });
        everywhere.into_iter().chain(own).collect()
    }

    fn maintenance_view(
        &self,
        service: Option<&ServiceName>,
        maintenance: &Maintenance,
        secrets: Secrets,
    ) -> MaintenanceView {
        let defaults = &self.model.settings.maintenance;
        let link = maintenance.secret.as_ref().filter(|_| secrets == Secrets::Shown);
        MaintenanceView {
            service: service.cloned(),
            since: maintenance.since,
            until: maintenance.until,
            message: maintenance.message.as_deref().unwrap_or(&defaults.message).to_owned(),
            allow: maintenance.allow.iter().chain(&defaults.allow).copied().collect(),
            link: link.map(|secret| format!("{BYPASS_PATH}{secret}")),
        }
    }
}

fn blames(totals: &Totals) -> impl Iterator<Item = (Blame, u64)> {
    Blame::ALL.into_iter().zip(totals.blames).filter(|(_, n)| *n > 0)
}
