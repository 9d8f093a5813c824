//! Shares: `weight`, `switch`, `rollback`, and what time does to them.

use crate::model::{
    Command, Commit, EndpointKey, Event, Model, Moment, Order, PoolName, Refusal, ServiceName, Severity, Share,
    Split, State, Step,
    change::{SplitChange, grouped},
    event::Actor,
    health::Standing,
    state::{Ramp, Revert, ServiceState},
};

impl Model {
    /// Gives a pool a share in every service that has it, or in those named.
    pub(in crate::model) fn set_weight(&self, now: Moment, order: &Order) -> Result<Step, Refusal> {
        let Command::Weight { pool, share, services, span, verb } = &order.command else {
            return Ok(self.step(now, self.state.clone(), &order.actor, None));
        };
        let mut state = self.state.clone();
        for name in self.services_with(pool, services)? {
            let Some(service) = state.service_mut(&name) else { continue };
            let split = service.split.with_share(pool, *share, &service.baseline)?;
            let back = service.revert.take().map_or_else(|| service.split.clone(), |r| r.split);
            service.revert = span.map(|span| Revert { at: now.after(span), split: back });
            service.ramp = None;
            service.split = split;
        }
        let mut step = self.split_step(now, state, order, pool);
        step.reply.warnings = self.unserved(&step);
        if let Some(span) = span.filter(|_| step.reply.changed) {
            step.note(&format!("for {span}, then back"));
        }
        Ok(step.committed(verb, Severity::Info, Commit::DurableFirst))
    }

    /// Gives everything back to the baselines, at once or in steps.
    pub(in crate::model) fn roll_back(&self, now: Moment, order: &Order) -> Result<Step, Refusal> {
        let Command::Rollback { services, ramp } = &order.command else {
            return Ok(self.step(now, self.state.clone(), &order.actor, None));
        };
        let mut state = self.state.clone();
        let mut leads = Vec::new();
        for name in self.named_or_all(services)? {
            let Some(service) = state.service_mut(&name) else { continue };
            let target = service.rolled_back();
            let already = service.split == target;
            service.revert = None;
            service.ramp = match ramp.filter(|_| !already) {
                Some(span) => Some(Ramp { from: service.split.clone(), began: now, span }),
                None => {
                    service.split = target;
                    None
                }
            };
            leads.push(service.baseline.clone());
        }
        let lead = leads.into_iter().next();
        let mut step = match lead {
            Some(lead) => self.split_step(now, state, order, &lead),
            None => self.step(now, state, &order.actor, order.reason.clone()),
        };
        if !step.reply.changed {
            step.reply.summary = vec!["nothing to roll back: the baselines have all traffic".into()];
        } else if let Some(span) = ramp {
            step.reply.summary = vec![format!("rolling back in steps over {span}")];
        }
        Ok(step.committed("rollback", Severity::Warning, Commit::LiveFirst))
    }

    /// What the passing of time does: ends, returns and ramps.
    pub(in crate::model) fn tick(&self, now: Moment) -> Step {
        let mut state = self.state.clone();
        let mut events = Vec::new();
        for (name, before) in &self.state.services {
            let Some(after) = before.at(now) else { continue };
            let text = SplitChange::between(name, &before.split, &after.split).describe(&after.baseline);
            let ended = before.ramp.is_some() && after.ramp.is_none();
            if ended || before.revert != after.revert {
                let (kind, what) = if ended { ("rollback", "ramp ended") } else { ("weight", "time is up") };
                events.push(self.tick_event(now, kind, Some(name), format!("{what}: {text}")));
            }
            state.services.insert(name.clone(), after.into());
        }
        self.end_maintenance(now, &mut state, &mut events);
        if state != self.state {
            state.revision = state.revision.next();
        }
        for event in &mut events {
            event.revision = state.revision;
        }
        let mut step = self.step(now, state, &Actor::lbd(), None);
        step.commit = if step.reply.changed { Commit::LiveFirst } else { Commit::Nothing };
        step.events = events;
        step
    }

    pub(in crate::model) fn tick_event(
        &self,
        now: Moment,
        kind: &str,
        service: Option<&ServiceName>,
        summary: String,
    ) -> Event {
        Event {
            time: now,
            kind: kind.into(),
            severity: Severity::Info,
            actor: Actor::lbd(),
            services: service.cloned().into_iter().collect(),
            summary,
            reason: None,
            before: String::new(),
            after: String::new(),
            revision: self.state.revision,
        }
    }

    /// The services to act on for a pool: those named, each of which must have it, or all that do.
    pub(super) fn services_with(
        &self,
        pool: &PoolName,
        named: &[ServiceName],
    ) -> Result<Vec<ServiceName>, Refusal> {
        if named.is_empty() {
            let having: Vec<_> = self.state.with_pool(pool).cloned().collect();
            return if having.is_empty() { Err(Refusal::UnknownPool(pool.clone())) } else { Ok(having) };
        }
        for service in self.named_or_all(named)? {
            if !self.state.services.get(&service).is_some_and(|s| s.split.has(pool)) {
                return Err(Refusal::NoSuchPoolInService { service, pool: pool.clone() });
            }
        }
        Ok(named.to_vec())
    }

    /// Those named, each of which must exist, or all.
    pub(super) fn named_or_all(&self, named: &[ServiceName]) -> Result<Vec<ServiceName>, Refusal> {
        if named.is_empty() {
            return Ok(self.state.services.keys().cloned().collect());
        }
        match named.iter().find(|name| !self.state.services.contains_key(*name)) {
            Some(unknown) => Err(Refusal::UnknownService(unknown.clone())),
            None => Ok(named.to_vec()),
        }
    }

    /// Pools that have a share but nobody to serve it.
    fn unserved(&self, step: &Step) -> Vec<String> {
        let services = step.state.services.iter();
        let pools = services.flat_map(|(name, s)| s.split.iter().map(move |(pool, share)| (name, s, pool, share)));
        pools
            .filter(|(name, s, pool, share)| *share > Share::NONE && !self.is_usable(name, s, pool))
            .map(|(name, _, pool, share)| {
                format!("pool {pool} of {name} has no usable endpoint: its {share} are not served by it")
            })
            .collect()
    }

    fn is_usable(&self, service: &ServiceName, state: &ServiceState, pool: &PoolName) -> bool {
        let endpoints = state.endpoints.get(pool).map(Vec::as_slice).unwrap_or_default();
        endpoints.iter().any(|endpoint| {
            self.targets(&endpoint.address).into_iter().any(|target| {
                let address = endpoint.address.clone();
                let key = EndpointKey { service: service.clone(), pool: pool.clone(), address, target };
                self.standing(&key, endpoint) < Standing::Out
            })
        })
    }

    /// A step to `state` whose words are the splits that changed, `lead` first in each.
    fn split_step(&self, now: Moment, mut state: State, order: &Order, lead: &PoolName) -> Step {
        if state != self.state {
            state.revision = state.revision.next();
        }
        let changes: Vec<SplitChange> = state
            .services
            .iter()
            .filter_map(|(name, new)| {
                let old = self.state.services.get(name)?;
                let concerned = old != new || new.split.has(lead);
                concerned.then(|| SplitChange::between(name, &old.split, &new.split))
            })
            .collect();
        let changed = changes.iter().any(SplitChange::is_change);
        let told = changes.iter().filter(|c| c.is_change() || !changed);
        let lines: Vec<_> = told.map(|c| (c.service.clone(), c.describe(lead))).collect();
        let moved = changes.iter().filter(|c| c.is_change());
        let services = moved.clone().map(|c| c.service.clone()).collect();
        let (before, after) = (self.splits(&self.state, &changes), self.splits(&state, &changes));
        let splits = moved.cloned().collect();
        let mut step = self.step(now, state, &order.actor, order.reason.clone());
        step.reply.summary = grouped(&lines);
        step.reply.splits = splits;
        for event in &mut step.events {
            event.services = Vec::clone(&services);
            event.before.clone_from(&before);
            event.after.clone_from(&after);
        }
        step
    }

    fn splits(&self, state: &State, changes: &[SplitChange]) -> String {
        let text = |split: &Split| {
            split.iter().map(|(pool, share)| format!("{pool} {share}")).collect::<Vec<_>>().join(", ")
        };
        let of = |name: &ServiceName| state.services.get(name).map(|s| (name.clone(), text(&s.split)));
        let lines: Vec<_> =
            changes.iter().filter(|c| c.is_change()).filter_map(|c| of(&c.service)).collect();
        grouped(&lines).join("; ")
    }
}

impl ServiceState {
    /// The service at `now`, if time changed it.
    fn at(&self, now: Moment) -> Option<Self> {
        let mut next = self.clone();
        if let Some(revert) = next.revert.take_if(|r| r.at <= now) {
            next.split = revert.split;
        }
        if let Some(ramp) = &self.ramp {
            let done = ramp.done(now);
            next.split = ramp.from.toward(&self.rolled_back(), done.0, ramp.span.0);
            next.ramp = self.ramp.clone().filter(|_| done < ramp.span);
        }
        if next.maintenance.as_ref().is_some_and(|m| m.is_over(now)) {
            next.maintenance = None;
        }
        (next != *self).then_some(next)
    }
}

impl Step {
    /// Adds to the last line of the summary.
    fn note(&mut self, text: &str) {
        for line in &mut self.reply.summary {
            line.push_str(", ");
            line.push_str(text);
        }
    }

    /// Like `described`, with the words that are in the reply already.
    fn committed(mut self, kind: &str, severity: Severity, commit: Commit) -> Self {
        let summary = std::mem::take(&mut self.reply.summary);
        let mut step = self.described(kind, summary.join("; "), commit);
        for event in &mut step.events {
            event.severity = severity;
        }
        step.reply.summary = summary;
        step
    }
}
