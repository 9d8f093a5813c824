//! `pause` and `resume`: requests are held for a bounded time, and lose nothing.

use std::thread;

use crate::support::{Lab, Origin, Request};

fn lab() -> (Origin, Origin, Lab) {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    (blue, green, lab)
}

fn until_held(lab: &Lab, count: u64) {
    lab.until(&format!("{count} held requests"), |seen| seen.service("app").held == count);
}

/// Method: requests wait while everything is cut over, and are answered by the new side.
#[test]
fn requests_wait_and_then_see_what_is_in_force() {
    let (blue, _green, lab) = lab();
    lab.ctl("pause").succeeds();
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let mut client = lab.client();
            thread::spawn(move || client.call(&Request::get("/")).expect(200))
        })
        .collect();
    until_held(&lab, 20);
    assert_eq!(blue.requests(), 0);
    lab.ctl("weight green 100").succeeds();
    until_held(&lab, 20);
    lab.ctl("resume").succeeds();
    for answer in waiting {
        assert_eq!(answer.join().unwrap().origin(), "green");
    }
    until_held(&lab, 0);
    assert_eq!(blue.requests(), 0);
}

#[test]
fn nobody_waits_longer_than_was_said() {
    let (blue, _green, lab) = lab();
    lab.ctl("pause --max 300ms").succeeds();
    let mut client = lab.client();
    let answer = client.call(&Request::get("/")).expect(503);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(blue.requests(), 0, "the pause lasts until somebody ends it");
    assert!(lab.ctl("status").succeeds().contains("requests are held since"));
    lab.ctl("resume").succeeds();
    assert_eq!(client.call(&Request::get("/")).expect(200).origin(), "blue");
}

#[test]
fn a_pause_is_of_the_services_that_are_named_and_its_span_has_a_limit() {
    let (_blue, _green, lab) = lab();
    lab.ctl("pause --service other").fails_with(4);
    lab.ctl("pause --max 10m").fails_with(4);
    lab.ctl("pause --max 0s").fails_with(4);
    assert!(lab.ctl("resume").succeeds().contains("nothing is paused"));
    lab.get("/").expect(200);
}

#[test]
fn maintenance_is_answered_at_once_while_paused() {
    let (_blue, _green, lab) = lab();
    lab.ctl("pause").succeeds();
    lab.ctl("maintenance on").succeeds();
    lab.get("/").expect(503);
    lab.ctl("maintenance off").succeeds();
    lab.ctl("resume").succeeds();
    lab.get("/").expect(200);
}
