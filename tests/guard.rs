//! Guard: a bad release takes itself back, on real sockets.

use crate::support::{Lab, Load, Origin, Plan, eventually};

struct Site {
    blue: Origin,
    green: Origin,
    lab: Lab,
}

fn site(config: &str) -> Site {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = plan(config).pool("blue", &blue).pool("green", &green).start();
    Site { blue, green, lab }
}

fn plan(config: &str) -> Plan {
    Lab::new().config(config)
}

impl Site {
    /// Traffic of many users, until it has gone on for a while with green at `percent`.
    fn under_load(&self, percent: u16) -> Load {
        let load = self.lab.load();
        load.goes_on(300);
        self.lab.ctl(&format!("weight green {percent}")).succeeds();
        load.goes_on(300);
        load
    }

    fn until_taken_back(&self) {
        self.lab.until("green at 0%", |seen| seen.share("green") == "0%");
    }

    fn event(&self, kind: &str, actor: &str) -> Option<serde_json::Value> {
        let is = |e: &serde_json::Value| e["kind"] == kind && e["actor"]["name"] == actor;
        self.lab.events().into_iter().find(is)
    }
}

/// Method: a weight that a person typed; green answers 500; no request fails at the clients, because
/// the shield makes good what green did until it was taken back.
#[test]
fn a_typed_weight_is_guarded_and_nobody_sees_the_failures() {
    let site = site("");
    let load = site.under_load(20);
    site.green.status(500);
    site.until_taken_back();
    load.goes_on(200);
    load.without_failure();
    let event = eventually("the event", || site.event("rollback", "lbd"));
    assert_eq!(
        (event["severity"].as_str(), event["cause"].as_str()),
        (Some("critical"), Some("gross-failure"))
    );
    let text = event["summary"].as_str().unwrap();
    assert!(text.contains("fell on green") && text.contains("--force"), "{text}");
    site.lab.until_metric("lbd_rollbacks_total{service=\"app\",cause=\"gross-failure\"}", 1.0);
    assert!(site.lab.metric("lbd_shielded_total{service=\"app\",pool=\"green\"}") >= 3.0);
}

#[test]
fn after_that_it_is_locked_out_until_somebody_says_so() {
    let mut site = site("");
    let load = site.under_load(20);
    site.green.status(503);
    site.until_taken_back();
    drop(load);
    let refused = site.lab.ctl("weight green 5").fails_with(4);
    assert!(refused.contains("locked out") && refused.contains("--force"), "{refused}");
    site.lab.ctl("switch green --skip-checks").fails_with(4);
    assert!(site.lab.ctl("status").succeeds().contains("locked out"));
    site.lab.restart();
    site.lab.ctl("weight green 5").fails_with(4);
    site.green.status(200);
    site.lab.ctl("weight green 5 --force").succeeds();
    site.lab.ctl("weight green 10").succeeds();
}

/// Method: green takes the requests and never answers.
#[test]
fn a_hang_is_taken_back_before_any_timeout() {
    let site = site("[guard]\np99 = \"200ms\"\n[service.app.timeouts]\nfirst_byte = \"60s\"\n");
    let loads = [site.under_load(20), site.lab.load(), site.lab.load(), site.lab.load()];
    loads[3].goes_on(300);
    site.green.hold();
    site.until_taken_back();
    site.green.release();
    drop(loads);
    assert!(eventually("the event", || site.event("rollback", "lbd"))["summary"].is_string());
}

#[test]
fn an_endpoint_that_is_gone_is_a_failure_of_the_release_not_only_of_the_endpoint() {
    let site = site("");
    let load = site.under_load(20);
    site.green.close();
    site.until_taken_back();
    load.goes_on(100);
    load.without_failure();
}

#[test]
fn it_holds_or_only_alerts_if_told_so() {
    for action in ["hold", "alert"] {
        let site = site(&format!("[guard]\naction = \"{action}\"\n"));
        let load = site.under_load(20);
        site.green.status(500);
        let event = eventually("the alarm", || site.event("guard", "lbd"));
        assert!(event["summary"].as_str().unwrap().contains("not rolled back"), "{event}");
        assert_eq!(site.lab.status().share("green"), "20%");
        drop(load);
    }
}

#[test]
fn a_baseline_that_is_as_bad_is_no_place_to_go_back_to() {
    let site = site("[guard]\nshield = false\n");
    let load = site.under_load(20);
    site.blue.status(500);
    site.green.status(500);
    let event = eventually("the alarm", || site.event("guard", "lbd"));
    assert!(event["summary"].as_str().unwrap().contains("both-degraded"), "{event}");
    assert_eq!(site.lab.status().share("green"), "20%");
    drop(load);
}

/// Method: testers who chose green see nothing but errors, and prove nothing.
#[test]
fn pinned_testers_are_not_judged() {
    let site = site("[service.app.pin]\nname = \"x-pin\"\nsecret = \"open-sesame\"\n");
    site.lab.ctl("weight green 1").succeeds();
    site.green.status(500);
    for _ in 0..200 {
        let pinned = crate::support::Request::get("/").header("x-pin", "green:open-sesame");
        site.lab.request(&pinned).expect(500);
    }
    assert_eq!(site.lab.status().share("green"), "1%");
    assert!(site.event("rollback", "lbd").is_none());
}

#[test]
fn its_terms_can_be_read_and_changed_while_it_runs() {
    let mut site = site("[guard]\nerror_rate = \"5%\"\n");
    let shown = site.lab.ctl("guard status --json").json();
    assert_eq!(shown["services"][0]["terms"]["error_rate"], "5%");
    site.lab.ctl("guard set --error-rate 1% --p95 250ms").succeeds();
    let terms = site.lab.ctl("guard status --json").json()["services"][0]["terms"].clone();
    assert_eq!((terms["error_rate"].as_str(), terms["p95"].as_str()), (Some("1%"), Some("250ms")));
    site.lab.restart();
    let terms = site.lab.ctl("guard status --json").json()["services"][0]["terms"].clone();
    assert_eq!(terms["p95"], "250ms", "it survives a restart");
    site.lab.ctl("guard set --reset").succeeds();
    let shown = site.lab.ctl("guard status --json").json();
    assert_eq!(shown["services"][0]["terms"]["error_rate"], "5%");
    site.lab.ctl("guard set").fails_with(2);
    let load = site.lab.load();
    load.goes_on(200);
    let tested = eventually("the test of itself", || {
        let json = site.lab.ctl("guard selftest --json").json();
        json[0]["samples"].as_u64().filter(|n| *n > 50)
    });
    assert!(tested > 0);
}
