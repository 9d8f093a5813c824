//! Shares: `weight`, `switch`, `rollback`, and what time does to them.

use crate::model::{
    Commit, EndpointKey, Event, Model, Moment, Order, PoolName, Refusal, ServiceName, Severity,
    Share, Split, Step,
    change::{SplitChange, grouped},
    command::{Rollback, Weight},
    diff::{differences, lines},
    event::Actor,
    health::Standing,
    rollout::{Phase, Plan, Signal},
    state::{Bake, Ramp, Revert, ServiceState, State},
};

impl Model {
    /// Gives a pool a share in every service that has it, or in those named.
    pub(in crate::model) fn set_weight(
        &self,
        now: Moment,
        order: &Order,
        weight: &Weight,
    ) -> Result<Step, Refusal> {
        let Weight { pool, share, services, span, verb, force } = weight;
        let named = self.services_with(pool, services)?;
        let mut state = self.state.clone();
        self.make_room(now, order, &named, *force, &mut state)?;
        for name in named {
            let Some(service) = state.service_mut(&name) else { continue };
            let split = service.split.with_share(pool, *share, &service.baseline)?;
            if *force {
                // What is left of another pool's share may go to one that is locked out.
                let keeps = |other: &PoolName| other != pool && split.share(other) == Share::NONE;
                service.lockouts.retain(|other, _| keeps(other));
            }
            let rises = |pool: &PoolName| split.share(pool) > service.split.share(pool);
            let locked = service.lockouts.iter().find(|(pool, _)| rises(pool));
            if let Some((pool, lockout)) = locked {
                let (pool, cause) = (pool.clone(), lockout.cause.clone());
                return Err(Refusal::LockedOut { service: name, pool, cause });
            }
            let back = match (service.revert.take(), &service.ramp) {
                (Some(revert), _) => revert.split,
                // Half of a rollback is no place to return to.
                (None, Some(_)) => service.rolled_back(),
                (None, None) => service.split.clone(),
            };
            let bake = service.bake.clone();
            service.revert = span.map(|span| Revert { at: now.after(span), split: back, bake });
            service.ramp = None;
            service.bake = self.baking(now, service, &split).filter(|_| span.is_none());
            service.split = split;
        }
        let mut step = self.step(now, state, &order.actor, order.reason.clone());
        let told = self.split_changes(&step.state);
        let told = told.filter(|c| c.is_change() || (step.reply.splits.is_empty() && c.has(pool)));
        let mut lines =
            grouped(&told.map(|c| (c.service.clone(), c.describe(pool))).collect::<Vec<_>>());
        if let Some(span) = span.filter(|_| step.reply.changed) {
            lines.iter_mut().for_each(|line| *line += &format!(", for {span}, then back"));
        }
        step.reply.warnings = self.unserved(&step);
        Ok(step.told(verb, Severity::Info, Commit::DurableFirst, lines))
    }

    /// Gives everything back to the baselines, at once or in steps.
    pub(in crate::model) fn roll_back(
        &self,
        now: Moment,
        order: &Order,
        rollback: &Rollback,
    ) -> Result<Step, Refusal> {
        let mut state = self.state.clone();
        for name in self.named_or_all(&rollback.services)? {
            let Some(service) = state.service_mut(&name) else { continue };
            let target = service.rolled_back();
            (service.revert, service.bake, service.alarm) = (None, None, None);
            match rollback.ramp.filter(|_| service.split != target) {
                // Asked again for what is under way: it goes on.
                Some(span) if service.ramp.as_ref().is_some_and(|ramp| ramp.span == span) => {}
                Some(span) => {
                    service.ramp = Some(Ramp { from: service.split.clone(), began: now, span })
                }
                None => (service.split, service.ramp) = (target, None),
            }
        }
        self.end_rolled_back(now, order, rollback, &mut state);
        let step = self.step(now, state, &order.actor, order.reason.clone());
        let changes = step.reply.splits.iter().filter_map(|change| {
            let baseline = &self.state.services.get(&change.service)?.baseline;
            Some((change.service.clone(), change.describe(baseline)))
        });
        let lines = match (step.reply.changed, rollback.ramp) {
            (false, _) => vec!["nothing to roll back: the baselines have all traffic".to_owned()],
            (true, Some(span)) => vec![format!("rolling back in steps over {span}")],
            (true, None) if step.reply.splits.is_empty() => {
                vec!["the baselines have all traffic; nothing will take it from them".to_owned()]
            }
            (true, None) => grouped(&changes.collect::<Vec<_>>()),
        };
        let mut step = step.told("rollback", Severity::Warning, Commit::LiveFirst, lines);
        step.events.iter_mut().for_each(|event| event.cause = Some("operator".into()));
        Ok(step)
    }

    /// What the passing of time does: ends, returns and ramps.
    pub(in crate::model) fn tick(&self, now: Moment) -> Step {
        let mut state = self.state.clone();
        let mut events = Vec::new();
        for (name, before) in &self.state.services {
            let Some(after) = before.at(now) else { continue };
            let change = SplitChange::between(name, &before.split, &after.split);
            let text = change.describe(&after.baseline);
            let ended = before.ramp.is_some() && after.ramp.is_none();
            if let Some(bake) = before.bake.as_ref().filter(|_| after.bake.is_none()) {
                let text = format!("{} is the new baseline of {name}", bake.pool);
                events.push(self.tick_event(now, "rollout", Some(name), text));
            } else if ended || before.revert != after.revert {
                let (kind, what) =
                    if ended { ("rollback", "ramp ended") } else { ("weight", "time is up") };
                events.push(self.tick_event(now, kind, Some(name), format!("{what}: {text}")));
            }
            state.services.insert(name.clone(), after.into());
        }
        self.end_maintenance(now, &mut state, &mut events);
        self.act_on_findings(now, &mut state, &mut events);
        self.advance(now, &mut state, &mut events);
        let mut step = self.step(now, state, &Actor::lbd(), None);
        step.commit = if step.reply.changed { Commit::LiveFirst } else { Commit::Nothing };
        let all = differences(&self.state, &step.state);
        for event in &mut events {
            let of: Vec<_> = all
                .iter()
                .filter(|d| d.service.as_ref() == event.services.first())
                .cloned()
                .collect();
            (event.before, event.after) = lines(&of);
            event.revision = step.state.revision;
        }
        step.events = events;
        step
    }

    /// Ends a rollout of these services that stands in the way, if that is asked for.
    fn make_room(
        &self,
        now: Moment,
        order: &Order,
        services: &[ServiceName],
        force: bool,
        state: &mut State,
    ) -> Result<(), Refusal> {
        let Some(rollout) = self.state.running() else { return Ok(()) };
        if !rollout.services.iter().any(|name| services.contains(name)) {
            return Ok(());
        }
        if !force {
            return self.refuse_while_running();
        }
        let why = format!("a weight was forced by {}", order.actor.name);
        let phase = rollout.next(now, Signal::RollBack(why.clone()))?;
        state.put_rollout((**rollout).clone(), phase, now, &order.actor, why)
    }

    /// A rollback of its services ends a rollout, with a ramp too: nobody shifts upward meanwhile.
    fn end_rolled_back(&self, now: Moment, order: &Order, rollback: &Rollback, state: &mut State) {
        let Some(rollout) = self.state.running() else { return };
        let named = &rollback.services;
        if !named.is_empty() && !rollout.services.iter().any(|name| named.contains(name)) {
            return;
        }
        let why = match &order.reason {
            Some(reason) => format!("rolled back by {}: {reason}", order.actor.name),
            None => format!("rolled back by {}", order.actor.name),
        };
        let ramps: Vec<_> = rollout
            .services
            .iter()
            .filter_map(|name| {
                let service = state.services.get(name)?;
                Some((
                    name.clone(),
                    service.split.clone(),
                    service.ramp.clone()?,
                    service.salt.clone(),
                ))
            })
            .collect();
        if let Ok(phase) = rollout.next(now, Signal::RollBack(why.clone())) {
            // A phase without share cannot be refused.
            let _ = state.put_rollout((**rollout).clone(), phase, now, &order.actor, why);
        }
        for (name, split, ramp, salt) in ramps {
            if let Some(service) = state.service_mut(&name) {
                (service.split, service.ramp, service.salt) = (split, Some(ramp), salt);
            }
        }
    }

    /// A candidate that was given everything by hand is the baseline once it has baked.
    fn baking(&self, now: Moment, service: &ServiceState, split: &Split) -> Option<Bake> {
        let (pool, _) = split
            .iter()
            .find(|(pool, share)| *share == Share::WHOLE && **pool != service.baseline)?;
        let bake = self.settings.rollout.get("default").map(|plan| plan.bake);
        let until = now.after(bake.unwrap_or_else(|| Plan::default().bake));
        let same = service.bake.clone().filter(|bake| bake.pool == *pool);
        Some(same.unwrap_or_else(|| Bake { pool: pool.clone(), until }))
    }

    /// Moves the rollout as time and the guard's findings say.
    fn advance(&self, now: Moment, state: &mut State, events: &mut Vec<Event>) {
        // What the guard has just done to it comes first.
        if state.rollout != self.state.rollout {
            return;
        }
        let Some((rollout, phase)) = self.moved_by_time(now) else { return };
        let text = format!("rollout {} {}", rollout.id, rollout.told(&phase));
        let severity = match phase {
            Phase::Paused { .. } => Severity::Warning,
            _ => Severity::Info,
        };
        match state.put_rollout(rollout.clone(), phase, now, &Actor::lbd(), text.clone()) {
            Ok(()) => {
                let event = self.tick_event(now, "rollout", None, text);
                events.push(Event { services: rollout.services.clone(), severity, ..event });
            }
            // The config check sees to it that a candidate's share can be set.
            Err(refusal) => {
                let why = refusal.to_string();
                let event = self.tick_event(now, "rollout", None, why);
                events.push(Event { severity: Severity::Critical, ..event });
            }
        }
    }

    pub(in crate::model) fn tick_event(
        &self,
        now: Moment,
        kind: &str,
        service: Option<&ServiceName>,
        summary: String,
    ) -> Event {
        let event = Event::new(now, self.state.revision, kind, Severity::Info, summary);
        Event { services: service.cloned().into_iter().collect(), ..event }
    }

    /// The services to act on for a pool: those named, each of which must have it, or all that do.
    pub(crate) fn services_with(
        &self,
        pool: &PoolName,
        named: &[ServiceName],
    ) -> Result<Vec<ServiceName>, Refusal> {
        if named.is_empty() {
            let having: Vec<_> = self.state.with_pool(pool).cloned().collect();
            return if having.is_empty() {
                Err(Refusal::UnknownPool(pool.clone()))
            } else {
                Ok(having)
            };
        }
        for service in self.named_or_all(named)? {
            if !self.state.services.get(&service).is_some_and(|s| s.split.has(pool)) {
                return Err(Refusal::NoSuchPoolInService { service, pool: pool.clone() });
            }
        }
        Ok(named.to_vec())
    }

    /// Those named, each of which must exist, or all.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownService`] with the first that does not.
    pub fn named_or_all(&self, named: &[ServiceName]) -> Result<Vec<ServiceName>, Refusal> {
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
        let pools = services
            .flat_map(|(name, s)| s.split.iter().map(move |(pool, share)| (name, s, pool, share)));
        pools
            .filter(|(name, s, pool, share)| *share > Share::NONE && !self.is_usable(name, s, pool))
            .map(|(name, _, pool, share)| {
                format!(
                    "pool {pool} of {name} has no usable endpoint: its {share} are not served by it"
                )
            })
            .collect()
    }

    pub(in crate::model) fn is_usable(
        &self,
        service: &ServiceName,
        state: &ServiceState,
        pool: &PoolName,
    ) -> bool {
        let endpoints = state.endpoints.get(pool).map(Vec::as_slice).unwrap_or_default();
        endpoints.iter().any(|endpoint| {
            self.targets(&endpoint.address).into_iter().any(|target| {
                let address = endpoint.address.clone();
                let key =
                    EndpointKey { service: service.clone(), pool: pool.clone(), address, target };
                self.standing(&key, endpoint) < Standing::Out
            })
        })
    }
}

impl ServiceState {
    /// The service at `now`, if time changed it.
    fn at(&self, now: Moment) -> Option<Self> {
        let mut next = self.clone();
        if let Some(revert) = next.revert.take_if(|r| r.at <= now) {
            (next.split, next.bake) = (revert.split, revert.bake);
        }
        if let Some(ramp) = &self.ramp {
            let done = ramp.done(now);
            let split = ramp.from.toward(&self.rolled_back(), done.0, ramp.span.0);
            let baseline = |split: &Split| split.share(&self.baseline);
            // Never back towards the candidate: a clock that was set back only makes the ramp longer.
            if baseline(&split) > baseline(&self.split) || done >= ramp.span {
                next.split = split;
            }
            next.ramp = if now < ramp.began {
                Some(Ramp { from: self.split.clone(), began: now, span: ramp.span })
            } else {
                self.ramp.clone().filter(|_| done < ramp.span)
            };
            if next.ramp.is_none() {
                next.salt = None;
            }
        }
        // What the guard objects to is not made the baseline.
        if next.alarm.is_none()
            && let Some(bake) = next.bake.take_if(|bake| bake.until <= now)
        {
            next = next.promoted(&bake.pool);
        }
        if next.maintenance.as_ref().is_some_and(|m| m.is_over(now)) {
            next.maintenance = None;
        }
        (next != *self).then_some(next)
    }
}

impl Step {
    /// Puts several lines to the step.
    fn told(self, kind: &str, severity: Severity, commit: Commit, lines: Vec<String>) -> Self {
        let mut step = self.described(kind, lines.join("; "), commit);
        for event in &mut step.events {
            event.severity = severity;
        }
        step.reply.summary = lines;
        step
    }
}
