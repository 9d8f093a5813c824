//! What was seen of the world: probes, failing traffic, host names.

use std::{net::IpAddr, sync::Arc};

use super::{
    command::{EndpointKey, Sight},
    event::{Event, Severity},
    health::Probed,
    step::Model,
    units::Moment,
};

impl Model {
    /// Takes in what was seen. Returns whether a snapshot would change, and what to journal.
    pub fn observe(&mut self, now: Moment, sight: Sight) -> (bool, Vec<Event>) {
        match sight {
            Sight::Probed(key, result) => self.probed(now, key, &result),
            Sight::Failing(key) => self.failing(now, key),
            Sight::Resolved(host, answer) => (self.take_resolution(host, answer), Vec::new()),
        }
    }

    fn probed(
        &mut self,
        now: Moment,
        key: EndpointKey,
        result: &Result<(), Arc<str>>,
    ) -> (bool, Vec<Event>) {
        let Some(probe) =
            self.settings.service.get(&key.service).and_then(|s| s.health.probe.as_ref())
        else {
            return (false, Vec::new());
        };
        if self.endpoint(&key).is_none() {
            return (false, Vec::new());
        }
        let health = self.health.entry(key.clone()).or_default();
        if !health.probe(result, probe.thresholds) {
            return (false, Vec::new());
        }
        let (severity, text) = match (health.probed, result) {
            (Probed::Down, Err(why)) => (Severity::Warning, format!("is down: {why}")),
            (Probed::Up | Probed::Unknown | Probed::Down, _) => {
                (Severity::Info, "is up".to_owned())
            }
        };
        if severity == Severity::Info {
            self.warm_up(now, key.clone());
        }
        (true, vec![self.endpoint_event(now, &key, severity, &text)])
    }

    fn failing(&mut self, now: Moment, key: EndpointKey) -> (bool, Vec<Event>) {
        let passive = self.settings.service.get(&key.service).and_then(|s| s.health.passive);
        let Some(passive) = passive.filter(|_| self.endpoint(&key).is_some()) else {
            return (false, Vec::new());
        };
        let health = self.health.entry(key.clone()).or_default();
        if health.suspended.is_some() {
            return (false, Vec::new());
        }
        health.suspend(now, passive.span);
        let text = format!("is out for {}: {} failures in a row", passive.span, passive.failures);
        (true, vec![self.endpoint_event(now, &key, Severity::Warning, &text)])
    }

    pub(super) fn endpoint_event(
        &self,
        now: Moment,
        key: &EndpointKey,
        severity: Severity,
        text: &str,
    ) -> Event {
        let summary = format!("{} endpoint {} {text}", key.pool, key.address.label(&key.target));
        let event = Event::new(now, self.state.revision, "endpoint", severity, summary);
        Event { services: vec![key.service.clone()], ..event }
    }

    fn take_resolution(&mut self, host: Arc<str>, answer: Result<Vec<IpAddr>, Arc<str>>) -> bool {
        let known = self.resolved.entry(host).or_default();
        match answer {
            // Names that vanish keep their last addresses: a name server's bad day is not ours.
            Err(problem) => {
                known.problem = problem;
                false
            }
            Ok(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                known.problem = Arc::default();
                let changed = known.addresses != addresses;
                known.addresses = addresses;
                changed
            }
        }
    }
}
