//! `guard set`, and what the guard does about its findings.

use std::sync::Arc;

use crate::model::{
    Commit, Event, Millis, Model, Moment, Order, Refusal, ServiceName, Severity, State, Step,
    command::GuardChange,
    event::Actor,
    guard::{Action, Finding, Verdict, terms::changed},
    rollout::Signal,
    state::{Alarm, Lockout, ServiceState},
};

/// How long an alarm stays at least, so that one that flickers is one alarm.
const ALARM: Millis = Millis::from_secs(10);

/// A finding that calls for something.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Objection<'m> {
    service: &'m ServiceName,
    state: &'m ServiceState,
    finding: &'m Finding,
    /// What it found.
    text: &'m str,
    /// Whether everything is to go back. Else it is only told.
    rolls_back: bool,
}

impl Model {
    /// Changes what candidates are judged by; nothing named: back to what the file says.
    pub(in crate::model) fn change_guard(
        &self,
        now: Moment,
        order: &Order,
        change: &GuardChange,
    ) -> Result<Step, Refusal> {
        let mut state = self.state.clone();
        for name in self.named_or_all(&change.services)? {
            let Some(service) = state.service_mut(&name) else { continue };
            let terms = changed(service.terms(), &change.terms)?;
            let own = (!change.terms.is_empty() && terms != *service.file.guard).then_some(terms);
            service.guard = own.map(Arc::new);
        }
        let step = self.step(now, state, &order.actor, order.reason.clone());
        let text = match (step.reply.changed, change.terms.is_empty()) {
            (false, _) => "the guard judges by these terms already",
            (true, true) => "the guard judges by the config file's terms",
            (true, false) => "the guard judges by other terms than the config file's",
        };
        Ok(step.described("guard", text.into(), Commit::DurableFirst))
    }

    /// Findings that call for something that was not done yet.
    pub(in crate::model) fn objections(&self) -> impl Iterator<Item = Objection<'_>> {
        self.findings.iter().filter_map(|((service, _), finding)| {
            let state = self.state.services.get(service)?;
            let text = match &finding.verdict {
                Verdict::NoGo(breach) | Verdict::BothDegraded(breach) => breach.text.as_str(),
                Verdict::Go | Verdict::Undecided(_) => return None,
            };
            let rolls_back = matches!(finding.verdict, Verdict::NoGo(_))
                && state.terms().action == Action::Rollback
                && self.is_usable(service, state, &state.baseline);
            // One alarm at a time: what else is wrong is told when it is over.
            let told = state.alarm.is_some();
            (rolls_back || !told).then_some(Objection { service, state, finding, text, rolls_back })
        })
    }

    /// Alarms whose cause is gone.
    pub(in crate::model) fn calms(&self, now: Moment) -> impl Iterator<Item = &ServiceName> {
        self.state.services.iter().filter_map(move |(name, service)| {
            let alarm = service.alarm.as_ref()?;
            let verdict = self.finding(name, &alarm.pool).map(|f| &f.verdict);
            let stands = matches!(verdict, Some(Verdict::NoGo(_) | Verdict::BothDegraded(_)));
            (!stands && now.since(alarm.since) >= ALARM).then_some(name)
        })
    }

    /// Whether a service's baseline has somebody to serve what goes back to it.
    fn can_go_back(&self, service: &ServiceName) -> bool {
        let state = self.state.services.get(service);
        state.is_some_and(|state| self.is_usable(service, state, &state.baseline))
    }

    /// Does what the guard's findings call for.
    pub(super) fn act_on_findings(&self, now: Moment, state: &mut State, events: &mut Vec<Event>) {
        for objection in self.objections() {
            let candidate = &objection.finding.pool;
            let gone = state
                .services
                .get(objection.service)
                .is_none_or(|s| s.split.share(candidate) == crate::model::Share::NONE);
            if gone {
                // An objection of another service has taken everything back already.
            } else if objection.rolls_back {
                events.push(self.take_back(now, &objection, state));
            } else {
                events.push(self.raise_alarm(now, &objection, state));
            }
        }
        for name in self.calms(now) {
            let Some(service) = state.service_mut(name) else { continue };
            let Some(alarm) = service.alarm.take() else { continue };
            let summary = format!("{} of {name} is no longer {}", alarm.pool, alarm.verdict);
            events.push(self.tick_event(now, "guard", Some(name), summary));
        }
    }

    fn take_back(&self, now: Moment, objection: &Objection<'_>, state: &mut State) -> Event {
        let candidate = &objection.finding.pool;
        let services: Vec<ServiceName> = self
            .shifted_with(candidate, objection.service)
            .into_iter()
            .filter(|name| self.can_go_back(name))
            .collect();
        let cause = format!("{}: {}", objection.service, objection.text);
        let of_rollout = |r: &&std::sync::Arc<crate::model::rollout::Rollout>| {
            r.candidate == *candidate && r.services.contains(objection.service)
        };
        if let Some(rollout) = state.running().filter(of_rollout).cloned()
            && let Ok(phase) = rollout.next(now, Signal::RollBack(cause.clone()))
        {
            let text = format!("rolled back by the guard: {cause}");
            // The phase asks for no share, so that nothing can be refused.
            let _ = state.put_rollout((*rollout).clone(), phase, now, &Actor::lbd(), text);
        }
        for name in &services {
            let Some(service) = state.service_mut(name) else { continue };
            let share = crate::model::Share::NONE;
            let back = service.split.with_share(candidate, share, &service.baseline);
            service.split = back.unwrap_or_else(|_| service.rolled_back());
            (service.revert, service.ramp, service.bake) = (None, None, None);
            (service.alarm, service.salt) = (None, None);
            let lockout = Lockout { since: now, cause: cause.clone() };
            service.lockouts.insert(candidate.clone(), lockout);
        }
        let users = objection.finding.evidence.candidate.users_failed;
        let summary = format!(
            "{candidate} was taken back: {cause}; {users} users saw a failure; it is locked out until \
             `lbctl rollout start {candidate}` or `lbctl weight {candidate} PERCENT --force`"
        );
        let event = self.tick_event(now, "rollback", None, summary);
        let cause = match &objection.finding.verdict {
            Verdict::NoGo(breach) | Verdict::BothDegraded(breach) => breach.detector.as_str(),
            Verdict::Go | Verdict::Undecided(_) => "guard",
        };
        Event { services, severity: Severity::Critical, cause: Some(cause.into()), ..event }
    }

    fn raise_alarm(&self, now: Moment, objection: &Objection<'_>, state: &mut State) -> Event {
        let Objection { service: name, finding, text, state: old, .. } = objection;
        let why = match (&finding.verdict, old.terms().action) {
            (Verdict::BothDegraded(_), _) => {
                format!("{} is just as bad, going back would not help", old.baseline)
            }
            (_, Action::Rollback) => {
                format!("{} has no usable endpoint to go back to", old.baseline)
            }
            (_, Action::Hold) => "the guard is set to hold".into(),
            (_, Action::Alert) => "the guard is set to alert only".into(),
        };
        let (pool, verdict) = (finding.pool.clone(), finding.verdict.as_str().to_owned());
        let text = format!("{text}; not rolled back: {why}");
        let holds =
            !matches!((&finding.verdict, old.terms().action), (Verdict::NoGo(_), Action::Alert));
        if holds
            && let Some(rollout) = state.running().filter(|r| r.candidate == pool).cloned()
            && let Ok(phase) = rollout.next(now, Signal::Pause(format!("{name}: {text}")))
        {
            let told = format!("held by the guard: {name}: {text}");
            // A pause asks for the share that is in force.
            let _ = state.put_rollout((*rollout).clone(), phase, now, &Actor::lbd(), told);
        }
        if let Some(service) = state.service_mut(name) {
            let since = now;
            service.alarm =
                Some(Alarm { pool, verdict: verdict.clone(), since, text: text.clone() });
        }
        let summary = format!("{} of {name} is {verdict}: {text}", finding.pool);
        let event = self.tick_event(now, "guard", Some(name), summary);
        Event { severity: Severity::Critical, ..event }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{model, order, pool, service, weight},
        *,
    };
    use crate::model::{
        Command, Input, Sight,
        command::{EndpointAction, EndpointChange, PlanChanges, RolloutStart, Weight},
        guard::{Breach, Detector, Evidence, Measure},
        health::AdminState,
    };

    fn breach() -> Breach {
        Breach {
            detector: Detector::GrossFailure,
            measure: Measure::Errors,
            measured: 1.0,
            limit: 0.01,
            sample: 7,
            text: "7 of 7 failed".into(),
        }
    }

    impl Model {
        fn objects(&mut self, verdict: Verdict) {
            let (pool, at, evidence) = (pool("green"), Moment(0), Evidence::default());
            let finding = Finding { pool: pool.clone(), at, verdict, evidence };
            self.findings.insert((service("web"), pool), finding);
        }

        fn events(&mut self, at: u64) -> Vec<Event> {
            let step = self.handle(Moment(at), Input::Tick).unwrap();
            self.adopt(Moment(at), step.settings, step.state);
            step.events
        }

        fn alarm(&self) -> Option<&Alarm> {
            self.state.services[&service("web")].alarm.as_ref()
        }
    }

    /// Green has 10 % in `api` and `web`.
    fn tried() -> Model {
        let mut model = model();
        model.does(0, order(weight("green", "10")));
        model
    }

    fn set(key: &str, value: serde_json::Value) -> Command {
        let terms = [(key.to_owned(), value)].into_iter().collect();
        Command::Guard(GuardChange { services: Vec::new(), terms })
    }

    #[test]
    fn a_no_go_of_one_service_takes_all_back_and_locks_the_pool_out() {
        let mut model = tried();
        model.objects(Verdict::NoGo(breach()));
        assert!(model.is_due(Moment(5)));
        let step = model.handle(Moment(5), Input::Tick).unwrap();
        assert_eq!(step.commit, Commit::LiveFirst);
        let [event] = &step.events[..] else { panic!("{:?}", step.events) };
        assert_eq!((event.kind.as_str(), event.severity), ("rollback", Severity::Critical));
        assert_eq!(event.services, [service("api"), service("web")]);
        assert_eq!(event.cause.as_deref(), Some("gross-failure"));
        assert!(event.summary.contains("7 of 7 failed") && event.summary.contains("--force"));
        model.adopt(Moment(5), step.settings, step.state);
        assert!(!model.is_due(Moment(6)), "done is done");
        for name in ["api", "web"] {
            assert_eq!(model.share(name, "green"), "0%");
        }
        assert_eq!(model.refuses(weight("green", "5")).code(), "locked_out");
        assert!(!model.does(6, order(weight("green", "0"))).changed);
    }

    #[test]
    fn a_lockout_ends_by_force_or_by_a_new_rollout() {
        let mut model = tried();
        model.objects(Verdict::NoGo(breach()));
        model.events(5);
        let locked = model.clone();
        let Command::Weight(typed) = weight("green", "5") else { unreachable!() };
        model.does(6, order(Command::Weight(Weight { force: true, ..typed })));
        assert!(model.state.services[&service("web")].lockouts.is_empty());
        let mut model = locked;
        model.does(6, order(Command::RolloutStart(start())));
        assert!(model.state.services[&service("web")].lockouts.is_empty());
        assert_eq!(model.share("web", "green"), "5%");
    }

    fn start() -> RolloutStart {
        RolloutStart {
            pool: pool("green"),
            services: Vec::new(),
            plan: None,
            changes: PlanChanges::default(),
            salt: None,
            skip_checks: true,
        }
    }

    #[test]
    fn a_rollout_that_is_taken_back_says_why() {
        let mut model = model();
        model.does(0, order(Command::RolloutStart(start())));
        model.objects(Verdict::NoGo(breach()));
        model.events(5);
        let rollout = model.state.rollout.clone().unwrap();
        assert_eq!(rollout.phase.as_str(), "rolled-back");
        assert!(rollout.milestones.last().unwrap().text.contains("7 of 7 failed"));
        assert_eq!(model.share("api", "green"), "0%");
    }

    #[test]
    fn it_can_be_told_to_hold_or_to_alert_only() {
        for (action, phase) in [("hold", "paused"), ("alert", "holding")] {
            let mut model = model();
            model.does(0, order(Command::RolloutStart(start())));
            model.does(0, order(set("action", action.into())));
            model.objects(Verdict::NoGo(breach()));
            let events = model.events(5);
            assert_eq!((events.len(), events[0].severity), (1, Severity::Critical));
            assert!(events[0].summary.contains("not rolled back"), "{}", events[0].summary);
            assert_eq!(model.state.rollout.as_ref().unwrap().phase.as_str(), phase);
            assert_eq!(model.share("web", "green"), "5%");
            model.objects(Verdict::NoGo(breach()));
            assert!(model.events(6).is_empty(), "one alarm, not a storm");
        }
    }

    #[test]
    fn nothing_goes_back_to_a_baseline_that_is_as_bad_or_has_nobody() {
        let mut model = tried();
        model.objects(Verdict::BothDegraded(breach()));
        let events = model.events(5);
        assert!(events[0].summary.contains("just as bad"), "{}", events[0].summary);
        assert_eq!(model.share("web", "green"), "10%");

        let mut model = tried();
        let all: Vec<_> = model.endpoints().map(|(key, _)| key).collect();
        for key in all.into_iter().filter(|key| key.pool == pool("blue")) {
            model.observe(Moment(0), Sight::Failing(key.clone()));
            let change = EndpointChange {
                pool: pool("blue"),
                address: key.address,
                services: vec![key.service],
                action: EndpointAction::Set(AdminState::Maint),
            };
            model.does(0, order(Command::Endpoint(change)));
        }
        model.objects(Verdict::NoGo(breach()));
        let events = model.events(5);
        assert!(events[0].summary.contains("no usable endpoint"), "{}", events[0].summary);
        assert_eq!(model.share("web", "green"), "10%");
    }

    #[test]
    fn an_alarm_ends_when_its_cause_is_gone_for_a_while() {
        let mut model = tried();
        model.objects(Verdict::BothDegraded(breach()));
        model.events(5);
        assert!(model.alarm().is_some());
        model.objects(Verdict::Go);
        assert!(model.events(1_000).is_empty());
        let events = model.events(11_000);
        assert_eq!((events.len(), events[0].severity), (1, Severity::Info));
        assert!(model.alarm().is_none());
    }

    #[test]
    fn its_terms_can_be_changed_at_run_time_and_go_back_to_the_file() {
        let mut model = model();
        model.does(0, order(set("error_rate", "1%".into())));
        let terms = |model: &Model| model.state.services[&service("api")].terms().clone();
        assert_eq!(terms(&model).error_rate, Some("1%".parse().unwrap()));
        let tolerance = serde_json::json!({ "errors": "2%" });
        model.does(0, order(set("tolerance", tolerance)));
        assert_eq!(terms(&model).tolerance.errors.to_string(), "2%");
        assert_eq!(terms(&model).tolerance.latency.to_string(), "20%");
        model.does(0, order(set("error_rate", serde_json::Value::Null)));
        assert_eq!(terms(&model).error_rate, None);
        for (key, value) in [
            ("alpha", serde_json::json!(0.5)),
            ("alpha", serde_json::json!(0)),
            ("window", "20m".into()),
            ("min_requests", serde_json::json!(0)),
            ("colour", "red".into()),
            ("p95", "fast".into()),
        ] {
            assert_eq!(model.refuses(set(key, value)).code(), "senseless", "{key}");
        }
        let file = GuardChange { services: Vec::new(), terms: serde_json::Map::new() };
        model.does(0, order(Command::Guard(file)));
        assert_eq!(terms(&model), *model.state.services[&service("api")].file.guard);
    }
}
