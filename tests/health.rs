//! Health: checks take failing endpoints out and back, and pools step in for each other.

use crate::support::{Dead, Lab, Origin, Plan, Request, eventually};

/// Checks every 100 ms, of which two in a row decide.
const CHECKS: &str = "[service.app.health]\npath = \"/healthz\"\ninterval = \"100ms\"\n\
                      timeout = \"500ms\"\nrise = 2\nfall = 2\n";

fn checked(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().config(CHECKS).pool("blue", blue).pool("green", green)
}

fn until_up(lab: &Lab, pool: &str, origin: &Origin) {
    let what = format!("{origin} is up");
    lab.until(&what, |s| s.standing(pool, &origin.address) == "up");
}

fn until_out(lab: &Lab, pool: &str, origin: &Origin) {
    let what = format!("{origin} is out");
    lab.until(&what, |s| s.standing(pool, &origin.address) == "out");
}

/// Method: green has all traffic; its only endpoint fails its checks and passes them again. Users see
/// no failure; status, metrics and journal tell what happened.
#[test]
fn a_failing_endpoint_is_taken_out_and_back_and_the_other_pool_steps_in() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = checked(&blue, &green).start();
    lab.ctl("switch green").succeeds();
    until_up(&lab, "green", &green);
    assert_eq!(lab.side_of("ada"), "green");
    green.health(500);
    until_out(&lab, "green", &green);
    let up = format!("lbd_endpoint_up{{service=\"app\",pool=\"green\",endpoint=\"{green}\"}}");
    assert_eq!(lab.metric(&up), 0.0);
    for _ in 0..5 {
        assert_eq!(lab.side_of("ada"), "blue");
    }
    lab.until_metric("lbd_failovers_total{service=\"app\",pool=\"blue\"}", 5.0);
    let status = lab.status();
    assert_eq!((status.pool("blue").failovers, status.share("green")), (5, "100%".into()));
    let reason = &status.endpoint("green", &green.address).unwrap().reason;
    assert!(reason.contains("500"), "{reason}");
    green.health(200);
    until_up(&lab, "green", &green);
    assert_eq!((lab.side_of("ada"), lab.metric(&up)), ("green".into(), 1.0));
    let told =
        |text: &str| lab.events().iter().any(|e| e["summary"].as_str().unwrap().contains(text));
    assert!(told("is down: status 500") && told("is up"));
}

/// Method: one failure between passes is not enough with `fall = 2`; the check's own record says
/// that it was asked.
#[test]
fn a_single_failed_check_does_not_take_an_endpoint_out() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = checked(&blue, &green).start();
    until_up(&lab, "blue", &blue);
    blue.fail_one_check();
    blue.until_checked(4);
    until_up(&lab, "blue", &blue);
    let down = |e: &serde_json::Value| e["summary"].as_str().unwrap().contains("is down");
    assert!(!lab.events().iter().any(down));
}

/// Method: checks that expect a text in the body and another status, and one that has neither.
#[test]
fn a_check_judges_status_and_body() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let health = |keys: &str| format!("{CHECKS}{keys}");
    let lab = Lab::new().config(&health("expect = [204]")).pool("blue", &blue).start();
    until_out(&lab, "blue", &blue);
    blue.health(204);
    until_up(&lab, "blue", &blue);
    let lab = Lab::new().config(&health("body = \"healthy\"")).pool("green", &green).start();
    until_up(&lab, "green", &green);
    let lab = Lab::new().config(&health("body = \"splendid\"")).pool("green", &green).start();
    until_out(&lab, "green", &green);
}

/// Method: a check that gets no answer within its timeout, and one where nobody listens.
#[test]
fn a_check_that_gets_no_answer_fails() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (silent, dead) = (listener.local_addr().unwrap().to_string(), Dead::new());
    let lab = Lab::new().config(CHECKS).pool("blue", &silent).pool("green", dead.address).start();
    let status = lab.until("both are out", |s| {
        s.standing("blue", &silent) == "out"
            && s.standing("green", &dead.address.to_string()) == "out"
    });
    assert!(status.pools_reasons().iter().all(|reason| !reason.is_empty()));
    lab.get("/").expect(503);
    assert!(lab.get("/").header("retry-after").is_some());
}

/// Method: an endpoint in `maint` is not checked, one that is drained is.
#[test]
fn an_endpoint_in_maint_is_left_alone() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = checked(&blue, &green).start();
    green.until_checked(1);
    lab.ctl(&format!("endpoint drain green {green}")).succeeds();
    green.until_checked(3);
    lab.ctl(&format!("endpoint maint green {green}")).succeeds();
    // A check may be on its way; the other endpoint's checks show that time goes by.
    blue.until_checked(2);
    let before = green.checks();
    blue.until_checked(5);
    assert_eq!(green.checks(), before);
}

/// Method: no checks at all. Traffic that fails five times in a row takes the endpoint out for the
/// configured time; nobody has to do anything for it to come back.
#[test]
fn failing_traffic_takes_an_endpoint_out_for_a_while() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    // The guard would take green back before that.
    let passive = "[service.app.health]\npassive = { failures = 5, for = \"1s\" }\n\
                   [guard]\naction = \"alert\"";
    let lab = Lab::new().config(passive).pool("blue", &blue).pool("green", &green).start();
    lab.ctl("switch green").succeeds();
    green.status(503);
    eventually("green is suspended after failures", || {
        lab.get("/");
        (lab.status().standing("green", &green.address) == "suspended").then_some(())
    });
    assert!((5..=8).contains(&green.requests()), "{} requests failed", green.requests());
    green.status(200);
    assert_eq!(lab.get("/").expect(200).origin(), "blue");
    lab.until("green may serve again", |s| s.standing("green", &green.address) == "up");
    assert_eq!(lab.get("/").expect(200).origin(), "green");
}

/// Method: the application's own errors, which are no reason to take an endpoint out.
#[test]
fn an_applications_own_errors_do_not_take_its_endpoint_out() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    for status in [500, 404, 501] {
        (0..10).for_each(|_| drop(lab.get(&format!("/{status}")).expect(status)));
    }
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"blue\",code=\"500\"}", 10.0);
    assert_eq!(lab.status().standing("blue", &blue.address), "up");
}

/// Method: `failover = "off"`: the pool without endpoints answers 503 although another could serve.
#[test]
fn failover_can_be_turned_off() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let plan = Lab::new().app("user_id = [\"header:X-User-Id\"]\nfailover = \"off\"");
    let lab = plan.pool("blue", &blue).pool("green", &green).start();
    lab.ctl("switch green").succeeds();
    lab.ctl(&format!("endpoint maint green {green}")).succeeds();
    lab.request(&Request::get("/").user("ada")).expect(503);
    assert_eq!(blue.requests(), 0);
}

/// Method: load while one of two endpoints fails its checks and comes back; not one request may fail.
#[test]
fn no_request_fails_while_endpoints_come_and_go() {
    let (one, two) = (Origin::answering("one"), Origin::answering("two"));
    let lab = Lab::new().config(CHECKS).pool_of("blue", &[&one.address, &two.address]).start();
    let load = lab.load();
    for _ in 0..2 {
        one.health(500);
        until_out(&lab, "blue", &one);
        load.goes_on(50);
        one.health(200);
        until_up(&lab, "blue", &one);
    }
    lab.ctl(&format!("endpoint remove blue {one} --wait")).succeeds();
    lab.ctl(&format!("endpoint add blue {one}")).succeeds();
    load.goes_on(50);
    load.without_failure();
}
