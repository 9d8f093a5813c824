//! Whole preflights, of models made from a file and of endpoints that answer as they are told.

use super::{
    fake::{Fake, Reply, local, nobody},
    *,
};
use crate::{
    config,
    model::{Actor, Command, Input, Moment, Order, Sight, Target, command},
};

/// A model whose `green` has these endpoints.
fn model(endpoints: &[&Target], more: &str) -> Model {
    let endpoints: Vec<_> = endpoints.iter().map(|e| format!("\"{e}\"")).collect();
    model_of(&format!("[{}]", endpoints.join(", ")), more)
}

fn model_of(endpoints: &str, more: &str) -> Model {
    let text = format!(
        "[listener.http]\naddress = '127.0.0.1:0'\n\
         [service.app.pool.blue]\nendpoints = ['127.0.0.1:1']\n\
         [service.app.pool.green]\nendpoints = {endpoints}\nweight = 0\n{more}"
    );
    let none = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    Model::new(Arc::new(config::check(&text, &none).unwrap()), None)
}

const LOGIN: &str = "[[service.app.check]]\nmethod = 'POST'\npath = '/login'\ndata = '{}'\n";
const ORDER: &str =
    "[[service.app.check]]\nmethod = 'POST'\npath = '/orders'\nexpect = [201]\ndata = '{}'\n";
const PROBE: &str = "[service.app.health]\npath = '/healthz'\nhost = 'probed.example.com'\n";

async fn report(model: &Model) -> CheckReport {
    Round::new(model, &"green".parse().unwrap(), &[]).unwrap().make().await
}

/// Its rows without times, which are never the same: `CHECK at ENDPOINT: passed` or what failed.
fn lines(report: &CheckReport) -> Vec<String> {
    let line = |row: &CheckRow| {
        let text = if row.passed { "passed" } else { &row.text };
        format!("{} at {}: {text}", row.check, row.endpoint.as_deref().unwrap_or("-"))
    };
    report.rows.iter().map(line).collect()
}

fn key(model: &Model, target: &Target) -> EndpointKey {
    model.endpoints().map(|(key, _)| key).find(|key| key.target == *target).unwrap()
}

fn command(model: &mut Model, command: Command) {
    let order = Order { actor: Actor::lbd(), reason: None, if_revision: None, command };
    let step = model.handle(Moment(1), Input::Order(order)).unwrap();
    model.adopt(Moment(1), step.settings, step.state);
}

fn drain(model: &mut Model, target: &Target) {
    let action = command::EndpointAction::Set(AdminState::Drain);
    let address = key(model, target).address;
    let pool = "green".parse().unwrap();
    command(
        model,
        Command::Endpoint(command::EndpointChange { pool, address, services: vec![], action }),
    );
}

#[test]
fn every_endpoint_gets_every_check_in_the_order_of_the_file() {
    local(async {
        let replies = || [Reply::ok(), Reply::status("201 Created", "")];
        let (mut one, mut two) = (Fake::tcp(replies()).await, Fake::tcp(replies()).await);
        let model = model(&[&one.target, &two.target], &format!("{LOGIN}{ORDER}"));
        let report = report(&model).await;
        assert!(report.passed && problems(&report).is_none(), "{report:?}");
        let checks = ["health", "POST /login", "POST /orders"];
        let expected = [&one.target, &two.target]
            .map(|target| checks.map(|check| format!("{check} at {target}: passed")));
        assert_eq!(lines(&report), expected.as_flattened());
        assert!(report.rows.iter().all(|row| row.took_ms.is_some_and(|took| took > 0.0)));
        for fake in [&mut one, &mut two] {
            assert_eq!(fake.asked(), ["POST /login HTTP/1.1", "POST /orders HTTP/1.1"]);
        }
    });
}

#[test]
fn one_line_tells_what_failed() {
    local(async {
        let good = Fake::tcp([Reply::status("201 Created", "")]).await;
        let bad = Fake::tcp([Reply::status("500 Oops", "")]).await;
        let model = model(&[&good.target, &bad.target], &format!("{LOGIN}{ORDER}"));
        let report = report(&model).await;
        assert!(!report.passed);
        let line = problems(&report).unwrap();
        let expected = format!(
            "POST /login at {}: answered status 500 where 200-299 was expected; and 1 more",
            bad.target
        );
        assert_eq!(line, expected);
    });
}

#[test]
fn a_text_of_several_lines_is_told_on_one() {
    local(async {
        let fake = Fake::tcp([Reply::ok()]).await;
        let check = "[[service.app.check]]\npath = '/'\nbody = \"a\\nb\"\n";
        let report = report(&model(&[&fake.target], check)).await;
        let line = problems(&report).unwrap();
        assert!(line.ends_with("the answer does not contain `a b`"), "{line}");
    });
}

#[test]
fn without_a_probe_an_endpoint_must_at_least_take_connections() {
    local(async {
        let fake = Fake::tcp([Reply::ok()]).await;
        let (dead, _kept) = nobody();
        let report = report(&model(&[&fake.target, &dead], "")).await;
        let lines = lines(&report);
        assert_eq!(lines[0], format!("health at {}: passed", fake.target));
        assert!(lines[1].starts_with(&format!("health at {dead}: cannot connect: ")), "{lines:?}");
        assert_eq!(lines.len(), 2, "one can be used: {lines:?}");
    });
}

#[test]
fn an_endpoint_without_verdict_is_probed_now() {
    local(async {
        let mut good = Fake::tcp([Reply::ok()]).await;
        let bad = Fake::tcp([Reply::status("503 Soon", "")]).await;
        let report = report(&model(&[&good.target, &bad.target], PROBE)).await;
        assert!(report.rows[0].text.starts_with("GET /healthz passed in "), "{report:?}");
        let failed = format!("health at {}: status 503, expected 200-399", bad.target);
        assert_eq!(lines(&report)[1..], [failed]);
        assert!(good.request().await.contains("host: probed.example.com\r\n"));
    });
}

#[test]
fn a_verdict_is_believed() {
    local(async {
        // Nothing listens: whoever asked would fail.
        let ((up, _up), (down, _down)) = (nobody(), nobody());
        let mut model = model(&[&up, &down], PROBE);
        let (up, down) = (key(&model, &up), key(&model, &down));
        model.observe(Moment(1), Sight::Probed(up.clone(), Ok(())));
        model.observe(Moment(1), Sight::Probed(down.clone(), Err("status 500".into())));
        let expected = |why: &str| {
            [
                format!("health at {}: passed", up.target),
                format!("health at {}: {why}", down.target),
            ]
        };
        let found = report(&model).await;
        assert_eq!(lines(&found), expected("down: status 500"));
        assert_eq!(found.rows[0].took_ms, None);
        model.observe(Moment(1), Sight::Probed(down.clone(), Ok(())));
        let why = "down: it passes again, but not often enough in a row yet";
        assert_eq!(lines(&report(&model).await), expected(why));
    });
}

#[test]
fn an_endpoint_whose_traffic_failed_is_not_healthy_but_usable() {
    local(async {
        let fake = Fake::tcp([Reply::ok()]).await;
        let mut model = model(&[&fake.target], "");
        let failing = key(&model, &fake.target);
        model.observe(Moment(1), Sight::Failing(failing));
        let report = report(&model).await;
        assert_eq!(report.rows.len(), 1, "{report:?}");
        assert!(problems(&report).unwrap().contains("its requests failed in a row"));
    });
}

#[test]
fn endpoints_that_the_operator_took_out_are_not_asked() {
    local(async {
        let (one, mut two) = (Fake::tcp([Reply::ok()]).await, Fake::tcp([Reply::ok()]).await);
        let mut model = model(&[&one.target, &two.target], LOGIN);
        drain(&mut model, &two.target);
        let found = report(&model).await;
        assert!(found.passed && found.rows.len() == 2, "{found:?}");
        assert_eq!(two.asked(), [""; 0]);
        drain(&mut model, &one.target);
        let found = report(&model).await;
        assert_eq!(lines(&found), ["endpoints at -: no usable endpoint"]);
        assert_eq!(problems(&found).unwrap(), "app: no usable endpoint");
    });
}

#[test]
fn a_name_that_does_not_resolve_fails_and_one_that_does_is_asked_everywhere() {
    local(async {
        let fake = Fake::tcp([Reply::ok()]).await;
        let Target::Tcp(address) = fake.target else { unreachable!() };
        let mut model = model_of(&format!("['app.internal:{}']", address.port()), LOGIN);
        let lost = "does not resolve: no answer yet; and 1 more";
        let place = format!("app.internal:{}", address.port());
        let expected = format!("health at {place}: {lost}");
        assert_eq!(problems(&report(&model).await), Some(expected));
        let answer = Sight::Resolved("app.internal".into(), Ok(vec![address.ip()]));
        model.observe(Moment(1), answer);
        let expected =
            ["health", "POST /login"].map(|check| format!("{check} at {place}@127.0.0.1: passed"));
        assert_eq!(lines(&report(&model).await), expected);
    });
}

#[test]
fn the_host_is_that_of_the_probe_or_the_address() {
    local(async {
        for (more, host) in [(PROBE, Some("probed.example.com")), ("", None)] {
            let mut fake = Fake::tcp([Reply::ok()]).await;
            let mut model = model(&[&fake.target], &format!("{LOGIN}{more}"));
            let up = key(&model, &fake.target);
            model.observe(Moment(1), Sight::Probed(up, Ok(())));
            assert!(report(&model).await.passed);
            let host = host.map_or_else(|| fake.target.to_string(), ToOwned::to_owned);
            let request = fake.request().await;
            assert!(request.contains(&format!("host: {host}\r\n")), "{request}");
        }
    });
}

#[test]
fn a_service_that_is_named_twice_is_asked_once_and_unknown_names_are_refused() {
    local(async {
        let mut fake = Fake::tcp([Reply::ok()]).await;
        let model = model(&[&fake.target], LOGIN);
        let round = |pool: &str, services: &[&str]| {
            let services: Vec<_> = services.iter().map(|name| name.parse().unwrap()).collect();
            Round::new(&model, &pool.parse().unwrap(), &services)
        };
        assert!(round("green", &["app", "app"]).unwrap().make().await.passed);
        assert_eq!(fake.asked().len(), 1);
        assert!(matches!(round("red", &[]), Err(Refusal::UnknownPool(_))));
        assert!(matches!(round("green", &["api"]), Err(Refusal::UnknownService(_))));
        assert!(matches!(round("red", &["app"]), Err(Refusal::NoSuchPoolInService { .. })));
    });
}

/// Method: nine endpoints hold their answers. Eight have been asked; the ninth is asked once one of
/// them has answered.
#[test]
fn eight_endpoints_are_asked_at_a_time() {
    local(async {
        let mut fakes = Vec::new();
        for _ in 0..=AT_A_TIME {
            fakes.push(Fake::tcp([Reply::held("HTTP/1.1 200 OK\r\n\r\n")]).await);
        }
        let targets: Vec<_> = fakes.iter().map(|fake| &fake.target).collect();
        let model = model(&targets, LOGIN);
        let run = tokio::task::spawn_local(async move { report(&model).await });
        for fake in &mut fakes[..AT_A_TIME] {
            fake.request().await;
        }
        let ninth = fakes.last_mut().unwrap();
        assert_eq!(ninth.asked(), [""; 0]);
        fakes[0].release();
        fakes.last_mut().unwrap().request().await;
        fakes.iter().for_each(Fake::release);
        assert!(run.await.unwrap().passed);
    });
}
