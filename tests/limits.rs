//! `limit` of a pool: so many requests at a time, a bounded line before it, and fewer while it is slow.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, JoinHandle},
};

use crate::support::{Answer, Dead, Http2, Lab, Origin, Plan, Request, eventually, timed};

const WAITING: &str = "lbd_requests_waiting{service=\"app\",pool=\"blue\"}";
const SHED: &str = "lbd_shed_total{service=\"app\",pool=\"blue\"}";
const ALLOWED: &str = "lbd_in_flight_limit{service=\"app\",pool=\"blue\"}";

fn lab(blue: &Origin, limit: &str) -> Lab {
    plan(blue, limit).start()
}

fn plan(blue: &Origin, limit: &str) -> Plan {
    Lab::new().pool("blue", blue).link("blue", &format!("limit = {limit}"))
}

fn ask(lab: &Lab) -> JoinHandle<Answer> {
    let mut client = lab.client();
    thread::spawn(move || client.call(&Request::get("/")))
}

/// Method: two run, one waits, the fourth is turned away; then the held ones are answered.
#[test]
fn so_many_run_so_many_wait_and_the_next_is_turned_away_at_once() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "{ in_flight = 2, queue = 1, wait = '60s' }");
    blue.hold();
    let running = [ask(&lab), ask(&lab)];
    blue.until_running(2);
    let waiting = ask(&lab);
    lab.until_metric(WAITING, 1.0);
    assert_eq!(lab.get("/").expect(503).header("retry-after"), Some("5"));
    assert_eq!((lab.metric(SHED), lab.metric(ALLOWED)), (1.0, 2.0));
    blue.release();
    for answer in running.into_iter().chain([waiting]) {
        answer.join().unwrap().expect(200);
    }
    assert_eq!(blue.requests(), 3);
    lab.until_metric(WAITING, 0.0);
    // What lbd turns away is its own answer, not the pool's failure.
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"-\",code=\"503\"}", 1.0);
}

#[test]
fn nobody_waits_longer_than_was_said() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "{ in_flight = 1, wait = '300ms' }");
    blue.hold();
    let running = ask(&lab);
    blue.until_running(1);
    let (took, answer) = timed(|| lab.get("/"));
    answer.expect(503);
    assert!((0.25..3.0).contains(&took.as_secs_f64()), "{took:?}");
    blue.release();
    running.join().unwrap().expect(200);
    lab.get("/").expect(200);
    assert_eq!(blue.requests(), 2);
}

/// Whoever leaves while they wait make room for others at once, and are counted. Method: a waiting
/// client closes its connection long before the pool's patience is over, with
/// and without a body that nobody has read; then one resets its stream.
#[test]
fn who_leaves_while_they_wait_waits_no_more() {
    let blue = Origin::answering("blue");
    let file = tempfile::NamedTempFile::new().unwrap();
    let log = format!("[service.app.access_log]\ntarget = \"{}\"", file.path().display());
    let limit = "{ in_flight = 1, queue = 1, wait = '60s' }";
    let lab = plan(&blue, limit).listener("http2 = true").config(&log).start();
    blue.hold();
    let running = ask(&lab);
    blue.until_running(1);
    let upload = Request::post("/upload", "x".repeat(100));
    let stream = Request::post("/stream", "x".repeat(2000)).chunked();
    for request in [Request::get("/"), upload, stream] {
        let mut client = lab.client();
        client.begin(&request);
        lab.until_metric(WAITING, 1.0);
        drop(client);
        lab.until_metric(WAITING, 0.0);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = Http2::plain(lab.address()).await;
        let request = http::Request::get(lab.url("/")).body(()).unwrap();
        let (answer, _) = client.begin(request, false).await;
        lab.until_metric(WAITING, 1.0);
        drop(answer);
        lab.until_metric(WAITING, 0.0);
    });
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"-\",code=\"499\"}", 4.0);
    assert_eq!(lab.metric(SHED), 0.0);
    blue.release();
    running.join().unwrap().expect(200);
    lab.get("/").expect(200);
    assert_eq!(blue.requests(), 2, "nobody was asked for those who left");
    eventually("four lines of the log tell of it", || {
        let log = std::fs::read_to_string(file.path()).unwrap();
        (log.matches("\"status\":499").count() == 4).then_some(())
    });
}

/// Method: a client that waits sends a second request, says that it sends no more, and reads.
#[test]
fn who_sends_no_more_but_still_waits_is_answered() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "{ in_flight = 1, queue = 2, wait = '60s' }");
    blue.hold();
    let running = ask(&lab);
    blue.until_running(1);
    let mut client = lab.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    client.close_writing();
    lab.until_metric(WAITING, 1.0);
    blue.release();
    running.join().unwrap().expect(200);
    client.answer().expect(200);
}

/// Method: green is full and hangs; its traffic is taken back while a request waits for it.
#[test]
fn who_waits_for_a_pool_that_loses_its_users_goes_where_they_go() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new()
        .config("[guard]\naction = 'alert'\nshield = false")
        .pool("blue", &blue)
        .pool("green", &green)
        .link("green", "limit = { in_flight = 1, wait = '60s' }")
        .start();
    lab.ctl("weight green 100").succeeds();
    green.hold();
    let hanging = ask(&lab);
    green.until_running(1);
    let waiting = ask(&lab);
    lab.until_metric("lbd_requests_waiting{service=\"app\",pool=\"green\"}", 1.0);
    lab.ctl("rollback").succeeds();
    assert_eq!(waiting.join().unwrap().expect(200).origin(), "blue");
    green.release();
    assert_eq!(hanging.join().unwrap().expect(200).origin(), "green");
}

/// Method: the baseline has no place left; a failure of the candidate then stays one.
#[test]
fn who_steps_in_has_places_of_its_own() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let dead = Dead::new();
    let lab = plan(&blue, "{ in_flight = 1 }")
        .config("[guard]\naction = 'alert'\n[service.app.health]\npassive = false")
        .app("retries = 0\nuser_id = ['header:X-User-Id']")
        .pool("green", &green)
        .start();
    blue.hold();
    let running = ask(&lab);
    blue.until_running(1);
    lab.ctl("weight green 100").succeeds();
    green.status(500);
    lab.get("/").expect(500);
    lab.ctl(&format!("endpoint add green {}", dead.address)).succeeds();
    lab.ctl(&format!("endpoint remove green {green}")).succeeds();
    lab.get("/").expect(502);
    blue.release();
    running.join().unwrap().expect(200);
    lab.until_metric("lbd_requests_in_flight{service=\"app\",pool=\"blue\"}", 0.0);
    assert_eq!(lab.get("/").expect(200).origin(), "blue", "shielded, now that there is a place");
}

/// Method: a second connection gets no answer while the first is open, and its answer when it is not.
#[test]
fn a_listener_has_so_many_connections_and_others_wait() {
    let blue = Origin::answering("blue");
    let lab = Lab::new()
        .runtime("workers = 1")
        .listener("max_connections = 1")
        .pool("blue", &blue)
        .start();
    let mut first = lab.client();
    first.call(&Request::get("/")).expect(200);
    let second = ask(&lab);
    for _ in 0..3 {
        first.call(&Request::get("/")).expect(200);
        assert_eq!(lab.metric("lbd_connections{listener=\"http\"}"), 1.0);
    }
    assert!(!second.is_finished());
    drop(first);
    second.join().unwrap().expect(200);
}

#[test]
fn a_reload_changes_it_for_those_who_wait_too() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "{ in_flight = 1, wait = '60s' }");
    blue.hold();
    let running = ask(&lab);
    blue.until_running(1);
    let waiting = ask(&lab);
    lab.until_metric(WAITING, 1.0);
    lab.write_plan(&plan(&blue, "{ in_flight = 2, wait = '60s' }"));
    lab.ctl("config reload").succeeds();
    blue.until_running(2);
    blue.release();
    for answer in [running, waiting] {
        answer.join().unwrap().expect(200);
    }
}

/// Method: twenty clients who never rest, at an origin that takes longer than it should, and then
/// does not.
#[test]
fn a_slow_pool_gets_fewer_until_it_is_fast_again() {
    let blue = Origin::answering("blue");
    let lab = lab(&blue, "{ in_flight = 20, queue = 20, wait = '10s', latency = '50ms' }");
    let stop = AtomicBool::new(false);
    blue.delay(100);
    thread::scope(|scope| {
        for _ in 0..20 {
            let mut client = lab.client();
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    client.call(&Request::get("/")).expect(200);
                }
            });
        }
        let becomes = |few: bool| {
            eventually("the limit moves", || ((lab.metric(ALLOWED) <= 5.0) == few).then_some(()));
        };
        becomes(true);
        blue.delay(0);
        becomes(false);
        lab.until_metric(ALLOWED, 20.0);
        stop.store(true, Relaxed);
    });
}
