//! What orders make of the state, as tables and as laws over random orders.

use std::sync::Arc;

use proptest::prelude::*;

use crate::{
    config,
    model::{
        Actor, Address, Changed, Command, Commit, Input, Millis, Model, Moment, Order, PoolName,
        Refusal, Revision, ServiceName, Settings, Share, Split, State, Step,
        cohort::List,
        command::{
            CohortAction, CohortChange, EndpointAction, EndpointChange, PlanChanges, Reload,
            Rollback, RolloutStart, Runtime, Weight,
        },
        health::AdminState,
        maintenance::Maintenance,
        rollout::Rollout,
        state::ServiceState,
    },
};

pub(super) const FILE: &str = r#"
[listener.http]
address = "127.0.0.1:0"
[service.api]
paths = ["/api"]
[service.api.pool.blue]
endpoints = ["127.0.0.1:1"]
[service.api.pool.green]
endpoints = ["127.0.0.1:2", "127.0.0.1:3"]
weight = 0
[service.web.pool.blue]
endpoints = ["127.0.0.1:4"]
[service.web.pool.green]
endpoints = ["127.0.0.1:3"]
weight = 0
[service.docs]
paths = ["/docs"]
[service.docs.pool.only]
endpoints = ["127.0.0.1:6"]
"#;

pub(super) fn settings(text: &str) -> Arc<Settings> {
    let none = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    Arc::new(config::check(text, &none).unwrap())
}

pub(super) fn model() -> Model {
    Model::new(settings(FILE), None)
}

pub(super) fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

pub(super) fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub(super) fn order(command: Command) -> Input {
    Input::Order(Order {
        actor: Actor::lbd(),
        reason: Some("test".into()),
        if_revision: None,
        command,
    })
}

pub(super) fn weight(at: &str, share: &str) -> Command {
    Command::Weight(timed(at, share, None))
}

fn timed(at: &str, share: &str, span: Option<Millis>) -> Weight {
    let share = share.parse().unwrap();
    Weight { pool: pool(at), share, services: Vec::new(), span, verb: "weight", force: false }
}

pub(super) fn rollback(ramp: Option<Millis>) -> Command {
    Command::Rollback(Rollback { services: Vec::new(), ramp })
}

fn endpoint(at: &str, address: &str, action: EndpointAction) -> Command {
    let address = address.parse().unwrap();
    Command::Endpoint(EndpointChange { pool: pool(at), address, services: Vec::new(), action })
}

fn maintenance(until: Option<u64>) -> Command {
    Command::MaintenanceOn(Vec::new(), terms(until))
}

fn terms(until: Option<u64>) -> Maintenance {
    Maintenance {
        since: Moment(0),
        until: until.map(Moment),
        message: None,
        allow: vec![],
        secret: None,
    }
}

pub(super) fn reload(text: &str, runtime: Runtime) -> Input {
    let settings = settings(text);
    Input::Reloaded(Reload { settings, actor: Actor::lbd(), reason: None, runtime })
}

impl Model {
    pub(super) fn does(&mut self, at: u64, input: Input) -> Changed {
        let Step { settings, state, reply, .. } = self.handle(Moment(at), input).unwrap();
        self.adopt(Moment(at), settings, state);
        reply
    }

    pub(super) fn refuses(&self, command: Command) -> Refusal {
        self.handle(Moment(0), order(command)).unwrap_err()
    }

    pub(super) fn share(&self, of: &str, at: &str) -> String {
        self.state.services[&service(of)].split.share(&pool(at)).to_string()
    }
}

#[test]
fn a_weight_acts_on_every_service_with_the_pool_in_one_revision() {
    let mut model = model();
    let reply = model.does(0, order(weight("green", "25")));
    assert_eq!((reply.revision, reply.changed), (Revision(2), true));
    assert_eq!(reply.summary, ["green 0% → 25% (blue 100% → 75%)"]);
    assert_eq!(
        (model.share("api", "green"), model.share("web", "green")),
        ("25%".into(), "25%".into())
    );
    assert_eq!(model.share("docs", "only"), "100%");
    let again = model.does(0, order(weight("green", "25")));
    assert_eq!((again.revision, again.changed), (Revision(2), false));
    assert_eq!(again.summary, ["green stays at 25%"]);
}

#[test]
fn services_that_differ_are_told_apart() {
    let mut model = model();
    let only = Weight { services: vec![service("web")], ..timed("green", "10", None) };
    model.does(0, order(Command::Weight(only)));
    let reply = model.does(0, order(weight("green", "25")));
    assert_eq!(
        reply.summary,
        ["api: green 0% → 25% (blue 100% → 75%)", "web: green 10% → 25% (blue 90% → 75%)"]
    );
}

#[test]
fn senseless_orders_are_refused_with_a_hint() {
    let model = model();
    let refusals = [
        model.refuses(weight("red", "10")),
        model.refuses(weight("only", "50")),
        model.refuses(endpoint("green", "127.0.0.1:9", EndpointAction::Remove)),
        model.refuses(endpoint("green", "127.0.0.1:9", EndpointAction::Add { weight: 1 })),
        model.refuses(endpoint("only", "127.0.0.1:6", EndpointAction::Add { weight: 1 })),
        model.refuses(endpoint("only", "127.0.0.1:7", EndpointAction::Add { weight: 0 })),
        model.refuses(maintenance(Some(0))),
        model.refuses(Command::MaintenanceOff(vec![service("nobody")])),
    ];
    let codes: Vec<_> = refusals.iter().map(Refusal::code).collect();
    assert_eq!(
        codes,
        [
            "unknown_pool",
            "nowhere_else",
            "unknown_endpoint",
            "ambiguous_service",
            "endpoint_exists",
            "senseless",
            "senseless",
            "unknown_service"
        ]
    );
    assert!(refusals.iter().all(|r| !r.hint().is_empty()));
}

#[test]
fn a_stale_revision_is_refused() {
    let model = model();
    let order = Order {
        actor: Actor::lbd(),
        reason: None,
        if_revision: Some(Revision(7)),
        command: weight("green", "5"),
    };
    let refusal = model.handle(Moment(0), Input::Order(order)).unwrap_err();
    assert_eq!(refusal, Refusal::StaleRevision { asked: Revision(7), current: Revision(1) });
}

#[test]
fn a_weight_for_a_time_returns_to_what_was_before_it() {
    let mut model = model();
    model.does(0, order(weight("green", "10")));
    let timed = |share, span| order(Command::Weight(timed("green", share, Some(Millis(span)))));
    model.does(1_000, timed("50", 5_000));
    // A second timed weight moves the end, not the way back.
    model.does(2_000, timed("60", 6_000));
    assert_eq!(model.deadline(Moment(2_000)), Some(Moment(8_000)));
    model.does(7_999, Input::Tick);
    assert_eq!(model.share("web", "green"), "60%");
    let reply = model.does(8_000, Input::Tick);
    assert_eq!((model.share("web", "green"), reply.changed), ("10%".into(), true));
    assert_eq!(model.deadline(Moment(8_000)), None);
}

#[test]
fn a_rollback_is_published_first_is_idempotent_and_ends_what_would_undo_it() {
    let mut model = model();
    model.does(0, order(weight("green", "50")));
    let timed = Command::Weight(timed("green", "0", Some(Millis(1_000))));
    model.does(0, order(timed));
    let step = model.handle(Moment(0), order(rollback(None))).unwrap();
    assert_eq!(
        step.commit,
        Commit::LiveFirst,
        "the return to 50% is still to come, so this is a change"
    );
    model.adopt(Moment(0), step.settings, step.state);
    model.does(2_000, Input::Tick);
    assert_eq!(model.share("web", "green"), "0%");
    let again = model.handle(Moment(0), order(rollback(None))).unwrap();
    assert_eq!(
        (again.commit, again.reply.changed, again.events.len()),
        (Commit::Nothing, false, 0)
    );
}

#[test]
fn a_ramp_goes_down_in_steps_and_any_weight_ends_it() {
    let mut model = model();
    model.does(0, order(weight("green", "100")));
    model.does(0, order(rollback(Some(Millis(10_000)))));
    assert_eq!(model.share("web", "green"), "100%");
    let mut last = Share::WHOLE;
    for at in (500..10_000).step_by(500) {
        assert_eq!(model.deadline(Moment(at - 1)), Some(Moment(at)));
        model.does(at, Input::Tick);
        let now: Share = model.share("web", "green").parse().unwrap();
        assert!(now < last);
        last = now;
    }
    let mut other = model.clone();
    other.does(9_600, order(weight("green", "30")));
    other.does(10_000, Input::Tick);
    assert_eq!(other.share("web", "green"), "30%");
    model.does(10_000, Input::Tick);
    assert_eq!(model.share("web", "green"), "0%");
    assert_eq!(model.deadline(Moment(10_000)), None);
}

#[test]
fn maintenance_begins_changes_and_ends_by_itself() {
    let mut model = model();
    model.does(5, order(maintenance(None)));
    model.does(9, order(maintenance(Some(1_000))));
    assert_eq!(model.state.maintenance.as_ref().unwrap().since, Moment(5));
    assert!(model.snapshot().services.iter().all(|s| s.maintenance.is_some()));
    let single = Command::MaintenanceOff(vec![service("web")]);
    assert_eq!(model.refuses(single).code(), "senseless");
    model.does(1_000, Input::Tick);
    assert_eq!(model.state.maintenance, None);
    let reply = model.does(1_001, order(Command::MaintenanceOff(Vec::new())));
    assert!(!reply.changed);
}

#[test]
fn an_endpoint_is_changed_wherever_its_pool_has_it() {
    let mut model = model();
    model.does(0, order(endpoint("green", "127.0.0.1:3", EndpointAction::Set(AdminState::Drain))));
    let states = |model: &Model| {
        let drained = |s: &str| {
            let list = &model.state.services[&service(s)].endpoints[&pool("green")];
            list.iter().filter(|e| e.admin == AdminState::Drain).count()
        };
        (drained("api"), drained("web"))
    };
    assert_eq!(states(&model), (1, 1));
    let reply = model.does(0, order(endpoint("green", "127.0.0.1:3", EndpointAction::Remove)));
    assert_eq!(reply.warnings.len(), 1, "web's green pool is empty now: {:?}", reply.warnings);
}

#[test]
fn a_share_that_nobody_serves_is_warned_of() {
    let mut model = model();
    let drain = |address| endpoint("green", address, EndpointAction::Set(AdminState::Drain));
    model.does(0, order(drain("127.0.0.1:3")));
    let reply = model.does(0, order(weight("green", "5")));
    assert_eq!(
        reply.warnings,
        ["pool green of web has no usable endpoint: its 5% are not served by it"]
    );
}

#[test]
fn cohorts_count_what_changed() {
    let mut model = model();
    let cohort = |users: &[&str], action| {
        let users = users.iter().map(|u| Arc::from(*u)).collect();
        order(Command::Cohort(CohortChange {
            pool: pool("green"),
            list: List::Allow,
            users,
            action,
        }))
    };
    let added = model.does(0, cohort(&["a", "b", "a"], CohortAction::Add));
    assert_eq!(added.summary, ["2 users added to the allow list of green"]);
    assert!(!model.does(0, cohort(&["a"], CohortAction::Add)).changed);
    model.does(0, cohort(&["a", "b"], CohortAction::Remove));
    assert_eq!(model.state.cohorts, model.state.cohorts.clone());
    assert!(model.state.cohorts.of(&pool("green")).is_none());
}

#[test]
fn a_runtime_value_yields_to_the_file_only_where_the_file_changed() {
    let mut model = model();
    model.does(0, order(weight("green", "30")));
    model.does(0, order(endpoint("only", "127.0.0.1:7", EndpointAction::Add { weight: 1 })));
    model.does(0, order(endpoint("blue", "127.0.0.1:1", EndpointAction::Set(AdminState::Maint))));
    let reload = |model: &mut Model, text: &str| model.does(0, reload(text, Runtime::Kept));
    assert!(!reload(&mut model, FILE).changed);
    // The file's weights of web change, api's do not; docs gets an endpoint, api loses one.
    let edited = FILE
        .replace("[\"127.0.0.1:3\"]\nweight = 0", "[\"127.0.0.1:3\"]\nweight = 5")
        .replace("[\"127.0.0.1:6\"]", "[\"127.0.0.1:6\", \"127.0.0.1:8\"]")
        .replace("\"127.0.0.1:2\", ", "")
        .replace(
            "[service.web.pool.blue]",
            "[service.web]\nbaseline = \"blue\"\n[service.web.pool.blue]",
        );
    assert!(reload(&mut model, &edited).changed);
    assert_eq!(
        (model.share("api", "green"), model.share("web", "green")),
        ("30%".into(), "5%".into())
    );
    let listed = |s: &str, p: &str| {
        let list = &model.state.services[&service(s)].endpoints[&pool(p)];
        list.iter().map(|e| format!("{} {}", e.address, e.admin.as_str())).collect::<Vec<_>>()
    };
    assert_eq!(
        listed("docs", "only"),
        ["127.0.0.1:6 ready", "127.0.0.1:7 ready", "127.0.0.1:8 ready"]
    );
    assert_eq!(listed("api", "green"), ["127.0.0.1:3 ready"]);
    assert_eq!(listed("api", "blue"), ["127.0.0.1:1 maint"]);
}

#[test]
fn a_new_pool_without_weight_leaves_the_runtime_split() {
    let mut model = model();
    model.does(0, order(weight("green", "30")));
    let edited = format!("{FILE}[service.web.pool.red]\nendpoints = []\nweight = 0\n");
    model.does(0, reload(&edited, Runtime::Kept));
    assert_eq!(
        (model.share("web", "green"), model.share("web", "red")),
        ("30%".into(), "0%".into())
    );
    // A pool that goes with its share leaves the file to decide.
    let gone =
        FILE.replace("[service.web.pool.green]\nendpoints = [\"127.0.0.1:3\"]\nweight = 0\n", "");
    model.does(0, reload(&gone, Runtime::Kept));
    assert_eq!(model.share("web", "blue"), "100%");
}

#[test]
fn every_change_is_journaled_with_before_and_after() {
    let mut model = model();
    let event =
        |model: &Model, at, input| model.handle(Moment(at), input).unwrap().events.remove(0);
    let e = event(&model, 0, order(weight("green", "25")));
    assert_eq!(e.before, "api: blue 100%, green 0%; web: blue 100%, green 0%");
    assert_eq!(e.after, "api: blue 75%, green 25%; web: blue 75%, green 25%");
    model.does(0, order(weight("green", "25")));
    let e = event(&model, 0, order(rollback(Some(Millis(9_000)))));
    assert_eq!((e.services.len(), e.before.as_str()), (2, ""));
    assert_eq!(e.after, "api: on the way to blue over 9s; web: on the way to blue over 9s");
    let e = event(
        &model,
        0,
        order(endpoint("only", "127.0.0.1:6", EndpointAction::Set(AdminState::Drain))),
    );
    assert_eq!(e.before, "docs: only endpoints 127.0.0.1:6");
    assert_eq!(e.after, "docs: only endpoints 127.0.0.1:6 drain");
    let e = event(&model, 0, order(maintenance(Some(60_000))));
    assert_eq!((e.before.as_str(), e.after.as_str()), ("maintenance off", "maintenance for 1m"));
    let e = event(&model, 0, reload(FILE, Runtime::Reset));
    assert_eq!(e.after, "api: blue 100%, green 0%; web: blue 100%, green 0%");
}

#[test]
fn a_ramp_asked_for_again_goes_on_and_a_clock_set_back_gives_nothing_back() {
    let mut model = model();
    model.does(0, order(weight("green", "80")));
    model.does(100_000, order(rollback(Some(Millis(10_000)))));
    model.does(105_000, Input::Tick);
    assert!(!model.does(105_000, order(rollback(Some(Millis(10_000))))).changed);
    assert_eq!(model.share("web", "green"), "40%");
    for at in [101_000, 3_000, 8_000] {
        model.does(at, Input::Tick);
        let now: Share = model.share("web", "green").parse().unwrap();
        assert!(now <= "40".parse().unwrap(), "{at}: {now}");
    }
    model.does(13_000, Input::Tick);
    assert_eq!(model.share("web", "green"), "0%");
}

#[test]
fn a_file_edited_while_lbd_was_down_makes_a_new_revision() {
    let state = model().state;
    let same = Model::new(settings(FILE), Some(state.clone()));
    assert_eq!(same.state, state);
    let edited = FILE.replace("[\"127.0.0.1:6\"]", "[\"127.0.0.1:7\"]");
    let other = Model::new(settings(&edited), Some(state.clone()));
    assert_eq!(other.state.revision, state.revision.next());
}

/// Any input, sensible or not, at moments that may lie anywhere.
fn any_input() -> impl Strategy<Value = Input> {
    let pools = prop::sample::select(vec!["blue", "green", "only", "red"]);
    let addresses =
        prop::sample::select(vec!["127.0.0.1:1", "127.0.0.1:3", "127.0.0.1:9", "unix:/x"]);
    let services =
        prop::collection::vec(prop::sample::select(vec!["api", "web", "docs", "x"]), 0..2)
            .prop_map(|names| names.into_iter().map(service).collect::<Vec<_>>());
    let span = prop::option::of((0u64..20_000).prop_map(Millis));
    let weight = (pools.clone(), 0u16..=10_000, services.clone(), span.clone()).prop_map(
        |(at, points, services, span)| {
            let share = Share::from_basis_points(points);
            Command::Weight(Weight {
                pool: pool(at),
                share,
                services,
                span,
                verb: "weight",
                force: false,
            })
        },
    );
    let forced = (pools.clone(), 0u16..=100).prop_map(|(at, percent)| {
        let share = &format!("{percent}%");
        Command::Weight(Weight { force: true, ..timed(at, share, None) })
    });
    let start =
        (pools.clone(), services.clone(), any::<bool>()).prop_map(|(at, services, fresh)| {
            Command::RolloutStart(RolloutStart {
                pool: pool(at),
                services,
                plan: None,
                changes: PlanChanges { hold: Some(Millis(5_000)), ..PlanChanges::default() },
                salt: fresh.then(|| "fresh".into()),
                skip_checks: true,
            })
        });
    let steer = prop_oneof![
        Just(Command::RolloutPause),
        Just(Command::RolloutResume),
        Just(Command::RolloutPromote { full: false }),
        Just(Command::RolloutPromote { full: true }),
        Just(Command::RolloutAbort),
        Just(Command::Pause(Vec::new(), Millis(1_000))),
        Just(Command::Resume(Vec::new())),
    ];
    let back = (services.clone(), span)
        .prop_map(|(services, ramp)| Command::Rollback(Rollback { services, ramp }));
    let page = (services.clone(), prop::option::of(0u64..100_000))
        .prop_map(|(services, until)| Command::MaintenanceOn(services, terms(until)));
    let off = services.clone().prop_map(Command::MaintenanceOff);
    let action = prop_oneof![
        (0u16..3).prop_map(|weight| EndpointAction::Add { weight }),
        Just(EndpointAction::Remove),
        Just(EndpointAction::Set(AdminState::Drain)),
        Just(EndpointAction::Set(AdminState::Ready)),
    ];
    let endpoint =
        (pools, addresses, services, action).prop_map(|(at, address, services, action)| {
            let address = address.parse::<Address>().unwrap();
            Command::Endpoint(EndpointChange { pool: pool(at), address, services, action })
        });
    prop_oneof![
        4 => weight.prop_map(order),
        2 => back.prop_map(order),
        1 => forced.prop_map(order),
        2 => start.prop_map(order),
        4 => steer.prop_map(order),
        1 => (1u64..4).prop_map(|id| Input::Checked(id, Ok(()))),
        1 => page.prop_map(order),
        1 => off.prop_map(order),
        2 => endpoint.prop_map(order),
        1 => Just(reload(FILE, Runtime::Reset)),
        1 => Just(reload(FILE, Runtime::Kept)),
        3 => Just(Input::Tick),
    ]
}

/// A rollout that runs has its share in all its services, and none of them on its baseline's own.
fn is_in_lock_step(state: &State, rollout: &Rollout) -> bool {
    rollout.services.iter().all(|name| {
        let service = &state.services[name];
        let share = service.split.share(&rollout.candidate);
        service.baseline != rollout.candidate
            && rollout.share().is_none_or(|wanted| share == wanted)
    })
}

fn is_sound(state: &State) -> bool {
    let whole = |split: &Split| Split::try_from(Vec::from(split.clone())).is_ok();
    state.services.values().all(|s| {
        whole(&s.split)
            && s.split.has(&s.baseline)
            && s.revert.as_ref().is_none_or(|r| whole(&r.split))
            && s.ramp.as_ref().is_none_or(|r| whole(&r.from))
            && s.bake.as_ref().is_none_or(|b| s.split.share(&b.pool) == Share::WHOLE)
    }) && state.running().is_none_or(|rollout| is_in_lock_step(state, rollout))
}

/// What is counted once for all is what one would count for each candidate.
fn knows_its_trials(model: &Model) -> bool {
    let each = |(name, state): (&ServiceName, &Arc<ServiceState>)| {
        let counted = |pool: &PoolName| (pool.clone(), model.shifted_with(pool, name).len());
        let candidates: Vec<_> = state.candidates().map(|(pool, _)| counted(pool)).collect();
        model.trials.get(name) == Some(&candidates)
    };
    model.trials.len() == model.state.services.len() && model.state.services.iter().all(each)
}

proptest! {
    /// Whatever comes, in whatever order: shares stay whole, a refusal changes nothing, a change makes
    /// the next revision, a state survives being written and read, and a replay ends in the same state.
    #[test]
    fn any_history_is_sound(history in prop::collection::vec((0u64..100_000, any_input()), 1..40)) {
        let (mut model, mut replay) = (model(), model());
        for (at, input) in history {
            let before = model.state.clone();
            match model.handle(Moment(at), input.clone()) {
                Err(_) => prop_assert_eq!(&model.state, &before),
                Ok(step) => {
                    prop_assert_eq!(step.reply.changed, step.state != before);
                    let expected = if step.reply.changed { before.revision.next() } else { before.revision };
                    prop_assert_eq!(step.state.revision, expected);
                    prop_assert_eq!(step.commit == Commit::Nothing, !step.reply.changed);
                    model.adopt(Moment(at), step.settings, step.state);
                }
            }
            prop_assert!(is_sound(&model.state));
            prop_assert!(knows_its_trials(&model));
            let text = serde_json::to_string(&model.state).unwrap();
            prop_assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), &model.state);
            if let Ok(step) = replay.handle(Moment(at), input) {
                replay.adopt(Moment(at), step.settings, step.state);
            }
        }
        prop_assert_eq!(model.state, replay.state);
    }
}
