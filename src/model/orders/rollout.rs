//! `rollout start`, `pause`, `resume`, `promote` and `abort`, and what time and the guard do to it.

use std::sync::Arc;

use crate::model::{
    Commit, Model, Moment, Order, PoolName, Refusal, ServiceName, Severity, Split, State, Step,
    change::grouped,
    command::{PlanChanges, RolloutStart},
    event::Actor,
    rollout::{Milestone, Phase, Plan, Requirement, Rollout, Signal, Stage},
    units::PlanName,
};

impl Model {
    /// Starts a rollout. It begins with the preflight, or where that is skipped with the first stage.
    pub(in crate::model) fn start_rollout(
        &self,
        now: Moment,
        order: &Order,
        start: &RolloutStart,
    ) -> Result<Step, Refusal> {
        let RolloutStart { pool, services, plan, changes, salt, skip_checks } = start;
        let services = self.services_with(pool, services)?;
        self.refuse_while_running()?;
        let (name, plan) = self.planned(plan.as_ref(), changes)?;
        let checked = |what| !skip_checks && plan.require.contains(&what);
        self.refuse_baseline(&services, pool)?;
        if checked(Requirement::Health) {
            self.refuse_unusable(&services, pool)?;
        }
        // Its preflight asks every endpoint, whatever is known of its health.
        let is_checked = !skip_checks && !plan.require.is_empty();
        let phase =
            if is_checked { Phase::Checking } else { Phase::Holding { stage: 0, since: now } };
        let rollout = Rollout {
            id: self.state.last_rollout + 1,
            candidate: pool.clone(),
            services,
            name,
            plan,
            salt: salt.clone(),
            by: order.actor.clone(),
            reason: order.reason.clone(),
            began: now,
            phase: Phase::Checking,
            milestones: Vec::new(),
        };
        let mut state = self.state.clone();
        state.last_rollout = rollout.id;
        for name in &rollout.services {
            if let Some(service) = state.service_mut(name) {
                service.lockouts.remove(pool);
                (service.revert, service.ramp, service.bake) = (None, None, None);
                service.salt.clone_from(salt);
            }
        }
        let text = format!("rollout {} of {pool} started", rollout.id);
        state.put_rollout(rollout, phase, now, &order.actor, text.clone())?;
        Ok(self.rollout_step(now, order, state, text))
    }

    /// Moves the rollout that runs, as an operator asks.
    pub(in crate::model) fn move_rollout(
        &self,
        now: Moment,
        order: &Order,
        signal: Signal,
    ) -> Result<Step, Refusal> {
        let rollout = self.state.running().ok_or(Refusal::NoRollout)?;
        let phase = rollout.next(now, signal)?;
        let mut state = self.state.clone();
        let text = format!("rollout {} {}", rollout.id, rollout.told(&phase));
        state.put_rollout((**rollout).clone(), phase, now, &order.actor, text.clone())?;
        Ok(self.rollout_step(now, order, state, text))
    }

    /// Goes on to the next stage, or makes the candidate the baseline.
    pub(in crate::model) fn promote(
        &self,
        now: Moment,
        order: &Order,
        full: bool,
    ) -> Result<Step, Refusal> {
        if self.state.running().is_some() {
            return self.move_rollout(now, order, Signal::Promote { full });
        }
        let mut state = self.state.clone();
        let mut lines = Vec::new();
        for (name, service) in &self.state.services {
            let Some(bake) = &service.bake else { continue };
            lines.push((name.clone(), format!("{} is the new baseline", bake.pool)));
            state.services.insert(name.clone(), Arc::new(service.promoted(&bake.pool)));
        }
        if lines.is_empty() {
            return Err(Refusal::NoRollout);
        }
        Ok(self.rollout_step(now, order, state, grouped(&lines).join("; ")))
    }

    /// Ends the rollout that runs; everything goes back at once.
    pub(in crate::model) fn abort_rollout(
        &self,
        now: Moment,
        order: &Order,
    ) -> Result<Step, Refusal> {
        let why = match &order.reason {
            Some(reason) => format!("aborted by {}: {reason}", order.actor.name),
            None => format!("aborted by {}", order.actor.name),
        };
        let mut step = self.move_rollout(now, order, Signal::RollBack(why))?;
        step.commit = Commit::LiveFirst;
        for event in &mut step.events {
            event.severity = Severity::Warning;
            event.cause = Some("operator".into());
        }
        Ok(step)
    }

    /// Takes in how the preflight of rollout `id` ended. Nothing if it is not checking any more.
    pub(in crate::model) fn checked(
        &self,
        now: Moment,
        id: u64,
        result: Result<(), String>,
    ) -> Step {
        let failed = result.is_err();
        let signal = Signal::Checked(result.map_err(|why| format!("the preflight failed: {why}")));
        let order = Order::of_lbd();
        let running = self.state.running().filter(|r| r.id == id && r.phase == Phase::Checking);
        let step = running.and_then(|_| self.move_rollout(now, &order, signal).ok());
        let mut step = step.unwrap_or_else(|| self.nothing(now));
        if failed {
            step.events.iter_mut().for_each(|event| event.severity = Severity::Warning);
        }
        // Nobody is there to be refused.
        if step.reply.changed {
            step.commit = Commit::LiveFirst;
        }
        step
    }

    /// The phase into which time moves the rollout that runs, if it does.
    pub(in crate::model) fn moved_by_time(&self, now: Moment) -> Option<(&Rollout, Phase)> {
        let rollout = self.state.running()?;
        let merit = self.merit(rollout);
        let next = rollout.next(now, Signal::Time(merit)).ok()?;
        (next != rollout.phase).then_some((&**rollout, next))
    }

    /// A step that changes nothing.
    pub(in crate::model) fn nothing(&self, now: Moment) -> Step {
        let step = self.step(now, self.state.clone(), &Actor::lbd(), None);
        step.described("", String::new(), Commit::Nothing)
    }

    fn rollout_step(&self, now: Moment, order: &Order, state: State, text: String) -> Step {
        let step = self.step(now, state, &order.actor, order.reason.clone());
        let changes = step.reply.splits.iter().filter_map(|change| {
            let candidate = &step.state.rollout.as_ref()?.candidate;
            Some((change.service.clone(), change.describe(candidate)))
        });
        let lines: Vec<_> =
            std::iter::once(text).chain(grouped(&changes.collect::<Vec<_>>())).collect();
        let mut step = step.described("rollout", lines.join("; "), Commit::DurableFirst);
        step.reply.summary = lines;
        step
    }

    /// The plan with this name and these changes, with its name.
    ///
    /// # Errors
    ///
    /// If there is no such plan, or it makes no sense then.
    pub(crate) fn planned(
        &self,
        name: Option<&PlanName>,
        changes: &PlanChanges,
    ) -> Result<(String, Plan), Refusal> {
        let mut plan = match name {
            Some(name) => self.settings.rollout.get(name.as_str()).cloned(),
            None => Some(self.settings.rollout.get("default").cloned().unwrap_or_default()),
        }
        .ok_or_else(|| Refusal::UnknownPlan(name.cloned().unwrap_or_else(PlanName::standard)))?;
        let PlanChanges { stages, hold, advance, max_hold, bake } = changes.clone();
        let is_changed = *changes != PlanChanges::default();
        plan.stages = stages.unwrap_or(plan.stages);
        if let Some(hold) = hold {
            plan.hold = hold;
            plan.stages.iter_mut().for_each(|stage: &mut Stage| stage.hold = None);
        }
        plan.advance = advance.unwrap_or(plan.advance);
        let longest = plan.stages.iter().filter_map(|stage| stage.hold).max().unwrap_or(plan.hold);
        plan.max_hold = max_hold.unwrap_or(plan.max_hold).max(longest);
        plan.bake = bake.unwrap_or(plan.bake);
        if let Some(problem) = plan.problem() {
            let hint = "stages rise to 100%, as in 5,25,100, and are held for some time";
            return Err(Refusal::Senseless { problem, hint });
        }
        let name = name.map_or("default", PlanName::as_str);
        let name = if is_changed { format!("{name}, changed") } else { name.to_owned() };
        Ok((name, plan))
    }

    /// Refuses while a rollout runs.
    pub(super) fn refuse_while_running(&self) -> Result<(), Refusal> {
        match self.state.running() {
            None => Ok(()),
            Some(rollout) => Err(Refusal::RolloutRuns {
                id: rollout.id,
                pool: rollout.candidate.clone(),
                phase: rollout.phase.as_str(),
            }),
        }
    }

    /// Refuses a pool that is trusted already.
    ///
    /// # Errors
    ///
    /// [`Refusal::CandidateIsBaseline`] with the first service where that is so.
    pub fn refuse_baseline(
        &self,
        services: &[ServiceName],
        pool: &PoolName,
    ) -> Result<(), Refusal> {
        let trusts = |name: &&ServiceName| {
            self.state.services.get(*name).is_some_and(|s| s.baseline == *pool)
        };
        match services.iter().find(trusts) {
            None => Ok(()),
            Some(service) => {
                Err(Refusal::CandidateIsBaseline { service: service.clone(), pool: pool.clone() })
            }
        }
    }

    /// Refuses a pool without usable endpoint.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoUsableEndpoint`] with the first service where that is so.
    pub fn refuse_unusable(
        &self,
        services: &[ServiceName],
        pool: &PoolName,
    ) -> Result<(), Refusal> {
        let unusable = |name: &&ServiceName| {
            self.state.services.get(*name).is_some_and(|s| !self.is_usable(name, s, pool))
        };
        match services.iter().find(unusable) {
            None => Ok(()),
            Some(service) => {
                Err(Refusal::NoUsableEndpoint { service: service.clone(), pool: pool.clone() })
            }
        }
    }
}

impl State {
    /// Puts a rollout into `phase`, with the shares that this asks for.
    pub(in crate::model) fn put_rollout(
        &mut self,
        mut rollout: Rollout,
        phase: Phase,
        now: Moment,
        by: &Actor,
        text: String,
    ) -> Result<(), Refusal> {
        let candidate = rollout.candidate.clone();
        rollout.phase = phase;
        for name in &rollout.services {
            let Some(old) = self.services.get(name) else { continue };
            let mut service = (**old).clone();
            match &rollout.phase {
                Phase::Checking => {}
                Phase::Holding { .. } | Phase::Paused { .. } | Phase::Baking { .. } => {
                    let share = rollout.share().unwrap_or_default();
                    service.split =
                        service.split.with_share(&candidate, share, &service.baseline)?;
                }
                Phase::Promoted { .. } => service = service.promoted(&candidate),
                Phase::RolledBack { .. } => {
                    (service.split, service.ramp) = (service.rolled_back(), None);
                    service.salt = None;
                }
            }
            self.services.insert(name.clone(), Arc::new(service));
        }
        let share = match &rollout.phase {
            Phase::Promoted { .. } => crate::model::Share::WHOLE,
            _ => rollout.share().unwrap_or_default(),
        };
        let phase = rollout.phase.as_str().to_owned();
        rollout.milestones.push(Milestone { at: now, phase, share, by: by.clone(), text });
        self.rollout = Some(Arc::new(rollout));
        Ok(())
    }

    /// Ends a rollout that the new file has taken the ground from: a service or the candidate is gone,
    /// or the file sets other weights.
    pub(in crate::model) fn without_lost_rollout(mut self, now: Moment, before: &Self) -> Self {
        let Some(rollout) = before.running() else { return self };
        let split = |state: &Self, name: &ServiceName| -> Option<Split> {
            state.services.get(name).map(|s| s.split.clone())
        };
        let trusts =
            |state: &Self, name: &ServiceName| state.services.get(name).map(|s| s.baseline.clone());
        let is_whole =
            rollout.services.iter().all(|name| trusts(before, name) == trusts(&self, name))
                && rollout.services.iter().all(|name| {
                    let (old, new) = (split(before, name), split(&self, name));
                    let same = |old: &Split, new: &Split| {
                        new.has(&rollout.candidate)
                            && old.iter().all(|(pool, share)| new.share(pool) == share)
                    };
                    old.zip(new).is_some_and(|(old, new)| same(&old, &new))
                });
        if is_whole {
            return self;
        }
        let text = "the config file has taken its services, its candidate or its weights";
        let mut ended = (**rollout).clone();
        ended.phase = Phase::RolledBack { at: now, why: text.into() };
        ended.milestones.push(Milestone {
            at: now,
            phase: ended.phase.as_str().into(),
            share: crate::model::Share::NONE,
            by: Actor::lbd(),
            text: text.into(),
        });
        for name in &rollout.services {
            // Where the file sets other weights, they are in force; all else goes back.
            let kept = before.services.get(name).map(|s| s.split.clone());
            if let Some(service) = self.service_mut(name) {
                service.salt = None;
                if kept.is_some_and(|kept| kept == service.split) {
                    service.split = service.rolled_back();
                }
            }
        }
        self.rollout = Some(Arc::new(ended));
        self
    }
}

impl crate::model::state::ServiceState {
    /// The service with `pool` as its baseline, which has everything.
    pub(in crate::model) fn promoted(&self, pool: &PoolName) -> Self {
        let mut next = self.clone();
        next.baseline = pool.clone();
        next.split = next.rolled_back();
        (next.salt, next.bake, next.alarm) = (None, None, None);
        (next.revert, next.ramp) = (None, None);
        next.lockouts.remove(pool);
        next
    }
}

impl Order {
    /// What lbd does by itself.
    pub(in crate::model) fn of_lbd() -> Self {
        let command = crate::model::Command::RolloutResume;
        Self { actor: Actor::lbd(), reason: None, if_revision: None, command }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{FILE, model, order, pool, reload, rollback, service, weight},
        *,
    };
    use crate::model::{
        Command, Input, Millis,
        command::{Rollback, Runtime, Weight},
        guard::{Evidence, Finding, Lacking, Measure, Verdict},
        rollout::Advance,
    };

    const HOLD: u64 = 300_000;

    fn start(at: &str, changes: PlanChanges) -> Command {
        Command::RolloutStart(RolloutStart {
            pool: pool(at),
            services: Vec::new(),
            plan: None,
            changes,
            salt: None,
            skip_checks: true,
        })
    }

    fn checked() -> Command {
        Command::RolloutStart(RolloutStart { skip_checks: false, ..of(plain()) })
    }

    fn plain() -> Command {
        start("green", PlanChanges::default())
    }

    fn staged(stages: &[&str]) -> PlanChanges {
        let stage = |share: &&str| Stage::of(share.parse().unwrap());
        PlanChanges { stages: Some(stages.iter().map(stage).collect()), ..PlanChanges::default() }
    }

    /// A model whose rollout has begun.
    fn started() -> Model {
        let mut model = model();
        model.does(0, order(plain()));
        model
    }

    impl Model {
        fn phase(&self) -> &str {
            self.state.rollout.as_ref().map_or("none", |r| r.phase.as_str())
        }

        /// The guard finds the candidate good in all services.
        fn finds(&mut self, verdict: &Verdict) {
            for name in ["api", "web"] {
                let mut evidence = Evidence::default();
                evidence.candidate.stage_requests = 1_000;
                let finding = Finding {
                    pool: pool("green"),
                    at: Moment(0),
                    verdict: verdict.clone(),
                    evidence,
                };
                self.findings.insert((service(name), pool("green")), finding);
            }
        }

        /// Time goes by, with nothing wrong.
        fn passes(&mut self, at: u64) {
            self.finds(&Verdict::Go);
            self.does(at, Input::Tick);
        }
    }

    #[test]
    fn all_services_with_the_pool_move_in_lock_step_through_the_stages_to_the_end() {
        let mut model = model();
        let reply = model.does(0, order(plain()));
        assert_eq!(
            reply.summary,
            ["rollout 1 of green started", "green 0% → 5% (blue 100% → 95%)"]
        );
        for (n, share) in ["5%", "10%", "25%", "50%", "100%"].into_iter().enumerate() {
            assert_eq!([model.share("api", "green"), model.share("web", "green")], [share; 2]);
            assert_eq!(model.phase(), "holding");
            model.passes((n as u64 + 1) * HOLD);
        }
        assert_eq!(model.phase(), "baking");
        assert_eq!(model.state.services[&service("api")].baseline, pool("blue"));
        model.passes(5 * HOLD + 24 * 3_600_000);
        assert_eq!(model.phase(), "promoted");
        for name in ["api", "web"] {
            assert_eq!(model.state.services[&service(name)].baseline, pool("green"));
            assert_eq!(model.share(name, "green"), "100%");
        }
        assert_eq!(model.state.services[&service("docs")].baseline, pool("only"));
        let next = model.does(0, order(start("blue", PlanChanges::default())));
        assert_eq!(next.summary[0], "rollout 2 of blue started");
    }

    #[test]
    fn a_stage_waits_for_a_verdict_and_never_guesses() {
        let few = Verdict::Undecided(Lacking::Requests { have: 3, need: 50 });
        for verdict in [None, Some(few)] {
            let mut model = started();
            if let Some(verdict) = &verdict {
                model.finds(verdict);
            }
            model.does(HOLD, Input::Tick);
            assert_eq!((model.phase(), model.share("api", "green")), ("holding", "5%".into()));
            if let Some(verdict) = &verdict {
                model.finds(verdict);
            }
            model.does(3_600_000, Input::Tick);
            assert_eq!((model.phase(), model.share("api", "green")), ("paused", "5%".into()));
        }
        let mut model = started();
        model.finds(&Verdict::Undecided(Lacking::Certainty { more: 9, measure: Measure::P95 }));
        model.does(HOLD, Input::Tick);
        assert_eq!(model.share("api", "green"), "10%", "enough was seen and nothing is wrong");
    }

    #[test]
    fn evidence_or_a_person_can_end_a_stage_early() {
        let mut model = model();
        let by = |advance| PlanChanges { advance: Some(advance), ..PlanChanges::default() };
        model.does(0, order(start("green", by(Advance::Evidence))));
        model.passes(1);
        assert_eq!(model.share("api", "green"), "10%");
        model.does(2, order(Command::RolloutPromote { full: false }));
        assert_eq!(model.share("api", "green"), "25%");
        model.does(3, order(Command::RolloutPromote { full: true }));
        assert_eq!((model.phase(), model.share("web", "green")), ("baking", "100%".into()));
        model.does(4, order(Command::RolloutPromote { full: false }));
        assert_eq!(model.phase(), "promoted");
        let mut model = super::super::tests::model();
        model.does(0, order(start("green", by(Advance::Manual))));
        model.passes(10 * HOLD);
        assert_eq!(model.share("api", "green"), "5%");
    }

    #[test]
    fn a_rollback_ends_it_in_every_phase_with_shares() {
        for moves in 0..6 {
            let mut model = started();
            for n in 0..moves {
                model.passes((n + 1) * HOLD);
            }
            let step = model.handle(Moment(0), order(rollback(None))).unwrap();
            assert_eq!(step.commit, Commit::LiveFirst);
            assert_eq!(step.events[0].cause.as_deref(), Some("operator"));
            model.adopt(Moment(0), step.settings, step.state);
            assert_eq!((model.phase(), model.share("web", "green")), ("rolled-back", "0%".into()));
            assert_eq!(model.state.services[&service("web")].baseline, pool("blue"));
            model.passes(99 * HOLD);
            assert_eq!(model.share("web", "green"), "0%", "nothing shifts it up again");
        }
    }

    #[test]
    fn a_ramp_ends_it_too_and_goes_down_in_steps() {
        let mut model = model();
        model.does(0, order(start("green", staged(&["40%", "100%"]))));
        model.does(0, order(rollback(Some(Millis(20_000)))));
        assert_eq!((model.phase(), model.share("web", "green")), ("rolled-back", "40%".into()));
        model.does(10_000, Input::Tick);
        assert_eq!(model.share("web", "green"), "20%");
        model.does(20_000, Input::Tick);
        assert_eq!(model.share("web", "green"), "0%");
    }

    #[test]
    fn a_rollback_of_other_services_leaves_it_alone() {
        let mut model = started();
        let docs = Rollback { services: vec![service("docs")], ramp: None };
        model.does(0, order(Command::Rollback(docs)));
        assert_eq!(model.phase(), "holding");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let hold = |ms| PlanChanges { hold: Some(Millis(ms)), ..PlanChanges::default() };
        let model = model();
        for (command, code) in [
            (start("red", PlanChanges::default()), "unknown_pool"),
            (start("blue", PlanChanges::default()), "candidate_is_baseline"),
            (start("green", staged(&["10%", "5%", "100%"])), "senseless"),
            (start("green", staged(&["10%", "10%", "100%"])), "senseless"),
            (start("green", staged(&["0%", "100%"])), "senseless"),
            (start("green", staged(&["5%", "50%"])), "senseless"),
            (start("green", staged(&[])), "senseless"),
            (start("green", hold(0)), "senseless"),
            (Command::RolloutPromote { full: false }, "no_rollout"),
            (Command::RolloutPause, "no_rollout"),
            (Command::RolloutResume, "no_rollout"),
            (Command::RolloutAbort, "no_rollout"),
        ] {
            let text = format!("{command:?}");
            assert_eq!(model.refuses(command).code(), code, "{text}");
        }
        let named = RolloutStart { plan: Some("x".parse().unwrap()), ..of(plain()) };
        assert_eq!(model.refuses(Command::RolloutStart(named)).code(), "unknown_plan");
    }

    fn of(command: Command) -> RolloutStart {
        match command {
            Command::RolloutStart(start) => start,
            _ => unreachable!(),
        }
    }

    #[test]
    fn one_that_runs_stands_in_the_way_of_others_and_of_weights() {
        let mut model = started();
        for command in [plain(), weight("green", "50"), weight("blue", "100")] {
            assert_eq!(model.refuses(command).code(), "rollout_runs");
        }
        model.does(0, order(Command::RolloutAbort));
        assert_eq!((model.phase(), model.share("api", "green")), ("rolled-back", "0%".into()));
        assert_eq!(model.refuses(Command::RolloutAbort).code(), "no_rollout", "twice");
        model.does(0, order(plain()));
        let Command::Weight(typed) = weight("green", "50") else { unreachable!() };
        model.does(0, order(Command::Weight(Weight { force: true, ..typed })));
        assert_eq!((model.phase(), model.share("api", "green")), ("rolled-back", "50%".into()));
    }

    #[test]
    fn a_pool_that_is_down_gets_no_rollout_unless_checks_are_skipped() {
        use crate::model::{Sight, command::EndpointAction, health::AdminState};
        let mut model = model();
        let all: Vec<_> = model.endpoints().map(|(key, _)| key).collect();
        for key in all.into_iter().filter(|key| key.pool == pool("green")) {
            let (events, action) =
                (Sight::Failing(key.clone()), EndpointAction::Set(AdminState::Maint));
            model.observe(Moment(0), events);
            let change = crate::model::command::EndpointChange {
                pool: pool("green"),
                address: key.address,
                services: vec![key.service],
                action,
            };
            model.does(0, order(Command::Endpoint(change)));
        }
        assert_eq!(model.refuses(checked()).code(), "no_usable_endpoint");
        assert!(model.handle(Moment(0), order(plain())).is_ok());
    }

    #[test]
    fn a_restart_begins_the_hold_anew_and_keeps_all_else() {
        let mut model = started();
        let restarted = |model: &Model, now| {
            let mut next = Model::new(model.settings.clone(), Some(model.state.clone()));
            next.resume(Moment(now));
            next
        };
        model = restarted(&model, 100_000);
        model.passes(HOLD);
        assert_eq!(model.share("api", "green"), "5%", "only 200 s of the hold");
        model.passes(100_000 + HOLD);
        assert_eq!(model.share("api", "green"), "10%");
        model.does(100_000 + HOLD, order(Command::RolloutPause));
        model = restarted(&model, 900_000);
        assert_eq!(model.phase(), "paused");
        model.does(900_000, order(Command::RolloutPromote { full: true }));
        let baking = model.state.rollout.clone();
        model = restarted(&model, 1_000_000);
        assert_eq!(model.state.rollout, baking);
        model.does(0, order(rollback(None)));
        assert_eq!(restarted(&model, 2_000_000).phase(), "rolled-back");
    }

    #[test]
    fn its_checks_come_first_and_failing_ends_it_without_traffic() {
        for (result, phase, share) in
            [(Ok(()), "holding", "5%"), (Err("POST /login: 500".to_owned()), "rolled-back", "0%")]
        {
            let mut model = model();
            model.does(0, order(checked()));
            assert_eq!((model.phase(), model.share("web", "green")), ("checking", "0%".into()));
            assert!(!model.does(0, Input::Checked(7, Ok(()))).changed, "of another rollout");
            model.does(0, Input::Checked(1, result));
            assert_eq!((model.phase(), model.share("web", "green")), (phase, share.into()));
        }
    }

    #[test]
    fn a_fresh_cohort_lasts_as_long_as_the_rollout() {
        let mut model = model();
        let fresh = RolloutStart { salt: Some("fresh".into()), ..of(plain()) };
        model.does(0, order(Command::RolloutStart(fresh)));
        let salts = |model: &Model| {
            model.snapshot().services.iter().map(|s| s.salt.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(salts(&model), ["fresh", "lbd", "fresh"]);
        model.does(0, order(Command::RolloutAbort));
        assert_eq!(salts(&model), ["lbd"; 3]);
    }

    #[test]
    fn an_edited_file_changes_no_plan_that_runs_but_can_take_the_ground_from_it() {
        let mut model = started();
        let other = format!("{FILE}\n[rollout.default]\nstages = ['1%', '100%']\n");
        model.does(0, reload(&other, Runtime::Kept));
        model.passes(HOLD);
        assert_eq!(model.share("api", "green"), "10%");
        let without = FILE
            .replace("[service.web.pool.green]\nendpoints = [\"127.0.0.1:3\"]\nweight = 0\n", "");
        assert_ne!(without, FILE);
        model.does(0, reload(&without, Runtime::Kept));
        assert_eq!(model.phase(), "rolled-back");
    }

    #[test]
    fn a_candidate_that_was_given_everything_by_hand_bakes_and_becomes_the_baseline() {
        let mut model = model();
        model.does(0, order(weight("green", "100")));
        let bake = model.state.services[&service("api")].bake.clone().unwrap();
        assert_eq!((bake.pool, bake.until), (pool("green"), Moment(24 * 3_600_000)));
        model.does(bake.until.0, Input::Tick);
        assert_eq!(model.state.services[&service("api")].baseline, pool("green"));
        let mut model = super::super::tests::model();
        model.does(0, order(weight("green", "100")));
        model.does(1, order(rollback(None)));
        assert_eq!(model.share("api", "blue"), "100%", "until then the way back is one command");
        model.does(2, order(weight("green", "100")));
        model.does(3, order(Command::RolloutPromote { full: false }));
        assert_eq!(model.state.services[&service("web")].baseline, pool("green"));
    }
}
