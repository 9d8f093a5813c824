//! Regressions of control: each was wrong once, in the state, the journal, the API or at an end.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{Answer, Client, Lab, Origin, Outcome, Plan, Request, eventually, within};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

fn two() -> (Origin, Origin) {
    (Origin::answering("blue"), Origin::answering("green"))
}

fn plan(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().pool("blue", blue).pool("green", green)
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It should have ended by itself; then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Method: the access log goes to a pipe that nobody reads, and is longer than the pipe holds.
#[test]
fn a_log_that_nobody_reads_does_not_keep_lbd_from_ending() {
    let blue = Origin::answering("blue");
    let folder = tempfile::tempdir().unwrap();
    let (config, socket) = (folder.path().join("lbd.toml"), folder.path().join("admin.sock"));
    let plan = Lab::new().app("access_log = \"stdout\"").pool("blue", &blue);
    fs::write(&config, plan.text(folder.path())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbd"));
    command.arg("--config").arg(&config).env_remove("NOTIFY_SOCKET").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut lbd = Killed(command.spawn().unwrap());
    let status = eventually("lbd serves", || {
        let mut admin = Client::unix(&socket).ok()?;
        admin.try_call(&Request::get("/v1/status").host("lbd")).ok()
    });
    let address = status.json()["listeners"][0]["address"].as_str().unwrap().parse().unwrap();
    let path = format!("/{}", "x".repeat(4000));
    let mut client = Client::tcp(address).unwrap();
    for _ in 0..200 {
        client.call(&Request::get(&path)).expect(200);
    }
    drop(client);
    kill(Pid::from_raw(lbd.0.id() as i32), Signal::SIGTERM).unwrap();
    let status = within(Duration::from_secs(5), || lbd.0.try_wait().unwrap());
    assert!(status.is_some_and(|status| status.success()), "{status:?} after five seconds");
}

/// Method: a folder stands where the state would be written, before a start with a changed config.
#[test]
fn a_start_does_not_need_a_state_that_can_be_written() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.stop();
    fs::create_dir(lab.path("state/state.json.new")).unwrap();
    lab.write_plan(&lab.plan.clone().weight("green", 40));
    lab.launch();
    assert_eq!(lab.status().share("green"), "40%");
    lab.get("/").expect(200);
    let said = lab.ctl("weight green 60").fails_with(4);
    assert!(said.contains("state_dir"), "{said}");
    assert_eq!(lab.status().share("green"), "40%");
    lab.ctl("rollback").succeeds();
    assert_eq!(lab.status().share("green"), "0%");
    assert_eq!(lab.users(50).on("green").len(), 0);
}

/// Method: the permission bits of what lies in the state's folder, after a change was written.
#[test]
fn state_and_journal_are_nobody_elses_to_read() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.ctl("weight green 25").succeeds();
    for name in ["state/state.json", "state/events.jsonl"] {
        let mode = fs::metadata(lab.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name} has mode {mode:o}");
    }
}

/// Method: a second lbd is started with a socket of its own, but the same folder for its state.
#[test]
fn two_cannot_keep_their_state_in_one_folder() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    let text = lab.plan.text(lab.folder()).replace("admin.sock", "other.sock");
    fs::write(lab.path("other.toml"), text).unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_lbd"));
    second.arg("--config").arg(lab.path("other.toml")).env_remove("NOTIFY_SOCKET");
    let said = Outcome::of(&mut second, lab.folder()).fails_with(1);
    assert!(said.contains("another lbd") && said.contains("state_dir"), "{said}");
    lab.ctl("weight green 25").succeeds();
    lab.get("/").expect(200);
}

/// Method: what a typing mistake could make of a request: each must be told, and change nothing.
#[test]
fn what_the_api_does_not_take_is_refused() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.ctl("maintenance on").succeeds();
    let before = lab.status().revision;
    let refused = |request: Request| -> String {
        let answer: Answer = lab.admin().call(&request.host("lbd")).expect(400);
        let failure = answer.json();
        assert_eq!(failure["code"], "bad_request", "{failure}");
        failure["error"].as_str().expect("an error is told").to_owned()
    };
    let error = refused(Request::get("/v1/status?servcie=app"));
    assert!(error.contains("servcie") && error.contains("service"), "{error}");
    let error = refused(Request::get("/v1/events?limits=1"));
    let known = error.split_once("takes").map_or("", |(_, known)| known);
    assert!(error.contains("`limits`") && known.contains("limit"), "{error}");
    let error = refused(Request::new("DELETE", "/v1/maintenance?for=1h"));
    assert!(error.contains("`for`") && error.contains("service"), "{error}");
    let address = green.address.replace(':', "%3A");
    for path in ["/v1/maintenance", &format!("/v1/pools/green/endpoints/{address}")] {
        let error = refused(Request::new("DELETE", path).body(r#"{"services":["app"]}"#));
        assert!(error.contains("body"), "{error}");
    }
    for share in [json!(700), json!("700"), json!("700%")] {
        let body = json!({ "pool": "green", "share": share }).to_string();
        let error = refused(Request::new("PUT", "/v1/split").body(body));
        assert!(error.contains("700"), "{error}");
    }
    let status = lab.status();
    assert_eq!((status.revision, status.share("green")), (before, "0%".into()));
    assert!(status.service("app").maintenance.is_some());
}

/// Method: checks take an endpoint out, then a reload takes the checks away.
#[test]
fn without_checks_nothing_is_down_by_them() {
    let (blue, green) = two();
    let checks = "[service.app.health]\npath = \"/healthz\"\ninterval = \"100ms\"\n\
                  timeout = \"500ms\"\nrise = 2\nfall = 2\n";
    let unchecked = plan(&blue, &green);
    let lab = unchecked.clone().config(checks).start();
    blue.health(500);
    lab.until("blue is out", |s| s.standing("blue", &blue.address) == "out");
    lab.until("green is up", |s| s.standing("green", &green.address) == "up");
    assert_eq!(lab.side_of("ada"), "green");
    lab.write_plan(&unchecked);
    lab.ctl("config reload").succeeds();
    lab.until("blue is of use", |s| s.standing("blue", &blue.address) == "up");
    assert_eq!(lab.side_of("ada"), "blue");
}

/// Method: the file's weight changes and is loaded with a reason.
#[test]
fn a_reload_is_journaled_with_its_reason() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.write_plan(&lab.plan.clone().weight("green", 40));
    lab.ctl("config reload --reason 'new split for api'").succeeds();
    let events = lab.events();
    let reload = events.iter().find(|e| e["kind"] == "reload").expect("a reload is journaled");
    assert_eq!(reload["reason"], "new split for api");
    assert_eq!(reload["actor"]["uid"], nix::unistd::getuid().as_raw());
}

/// Method: two weights were set by hand; one reload takes both back to the file at once.
#[test]
fn resetting_runtime_is_one_revision() {
    let (blue, green) = two();
    let red = Origin::answering("red");
    let lab = plan(&blue, &green).pool("red", &red).weight("red", 10).start();
    lab.ctl("weight green 25").succeeds();
    lab.ctl("weight red 30").succeeds();
    let before = lab.status().revision.0;
    lab.ctl("config reload").succeeds();
    assert_eq!((lab.status().share("green"), lab.status().revision.0), ("25%".into(), before));
    lab.ctl("config reload --reset-runtime --reason back").succeeds();
    let status = lab.status();
    let shares = ["blue", "green", "red"].map(|pool| status.share(pool));
    assert_eq!(shares, ["90%", "0%", "10%"]);
    assert_eq!(status.revision.0, before + 1);
    let events = lab.events();
    let last: &Value = events.last().unwrap();
    assert_eq!((last["kind"].as_str(), last["reason"].as_str()), (Some("reload"), Some("back")));
}

/// Method: the number of workers changes in the file; later reloads, with and without another change,
/// still say so, until a restart has applied it.
#[test]
fn what_needs_a_restart_is_told_until_there_was_one() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    let told = |lab: &Lab| {
        let reloaded = lab.ctl("config reload --json").json();
        let keys = reloaded["needs_restart"].as_array().expect("a list").clone();
        keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(told(&lab).is_empty());
    let three = lab.plan.clone().runtime("workers = 3");
    lab.write_plan(&three);
    assert_eq!(told(&lab), ["runtime.workers"]);
    assert_eq!(told(&lab), ["runtime.workers"], "nothing changed since");
    lab.write_plan(&three.clone().weight("green", 40));
    assert_eq!(told(&lab), ["runtime.workers"], "something else changed since");
    assert!(lab.ctl("config reload").succeeds().contains("runtime.workers"));
    lab.restart();
    assert!(told(&lab).is_empty());
}
