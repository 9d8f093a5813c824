//! State: what operators decided outlives the process, whatever ends it.

use std::{fs, path::PathBuf};

use crate::support::{Lab, Origin, Plan};

fn two() -> (Origin, Origin) {
    (Origin::answering("blue"), Origin::answering("green"))
}

fn plan(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().pool("blue", blue).pool("green", green)
}

fn state_file(lab: &Lab) -> PathBuf {
    lab.path("state/state.json")
}

/// Everything that an operator can decide, as the API tells it; the counters of a run are left out.
fn decisions(lab: &Lab) -> String {
    let status = lab.status();
    let pools = status.services.iter().flat_map(|s| s.pools.iter().map(move |p| (s, p)));
    let lines = pools.map(|(service, pool)| {
        let endpoints =
            pool.endpoints.iter().map(|e| format!("{} {} {:?}", e.address, e.weight, e.state));
        let endpoints: Vec<_> = endpoints.collect();
        format!(
            "{} {} {} {endpoints:?} {:?}\n",
            service.name, pool.name, pool.share, service.maintenance
        )
    });
    let cohort = lab.ctl("cohort list green").succeeds();
    format!("{}\n{}{cohort}", status.revision, lines.collect::<String>())
}

/// Method: one of everything is changed; then a stop and a kill, each with a start after it.
#[test]
fn everything_decided_survives_restart_and_kill() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    for words in [
        "weight green 25",
        "cohort add green ada",
        "cohort add green bob --deny",
        "endpoint add green 127.0.0.1:1 --weight 7",
        "endpoint drain green 127.0.0.1:1",
        "maintenance on --service app --message later --allow 10.0.0.0/8",
    ] {
        lab.ctl(words).succeeds();
    }
    let before = decisions(&lab);
    assert!(
        before.starts_with("7\n") && before.contains("25%") && before.contains("ada"),
        "{before}"
    );
    lab.restart();
    assert_eq!(decisions(&lab), before);
    lab.kill9();
    lab.launch();
    assert_eq!(decisions(&lab), before);
    lab.ctl("maintenance off").succeeds();
    assert_eq!(lab.side_of("ada"), "green");
}

/// Method: lbd is killed right after each of twenty commands returned; what was told is there.
#[test]
fn what_a_command_told_is_there_after_a_kill() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    for n in 1..=20 {
        lab.ctl(&format!("weight green {n}")).succeeds();
        lab.kill9();
        lab.launch();
        assert_eq!(
            (lab.status().share("green"), lab.status().revision.0),
            (format!("{n}%"), n + 1)
        );
    }
}

/// Method: a weight for a time, whose time is up while lbd is down.
#[test]
fn a_weight_whose_time_is_up_meanwhile_returns_at_the_start() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 60 --for 300ms").succeeds();
    lab.kill9();
    lab.launch();
    lab.until("green is back at 0 %", |s| s.share("green") == "0%");
}

/// Method: the state file is cut in the middle, emptied, and replaced by something foreign.
#[test]
fn a_torn_state_file_is_refused_and_kept() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 25").succeeds();
    lab.stop();
    let whole = fs::read_to_string(state_file(&lab)).unwrap();
    for bad in [&whole[..whole.len() / 2], "", "[1, 2, 3]"] {
        fs::write(state_file(&lab), bad).unwrap();
        let said = lab.relaunch_ends().fails_with(1);
        assert!(said.contains("state.json") && said.contains("--reset-state"), "{said}");
        assert_eq!(
            fs::read_to_string(state_file(&lab)).unwrap(),
            bad,
            "the file is left as it was"
        );
    }
    fs::write(state_file(&lab), &whole).unwrap();
    lab.launch();
    assert_eq!(lab.status().share("green"), "25%");
}

/// Method: the file changes while lbd is down: what it changed wins, what it left alone does not.
#[test]
fn a_changed_config_value_wins_over_runtime_and_an_unchanged_one_does_not() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 25").succeeds();
    lab.stop();
    lab.write_plan(&lab.plan.clone().runtime("max_connections = 999"));
    lab.launch();
    assert_eq!(lab.status().share("green"), "25%", "the file's weight is as it was");
    lab.stop();
    lab.write_plan(&lab.plan.clone().weight("green", 40));
    lab.launch();
    assert_eq!(lab.status().share("green"), "40%", "the file's weight is new");
    lab.ctl("weight green 50").succeeds();
    lab.restart();
    assert_eq!(lab.status().share("green"), "50%", "and counts once");
}

/// Method: a folder stands where the temporary file would be written, so that nobody, root included,
/// can write the state. A weight is refused; a rollback is not.
#[test]
fn a_state_that_cannot_be_written_refuses_changes_but_not_a_rollback() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 50").succeeds();
    let obstacle = lab.path("state/state.json.new");
    fs::create_dir(&obstacle).unwrap();
    let before = decisions(&lab);
    for words in ["weight green 75", "switch green", "maintenance on", "cohort add green ada"] {
        let said = lab.ctl(words).fails_with(4);
        assert!(
            said.contains("nothing was changed") && said.contains("state_dir"),
            "{words}: {said}"
        );
        assert_eq!(decisions(&lab), before, "{words}");
    }
    let outcome = lab.ctl("rollback");
    assert!(outcome.stderr.contains("warning") && outcome.stderr.contains("not be written"));
    outcome.succeeds();
    assert_eq!(lab.status().share("green"), "0%");
    assert_eq!(lab.users(100).on("green").len(), 0);
    fs::remove_dir(&obstacle).unwrap();
    crate::support::eventually("the state is written again", || {
        fs::read_to_string(state_file(&lab)).unwrap().contains("\"revision\": 3").then_some(())
    });
    lab.kill9();
    lab.launch();
    assert_eq!((lab.status().share("green"), lab.status().revision.0), ("0%".into(), 3));
}

/// Method: the journal's file itself, line by line, after a change with a reason and one without.
#[test]
fn the_journal_tells_who_did_what_and_why() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 25 --reason 'release 7, canary'").succeeds();
    lab.ctl("rollback").succeeds();
    lab.restart();
    let text = fs::read_to_string(lab.path("state/events.jsonl")).unwrap();
    let events: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "weight", "rollback", "stop", "start"]);
    let weight = &events[1];
    assert_eq!(weight["actor"]["uid"], nix::unistd::getuid().as_raw());
    assert!(weight["actor"]["pid"].as_i64().is_some_and(|pid| pid > 1));
    assert_eq!(weight["reason"], "release 7, canary");
    assert_eq!(
        (weight["before"].as_str(), weight["after"].as_str()),
        (Some("app: blue 100%, green 0%"), Some("app: blue 75%, green 25%"))
    );
    assert_eq!(
        (weight["revision"].as_u64(), weight["services"][0].as_str()),
        (Some(2), Some("app"))
    );
    assert_eq!(
        (events[2]["severity"].as_str(), events[2]["reason"].as_str()),
        (Some("warning"), None)
    );
    let shown = lab.ctl("events").succeeds();
    assert!(shown.contains("release 7, canary") && shown.contains("green 0% → 25%"), "{shown}");
    let listed = lab.ctl("events --json --limit 2").succeeds();
    let listed: Vec<serde_json::Value> =
        listed.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(listed, events[3..], "one event a line");
}
