//! Stopping: running requests finish, new ones are not begun, and nothing waits for nothing.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
};

use crate::support::{Answer, Client, Lab, Origin, Request, eventually, timed};
use nix::sys::signal::Signal;

fn in_background(lab: &Lab) -> JoinHandle<std::io::Result<Answer>> {
    let mut client = lab.client();
    thread::spawn(move || client.try_call(&Request::get("/")))
}

/// Method: an idle lbd with open keep-alive connections is told to stop.
#[test]
fn an_idle_lbd_ends_at_once() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    let mut idle = lab.client();
    idle.call(&Request::get("/")).expect(200);
    lab.sigterm();
    let (took, status) = timed(|| lab.ended());
    assert!(status.success() && took.as_secs_f64() < 2.0, "{status} after {took:?}");
    assert!(idle.is_closed());
    assert!(!lab.socket().exists(), "the admin socket is taken away");
}

/// Method: a request is held, SIGTERM comes, new connections are refused, the request gets its whole
/// answer with `Connection: close`, and only then the process ends.
#[test]
fn a_running_request_finishes_before_the_end() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    blue.hold();
    let running = in_background(&lab);
    blue.until_running(1);
    lab.sigterm();
    eventually("new connections are refused", || Client::tcp(lab.address()).err());
    lab.admin().call(&Request::get("/readyz").host("lbd")).expect(503);
    lab.admin().call(&Request::get("/healthz").host("lbd")).expect(200);
    assert!(!running.is_finished());
    blue.release();
    let answer = running.join().unwrap().unwrap().expect(200);
    assert_eq!((answer.text(), answer.header("connection")), ("blue", Some("close")));
    let (took, status) = timed(|| lab.ended());
    assert!(status.success() && took.as_secs_f64() < 2.0, "{status} after {took:?}");
}

/// Method: a request that never ends; the first signal waits for it, the second does not.
#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let blue = Origin::answering("blue");
        let mut lab = Lab::new().pool("blue", &blue).start();
        blue.hold();
        let running = in_background(&lab);
        blue.until_running(1);
        lab.sigterm();
        eventually("it is stopping", || Client::tcp(lab.address()).err());
        lab.signal(second);
        let (took, _) = timed(|| lab.ended());
        assert!(took.as_secs_f64() < 2.0, "{took:?}");
        assert!(running.join().unwrap().is_err(), "the request is cut off");
    }
}

/// Method: a request that never ends, and a drain of half a second.
#[test]
fn the_drain_has_its_limit() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().runtime("upgrade_drain = \"500ms\"").pool("blue", &blue).start();
    blue.hold();
    let running = in_background(&lab);
    blue.until_running(1);
    let (took, status) = timed(|| {
        lab.sigterm();
        lab.ended()
    });
    assert!((0.4..3.0).contains(&took.as_secs_f64()), "{status} after {took:?}");
    assert!(running.join().unwrap().is_err());
}

/// Method: lbd is frozen while twenty clients connect and send their requests, so that the kernel has
/// made the connections but nobody has accepted them. Then it is told to stop, and thawed; ten times,
/// since the moment matters.
#[test]
fn connections_that_wait_to_be_accepted_are_still_served() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    for round in 1..=10 {
        lab.signal(Signal::SIGSTOP);
        let mut clients: Vec<_> = (0..20).map(|_| lab.client()).collect();
        for client in &mut clients {
            client.begin(&Request::get("/"));
        }
        lab.sigterm();
        lab.signal(Signal::SIGCONT);
        let answers = clients.iter_mut().map(|client| client.read_head().map(|head| head.status));
        let lost: Vec<_> = answers.filter(|answer| !matches!(answer, Ok(200))).collect();
        assert!(lost.is_empty(), "stop {round}: {} of 20 lost: {:?}", lost.len(), lost.first());
        assert!(lab.ended().success());
        lab.launch();
    }
}

/// Method: clients in a loop, each request on a connection of its own, while lbd stops; five times,
/// since the moment matters. A connection that is made gets its answer; one that comes too late is
/// refused. There must be nothing in between.
#[test]
fn no_request_is_lost_while_clients_keep_coming() {
    let blue = Origin::answering("blue");
    let mut lab = Lab::new().pool("blue", &blue).start();
    for round in 1..=5 {
        let (address, goal) = (lab.address(), blue.requests() + 200);
        let clients: Vec<_> = (0..4).map(|_| thread::spawn(move || keep_coming(address))).collect();
        eventually("requests are flowing", || (blue.requests() > goal).then_some(()));
        lab.sigterm();
        assert!(lab.ended().success());
        let lost: Vec<_> = clients.into_iter().filter_map(|c| c.join().unwrap().err()).collect();
        assert!(lost.is_empty(), "stop {round}: {lost:?}");
        lab.launch();
    }
}

/// Sends requests until connections are refused.
fn keep_coming(address: SocketAddr) -> Result<(), String> {
    loop {
        let Ok(mut client) = Client::tcp(address) else { return Ok(()) };
        match client.try_call(&Request::get("/")) {
            Ok(answer) if answer.status == 200 => {}
            other => return Err(format!("{other:?}")),
        }
    }
}
