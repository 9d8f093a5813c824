//! Notices: who is told of what, and that nobody who is told can hold up anything.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::{OpenOptionsExt, symlink},
};

use crate::support::{Dead, Lab, Load, Origin, Receiver, Request, eventually};
use nix::{sys::stat::Mode, unistd::mkfifo};

struct Site {
    _blue: Origin,
    green: Origin,
    lab: Lab,
}

fn site(config: &str) -> Site {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().config(config).pool("blue", &blue).pool("green", &green).start();
    Site { _blue: blue, green, lab }
}

fn webhook(name: &str, url: &str, more: &str) -> String {
    format!("[[notify]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"{url}\"\n{more}\n")
}

impl Site {
    fn under_load(&self) -> Load {
        let load = self.lab.load();
        load.goes_on(300);
        self.lab.ctl("weight green 20").succeeds();
        load.goes_on(300);
        load
    }

    /// Green goes bad; users are on blue again, and none of them saw a failure.
    fn is_taken_back(&self, load: Load) {
        self.green.status(500);
        self.lab.until("green at 0%", |seen| seen.share("green") == "0%");
        assert!(self.lab.users(200).on("green").is_empty());
        load.goes_on(100);
        load.without_failure();
    }
}

// Who is told.

#[test]
fn each_receiver_is_told_what_is_severe_enough_for_it() {
    let (all, critical) = (Receiver::taking(), Receiver::taking());
    let site = site(&format!(
        "{}{}",
        webhook("all", &all.url, "severity = \"info\""),
        webhook("critical", &critical.url, "severity = \"critical\"")
    ));
    let load = site.under_load();
    site.is_taken_back(load);
    let body = critical.hears("rollback", "critical").json();
    assert_eq!(
        (body["cause"].as_str(), body["actor"]["name"].as_str()),
        (Some("gross-failure"), Some("lbd"))
    );
    assert!(body["host"].is_string() && body["summary"].as_str().unwrap().contains("green"));
    let weight = all.hears("weight", "info").json();
    assert!(weight["summary"].as_str().unwrap().contains("green 0% → 20%"), "{weight}");
    all.hears("rollback", "critical");
    assert!(critical.told().iter().all(|told| told.json()["severity"] == "critical"));
}

#[test]
fn reasons_reach_the_receiver() {
    let all = Receiver::taking();
    let site = site(&webhook("all", &all.url, "severity = \"info\""));
    site.lab.ctl("weight green 20").succeeds();
    site.lab.ctl("rollback --reason 'users cannot log in'").succeeds();
    assert_eq!(all.hears("rollback", "warning").json()["reason"], "users cannot log in");
}

#[test]
fn a_secret_signs_and_a_token_is_shown() {
    let all = Receiver::taking();
    let more = "severity = \"info\"\nsecret = \"open-sesame\"\ntoken = \"let-me-in\"";
    let site = site(&webhook("all", &all.url, more));
    site.lab.ctl("weight green 20").succeeds();
    let told = all.hears("weight", "info");
    let signature = told.header("x-lbd-signature").expect("it is signed");
    let digits = signature.strip_prefix("sha256=").expect("by HMAC with SHA-256");
    assert!(digits.len() == 64 && digits.chars().all(|c| c.is_ascii_hexdigit()), "{digits}");
    assert_eq!(told.header("authorization"), Some("Bearer let-me-in"));
    assert_eq!(told.header("x-lbd-event"), Some("weight"));
}

// Whether it arrives.

#[test]
fn a_test_says_whether_it_arrived() {
    let (good, bad, dead) = (Receiver::taking(), Receiver::answering(500), Dead::new());
    let nobody = format!("http://{}/hook", dead.address);
    let site = site(&format!(
        "{}{}{}",
        webhook("good", &good.url, "secret = \"open-sesame\""),
        webhook("bad", &bad.url, ""),
        webhook("nobody", &nobody, "")
    ));
    let said = site.lab.ctl("notify test good").succeeds();
    assert!(said.contains("good took the notice"), "{said}");
    let told = good.hears("test", "info");
    assert_eq!(told.json()["test"], true);
    assert!(told.header("x-lbd-signature").is_some());
    let said = site.lab.ctl("notify test bad").fails_with(1);
    assert!(said.contains("500"), "{said}");
    site.lab.ctl("notify test nobody").fails_with(1);
    site.lab.ctl("notify test nosuch").fails_with(4);
    assert!(site.lab.ctl("notify list").succeeds().contains("nobody"));
}

/// Method: the secrets are looked for wherever somebody could read them.
#[test]
fn secrets_are_shown_nowhere() {
    let good = Receiver::taking();
    let more = "severity = \"info\"\nsecret = \"open-sesame\"\ntoken = \"let-me-in\"";
    let site = site(&webhook("good", &good.url, more));
    site.lab.ctl("notify test good").succeeds();
    for words in ["config show", "config show --json", "notify list", "status --json"] {
        let said = site.lab.ctl(words).succeeds();
        assert!(!said.contains("open-sesame") && !said.contains("let-me-in"), "{words}");
    }
    assert!(!site.lab.log().contains("open-sesame") && !site.lab.log().contains("let-me-in"));
}

// What it holds up.

/// Method: a receiver that accepts and never answers has been told of the weight already.
#[test]
fn a_receiver_that_never_answers_holds_up_no_rollback() {
    let (silent, good) = (Receiver::silent(), Receiver::taking());
    let site = site(&format!(
        "{}{}",
        webhook("silent", &silent.url, "severity = \"info\""),
        webhook("good", &good.url, "severity = \"critical\"")
    ));
    let load = site.under_load();
    eventually("the receiver is being told", || (silent.connections() > 0).then_some(()));
    site.is_taken_back(load);
    good.hears("rollback", "critical");
    let listed = site.lab.ctl("notify list --json").json();
    let of_silent = listed["receivers"].as_array().unwrap().iter().find(|r| r["name"] == "silent");
    assert_eq!(of_silent.unwrap()["sent"], 0);
}

/// Method: besides, opening the state's file waits for ever: it is a pipe that nobody reads.
#[test]
fn nor_does_a_disk_that_hangs_at_the_same_time() {
    let silent = Receiver::silent();
    let site = site(&webhook("silent", &silent.url, "severity = \"info\""));
    let load = site.under_load();
    eventually("the receiver is being told", || (silent.connections() > 0).then_some(()));
    let fresh = site.lab.path("state/state.json.new");
    mkfifo(&fresh, Mode::S_IRWXU).unwrap();
    site.is_taken_back(load);
    // The disk answers again, and what was decided is written.
    let nonblocking = nix::libc::O_NONBLOCK;
    let _end = OpenOptions::new().read(true).custom_flags(nonblocking).open(&fresh).unwrap();
    fs::remove_file(&fresh).unwrap();
    until_locked_out_on_disk(&site.lab);
}

/// Method: the same with a disk that has no room.
#[test]
fn nor_does_a_full_disk_at_the_same_time() {
    let silent = Receiver::silent();
    let site = site(&webhook("silent", &silent.url, "severity = \"info\""));
    let load = site.under_load();
    eventually("the receiver is being told", || (silent.connections() > 0).then_some(()));
    let fresh = site.lab.path("state/state.json.new");
    symlink("/dev/full", &fresh).unwrap();
    site.is_taken_back(load);
    fs::remove_file(&fresh).unwrap();
    until_locked_out_on_disk(&site.lab);
}

fn until_locked_out_on_disk(lab: &Lab) {
    eventually("the lockout is written", || {
        let text = fs::read_to_string(lab.path("state/state.json")).ok()?;
        let state: serde_json::Value = serde_json::from_str(&text).ok()?;
        state["services"]["app"]["lockouts"]["green"].is_object().then_some(())
    });
}

#[test]
fn a_receiver_that_never_answers_holds_up_neither_commands_nor_the_end() {
    let silent = Receiver::silent();
    let mut site = site(&webhook("silent", &silent.url, "severity = \"info\""));
    for percent in 1..=20 {
        site.lab.ctl(&format!("weight green {percent}")).succeeds();
    }
    site.lab.request(&Request::get("/")).expect(200);
    site.lab.stop();
}
