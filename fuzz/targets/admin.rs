//! An admin request, as far as it can be thought out without a daemon: its operation, its body, the
//! order it becomes and what the model makes of that. Never a panic, and shares stay whole.
//!
//! The first line is `METHOD PATH`, the rest the body. How a query and a body become an order is
//! private to `control::handler`; the conversions here mirror it.
#![no_main]

use std::sync::{Arc, LazyLock};

use lbd::{
    api::{
        Op,
        types::{
            CohortBody, EndpointBody, EndpointStateBody, ExplainBody, MaintenanceBody, Nothing,
            RollbackBody, SplitBody,
        },
    },
    config,
    model::{
        Actor, Address, Command, Input, Model, Moment, Order, PoolName, Share, State,
        command::{CohortAction, EndpointAction},
        maintenance::Maintenance,
    },
};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

const CONFIG: &str = r#"
[listener.http]
address = "127.0.0.1:0"
[service.app]
baseline = "blue"
hosts = ["a"]
[service.app.pool.blue]
endpoints = ["127.0.0.1:1", "127.0.0.1:2"]
[service.app.pool.green]
endpoints = ["127.0.0.1:3"]
weight = 25
[service.api]
baseline = "blue"
hosts = ["b"]
[service.api.pool.blue]
endpoints = ["127.0.0.1:4"]
weight = 50
[service.api.pool.green]
endpoints = ["127.0.0.1:5"]
weight = 30
[service.api.pool.red]
endpoints = ["unix:/run/red.sock"]
weight = 20
"#;
/// When everything happens.
const NOW: Moment = Moment(1_700_000_000_000);

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let settings = config::check(CONFIG, &|_| Ok(String::new())).expect("the config is right");
    Model::new(Arc::new(settings), None)
});

fuzz_target!(|text: &str| {
    let (line, body) = text.split_once('\n').unwrap_or((text, ""));
    let (method, path) = line.split_once(' ').unwrap_or((line, ""));
    let Ok((op, values)) = Op::find(method, path) else { return };
    assert_eq!(values.len(), op.spec().path.matches('{').count());
    let decode = |value: &str| percent_decode_str(value).decode_utf8().ok().map(|v| v.into_owned());
    let Some(values) = values.into_iter().map(decode).collect::<Option<Vec<_>>>() else { return };
    let Some(command) = command(op, &values, body.as_bytes()) else { return };
    let order = Order { actor: Actor::lbd(), reason: None, if_revision: None, command };
    let Ok(step) = MODEL.handle(NOW, Input::Order(order)) else { return };
    for (name, service) in &step.state.services {
        let sum: u32 = service.split.iter().map(|(_, share)| u32::from(share.basis_points())).sum();
        assert_eq!(sum, u32::from(Share::WHOLE.basis_points()), "the shares of {name}");
    }
    // What is in force can always be written and read again, and be published.
    let written = serde_json::to_vec(&step.state).expect("a state can be written");
    assert_eq!(serde_json::from_slice::<State>(&written).expect("and read"), step.state);
    let mut next = MODEL.clone();
    next.adopt(step.settings, step.state);
    assert_eq!(next.snapshot().services.len(), 2);
});

fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(if body.is_empty() { b"{}" } else { body }).ok()
}

/// The command that the operation asks for; `None` where it only reads or is refused before.
fn command(op: Op, values: &[String], body: &[u8]) -> Option<Command> {
    let pool = || values.first()?.parse::<PoolName>().ok();
    let address = || values.get(1)?.parse::<Address>().ok();
    let cohort = |action| {
        let CohortBody { list, users } = parse(body)?;
        let users = users.into_iter().map(Arc::from).collect();
        Some(Command::Cohort { pool: pool()?, list, users, action })
    };
    match op {
        Op::SetSplit => {
            let SplitBody { pool, share, services, span, switch } = parse(body)?;
            let verb = if switch { "switch" } else { "weight" };
            Some(Command::Weight { pool, share, services, span, verb })
        }
        Op::Rollback => {
            let RollbackBody { services, ramp } = parse(body)?;
            Some(Command::Rollback { services, ramp })
        }
        Op::SetMaintenance => {
            let MaintenanceBody { services, until, span, message, allow, secret } = parse(body)?;
            let until = until.or_else(|| span.map(|span| NOW.after(span)));
            let (message, secret) = (message.map(Arc::from), secret.map(Arc::from));
            let maintenance = Maintenance { since: NOW, until, message, allow, secret };
            Some(Command::MaintenanceOn { services, maintenance })
        }
        Op::EndMaintenance => Some(Command::MaintenanceOff { services: Vec::new() }),
        Op::AddEndpoint => {
            let EndpointBody { address, weight, services } = parse(body)?;
            let action = EndpointAction::Add { weight: weight.unwrap_or(1) };
            Some(Command::Endpoint { pool: pool()?, address, services, action })
        }
        Op::SetEndpoint => {
            let EndpointStateBody { state, services } = parse(body)?;
            let action = EndpointAction::Set(state);
            Some(Command::Endpoint { pool: pool()?, address: address()?, services, action })
        }
        Op::RemoveEndpoint => {
            let (services, action) = (Vec::new(), EndpointAction::Remove);
            Some(Command::Endpoint { pool: pool()?, address: address()?, services, action })
        }
        Op::AddToCohort => cohort(CohortAction::Add),
        Op::RemoveFromCohort => cohort(CohortAction::Remove),
        Op::ResetRuntime => parse::<Nothing>(body).map(|_| Command::ResetRuntime),
        Op::Explain => {
            let _: Option<ExplainBody> = parse(body);
            None
        }
        Op::ReloadConfig => {
            let _: Option<Nothing> = parse(body);
            None
        }
        Op::Status
        | Op::GetMaintenance
        | Op::ListEndpoints
        | Op::ListCohort
        | Op::Events
        | Op::ShowConfig
        | Op::DiffConfig
        | Op::OpenApi
        | Op::Version
        | Op::Metrics
        | Op::Healthz
        | Op::Readyz => None,
    }
}
