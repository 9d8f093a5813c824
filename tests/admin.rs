//! The admin API, as curl would use it: plain HTTP and JSON over the socket.

use std::net::SocketAddr;

use crate::support::{Answer, Client, Dead, Lab, Origin, Request, eventually};
use serde_json::{Value, json};

fn lab_of(blue: &Origin, green: &Origin) -> Lab {
    Lab::new().pool("blue", blue).pool("green", green).start()
}

fn two() -> (Origin, Origin) {
    (Origin::answering("blue"), Origin::answering("green"))
}

fn ask(lab: &Lab, method: &str, path: &str) -> Answer {
    lab.admin().call(&Request::new(method, path).host("lbd"))
}

fn put(path: &str, body: Value) -> Request {
    Request::new("PUT", path)
        .host("lbd")
        .header("Content-Type", "application/json")
        .body(body.to_string())
}

/// Asserts a refusal's status and code, and that it says what to do.
#[track_caller]
fn refused(answer: Answer, status: u16, code: &str) -> String {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let failure = answer.json();
    assert_eq!(failure["code"], code, "{failure}");
    assert!(failure["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{failure}");
    failure["error"].as_str().expect("an error is told").to_owned()
}

/// Method: the status as JSON, key by key, after ten requests.
#[test]
fn the_status_is_plain_json() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    lab.users(10);
    let status = eventually("the requests are counted", || {
        let status = ask(&lab, "GET", "/v1/status").expect(200).json();
        (status["services"][0]["pools"][0]["requests"] == 10).then_some(status)
    });
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (status["revision"].as_u64(), status["pid"].as_u64()),
        (Some(1), Some(lab.pid().into()))
    );
    assert_eq!(status["listeners"][0]["address"], lab.address().to_string());
    let app = &status["services"][0];
    assert_eq!((app["name"].as_str(), app["baseline"].as_str()), (Some("app"), Some("blue")));
    let pool = &app["pools"][0];
    assert_eq!((pool["name"].as_str(), pool["share"].as_str()), (Some("blue"), Some("100%")));
    assert!(
        pool["observed"] == 1.0 && pool["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0),
        "{pool}"
    );
    assert_eq!(pool["endpoints"][0]["address"], blue.address);
    refused(ask(&lab, "GET", "/v1/status?service=nosuch"), 404, "unknown_service");
}

/// Method: a split with the revision that is in force, then again with the same, now stale one.
#[test]
fn if_match_keeps_two_operators_from_overwriting_each_other() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    let set = |share: &str, revision: &str| {
        let request = put("/v1/split", json!({ "pool": "green", "share": share }));
        lab.admin().call(&request.header("If-Match", revision))
    };
    let changed = set("25%", "1").expect(200).json();
    assert_eq!((changed["revision"].as_u64(), changed["changed"].as_bool()), (Some(2), Some(true)));
    assert_eq!(
        changed["splits"][0]["pools"][1],
        json!({ "pool": "green", "from": "0%", "to": "25%" })
    );
    let error = refused(set("50%", "1"), 412, "stale_revision");
    assert!(error.contains('1') && error.contains('2'), "{error}");
    refused(set("50%", "soon"), 400, "bad_request");
    assert_eq!(lab.status().share("green"), "25%");
    set("50%", "\"2\"").expect(200);
}

/// Method: every kind of change is rehearsed; revision, journal and state file stay as they are.
#[test]
fn a_dry_run_changes_nothing() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    let (events, file) = (lab.events().len(), std::fs::read(lab.path("state/state.json")).unwrap());
    for (request, summary) in [
        (
            put("/v1/split?dry_run=true", json!({ "pool": "green", "share": "25%" })),
            "green 0% → 25%",
        ),
        (put("/v1/maintenance?dry_run=true", json!({ "for": "1h" })), "maintenance on"),
        (
            Request::post("/v1/cohorts/green?dry_run=1", r#"{"list":"allow","users":["ada"]}"#),
            "1 user",
        ),
        (
            Request::post("/v1/pools/green/endpoints?dry_run=true", r#"{"address":"127.0.0.1:1"}"#),
            "added",
        ),
        (Request::post("/v1/config/reload?dry_run=true", "{}"), "not changed"),
    ] {
        let changed = lab.admin().call(&request.clone()).expect(200).json();
        assert_eq!(
            (changed["dry_run"].as_bool(), changed["revision"].as_u64()),
            (Some(true), Some(1))
        );
        assert!(changed["summary"].to_string().contains(summary), "{changed}");
    }
    assert_eq!((lab.status().revision.0, lab.events().len()), (1, events));
    assert_eq!(std::fs::read(lab.path("state/state.json")).unwrap(), file);
    lab.get("/").expect(200);
}

/// Method: wrong names, values, paths, methods and bodies, each with its status and code.
#[test]
fn what_makes_no_sense_is_refused_with_a_code_and_a_hint() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    let split = |body: Value| lab.admin().call(&put("/v1/split", body));
    let error = refused(split(json!({ "pool": "purple", "share": "5%" })), 404, "unknown_pool");
    assert!(error.contains("purple"), "{error}");
    refused(
        split(json!({ "pool": "green", "share": "5%", "services": ["x"] })),
        404,
        "unknown_service",
    );
    let error = refused(split(json!({ "pool": "green", "share": "101%" })), 400, "bad_request");
    assert!(error.contains("101"), "{error}");
    refused(split(json!({ "pool": "green" })), 400, "bad_request");
    refused(split(json!({ "pool": "green", "share": "5%", "shard": 1 })), 400, "bad_request");
    refused(split(json!([])), 400, "bad_request");
    refused(lab.admin().call(&Request::new("PUT", "/v1/split").body("{")), 400, "bad_request");
    let error = refused(ask(&lab, "DELETE", "/v1/split"), 405, "method_not_allowed");
    assert!(error.contains("PUT"), "{error}");
    refused(ask(&lab, "GET", "/v1/nothing"), 404, "not_found");
    refused(ask(&lab, "GET", "/v1/pools/purple/endpoints"), 404, "unknown_pool");
    refused(
        ask(&lab, "DELETE", "/v1/pools/green/endpoints/127.0.0.1%3A1"),
        404,
        "unknown_endpoint",
    );
    refused(ask(&lab, "GET", "/v1/status?service=%ff"), 400, "bad_request");
    let huge = Request::new("PUT", "/v1/split").body(vec![b' '; 9 << 20]);
    let too_large = lab.admin().try_call(&huge);
    assert!(!too_large.is_ok_and(|answer| answer.status == 200));
    assert_eq!(lab.status().revision.0, 1);
}

/// Method: a method that a path does not take must be answered with those it does.
#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let (blue, green) = two();
    let answer = ask(&lab_of(&blue, &green), "PATCH", "/v1/maintenance").expect(405);
    let allow = answer.header("allow").unwrap_or_default();
    for method in ["GET", "PUT", "DELETE"] {
        assert!(allow.contains(method), "Allow: {allow}");
    }
}

/// Method: the document is read, and every operation in it that only reads is asked.
#[test]
fn the_openapi_document_describes_what_is_served() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    let document = ask(&lab, "GET", "/v1/openapi.json").expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.")), "{document}");
    let paths = document["paths"].as_object().expect("paths");
    for path in
        ["/v1/status", "/v1/split", "/v1/rollback", "/v1/maintenance", "/v1/explain", "/v1/events"]
    {
        assert!(paths.contains_key(path), "{path}");
    }
    lab.ctl("rollout start green").succeeds();
    let readable = paths.iter().filter(|(_, operations)| operations.get("get").is_some());
    let asked = readable.map(|(path, _)| {
        let path = path.replace("{pool}", "green").replace("{id}", "last");
        ask(&lab, "GET", &path).expect(200)
    });
    assert!(asked.count() >= 10);
}

/// Method: the text is searched for every documented name, after traffic and a failure.
#[test]
fn metrics_have_their_documented_names() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    lab.ctl("weight green 50").succeeds();
    lab.users(20);
    lab.get("/503").expect(503);
    lab.until("the requests are in the window", |s| s.pool("blue").observed.is_some());
    let answer = ask(&lab, "GET", "/metrics").expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for name in [
        "lbd_requests_total{service=\"app\",pool=\"green\",code=\"200\"}",
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"upstream-5xx\"}",
        "lbd_request_duration_seconds_bucket{service=\"app\",pool=\"green\",le=",
        "lbd_request_duration_seconds_count{service=\"app\",pool=\"green\"}",
        "lbd_upstream_first_byte_seconds_bucket{service=\"app\",pool=\"green\",le=",
        "lbd_requests_in_flight{service=\"app\",pool=\"green\"}",
        "lbd_share_ratio{service=\"app\",pool=\"green\"} 0.5",
        "lbd_observed_share_ratio{service=\"app\",pool=\"green\"}",
        "lbd_endpoint_up{service=\"app\",pool=\"green\",endpoint=\"127.0.0.1:",
        "lbd_retries_total{",
        "lbd_failovers_total{",
        "lbd_maintenance{service=\"app\"} 0",
        "lbd_revision 2",
        "lbd_connections{listener=\"http\"}",
        "lbd_connections_parked{listener=\"http\"} ",
        "lbd_config_reloads_total{result=",
        "process_resident_memory_bytes ",
    ] {
        assert!(
            answer.text().lines().any(|line| line.starts_with(name)),
            "{name} in\n{}",
            answer.text()
        );
    }
    let green = predicted_requests(20);
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"green\",code=\"200\"}", green);
}

fn predicted_requests(users: usize) -> f64 {
    crate::support::predicted(users, 50).len() as f64
}

/// Method: a follower is told of a change as it happens, with the event that the journal has.
#[test]
fn events_can_be_followed() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green);
    let mut follower = lab.admin();
    let follow = Request::get("/v1/events").host("lbd").header("Accept", "text/event-stream");
    let head = follower.begin(&follow).read_head().unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    lab.ctl("weight green 25 --reason why").succeeds();
    // The lines of the stream lie between those of its chunks.
    let lines: Vec<String> = (0..4).map(|_| follower.line()).collect();
    assert!(lines.contains(&"event: weight".to_owned()), "{lines:?}");
    let data = lines.iter().find_map(|line| line.strip_prefix("data: "));
    let event: Value = serde_json::from_str(data.expect("the event's data")).unwrap();
    assert_eq!((event["reason"].as_str(), event["revision"].as_u64()), (Some("why"), Some(2)));
    assert_eq!(lab.events().last(), Some(&event));
}

/// Method: a TCP address whose port the test holds for lbd: health and metrics are open, the rest not.
#[test]
fn over_tcp_only_health_and_metrics_are_open() {
    let (blue, green) = two();
    let reserved = Dead::new();
    let free = reserved.address;
    let plan = Lab::new().admin(&format!("http = \"{free}\"")).pool("blue", &blue);
    let lab = plan.pool("green", &green).start();
    let ask = |address: SocketAddr, request: &Request| Client::tcp(address).unwrap().call(request);
    for path in ["/healthz", "/readyz", "/metrics"] {
        ask(free, &Request::get(path)).expect(200);
    }
    for path in ["/v1/status", "/v1/config", "/v1/events", "/v1/openapi.json"] {
        refused(ask(free, &Request::get(path)), 403, "forbidden");
    }
    refused(
        ask(free, &put("/v1/split", json!({ "pool": "green", "share": "100%" }))),
        403,
        "forbidden",
    );
    assert_eq!(lab.status().share("green"), "0%");
    // Strangers are not journaled: they could fill the disk with their attempts.
    assert!(lab.events().iter().all(|e| e["kind"] != "access"));
}

/// Method: the socket's permission bits, as configured and by default.
#[test]
fn the_socket_has_its_mode_from_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |lab: &Lab| std::fs::metadata(lab.socket()).unwrap().permissions().mode() & 0o777;
    let (blue, green) = two();
    assert_eq!(mode(&lab_of(&blue, &green)), 0o660);
    let lab = Lab::new().admin("socket_mode = \"0600\"").pool("blue", &blue).start();
    assert_eq!(mode(&lab), 0o600);
}
