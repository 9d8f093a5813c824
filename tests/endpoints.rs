//! Endpoints: put in, taken out, drained, and chosen among.

use std::{
    collections::BTreeSet,
    thread::{self, JoinHandle},
};

use crate::support::{Answer, Dead, Lab, Origin, Outcome, Request, eventually};

/// A request that runs on a thread of its own.
fn in_background(lab: &Lab, request: Request) -> JoinHandle<Answer> {
    let mut client = lab.client();
    thread::spawn(move || client.call(&request))
}

/// The origins that answer `count` requests.
fn answering(lab: &Lab, count: usize) -> BTreeSet<String> {
    (0..count).map(|_| lab.get("/").expect(200).origin().to_owned()).collect()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// Method: a second origin joins, gets its part at once, and leaves.
#[test]
fn an_endpoint_is_added_and_removed_without_a_reload() {
    let (one, two) = (Origin::answering("one"), Origin::answering("two"));
    let lab = Lab::new().pool("blue", &one).start();
    let line = lab.ctl(&format!("endpoint add blue {two}")).succeeds();
    assert!(line.contains(&two.address) && line.contains("revision 2"), "{line}");
    assert_eq!(answering(&lab, 60), names(&["one", "two"]));
    assert!(lab.ctl("endpoint list blue").succeeds().contains(&two.address));
    let said = lab.ctl(&format!("endpoint add blue {two}")).fails_with(4);
    assert!(said.contains("already"), "{said}");
    lab.ctl(&format!("endpoint remove blue {two}")).succeeds();
    assert_eq!(answering(&lab, 60), names(&["one"]));
    lab.ctl(&format!("endpoint remove blue {two}")).fails_with(4);
}

/// Method: a request is held while its endpoint is drained with --wait; the command must not return
/// before the request is done, new requests go elsewhere, and the held one gets its answer.
#[test]
fn a_drain_lets_the_running_request_finish() {
    let (one, two) = (Origin::answering("one"), Origin::answering("two"));
    let lab = Lab::new().pool("blue", &one).start();
    one.hold();
    let running = in_background(&lab, Request::get("/"));
    one.until_running(1);
    lab.ctl(&format!("endpoint add blue {two}")).succeeds();
    let mut command = lab.ctl_command(&format!("endpoint drain blue {one} --wait"));
    let folder = lab.folder().to_owned();
    let drain = thread::spawn(move || Outcome::of(&mut command, &folder));
    lab.until("one is drained", |s| s.standing("blue", &one.address) == "out");
    assert_eq!(answering(&lab, 20), names(&["two"]));
    assert!(!drain.is_finished() && !running.is_finished());
    one.release();
    assert_eq!(running.join().unwrap().expect(200).origin(), "one");
    let outcome = drain.join().unwrap();
    assert!(outcome.stderr.contains("1 request running"), "{}", outcome.stderr);
    outcome.succeeds();
    assert_eq!(one.requests(), 1);
}

/// Method: a drain that waits for a request that does not end gives up with code 5, and stays in force.
#[test]
fn a_drain_that_takes_too_long_times_out() {
    let (one, two) = (Origin::answering("one"), Origin::answering("two"));
    let lab = Lab::new().pool_of("blue", &[&one.address, &two.address]).start();
    one.hold();
    two.hold();
    let running = [0, 1].map(|_| in_background(&lab, Request::get("/")));
    eventually("both requests run", || (one.requests() + two.requests() == 2).then_some(()));
    let busy = if one.requests() > 0 { &one } else { &two };
    let said = lab.ctl(&format!("endpoint drain blue {busy} --wait --timeout 300ms")).fails_with(5);
    assert!(said.contains("running"), "{said}");
    assert_eq!(lab.status().standing("blue", &busy.address), "out");
    one.release();
    two.release();
    running.into_iter().for_each(|r| drop(r.join().unwrap().expect(200)));
}

/// Method: two endpoints, of which one goes into maintenance and comes back.
#[test]
fn maint_takes_an_endpoint_out_and_ready_puts_it_back() {
    let (one, two) = (Origin::answering("one"), Origin::answering("two"));
    let lab = Lab::new().pool_of("blue", &[&one.address, &two.address]).start();
    lab.ctl(&format!("endpoint maint blue {one}")).succeeds();
    assert_eq!(answering(&lab, 40), names(&["two"]));
    lab.ctl(&format!("endpoint ready blue {one}")).succeeds();
    assert_eq!(answering(&lab, 60), names(&["one", "two"]));
    let line = lab.ctl(&format!("endpoint ready blue {one}")).succeeds();
    assert!(line.contains("already"), "{line}");
}

/// Method: the last endpoint of a pool with traffic is drained; lbd obeys, but warns.
#[test]
fn draining_the_last_endpoint_warns() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    let outcome = lab.ctl(&format!("endpoint drain blue {blue}"));
    assert!(outcome.stderr.contains("no endpoint in use") && outcome.stderr.contains("100%"));
    outcome.succeeds();
    assert_eq!(answering(&lab, 10), names(&["green"]));
}

/// Method: a second, dead endpoint; every request of both kinds must be served by the living one.
#[test]
fn a_dead_endpoint_is_passed_over_for_any_method() {
    let (blue, dead) = (Origin::answering("blue"), Dead::new());
    let plan = Lab::new().config("[service.app.health]\npassive = false");
    let lab = plan.pool_of("blue", &[&dead.address.to_string(), &blue.address]).start();
    let mut client = lab.client();
    for n in 0..60 {
        client.call(&Request::get("/")).expect(200);
        let body = format!("pay {n}");
        let echo = client.call(&Request::post("/echo", body.clone())).expect(200);
        assert_eq!(echo.json()["body"], body);
        let echo = client.call(&Request::post("/echo", body.clone()).chunked()).expect(200);
        assert_eq!(echo.json()["body"], body);
    }
    assert_eq!(blue.requests(), 180, "no request was sent twice");
    let retries = lab.metric("lbd_retries_total{service=\"app\",pool=\"blue\"}");
    assert!(retries > 20.0, "{retries} retries");
}

/// Method: `retries = 0`, a dead endpoint and a living one: half of the requests must fail.
#[test]
fn without_retries_a_dead_endpoint_fails_its_requests() {
    let (blue, dead) = (Origin::answering("blue"), Dead::new());
    let plan = Lab::new().app("retries = 0\nbalance = \"round-robin\"\nfailover = \"off\"");
    let plan = plan.config("[service.app.health]\npassive = false");
    let lab = plan.pool_of("blue", &[&dead.address.to_string(), &blue.address]).start();
    let statuses: BTreeSet<u16> = (0..20).map(|_| lab.get("/").status).collect();
    assert_eq!(statuses, BTreeSet::from([200, 502]));
}

/// Method: the endpoint closes every kept connection; the next requests on it must not fail.
#[test]
fn a_kept_connection_that_the_origin_closed_costs_nobody_a_request() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let mut client = lab.client();
    for _ in 0..30 {
        client.call(&Request::get("/")).expect(200);
        blue.disconnect();
    }
    assert_eq!(lab.status().pool("blue").error_ratio, 0.0);
}

/// Method: an endpoint named by host; `localhost` leads to 127.0.0.1, perhaps to ::1 as well.
#[test]
fn an_endpoint_can_be_a_host_name() {
    let blue = Origin::answering("blue");
    let port = blue.address.rsplit(':').next().unwrap();
    let lab = Lab::new().pool("blue", format!("localhost:{port}")).start();
    for _ in 0..20 {
        assert_eq!(lab.get("/").expect(200).origin(), "blue");
    }
    let targets: Vec<_> =
        lab.status().pool("blue").endpoints.iter().map(|e| e.target.clone()).collect();
    assert!(targets.contains(&Some(blue.address.clone())), "{targets:?}");
}

/// Method: a name that nobody knows beside an address that works: requests are served, and the status
/// tells the reason.
#[test]
fn a_host_name_that_does_not_resolve_is_told_and_passed_over() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool_of("blue", &["nowhere.invalid:80", &blue.address]).start();
    assert_eq!(answering(&lab, 20), names(&["blue"]));
    let status = lab.until("the reason is known", |s| {
        s.endpoint("blue", "nowhere.invalid:80").is_some_and(|e| !e.reason.is_empty())
    });
    assert_eq!(status.standing("blue", "nowhere.invalid:80"), "out");
}

/// Method: weights 3 and 1 under round robin, where the parts are exact but for the workers' turns.
#[test]
fn weights_inside_a_pool_divide_its_requests() {
    let (one, two) = (Origin::answering("one"), Origin::answering("two"));
    let endpoints = format!("[{{ address = \"{one}\", weight = 3 }}, \"{two}\"]");
    let lab = Lab::new().app("balance = \"round-robin\"").pool_toml("blue", &endpoints).start();
    let mut client = lab.client();
    (0..400).for_each(|_| drop(client.call(&Request::get("/")).expect(200)));
    assert_eq!((one.requests(), two.requests()), (300, 100));
}

/// Method: one endpoint is slow. With least requests, most of concurrent traffic avoids it.
#[test]
fn least_requests_prefers_the_endpoint_with_less_to_do() {
    let (slow, fast) = (Origin::answering("slow"), Origin::answering("fast"));
    slow.delay(100);
    let plan = Lab::new().pool_of("blue", &[&slow.address, &fast.address]);
    let lab = plan.start();
    let load = lab.load();
    load.goes_on(300);
    load.without_failure();
    assert!(
        slow.requests() * 3 < fast.requests(),
        "{} against {}",
        slow.requests(),
        fast.requests()
    );
}

/// Method: several services have the pool, so that a new endpoint needs the service's name.
#[test]
fn an_endpoint_for_several_services_must_name_one() {
    let (blue, other) = (Origin::answering("blue"), Origin::answering("other"));
    let api = format!(
        "[service.api]\nhosts = [\"api.test\"]\n[service.api.pool.blue]\nendpoints = [\"{blue}\"]"
    );
    let lab = Lab::new().pool("blue", &blue).config(&api).start();
    let said = lab.ctl(&format!("endpoint add blue {other}")).fails_with(4);
    assert!(said.contains("--service") && said.contains("api"), "{said}");
    lab.ctl(&format!("endpoint add blue {other} --service api --weight 5")).succeeds();
    let status = lab.status();
    assert_eq!(status.pool("blue").endpoints.len(), 1);
    assert_eq!(status.pool_of("api", "blue").endpoints.len(), 2);
}
