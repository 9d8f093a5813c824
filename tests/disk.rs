//! The disk: one that hangs or is full holds up nothing but what must be written first.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::PathBuf,
    process::Child,
};

use crate::support::{Lab, Origin, Plan, Request, eventually};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

fn two() -> (Origin, Origin) {
    (Origin::answering("blue"), Origin::answering("green"))
}

fn plan(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().pool("blue", blue).pool("green", green)
}

/// Where lbd writes the state before it renames it.
fn fresh(lab: &Lab) -> PathBuf {
    lab.path("state/state.json.new")
}

/// From now on the disk hangs: opening a pipe that nobody reads waits for ever.
fn hang(lab: &Lab) {
    mkfifo(&fresh(lab), Mode::S_IRWXU).unwrap();
}

/// The disk answers again: first with an error, since a pipe cannot be synced, then as it should. The
/// pipe's end must be kept, or who is about to open the pipe hangs again.
fn mend(lab: &Lab) -> File {
    let nonblocking = nix::libc::O_NONBLOCK;
    let end = OpenOptions::new().read(true).custom_flags(nonblocking).open(fresh(lab)).unwrap();
    fs::remove_file(fresh(lab)).unwrap();
    end
}

fn until_written(lab: &Lab, text: &str) {
    eventually("the state is written", || {
        fs::read_to_string(lab.path("state/state.json")).unwrap().contains(text).then_some(())
    });
}

/// Starts `lbctl` and lets it run.
fn begin(lab: &Lab, words: &str, to: &str) -> Child {
    let said = File::create(lab.path(to)).unwrap();
    lab.ctl_command(words).stderr(said).stdout(File::create("/dev/null").unwrap()).spawn().unwrap()
}

/// Waits until it ends, and returns how and with which words.
fn ended(lab: &Lab, mut child: Child, to: &str) -> (Option<i32>, String) {
    let status = eventually("lbctl ends", || child.try_wait().unwrap());
    (status.code(), fs::read_to_string(lab.path(to)).unwrap())
}

/// Method: a pipe that nobody reads stands where the state is written; a weight waits for it when the
/// rollback comes. Then the disk answers, and lbd is killed and started.
#[test]
fn a_rollback_does_not_wait_for_a_disk_that_hangs() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 50").succeeds();
    hang(&lab);
    // It is on the socket before lbctl, which has to start first, can ask for anything.
    let mut weight = lab.admin();
    weight.begin(&Request::new("PUT", "/v1/split").body(r#"{ "pool": "green", "share": "75%" }"#));
    let rollback = begin(&lab, "rollback", "rollback");
    lab.until("green is back at 0 %", |s| s.share("green") == "0%");
    assert_eq!(lab.users(100).on("green").len(), 0);
    let (code, said) = ended(&lab, rollback, "rollback");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("warning") && said.contains("the disk does not answer"), "{said}");
    let said = weight.answer();
    assert!(said.status >= 400, "{said:?}");
    let said = said.text();
    assert!(said.contains("the disk does not answer") && said.contains("nothing was"), "{said}");
    assert_eq!((lab.status().share("green"), lab.status().revision.0), ("0%".into(), 3));
    let _end = mend(&lab);
    until_written(&lab, "\"revision\": 3");
    lab.ctl("maintenance on").succeeds();
    lab.kill9();
    lab.launch();
    assert_eq!((lab.status().share("green"), lab.status().revision.0), ("0%".into(), 4));
}

/// Method: the same pipe; a weight's time is up, a reload is asked for by command and by signal.
#[test]
fn time_goes_on_and_reloads_are_refused_while_the_disk_hangs() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.ctl("weight green 60 --for 1s").succeeds();
    hang(&lab);
    lab.until("the time is up", |s| s.share("green") == "0%");
    lab.write_plan(&lab.plan.clone().weight("green", 40));
    lab.signal(Signal::SIGHUP);
    let said = lab.ctl("config reload").fails_with(4);
    assert!(said.contains("the disk does not answer"), "{said}");
    assert_eq!(lab.status().share("green"), "0%");
    let refused = |e: &serde_json::Value| {
        e["actor"]["name"] == "SIGHUP" && e["summary"].as_str().unwrap().contains("does not answer")
    };
    eventually("the signal's reload is refused", || lab.events().iter().any(refused).then_some(()));
    let _end = mend(&lab);
    lab.ctl("config reload").succeeds();
    assert_eq!(lab.status().share("green"), "40%");
    until_written(&lab, &format!("\"revision\": {}", lab.status().revision));
}

/// Method: the state is written to `/dev/full`, which has no room for anybody, root included.
#[test]
fn a_full_disk_refuses_changes_but_not_a_rollback() {
    let (blue, green) = two();
    let lab = plan(&blue, &green).start();
    lab.ctl("weight green 50").succeeds();
    symlink("/dev/full", fresh(&lab)).unwrap();
    let said = lab.ctl("weight green 75").fails_with(4);
    assert!(said.contains("No space left") && said.contains("nothing was changed"), "{said}");
    let outcome = lab.ctl("rollback");
    assert!(outcome.stderr.contains("warning") && outcome.stderr.contains("No space left"));
    outcome.succeeds();
    assert_eq!(lab.users(100).on("green").len(), 0);
    fs::remove_file(fresh(&lab)).unwrap();
    until_written(&lab, "\"revision\": 3");
}

/// Method: lbd is told to end, and started with a changed config, while the disk hangs.
#[test]
fn neither_the_end_nor_the_start_waits_for_a_disk_that_hangs() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    lab.ctl("weight green 50").succeeds();
    hang(&lab);
    lab.ctl("rollback").succeeds();
    lab.stop();
    assert!(lab.log().contains("may be lost"), "{}", lab.log());
    lab.write_plan(&lab.plan.clone().weight("green", 40));
    lab.launch();
    assert_eq!(lab.status().share("green"), "40%");
    lab.get("/").expect(200);
    let _end = mend(&lab);
    until_written(&lab, &format!("\"revision\": {}", lab.status().revision));
}

/// Method: lbd is killed right after each of ten commands returned; the journal's file has each.
#[test]
fn what_a_command_told_is_in_the_journal_after_a_kill() {
    let (blue, green) = two();
    let mut lab = plan(&blue, &green).start();
    for n in 1..=10 {
        lab.ctl(&format!("weight green {n}")).succeeds();
        lab.kill9();
        let text = fs::read_to_string(lab.path("state/events.jsonl")).unwrap();
        let last = text.lines().last().unwrap();
        assert!(last.contains(&format!("{n}%")), "{last}");
        lab.launch();
    }
}
