//! The whole module against receivers in this process.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{fake::*, queue::WAITING_MAX, *};
use crate::model::{event::Severity, notify::Channel, settings::Secret};

fn webhook(name: &str, url: &str) -> Receiver {
    let channel = Channel::Webhook { url: url.into(), secret: None, token: None };
    Receiver { name: name.parse().unwrap(), severity: Severity::Info, channel }
}

fn pagerduty(name: &str, url: &str) -> Receiver {
    let channel = Channel::Pagerduty { routing_key: Secret("R0UT1NG".into()), url: url.into() };
    Receiver { name: name.parse().unwrap(), severity: Severity::Warning, channel }
}

fn start(receivers: &[Receiver]) -> Notifiers {
    Notifiers::with_patience(receivers, PATIENCE)
}

fn said(severity: Severity, summary: &str) -> Event {
    Event { severity, ..event("guard", summary) }
}

/// Waits until the counts of a receiver are as wanted, and returns them.
fn wait(notifiers: &Notifiers, name: &str, is: impl Fn(&ReceiverCounts) -> bool) -> ReceiverCounts {
    let end = Instant::now() + WAIT_MAX;
    loop {
        let all = notifiers.counts();
        let counts = all.into_iter().find(|counts| counts.name.to_string() == name).unwrap();
        if is(&counts) {
            return counts;
        }
        assert!(Instant::now() < end, "{counts:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn test(notifiers: &Notifiers, name: &str) -> Option<Result<(), String>> {
    notifiers.test(&name.parse().unwrap()).map(|result| result.blocking_recv().unwrap())
}

#[test]
fn receivers_are_told_from_their_severity_on() {
    let (all, some) = (HttpServer::start(&[Answer::OK]), HttpServer::start(&[Answer::OK]));
    let severe = Receiver { severity: Severity::Warning, ..webhook("some", &some.url()) };
    let notifiers = start(&[webhook("all", &all.url()), severe]);
    let events = [Severity::Info, Severity::Warning, Severity::Critical];
    for severity in events {
        notifiers.tell(&said(severity, "x"));
    }
    let got = |server: &HttpServer, n| -> Vec<_> {
        (0..n).map(|_| server.next().json()["severity"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(got(&all, 3), ["info", "warning", "critical"]);
    assert_eq!(got(&some, 2), ["warning", "critical"]);
    let counts = wait(&notifiers, "all", |counts| counts.sent == 3 && counts.waiting == 0);
    assert_eq!((counts.failed, counts.dropped, counts.problem), (0, 0, None));
    assert_eq!(wait(&notifiers, "some", |counts| counts.waiting == 0).sent, 2);
}

#[test]
fn a_failure_that_passes_is_tried_again() {
    let busy = Answer::Status("500 Internal Server Error", "", "oops");
    let server = HttpServer::start(&[busy, busy, Answer::OK]);
    let notifiers = start(&[webhook("ops", &server.url())]);
    notifiers.tell(&said(Severity::Info, "x"));
    let bodies: Vec<_> = (0..3).map(|_| server.next().body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let counts = wait(&notifiers, "ops", |counts| counts.sent == 1);
    assert_eq!((counts.failed, counts.problem), (0, None));
}

#[test]
fn a_failure_that_lasts_is_not_tried_again() {
    let server = HttpServer::start(&[Answer::Status("404 Not Found", "", "no hook"), Answer::OK]);
    let notifiers = start(&[webhook("ops", &server.url())]);
    notifiers.tell(&said(Severity::Info, "one"));
    let counts = wait(&notifiers, "ops", |counts| counts.failed == 1);
    assert_eq!(counts.problem.as_deref(), Some("status 404: no hook"));
    notifiers.tell(&said(Severity::Info, "two"));
    let got = [server.next(), server.next()].map(|request| request.json()["summary"].clone());
    assert_eq!(got, ["one", "two"]);
    assert_eq!(wait(&notifiers, "ops", |counts| counts.sent == 1).problem, None);
}

#[test]
fn a_notice_is_given_up_after_the_last_try() {
    let server = HttpServer::start(&[Answer::Status("500 Internal Server Error", "", "")]);
    let notifiers = start(&[webhook("ops", &server.url())]);
    notifiers.tell(&said(Severity::Info, "x"));
    let counts = wait(&notifiers, "ops", |counts| counts.failed == 1 && counts.waiting == 0);
    assert_eq!((counts.sent, counts.problem.as_deref()), (0, Some("status 500")));
    (0..PATIENCE.tries_max).for_each(|_| drop(server.next()));
    assert!(server.is_quiet());
}

#[test]
fn a_receiver_that_never_answers_holds_up_nobody_else() {
    let (stuck, well) = (HttpServer::start(&[Answer::Never]), HttpServer::start(&[Answer::OK]));
    let notifiers = start(&[webhook("stuck", &stuck.url()), webhook("well", &well.url())]);
    notifiers.tell(&said(Severity::Info, "0"));
    stuck.next();
    // It has one under way, so that `1` is the oldest that waits.
    for n in 1..=WAITING_MAX + 2 {
        notifiers.tell(&said(Severity::Info, &n.to_string()));
        wait(&notifiers, "well", |counts| counts.sent as usize == n + 1);
    }
    let counts = wait(&notifiers, "stuck", |_| true);
    assert_eq!((counts.sent, counts.dropped, counts.failed), (0, 2, 0));
    assert_eq!(counts.waiting as usize, WAITING_MAX + 1);
    let got: Vec<_> = (0..WAITING_MAX + 3).map(|_| well.next().json()["summary"].clone()).collect();
    assert_eq!(got[WAITING_MAX + 2], (WAITING_MAX + 2).to_string());
}

#[test]
fn an_update_keeps_ends_and_starts() {
    let stuck = HttpServer::start(&[Answer::Never]);
    let (old, new) = (HttpServer::start(&[Answer::OK]), HttpServer::start(&[Answer::OK]));
    let kept = webhook("kept", &stuck.url());
    let mut notifiers = start(&[kept.clone(), webhook("ops", &old.url())]);
    notifiers.tell(&said(Severity::Info, "one"));
    notifiers.tell(&said(Severity::Info, "two"));
    wait(&notifiers, "ops", |counts| counts.sent == 2);
    notifiers.update(&[webhook("fresh", &new.url()), kept.clone()]);
    let names: Vec<_> = notifiers.counts().iter().map(|counts| counts.name.to_string()).collect();
    assert_eq!(names, ["fresh", "kept"]);
    assert_eq!(wait(&notifiers, "kept", |_| true).waiting, 2);
    notifiers.tell(&said(Severity::Info, "three"));
    assert_eq!(new.next().json()["summary"], "three");
    assert_eq!(
        (old.next().json()["summary"].clone(), old.next().json()["summary"].clone()),
        ("one".into(), "two".into())
    );
    assert!(old.is_quiet());
    assert_eq!(test(&notifiers, "ops"), None);
}

#[test]
fn threads_end_when_their_receiver_goes() {
    let failing = HttpServer::start(&[Answer::Status("500 Internal Server Error", "", "")]);
    let hour = Duration::from_secs(3600);
    let idle = Receiver { severity: Severity::Critical, ..webhook("idle", "http://192.0.2.1") };
    let patience = Patience { first: hour, longest: hour, span_max: hour * 9, ..PATIENCE };
    let notifiers = Notifiers::with_patience(&[webhook("ops", &failing.url()), idle], patience);
    notifiers.tell(&said(Severity::Info, "x"));
    // One rests after a failure, the other waits for work.
    wait(&notifiers, "ops", |counts| counts.problem.is_some());
    let routes: Vec<_> = notifiers.couriers.iter().map(Courier::watch).collect();
    drop(notifiers);
    let end = Instant::now() + WAIT_MAX;
    while routes.iter().any(|route| route.upgrade().is_some()) {
        assert!(Instant::now() < end, "a thread is left");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_incident_is_closed_by_the_key_it_was_opened_with() {
    let server = HttpServer::start(&[Answer::Status("202 Accepted", "", "")]);
    let notifiers = start(&[pagerduty("oncall", &server.url())]);
    // Good news without bad news before is no notice.
    notifiers.tell(&said(Severity::Info, "well"));
    notifiers.tell(&said(Severity::Critical, "no-go"));
    notifiers.tell(&said(Severity::Info, "over"));
    notifiers.tell(&said(Severity::Info, "over again"));
    let [opened, closed] = [server.next(), server.next()].map(|request| request.json());
    assert_eq!(
        (&opened["event_action"], &closed["event_action"]),
        (&"trigger".into(), &"resolve".into())
    );
    assert_eq!(opened["dedup_key"], closed["dedup_key"]);
    wait(&notifiers, "oncall", |counts| counts.sent == 2 && counts.waiting == 0);
    assert!(server.is_quiet());
}

#[test]
fn a_lost_resolve_is_made_good_by_the_next_good_news() {
    let ok = Answer::Status("202 Accepted", "", "");
    let server = HttpServer::start(&[ok, Answer::Status("400 Bad Request", "", "R0UT1NG?"), ok]);
    let notifiers = start(&[pagerduty("oncall", &server.url())]);
    notifiers.tell(&said(Severity::Critical, "no-go"));
    notifiers.tell(&said(Severity::Info, "over"));
    let counts = wait(&notifiers, "oncall", |counts| counts.failed == 1);
    assert_eq!(counts.problem.as_deref(), Some("status 400: ***?"));
    notifiers.tell(&said(Severity::Info, "still over"));
    let actions = [server.next(), server.next(), server.next()]
        .map(|request| request.json()["event_action"].clone());
    assert_eq!(actions, ["trigger", "resolve", "resolve"]);
}

#[test]
fn a_test_is_sent_past_the_queue_and_says_how_it_went() {
    let server = HttpServer::start(&[
        Answer::Never,
        Answer::OK,
        Answer::Status("403 Forbidden", "", "go away"),
    ]);
    let notifiers = start(&[webhook("ops", &server.url())]);
    notifiers.tell(&said(Severity::Info, "stuck"));
    server.next();
    assert_eq!(test(&notifiers, "ops"), Some(Ok(())));
    assert_eq!(server.next().json()["test"], true);
    assert_eq!(test(&notifiers, "ops"), Some(Err("status 403: go away".into())));
    assert_eq!(test(&notifiers, "nobody"), None);
    let counts = wait(&notifiers, "ops", |_| true);
    assert_eq!((counts.sent, counts.failed, counts.waiting), (0, 0, 1));
}

#[test]
fn no_text_has_a_secret() {
    let secret = |text: &str| Secret(text.into());
    type Make<'a> = &'a dyn Fn(&str) -> Channel;
    let table: [(Make<'_>, &str, &str); 3] = [
        (
            &|url| Channel::Webhook {
                url: url.into(),
                secret: Some(secret("hunter2")),
                token: Some(secret("T0P")),
            },
            "no T0P and no hunter2",
            "no *** and no ***",
        ),
        (&|url| Channel::Slack { url: secret(url) }, "no such path: /hook", "no such path: /***"),
        (
            &|url| Channel::Pagerduty { routing_key: secret("R0UT1NG"), url: url.into() },
            "bad key R0UT1NG",
            "bad key ***",
        ),
    ];
    for (channel, answer, masked) in table {
        let server = HttpServer::start(&[Answer::Status("403 Forbidden", "", answer)]);
        let receiver = Receiver { channel: channel(&server.url()), ..webhook("ops", "") };
        let slack = matches!(receiver.channel, Channel::Slack { .. });
        let notifiers = start(&[receiver]);
        notifiers.tell(&said(Severity::Critical, "x"));
        let told = format!("status 403: {masked}");
        let counts = wait(&notifiers, "ops", |counts| counts.failed == 1);
        assert_eq!(counts.problem.as_ref(), Some(&told));
        assert_eq!(test(&notifiers, "ops"), Some(Err(told)));
        let shown = format!("{notifiers:?}");
        let secrets = ["hunter2", "T0P", "R0UT1NG", if slack { "/hook" } else { "T0P" }];
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
    }
}
