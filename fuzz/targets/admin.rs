//! An admin request, as far as it can be thought out without a daemon: its operation, its query and
//! body, the command it becomes and what the model makes of that. Never a panic, and shares stay whole.
//!
//! The first line is `METHOD PATH`, with a query if there is one; the rest is the body.
#![no_main]

use std::sync::{Arc, LazyLock};

use lbd::{
    api::{Op, types::ExplainBody},
    config,
    control::{
        commands::{command, parse},
        terms::Query,
    },
    model::{Actor, Input, Model, Moment, Order, Share, State},
};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

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
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let Ok((op, values)) = Op::find(method, path) else { return };
    assert_eq!(values.len(), op.spec().path.matches('{').count());
    let decode = |value: &str| percent_decode_str(value).decode_utf8().ok().map(|v| v.into_owned());
    let Some(values) = values.into_iter().map(decode).collect::<Option<Vec<_>>>() else { return };
    let Ok(query) = Query::of(query, op) else { return };
    let _ = parse::<ExplainBody>(body.as_bytes());
    let Ok(command) = command(op, &values, &query, body.as_bytes(), NOW, 1) else { return };
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
    next.adopt(NOW, step.settings, step.state);
    assert_eq!(next.snapshot().services.len(), 2);
});
