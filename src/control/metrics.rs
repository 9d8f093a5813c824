//! Fills a scrape from the model and the tallies.

use crate::{
    model::{Blame, ServiceName, Share, health::Standing, rollout::Phase},
    observe::metrics::{Exposition, Metric},
    tally::PoolTally,
};

use super::{Control, clock, status::Secrets};

/// The pool of what lbd answered itself, and the service where none was found. No name can be this.
const NONE: &str = "-";

impl Control {
    /// The metrics in Prometheus's text form.
    pub fn metrics(&self) -> String {
        let mut out = Exposition::default();
        for (service, pool, tally) in self.tallies.pools() {
            traffic(&mut out, service.as_str(), pool.as_str(), tally);
        }
        for (service, tally) in self.tallies.owns() {
            traffic(&mut out, service.as_str(), NONE, tally);
        }
        traffic(&mut out, NONE, NONE, &self.tallies.unrouted());
        self.services(&mut out);
        self.endpoints(&mut out);
        for (service, pool, bulkhead) in self.publisher.bulkheads() {
            let labels = [("service", service.as_str()), ("pool", pool.as_str())];
            out.add(Metric::InFlightLimit, &labels, f64::from(bulkhead.allowed()));
            out.add(Metric::RequestsWaiting, &labels, f64::from(bulkhead.waiting()));
            out.add(Metric::Shed, &labels, bulkhead.shed() as f64);
        }
        out.add(Metric::Revision, &[], self.model.state.revision.0 as f64);
        for listener in &self.place.listeners {
            let (labels, tally) = ([("listener", listener.name.as_str())], &listener.tally);
            out.add(Metric::Connections, &labels, tally.open() as f64);
            out.add(Metric::ConnectionsParked, &labels, tally.parked() as f64);
        }
        for one in self.certificates(clock::now()).certificates {
            let labels = [("listener", one.listener.as_str()), ("file", one.cert.as_str())];
            out.add(Metric::CertificateExpiry, &labels, (one.not_after.0 / 1000) as f64);
        }
        out.add(Metric::ConfigReloads, &[("result", "done")], self.reloads().done as f64);
        out.add(Metric::ConfigReloads, &[("result", "refused")], self.reloads().refused as f64);
        for ((service, cause), n) in &self.rollbacks {
            let labels = [("service", service.as_str()), ("cause", cause.as_str())];
            out.add(Metric::Rollbacks, &labels, *n as f64);
        }
        for counts in self.notifiers.counts() {
            let results =
                [("sent", counts.sent), ("failed", counts.failed), ("dropped", counts.dropped)];
            for (result, n) in results {
                let labels = [("receiver", counts.name.as_str()), ("result", result)];
                out.add(Metric::Notices, &labels, n as f64);
            }
        }
        out.add(Metric::AccessLogLost, &[], self.logs().lost() as f64);
        out.add(Metric::SpansLost, &[], self.exporter().lost() as f64);
        out.text()
    }

    fn services(&self, out: &mut Exposition) {
        for service in self.status(&[], Secrets::Hidden).services {
            let name = service.name.as_str();
            let on = if service.maintenance.is_some() { 1.0 } else { 0.0 };
            out.add(Metric::Maintenance, &[("service", name)], on);
            out.add(Metric::RolloutStage, &[("service", name)], self.stage(&service.name));
            for pool in &service.pools {
                let labels = [("service", name), ("pool", pool.name.as_str())];
                out.add(Metric::ShareRatio, &labels, Share::ratio(pool.share));
                out.add(Metric::RequestsInFlight, &labels, pool.in_flight as f64);
                if let Some(observed) = pool.observed {
                    out.add(Metric::ObservedShareRatio, &labels, observed);
                }
            }
        }
    }

    fn stage(&self, service: &ServiceName) -> f64 {
        let rollout = self.model.state.running().filter(|r| r.services.contains(service));
        match rollout.map(|rollout| &rollout.phase) {
            Some(Phase::Baking { .. }) => -1.0,
            Some(phase) => phase.stage().map_or(0.0, |stage| stage as f64 + 1.0),
            None => 0.0,
        }
    }

    fn endpoints(&self, out: &mut Exposition) {
        for (key, endpoint) in self.model.endpoints() {
            let label = key.address.label(&key.target);
            let labels = [
                ("service", key.service.as_str()),
                ("pool", key.pool.as_str()),
                ("endpoint", label.as_str()),
            ];
            let fit = self.model.standing(&key, endpoint) <= Standing::Unproven;
            out.add(Metric::EndpointUp, &labels, if fit { 1.0 } else { 0.0 });
        }
    }
}

fn traffic(out: &mut Exposition, service: &str, pool: &str, tally: &PoolTally) {
    let labels = [("service", service), ("pool", pool)];
    let counts = tally.counts();
    for (code, n) in &counts.codes {
        let code = code.to_string();
        out.add(Metric::Requests, &[labels[0], labels[1], ("code", &code)], *n as f64);
    }
    if pool == NONE {
        return;
    }
    for (blame, n) in Blame::ALL.into_iter().zip(counts.blames) {
        out.add(
            Metric::RequestFailures,
            &[labels[0], labels[1], ("blame", blame.as_str())],
            n as f64,
        );
    }
    out.add(Metric::Retries, &labels, counts.retries as f64);
    out.add(Metric::Failovers, &labels, counts.failovers as f64);
    out.add(Metric::Shielded, &labels, counts.shielded as f64);
    if let Some(durations) = tally.durations() {
        out.add_histogram(Metric::RequestDuration, &labels, &durations);
    }
    if let Some(first_bytes) = tally.first_bytes() {
        out.add_histogram(Metric::UpstreamFirstByte, &labels, &first_bytes);
    }
}
