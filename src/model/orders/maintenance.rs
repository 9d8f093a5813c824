//! `maintenance on` and `off`.

use std::sync::Arc;

use crate::model::{
    Commit, Event, Model, Moment, Order, Refusal, ServiceName, State, Step,
    maintenance::Maintenance,
};

impl Model {
    /// Begins maintenance, of all services or of those named; a second time it changes the terms.
    pub(in crate::model) fn maintenance_on(
        &self,
        now: Moment,
        order: &Order,
        services: &[ServiceName],
        maintenance: &Maintenance,
    ) -> Result<Step, Refusal> {
        if maintenance.is_over(now) {
            return Err(Refusal::Senseless {
                problem: "the end of the maintenance lies in the past".into(),
                hint: "give --until a moment to come, or a span with --for",
            });
        }
        let mut state = self.state.clone();
        let begun = |old: &Option<Arc<Maintenance>>| {
            let since = old.as_ref().map_or(now, |m| m.since);
            Some(Arc::new(Maintenance { since, ..maintenance.clone() }))
        };
        if services.is_empty() {
            state.maintenance = begun(&self.state.maintenance);
        }
        for name in self.named(services)? {
            if let Some(service) = state.service_mut(&name) {
                service.maintenance = begun(&service.maintenance);
            }
        }
        let until =
            maintenance.until.map_or(String::new(), |until| format!(" for {}", until.since(now)));
        let summary = format!("maintenance on{}{until}", of(services));
        Ok(self.maintenance_step(now, state, order, summary))
    }

    /// Ends maintenance: of those named, or altogether.
    pub(in crate::model) fn maintenance_off(
        &self,
        now: Moment,
        order: &Order,
        services: &[ServiceName],
    ) -> Result<Step, Refusal> {
        if !services.is_empty() && self.state.maintenance.is_some() {
            return Err(Refusal::Senseless {
                problem: "maintenance is on for all services, not for single ones".into(),
                hint: "end it for all: `lbctl maintenance off` without --service",
            });
        }
        let mut state = self.state.clone();
        state.maintenance = None;
        for name in self.named_or_all(services)? {
            if self.state.services.get(&name).is_some_and(|s| s.maintenance.is_some())
                && let Some(service) = state.service_mut(&name)
            {
                service.maintenance = None;
            }
        }
        let summary = match state == self.state {
            true => "maintenance was off already".to_owned(),
            false => format!("maintenance off{}", of(services)),
        };
        Ok(self.maintenance_step(now, state, order, summary))
    }

    /// Ends what has come to its end by `now`. Services' own are ended with the service.
    pub(super) fn end_maintenance(&self, now: Moment, state: &mut State, events: &mut Vec<Event>) {
        if state.maintenance.as_ref().is_some_and(|m| m.is_over(now)) {
            state.maintenance = None;
            events.push(self.tick_event(
                now,
                "maintenance",
                None,
                "maintenance off: its time is up".into(),
            ));
        }
        for (name, before) in &self.state.services {
            let ended = before.maintenance.is_some()
                && state.services.get(name).is_some_and(|s| s.maintenance.is_none());
            if ended {
                let summary = format!("maintenance off of {name}: its time is up");
                events.push(self.tick_event(now, "maintenance", Some(name), summary));
            }
        }
    }

    fn named(&self, services: &[ServiceName]) -> Result<Vec<ServiceName>, Refusal> {
        if services.is_empty() { Ok(Vec::new()) } else { self.named_or_all(services) }
    }

    fn maintenance_step(&self, now: Moment, state: State, order: &Order, summary: String) -> Step {
        let step = self.step(now, state, &order.actor, order.reason.clone());
        step.described("maintenance", summary, Commit::DurableFirst)
    }
}

fn of(services: &[ServiceName]) -> String {
    match services {
        [] => String::new(),
        names => {
            format!(" of {}", names.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", "))
        }
    }
}
