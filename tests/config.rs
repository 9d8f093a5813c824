//! The config file: mistakes, reloads, and starts that cannot be.

use std::{fs, net::TcpListener, os::unix::fs::symlink};

use crate::support::{Lab, Origin, Outcome, Plan, Request, timed};
use nix::sys::signal::Signal;

const FIVE_MISTAKES: &str = "[listener.http]
address = \"nonsense\"
colour = \"red\"

[service.app]
retries = 99

[service.app.timeouts]
connect = \"soon\"

[service.app.pool.blue]
endpoints = [\"127.0.0.1:9000\"]
weight = \"130%\"
";

fn two() -> (Origin, Origin) {
    (Origin::answering("blue"), Origin::answering("green"))
}

fn plan(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().pool("blue", blue).pool("green", green)
}

/// Method: each mistake is looked for by its line and key, once from `config check`, once at a start.
#[test]
fn every_mistake_is_listed_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    fs::write(&file, FIVE_MISTAKES).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_lbctl"));
    let checked =
        Outcome::of(check.args(["config", "check"]).arg(&file), folder.path()).fails_with(2);
    let mut start = std::process::Command::new(env!("CARGO_BIN_EXE_lbd"));
    let started = Outcome::of(start.arg("--config").arg(&file), folder.path()).fails_with(2);
    for said in [checked, started] {
        assert!(said.contains("bad.toml: 5 problems"), "{said}");
        for (line, key) in [
            (2, "listener.http.address"),
            (3, "listener.http.colour"),
            (6, "service.app.retries"),
            (9, "service.app.timeouts.connect"),
            (13, "service.app.pool.blue.weight"),
        ] {
            let told = |l: &str| l.contains(&format!("line {line} ")) && l.contains(key);
            assert!(said.lines().any(told), "{key} at line {line} is not in\n{said}");
        }
    }
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_lbctl"));
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/minimal.toml");
    Outcome::of(check.args(["config", "check", good]), folder.path()).succeeds();
    let missing = folder.path().join("nowhere.toml");
    let mut start = std::process::Command::new(env!("CARGO_BIN_EXE_lbd"));
    let said = Outcome::of(start.arg("--config").arg(&missing), folder.path()).fails_with(2);
    assert!(said.contains("nowhere.toml"), "{said}");
}

/// Method: the file's weight for green changes, and lbd is told in every way there is.
#[test]
fn a_reload_comes_by_command_signal_and_file() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    let write = |percent: u8| lab.write_plan(&lab.plan.clone().weight("green", percent));
    let until = |how: &str, percent: u8| {
        let share = format!("{percent}%");
        lab.until(&format!("{share} after {how}"), |s| s.share("green") == share);
    };
    write(10);
    let said = lab.ctl("config reload").succeeds();
    assert!(said.contains("reloaded"), "{said}");
    assert_eq!(lab.status().share("green"), "10%", "the command waits for the reload");
    write(20);
    lab.signal(Signal::SIGHUP);
    until("a signal", 20);
    write(30);
    until("the file was written", 30);
    let text = lab.plan.clone().weight("green", 40).text(lab.folder());
    fs::write(lab.path("fresh.toml"), text).unwrap();
    fs::rename(lab.path("fresh.toml"), lab.config_file()).unwrap();
    until("another file was renamed over it", 40);
    for (name, percent) in [("one.toml", 50), ("two.toml", 60)] {
        let text = lab.plan.clone().weight("green", percent).text(lab.folder());
        fs::write(lab.path(name), text).unwrap();
        symlink(lab.path(name), lab.path("link")).unwrap();
        fs::rename(lab.path("link"), lab.config_file()).unwrap();
        until("a symlink was switched", percent);
    }
    let done = lab.metric("lbd_config_reloads_total{result=\"done\"}");
    assert!(done >= 6.0, "{done} reloads");
    assert_eq!(lab.users(200).on("green"), crate::support::predicted(200, 60));
}

/// Method: a file with two mistakes is loaded by command; traffic, revision and the next good reload
/// must not notice.
#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.ctl("weight green 25").succeeds();
    let before = lab.status().revision;
    let bad = lab.plan.clone().app("retries = 99\nfoo = 1").text(lab.folder());
    lab.write_config(&bad);
    let said = lab.ctl("config reload").fails_with(4);
    assert!(said.contains("retries") && said.contains("foo") && said.contains("line"), "{said}");
    assert_eq!((lab.status().revision, lab.status().share("green")), (before, "25%".into()));
    lab.write_config("this is not toml");
    lab.ctl("config reload").fails_with(4);
    assert_eq!(lab.users(200).on("green"), crate::support::predicted(200, 25));
    assert!(lab.metric("lbd_config_reloads_total{result=\"refused\"}") >= 2.0);
    assert!(lab.events().iter().any(|e| e["kind"] == "reload" && e["severity"] == "warning"));
    lab.write_plan(&lab.plan);
    lab.ctl("config reload").succeeds();
}

/// Method: runtime weights and endpoints, then a file that changes something else; `diff` shows them,
/// `--reset-runtime` takes them back.
#[test]
fn runtime_values_are_kept_over_a_reload_until_they_are_reset() {
    let (blue, green) = two();
    let third = Origin::answering("third");
    let lab = plan(&blue, &green).start();
    lab.ctl("weight green 25").succeeds();
    lab.ctl(&format!("endpoint add green {third}")).succeeds();
    lab.write_plan(&lab.plan.clone().app("user_id = [\"header:X-User-Id\"]\nretries = 5"));
    lab.ctl("config reload").succeeds();
    let status = lab.status();
    assert_eq!((status.share("green"), status.pool("green").endpoints.len()), ("25%".into(), 2));
    assert!(lab.ctl("config show").succeeds().contains("retries = 5"));
    let diff = lab.ctl("config diff").succeeds();
    for key in ["service.app.pool.green.weight", "service.app.pool.green.endpoints", "25%"] {
        assert!(diff.contains(key), "{key}: {diff}");
    }
    lab.ctl("config reload --reset-runtime").succeeds();
    let status = lab.status();
    assert_eq!((status.share("green"), status.pool("green").endpoints.len()), ("0%".into(), 1));
    assert!(lab.ctl("config diff").succeeds().contains("what the file says"));
}

/// Method: a service and a pool appear, another host is served, and a service goes, under load.
#[test]
fn services_come_and_go_with_a_reload_and_no_request_fails() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    let load = lab.load();
    lab.request(&Request::get("/").host("api.test")).expect(200);
    let api = format!(
        "[service.api]\nhosts = [\"api.test\"]\n[service.api.pool.only]\nendpoints = [\"{green}\"]"
    );
    for _ in 0..5 {
        lab.write_plan(&lab.plan.clone().config(&api));
        lab.ctl("config reload").succeeds();
        assert_eq!(lab.request(&Request::get("/").host("api.test")).expect(200).origin(), "green");
        lab.write_plan(&lab.plan);
        lab.ctl("config reload").succeeds();
        assert_eq!(lab.request(&Request::get("/").host("api.test")).expect(200).origin(), "blue");
    }
    load.goes_on(50);
    load.without_failure();
}

/// Method: keys that need a restart are named, by the command that loaded them.
#[test]
fn a_reload_names_the_keys_that_need_a_restart() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.write_plan(&lab.plan.clone().admin("socket_mode = \"0600\"").weight("green", 5));
    let said = lab.ctl("config reload").succeeds();
    assert!(said.contains("admin.socket_mode") && said.contains("restart"), "{said}");
    assert_eq!(lab.status().share("green"), "5%", "the rest takes effect");
    lab.write_plan(&lab.plan.clone().weight("green", 9));
    let said = lab.ctl("config reload --dry-run").succeeds();
    assert!(said.contains("would change"), "{said}");
    assert_eq!(lab.status().share("green"), "5%");
}

/// Method: the listener's port is taken by somebody else, who must go on undisturbed.
#[test]
fn a_port_in_use_is_told_with_its_listener() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let plan = Lab::new().listener(&format!("address = \"{address}\"")).pool("blue", "127.0.0.1:1");
    let said = plan.ends(folder.path()).fails_with(1);
    assert!(
        said.contains("listener.http") && said.contains(&address) && said.contains("hint"),
        "{said}"
    );
    assert!(!folder.path().join("admin.sock").exists(), "the socket is left behind");
}

/// Method: a second lbd with the same admin socket; the first must go on undisturbed. A socket file
/// that nobody answers at is no obstacle.
#[test]
fn a_socket_in_use_by_another_lbd_is_told() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    let (took, outcome) = timed(|| lab.plan.clone().ends(lab.folder()));
    let said = outcome.fails_with(1);
    assert!(said.contains("another lbd") && said.contains("admin.sock"), "{took:?}: {said}");
    lab.ctl("status").succeeds();
    lab.kill9();
    assert!(lab.socket().exists(), "a killed lbd leaves its socket");
    lab.launch();
    lab.get("/").expect(200);
}

/// Method: the state folder cannot be made, because a file is in its place.
#[test]
fn a_state_folder_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state"), "").unwrap();
    let said = Lab::new().pool("blue", "127.0.0.1:1").ends(folder.path()).fails_with(1);
    assert!(said.contains("state_dir") && said.contains("hint"), "{said}");
}
