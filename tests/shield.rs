//! Shield: a failed first attempt on a candidate is replayed on the baseline, and nobody sees it.

use crate::support::{Dead, Lab, Origin, Plan, RawOrigin, Request, eventually};

/// Green has everything, and the guard only watches: what is seen here is the shield alone.
fn lab(green: impl ToString, more: &str) -> (Origin, Lab) {
    let blue = Origin::answering("blue");
    let lab = plan(more).pool("blue", &blue).pool("green", green).start();
    lab.ctl("weight green 100").succeeds();
    (blue, lab)
}

fn plan(more: &str) -> Plan {
    Lab::new().config(&format!(
        "[guard]\naction = \"alert\"\n[service.app.health]\npassive = false\n\
         [service.app.timeouts]\nconnect = \"300ms\"\nfirst_byte = \"300ms\"\nidle = \"300ms\"\n{more}"
    ))
}

const SHIELDED: &str = "lbd_shielded_total{service=\"app\",pool=\"green\"}";

fn failures(blame: &str) -> String {
    format!("lbd_request_failures_total{{service=\"app\",pool=\"green\",blame=\"{blame}\"}}")
}

#[test]
fn a_5xx_of_the_candidate_is_replayed_and_counted_against_it() {
    let green = Origin::answering("green");
    let (blue, lab) = lab(&green, "");
    green.status(500);
    for method in ["GET", "HEAD", "OPTIONS"] {
        let answer = lab.request(&Request::new(method, "/"));
        assert_eq!(answer.expect(200).header("x-origin"), Some("blue"));
    }
    assert_eq!((green.requests(), blue.requests()), (3, 3));
    lab.until_metric(SHIELDED, 3.0);
    lab.until_metric(&failures("upstream-5xx"), 3.0);
    let green = lab.status().pool("green").clone();
    assert_eq!(green.shielded, 3);
    assert!((green.error_ratio - 1.0).abs() < 1e-9, "{}", green.error_ratio);
}

#[test]
fn connections_that_fail_break_or_never_answer_are_replayed_too() {
    let dead = Dead::new();
    let (_blue, lab_of_dead) = lab(dead.address, "");
    assert_eq!(lab_of_dead.get("/").expect(200).origin(), "blue");
    lab_of_dead.until_metric(&failures("connect"), 1.0);
    lab_of_dead.until_metric(SHIELDED, 1.0);

    let cut = RawOrigin::saying("");
    let (_blue, lab_of_cut) = lab(cut.address, "");
    assert_eq!(lab_of_cut.get("/").expect(200).origin(), "blue");
    lab_of_cut.until_metric(&failures("reset"), 1.0);

    let nonsense = RawOrigin::saying("this is not HTTP\r\n\r\n");
    let (_blue, lab_of_nonsense) = lab(nonsense.address, "");
    assert_eq!(lab_of_nonsense.get("/").expect(200).origin(), "blue");
    lab_of_nonsense.until_metric(SHIELDED, 1.0);

    let green = Origin::answering("green");
    let (_blue, lab_of_hang) = lab(&green, "");
    green.hold();
    let mut client = lab_of_hang.client();
    for _ in 0..2 {
        // The connection to the client survives, and the second request waits anew.
        assert_eq!(client.call(&Request::get("/")).expect(200).origin(), "blue");
    }
    lab_of_hang.until_metric(&failures("timeout"), 2.0);
    green.release();
}

#[test]
fn what_cannot_be_sent_again_is_not() {
    let green = Origin::answering("green");
    let (blue, lab) = lab(&green, "");
    green.status(500);
    lab.request(&Request::post("/", "order")).expect(500);
    for method in ["PUT", "DELETE", "PATCH"] {
        lab.request(&Request::new(method, "/")).expect(500);
    }
    let large = vec![b'x'; 200 * 1024];
    lab.request(&Request::get("/").body(large)).expect(500);
    assert_eq!(blue.requests(), 0);
    let small = lab.request(&Request::get("/").body("small")).expect(200);
    assert_eq!(small.origin(), "blue");
}

#[test]
fn an_answer_that_has_begun_is_not_replayed() {
    let green = Origin::answering("green");
    let (blue, lab) = lab(&green, "");
    green.cut(10);
    assert!(lab.client().try_call(&Request::get("/bytes/100000")).is_err());
    assert_eq!(blue.requests(), 0);
}

#[test]
fn testers_see_what_they_chose() {
    let green = Origin::answering("green");
    let (_blue, lab) =
        lab(&green, "[service.app.pin]\nname = \"x-pin\"\nsecret = \"open-sesame\"\n");
    green.status(500);
    lab.request(&Request::get("/").header("x-pin", "green:open-sesame")).expect(500);
    lab.get("/").expect(200);
}

#[test]
fn it_can_be_turned_off_and_the_baseline_has_none() {
    let green = Origin::answering("green");
    let (blue, lab) = lab(&green, "[service.app.guard]\nshield = false\n");
    green.status(500);
    lab.get("/").expect(500);
    lab.ctl("weight green 0").succeeds();
    blue.status(500);
    lab.get("/").expect(500);
    assert_eq!(green.requests(), 1);
}

#[test]
fn without_a_usable_baseline_the_candidates_answer_is_passed_on() {
    let green = Origin::answering("green");
    let (blue, lab) = lab(&green, "");
    green.status(500);
    let address = blue.address.clone();
    lab.ctl(&format!("endpoint maint blue {address}")).succeeds();
    lab.get("/").expect(500);
    assert_eq!(blue.requests(), 0);
}

/// Method: blue and green both fail; the client gets the baseline's word.
#[test]
fn if_the_baseline_fails_as_well_its_answer_counts() {
    let green = Origin::answering("green");
    let (blue, lab) = lab(&green, "");
    green.status(500);
    blue.status(503);
    lab.get("/").expect(503);
    assert_eq!((green.requests(), blue.requests()), (1, 1));
}

#[test]
fn the_access_log_tells_both_attempts() {
    let green = Origin::answering("green");
    let blue = Origin::answering("blue");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let log = format!("[service.app.access_log]\ntarget = \"{}\"", file.display());
    let lab = plan(&log).pool("blue", &blue).pool("green", &green).start();
    lab.ctl("weight green 100").succeeds();
    green.status(500);
    lab.get("/").expect(200);
    let line = eventually("a line of the log", || {
        let text = std::fs::read_to_string(&file).ok()?;
        serde_json::from_str::<serde_json::Value>(text.lines().next()?).ok()
    });
    assert_eq!((line["pool"].as_str(), line["status"].as_u64()), (Some("blue"), Some(200)));
    assert_eq!(line["shielded_from"], "green");
    assert_eq!(line["shielded_blame"], "upstream-5xx");
    assert_eq!(line["attempts"], 2);
    assert!(line.get("blame").is_none_or(serde_json::Value::is_null), "{line}");
}
