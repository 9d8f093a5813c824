//! Upgrades: the binary on the disk goes on where the one that runs stands, and nobody notices.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use lbd::api::types::Status;

use crate::support::{
    Client, Lab, Origin, PATIENCE, Pki, Request, eventually, installed, paced, timed,
    traffic::{self, Traffic},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Ends what runs beside a test, also when the test fails.
struct Ending<'t>(&'t AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The inodes of a process's listening sockets.
fn listening(pid: u32) -> BTreeSet<u64> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(3) == Some(&"0A")).then(|| words[9].parse::<u64>().unwrap())
    };
    let all: BTreeSet<u64> = table.lines().filter_map(inode).collect();
    let mut own = BTreeSet::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let link = fs::read_link(file.path()).unwrap_or_default();
        let text = link.to_string_lossy().into_owned();
        let inode = text.strip_prefix("socket:[").and_then(|t| t.strip_suffix(']')?.parse().ok());
        own.extend(inode.filter(|inode| all.contains(inode)));
    }
    own
}

/// The process that this one has started.
fn child_of(pid: u32) -> u32 {
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok();
    eventually("a child", || children()?.split_whitespace().next()?.parse().ok())
}

/// The events of a kind in the journal's file, in words.
fn told(lab: &Lab, kind: &str) -> Vec<String> {
    let text = fs::read_to_string(lab.path("state/events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let events = events.filter(|event| event["kind"] == kind);
    events.map(|event| event["summary"].as_str().unwrap().to_owned()).collect()
}

/// Method: lbd upgrades under keep-alive load. What operators decided, and the sockets, are the same
/// after it; the journal goes on; the old process ends by itself, and leaves the admin socket alone.
#[test]
fn another_process_goes_on_where_this_one_stands() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let mut lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    lab.ctl("weight green 25 --reason canary").succeeds();
    lab.ctl("cohort add green alice").succeeds();
    lab.ctl("maintenance on --for 2h --allow 127.0.0.1/32").succeeds();
    let (state, sockets) = (lab.status(), listening(lab.pid()));
    let file = fs::read_to_string(lab.path("state/state.json")).unwrap();
    let load = lab.load();
    load.goes_on(100);
    let (old, new) = lab.upgrade("--wait --reason 'a new release'");
    load.goes_on(100);
    load.without_failure();
    assert_ne!(old, new);
    lab.until_gone(old);
    let after = lab.status();
    assert_eq!((after.pid, after.revision), (new, state.revision));
    assert_eq!(after.share("green"), "25%");
    assert_eq!(lab.side_of("alice"), "green");
    assert!(after.service("app").maintenance.is_some());
    assert_eq!(listening(new), sockets);
    assert_eq!(fs::read_to_string(lab.path("state/state.json")).unwrap(), file);
    let upgrades = told(&lab, "upgrade");
    let version = env!("CARGO_PKG_VERSION");
    let gives = format!("hands over to lbd {version} (pid {new})");
    let takes = format!("took over from lbd {version} (pid {old})");
    assert!(upgrades[0].ends_with(&gives) && upgrades[1].ends_with(&takes), "{upgrades:?}");
    let text = fs::read_to_string(lab.path("state/events.jsonl")).unwrap();
    assert_eq!(lab.events().len(), text.lines().count());
    lab.ctl("weight green 30").succeeds();
    assert!(fs::read_to_string(lab.path("state/state.json")).unwrap() != file);
    lab.stop();
    assert!(!lab.socket().exists());
}

/// Method: clients of every kind, and five upgrades one after the other.
#[test]
fn no_kind_of_client_notices() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    let mut lab = traffic::plan(&blue, &pki).start();
    let traffic = Traffic::start(&lab, pki, 2);
    for _ in 0..5 {
        traffic.goes_on(10);
        lab.upgrade("");
    }
    traffic.goes_on(10);
    println!("{:?}", traffic.without_failure());
}

/// Method: scrapes of `admin.http` and orders through the admin socket, each on a connection of its own,
/// while lbd upgrades five times. All are answered, and the last order is in force and written.
#[test]
fn no_operator_notices_either() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plan = Lab::new().pool("blue", &blue).pool("green", &green);
    let mut lab = plan.admin(&format!("http = \"{http}\"")).start();
    let (stop, socket) = (AtomicBool::new(false), lab.socket());
    let goes_on = || !stop.load(Relaxed);
    thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on() {
                let mut client = Client::tcp(http).expect("admin.http accepts");
                client.call(&Request::get("/metrics")).expect(200);
            }
        });
        scope.spawn(|| {
            for n in (1..90).cycle() {
                if !goes_on() {
                    break;
                }
                let body = format!("{{\"pool\":\"green\",\"share\":\"{n}%\"}}");
                let order = Request::new("PUT", "/v1/split").host("lbd").body(body);
                let mut admin = Client::unix(&socket).expect("the admin socket accepts");
                let answer = admin.call(&order);
                let code = if answer.status == 200 { 200 } else { 503 };
                let text = answer.expect(code).text().to_owned();
                assert!(code == 200 || text.contains("handing_over"), "{text}");
            }
        });
        let _end = Ending(&stop);
        for _ in 0..5 {
            let revision = lab.status().revision;
            lab.until("orders are carried out", |seen| seen.revision.0 > revision.0 + 5);
            let (old, _) = lab.upgrade("");
            lab.until_gone(old);
        }
    });
    let text = fs::read_to_string(lab.path("state/state.json")).unwrap();
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["revision"], lab.status().revision.0);
}

/// Method: clients of every kind for a minute, meanwhile ten upgrades and a hundred reloads of a file
/// that changes. For `make upgrade-storm`.
#[test]
#[ignore = "takes a minute: make upgrade-storm"]
fn long_ten_upgrades_and_a_hundred_reloads() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    let mut lab = traffic::plan(&blue, &pki).start();
    let file = fs::read_to_string(lab.config_file()).unwrap();
    let traffic = Traffic::start(&lab, pki, 4);
    let mut spans = Vec::new();
    paced(110, Duration::from_secs(60), |n| {
        if n % 11 == 5 {
            spans.push(timed(|| lab.upgrade("")).0);
        } else {
            let warmup = format!("\n[service.app.guard]\nwarmup = \"{}s\"\n", n % 7);
            lab.write_config(&(file.clone() + &warmup));
            lab.ctl("config reload").succeeds();
        }
    });
    let served = traffic.without_failure();
    println!("{} upgrades took {spans:.0?}; served without a failure: {served:?}", spans.len());
}

/// Method: what is in the binary's place cannot become the next process, in one way after the other.
/// lbd says why, and goes on: it serves, and changes can be made.
#[test]
fn what_cannot_take_over_changes_nothing() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    let (pid, good) = (lab.pid(), fs::read_to_string(lab.config_file()).unwrap());
    let load = lab.load();
    let mut weight = 0;
    let mut refused = |words: &str, why: &str| {
        let said = lab.ctl(&format!("upgrade {words}")).fails_with(1);
        assert!(said.contains(why), "{said}");
        let last = told(&lab, "upgrade").pop().unwrap();
        assert!(last.starts_with("the upgrade failed: "), "{last}");
        weight += 1;
        lab.ctl(&format!("weight green {weight}")).succeeds();
        assert_eq!(lab.status().pid, pid);
    };
    lab.write_config(&(good.clone() + "\n[nonsense]\nx = 1\n"));
    refused("", "nonsense");
    lab.write_config(&good);
    lab.put_script("#!/bin/sh\nexit 3\n");
    refused("", "exit status: 3");
    lab.put_script("#!/bin/sh\nexec sleep 60\n");
    refused("--ready-within 300ms", "not ready within 300ms");
    lab.put_script("no program");
    refused("", "cannot be started");
    fs::remove_file(lab.path("lbd")).unwrap();
    refused("", "cannot be started");
    if installed("python3") {
        lab.put_script(&pretender(7, ""));
        refused("", "hands over in form 7");
        // It dies once it has what it needs to take over.
        lab.put_script(&pretender(1, "wire.recv(1 << 20); os._exit(9)"));
        refused("", "exit status: 9");
        // It says nothing any more; what is asked for meanwhile is done after it.
        lab.put_script(&pretender(1, ""));
        refused("", "not ready within 3s");
    }
    load.goes_on(50);
    load.without_failure();
}

/// A program that says that it is prepared, and then does something else.
fn pretender(protocol: u32, then: &str) -> String {
    format!(
        "#!/usr/bin/env python3\n\
         import json, os, socket, time\n\
         wire = socket.socket(fileno=os.dup(0))\n\
         wire.recv(1 << 20)\n\
         said = dict(protocol={protocol}, version='9', listeners=[], admin=True)\n\
         said = json.dumps(dict(Prepared=said)).encode()\n\
         wire.sendall(len(said).to_bytes(4, 'big') + said)\n\
         {then}\n\
         time.sleep(60)\n"
    )
}

/// Method: a process that never takes over keeps an upgrade waiting. A second upgrade is refused, what is
/// read is answered, and a change that is asked for meanwhile is made when the first has failed.
#[test]
fn while_one_upgrade_runs_nothing_is_lost() {
    if !installed("python3") {
        return;
    }
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    lab.put_script(&pretender(1, ""));
    let first = lab.begin("upgrade");
    eventually("it hands over", || told(&lab, "upgrade").pop());
    let second = lab.ctl("upgrade").fails_with(4);
    assert!(second.contains("under way"), "{second}");
    let change = lab.begin("weight green 7");
    let refused = lab.admin().call(&Request::post("/v1/rollback", "{}").host("lbd")).expect(503);
    assert_eq!(refused.json()["code"], "handing_over");
    assert_eq!(lab.status().share("green"), "0%");
    first.ended().fails_with(1);
    change.ended().succeeds();
    assert_eq!(lab.status().share("green"), "7%");
}

/// Method: lbd is told to stop while the next process prepares itself, which takes it long. Both end.
#[test]
fn a_stop_ends_an_upgrade_that_has_begun() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    lab.put_script("#!/bin/sh\necho $$ > \"$(dirname \"$2\")\"/next\nexec sleep 60\n");
    let upgrade = lab.begin("upgrade");
    let next = eventually("the next process", || {
        fs::read_to_string(lab.path("next")).ok()?.trim().parse::<u32>().ok()
    });
    lab.stop();
    lab.until_gone(next);
    assert_ne!(upgrade.ended().code, 0);
}

/// Method: `--dry-run` starts the new binary, and ends it again.
#[test]
fn a_rehearsal_starts_it_and_hands_over_nothing() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let said = lab.ctl("upgrade --dry-run").succeeds();
    assert!(said.starts_with("would change: lbd "), "{said}");
    assert_eq!((lab.status().pid, told(&lab, "upgrade").len()), (lab.pid(), 0));
    lab.write_config("nonsense");
    lab.ctl("upgrade --dry-run").fails_with(1);
    lab.ctl("upgrade --if-revision 77").fails_with(4);
    // What was only tried leaves the admin socket alone, also where it finds the wire closed.
    let started = told(&lab, "start").len();
    assert!(lab.socket().exists() && started == 1);
}

/// Method: from two workers to one, to three and back, while clients make new connections; a listener is
/// added and taken away.
#[test]
fn workers_and_listeners_come_and_go() {
    let blue = Origin::answering("blue");
    let more = "[listener.more]\naddress = \"127.0.0.1:0\"";
    let plan = |workers: usize, rest: &str| {
        let plan = Lab::new().pool("blue", &blue).runtime(&format!("workers = {workers}"));
        plan.config(rest)
    };
    let mut lab = plan(2, "").start();
    let first = listening(lab.pid());
    let traffic = lab.load_of(Request::get("/").header("Connection", "close"));
    let upgraded = |lab: &mut Lab, workers, rest| {
        lab.write_plan(&plan(workers, rest));
        let (_, new) = lab.upgrade("--wait");
        traffic.goes_on(50);
        let status = lab.status();
        let address = |n: usize| Some(status.listeners.get(n)?.address.parse().unwrap());
        (listening(new), address(1))
    };
    assert_eq!(upgraded(&mut lab, 1, ""), (first.clone(), None));
    let (three, address) = upgraded(&mut lab, 3, more);
    assert!(first.is_subset(&three) && three.len() == 2 + 3, "{three:?}");
    let address: SocketAddr = address.unwrap();
    Client::tcp(address).unwrap().call(&Request::get("/")).expect(200);
    let (two, _) = upgraded(&mut lab, 2, "");
    assert!(two == first, "{two:?}");
    eventually("the listener is closed", || Client::tcp(address).err());
    traffic.without_failure();
}

/// Method: a client keeps its connection and says nothing while lbd upgrades. Its next request is
/// answered by the old process, which says that it closes, and ends.
#[test]
fn a_connection_that_is_kept_is_served_once_more() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    let mut idle = lab.client();
    idle.call(&Request::get("/")).expect(200);
    let (old, _) = lab.upgrade("");
    let upgrade = |lab: &Lab| lab.admin().call(&Request::get("/v1/upgrade").host("lbd")).json();
    assert_eq!(upgrade(&lab)["predecessor"]["pid"], old);
    let answer = idle.call(&Request::get("/")).expect(200);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(idle.is_closed());
    lab.until_gone(old);
    eventually("it is known", || upgrade(&lab)["predecessor"].is_null().then_some(()));
}

/// Method: one client keeps its connection, another's request is held, while lbd upgrades; both are the
/// old process's. What is decided after it holds for them too.
#[test]
fn the_old_process_does_what_the_new_one_decides() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let mut lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    lab.ctl("switch green --skip-checks").succeeds();
    let mut kept = lab.client();
    assert_eq!(kept.call(&Request::get("/")).expect(200).origin(), "green");
    lab.ctl("pause --max 60s").succeeds();
    let mut held = lab.client();
    held.begin(&Request::get("/"));
    lab.until("it is held", |seen| seen.service("app").held == 1);
    let (old, _) = lab.upgrade("");
    lab.ctl("rollback").succeeds();
    lab.ctl("resume").succeeds();
    assert_eq!(held.answer().expect(200).origin(), "blue");
    assert_eq!(kept.call(&Request::get("/")).expect(200).origin(), "blue");
    lab.until_gone(old);
}

/// Method: a rollout holds at its first stage while lbd upgrades; it goes on from there with the guard's
/// evidence, and the guard of the new process takes it back when green fails.
#[test]
fn a_rollout_goes_on_and_is_guarded() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let mut lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    let begun = "rollout start green --stages 25,100 --hold 1h --advance manual --skip-checks";
    lab.ctl(begun).succeeds();
    lab.until_phase("holding");
    let load = lab.load();
    load.goes_on(100);
    let judged = |seen: &Status| seen.services[0].findings.first().map(|f| f.evidence.since);
    let since = judged(&lab.until("it is judged", |seen| judged(seen).is_some()));
    lab.upgrade("--reason x");
    // On the evidence from before, not on a new trial's.
    let seen = lab.until("it is judged again", |seen| judged(seen) == since);
    assert_eq!((seen.phase(), seen.stage(), seen.share("green")), ("holding", 1, "25%".into()));
    load.goes_on(200);
    green.status(500);
    lab.until_phase("rolled-back");
    green.status(200);
    load.without_failure();
    let (_, _) = lab.upgrade("");
    assert_eq!(lab.status().phase(), "rolled-back");
    lab.ctl("weight green 5").fails_with(4);
}

/// Method: a client keeps its connection to the old process, and the new one is told to stop, or is
/// killed. The old one does not wait for the client any longer, and its exit code tells which it was.
#[test]
fn the_old_process_ends_with_the_new_one() {
    let blue = Origin::answering("blue");
    for (signal, code) in [(Signal::SIGTERM, Some(0)), (Signal::SIGKILL, Some(1))] {
        let mut lab = Lab::new().pool("blue", &blue).start();
        let mut idle = lab.client();
        idle.call(&Request::get("/")).expect(200);
        lab.upgrade("");
        lab.signal(signal);
        let (took, status) = timed(|| lab.ended());
        assert_eq!(status.code(), code, "{signal}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert!(idle.is_closed());
        lab.launch();
        lab.stop();
    }
}

/// Method: a service manager's socket is there, and is told which process is the main one when that is
/// ready. SIGUSR2 upgrades as `lbctl upgrade` does.
#[test]
fn the_service_manager_learns_who_serves() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    lab.stop();
    let manager = UnixDatagram::bind(lab.path("notify.sock")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut message = [0; 256];
        let length = manager.recv(&mut message).expect("lbd tells the service manager");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let mut command = lab.command();
    command.env("NOTIFY_SOCKET", lab.path("notify.sock"));
    lab.launch_by(command);
    assert_eq!(heard(), format!("MAINPID={}\nREADY=1\n", lab.pid()));
    let (old, new) = lab.upgrade("");
    // The old one says so too, in case it ends sooner; which of them is sooner is open.
    let mut both = [heard(), heard()];
    both.sort();
    assert_eq!(both, [format!("MAINPID={new}\n"), format!("MAINPID={new}\nREADY=1\n")]);
    lab.until_gone(old);
    lab.signal(Signal::SIGUSR2);
    let mut both = [heard(), heard()];
    both.sort();
    let pid = lab.status().pid;
    assert!(pid != new, "{pid}");
    assert_eq!(both, [format!("MAINPID={pid}\n"), format!("MAINPID={pid}\nREADY=1\n")]);
    lab.follow(pid);
    lab.stop();
    assert_eq!(heard(), "STOPPING=1\n");
}

/// Method: lbd gets its listener's socket from somebody who keeps it open, as systemd does. It upgrades
/// and stops; who connects while nobody runs waits, and is served by the next start.
#[test]
fn a_socket_of_systemd_outlives_everybody() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    lab.stop();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let activated = |lab: &Lab| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "export LISTEN_PID=$$; exec \"$0\" \"$@\" 3<&0 </dev/null"]);
        command.arg(lab.path("lbd")).arg("--config").arg(lab.config_file());
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "http");
        command.stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
        command
    };
    let command = activated(&lab);
    lab.launch_by(command);
    assert_eq!(lab.address(), listener.local_addr().unwrap());
    lab.get("/").expect(200);
    lab.upgrade("--wait");
    lab.get("/").expect(200);
    lab.stop();
    let mut waiting = lab.client();
    waiting.begin(&Request::get("/"));
    let command = activated(&lab);
    lab.launch_by(command);
    waiting.answer().expect(200);
}

/// Method: lbd is the first process of a namespace of its own, as in a container. It upgrades, by its
/// socket and by a signal to the first process; told to stop, the first process ends as lbd does.
#[test]
fn a_containers_first_process_upgrades_too() {
    let fork = |command: &mut Command| {
        command.args(["--pid", "--fork", "--mount-proc"]);
    };
    let mut trial = Command::new("unshare");
    fork(&mut trial);
    if !trial.arg("true").status().is_ok_and(|status| status.success()) {
        println!("note: no namespace of processes can be made, this test is passed over");
        return;
    }
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    lab.stop();
    let mut command = Command::new("unshare");
    fork(&mut command);
    command.arg(lab.path("lbd")).arg("--config").arg(lab.config_file());
    lab.launch_by(command);
    let first = Pid::from_raw(child_of(lab.pid()) as i32);
    let load = lab.load();
    load.goes_on(50);
    let before = lab.status().pid;
    lab.ctl("upgrade --wait").succeeds();
    let after = lab.status().pid;
    assert!(before != 1 && after != before);
    kill(first, Signal::SIGUSR2).unwrap();
    let signalled = lab.until("it upgrades", |seen| seen.pid != after).pid;
    load.goes_on(50);
    load.without_failure();
    assert_ne!(signalled, 1);
    kill(first, Signal::SIGTERM).unwrap();
    assert!(lab.ended().success());
    assert!(!lab.socket().exists());
}
