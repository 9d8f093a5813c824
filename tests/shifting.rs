//! Shifting: who gets which pool, and when a weight takes effect.

use std::collections::BTreeSet;

use crate::support::{Lab, Origin, Plan, Request, eventually, predicted, timed};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

fn two() -> (Origin, Origin) {
    (Origin::answering("blue"), Origin::answering("green"))
}

fn lab_of(blue: &Origin, green: &Origin) -> Plan {
    Lab::new().pool("blue", blue).pool("green", green)
}

/// How many of `count` anonymous requests green answers.
fn drawn(lab: &Lab, count: usize) -> usize {
    let mut client = lab.client();
    let answers = (0..count).map(|_| client.call(&Request::get("/")).expect(200));
    answers.filter(|answer| answer.origin() == "green").count()
}

/// Method: 2,000 users with a header, at every stage up and back; the prediction uses the published rule.
#[test]
fn the_users_on_green_are_exactly_those_predicted() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    for percent in [5, 10, 25, 50, 100, 50, 10, 0] {
        lab.ctl(&format!("weight green {percent}")).succeeds();
        let crowd = lab.users(2000);
        assert_eq!(crowd.on("green"), predicted(2000, percent), "at {percent} %");
        assert_eq!(crowd.on("blue").len() + crowd.on("green").len(), 2000);
    }
    assert!(predicted(2000, 5).is_subset(&predicted(2000, 10)));
}

/// Method: green's own record of whom it saw, with fractions of a percent.
#[test]
fn a_share_can_be_a_fraction_of_a_percent() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    lab.ctl("weight green 0.5%").succeeds();
    lab.users(2000);
    let below = |user: &String| lbd::model::Bucket::of("lbd", user).number() < 50;
    let expected: BTreeSet<String> = predicted(2000, 1).into_iter().filter(below).collect();
    assert_eq!(green.users(), expected);
}

/// Method: connections that were used before the command are used again right after it returned.
#[test]
fn the_first_request_after_the_command_follows_it_on_old_connections_too() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    let mut old: Vec<_> = (0..8).map(|_| lab.client()).collect();
    for (percent, side) in [(100, "green"), (0, "blue"), (100, "green"), (0, "blue")] {
        lab.ctl(&format!("weight green {percent}")).succeeds();
        for client in &mut old {
            assert_eq!(
                client.call(&Request::get("/").user("ada")).origin(),
                side,
                "at {percent} %"
            );
        }
    }
}

/// Method: four threads of load while the weight is changed 50 times. Not one request may fail.
#[test]
fn no_request_fails_while_weights_change() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    let load = lab.load();
    for n in 0..50 {
        lab.ctl(&format!("weight green {}", n * 7 % 101)).succeeds();
    }
    lab.ctl("switch green").succeeds();
    lab.ctl("rollback").succeeds();
    load.goes_on(100);
    let requests = load.without_failure();
    assert_eq!(blue.requests() + green.requests(), requests);
    assert!(green.requests() > 0);
}

/// Method: 4,000 draws at 30 %; the bounds are five standard deviations wide.
#[test]
fn anonymous_requests_are_drawn_by_weight() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    assert_eq!(drawn(&lab, 200), 0);
    lab.ctl("weight green 30").succeeds();
    let on_green = drawn(&lab, 4000);
    assert!((1055..=1345).contains(&on_green), "{on_green} of 4000 at 30 %");
    lab.ctl("weight green 100").succeeds();
    assert_eq!(drawn(&lab, 200), 200);
}

/// Method: browsers that keep the cookie they were given, at growing and falling weights.
#[test]
fn an_anonymous_cookie_keeps_a_browser_on_its_side() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).app("anonymous = \"cookie\"").start();
    lab.ctl("weight green 50").succeeds();
    let browsers: Vec<(String, String)> = (0..60)
        .map(|_| {
            let answer = lab.get("/").expect(200);
            let cookie = answer.header("set-cookie").expect("an id is issued");
            assert!(cookie.contains("HttpOnly") && cookie.contains("Path=/"), "{cookie}");
            (cookie.split(';').next().unwrap().to_owned(), answer.origin().to_owned())
        })
        .collect();
    let again = |cookie: &str| {
        let answer = lab.request(&Request::get("/").header("Cookie", cookie)).expect(200);
        assert_eq!(answer.header("set-cookie"), None, "no second id");
        answer.origin().to_owned()
    };
    let greens = browsers.iter().filter(|(_, side)| side == "green").count();
    assert!((5..=55).contains(&greens), "{greens} of 60 at 50 %");
    assert!(browsers.iter().all(|(cookie, side)| again(cookie) == *side));
    lab.ctl("weight green 75").succeeds();
    let stayed =
        browsers.iter().filter(|(_, side)| side == "green").all(|(c, _)| again(c) == "green");
    assert!(stayed, "growth moved somebody away from green");
    lab.ctl("weight green 0").succeeds();
    assert!(browsers.iter().all(|(cookie, _)| again(cookie) == "blue"));
}

/// Method: anonymous requests at 99 %, beside users with an id.
#[test]
fn anonymous_requests_can_be_kept_on_the_baseline() {
    let (blue, green) = two();
    let ladder = "user_id = [\"header:X-User-Id\"]\nanonymous = \"baseline\"";
    let lab = lab_of(&blue, &green).app(ladder).start();
    lab.ctl("weight green 99").succeeds();
    assert_eq!(drawn(&lab, 100), 0);
    assert_eq!(lab.users(200).on("green"), predicted(200, 99));
}

/// Method: a user who is green and one who is not, given in every way that the ladder knows.
#[test]
fn the_user_id_is_read_down_the_ladder() {
    let (blue, green) = two();
    let ladder = "user_id = [\"header:X-User-Id\", \"cookie:uid\", \"query:uid\", \"jwt:sub\", \"client-ip\"]";
    let lab =
        lab_of(&blue, &green).app(ladder).listener("trusted_proxies = [\"127.0.0.1\"]").start();
    lab.ctl("weight green 50").succeeds();
    let greens = predicted(50, 50);
    let on = greens.first().unwrap().clone();
    let off = (0..50).map(|n| format!("user-{n}")).find(|u| !greens.contains(u)).unwrap();
    let jwt = |user: &str| {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"{user}\"}}"));
        format!("Bearer e30.{claims}.unsigned")
    };
    let side = |request: Request| lab.request(&request).expect(200).origin().to_owned();
    let get = || Request::get("/");
    for (user, other, pool) in [(&on, &off, "green"), (&off, &on, "blue")] {
        let cookies = |user: &str| format!("a=b; uid={user}; uidx=c");
        assert_eq!(side(get().user(user).header("Cookie", &cookies(other))), pool);
        let query = format!("/?a=b&uid={other}");
        assert_eq!(side(Request::get(&query).header("Cookie", &cookies(user))), pool);
        let query = format!("/?a=b&uid={user}");
        assert_eq!(side(Request::get(&query).header("Authorization", &jwt(other))), pool);
        assert_eq!(
            side(get().header("Authorization", &jwt(user)).header("X-Forwarded-For", "1.1.1.1")),
            pool
        );
    }
    for n in 1..=20 {
        let ip = format!("203.0.113.{n}");
        let bucket = lbd::model::Bucket::of("lbd", &ip).number();
        let pool = if bucket < 5000 { "green" } else { "blue" };
        assert_eq!(side(get().header("X-Forwarded-For", &ip)), pool, "{ip}");
    }
}

/// Method: a tester with the secret, one with a wrong secret, one with a pool that is not there; by
/// header and by cookie. The secret must not reach the origin.
#[test]
fn a_pin_with_the_right_secret_chooses_the_pool() {
    let (blue, green) = two();
    let pin = "[service.app.pin]\nname = \"x-lbd-pin\"\nsecret = \"open-sesame\"";
    let lab = lab_of(&blue, &green).config(pin).start();
    let pinned =
        |value: &str| lab.request(&Request::get("/echo").header("X-Lbd-Pin", value)).expect(200);
    assert_eq!(pinned("green:open-sesame").origin(), "green");
    assert!(!pinned("green:open-sesame").text().contains("sesame"), "the origin learns the secret");
    for wrong in ["green:open-sesamE", "green:", "green", "purple:open-sesame", ":open-sesame"] {
        assert_eq!(pinned(wrong).origin(), "blue", "{wrong}");
    }
    let cookie = Request::get("/").header("Cookie", "x-lbd-pin=green:open-sesame");
    assert_eq!(lab.request(&cookie).origin(), "green");
    lab.ctl("switch green").succeeds();
    assert_eq!(pinned("blue:open-sesame").origin(), "blue");
}

/// Method: users who are on and off green by their bucket are put on the lists and taken off again.
#[test]
fn cohort_lists_come_before_the_bucket() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    lab.ctl("weight green 50").succeeds();
    let greens = predicted(50, 50);
    let on = greens.first().unwrap().clone();
    let off = (0..50).map(|n| format!("user-{n}")).find(|u| !greens.contains(u)).unwrap();
    lab.ctl(&format!("cohort add green {off}")).succeeds();
    lab.ctl(&format!("cohort add green {on} --deny")).succeeds();
    assert_eq!((lab.side_of(&off), lab.side_of(&on)), ("green".into(), "blue".into()));
    let list = lab.ctl("cohort list green").succeeds();
    assert!(
        list.contains(&format!("allow  {off}")) && list.contains(&format!("deny   {on}")),
        "{list}"
    );
    lab.ctl("weight green 0").succeeds();
    assert_eq!(lab.side_of(&off), "green", "an allowed user stays at 0 %");
    lab.ctl("weight green 100").succeeds();
    assert_eq!(lab.side_of(&on), "blue", "a denied user stays away at 100 %");
    lab.ctl(&format!("cohort remove green {off}")).succeeds();
    lab.ctl(&format!("cohort remove green {on} --deny")).succeeds();
    lab.ctl("weight green 50").succeeds();
    assert_eq!((lab.side_of(&off), lab.side_of(&on)), ("blue".into(), "green".into()));
}

/// Method: what `explain` says of 100 users against what they get, and at its own threshold.
#[test]
fn explain_says_what_happens() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    lab.ctl("weight green 40").succeeds();
    for n in 0..100 {
        let user = format!("user-{n}");
        let said = lab.ctl(&format!("explain --user {user} --json")).json();
        assert_eq!(said[0]["pool"], lab.side_of(&user), "{said}");
        assert_eq!(said[0]["bucket"], lbd::model::Bucket::of("lbd", &user).number());
        if n == 0 {
            let by_header = lab.ctl(&format!("explain --header 'X-User-Id: {user}' --json")).json();
            assert_eq!(by_header[0]["pool"], said[0]["pool"]);
        }
    }
    let off = (0..).map(|n| format!("user-{n}")).find(|u| lab.side_of(u) == "blue").unwrap();
    let said = lab.ctl(&format!("explain --user {off} --json")).json();
    let at =
        said[0]["moves"][0]["at"].as_str().expect("the weight at which the user moves").to_owned();
    lab.ctl(&format!("weight green {at}")).succeeds();
    assert_eq!(lab.side_of(&off), "green", "{off} moves at {at}");
    let text = lab.ctl(&format!("explain --user {off}")).succeeds();
    assert!(text.contains("green") && text.contains("bucket"), "{text}");
}

/// Method: a weight for 700 ms: it holds, then returns without anybody's help.
#[test]
fn a_weight_for_a_time_returns_by_itself() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    lab.ctl("weight green 10").succeeds();
    let (took, ()) = timed(|| {
        lab.ctl("weight green 100 --for 700ms").succeeds();
        assert_eq!(lab.side_of("ada"), "green");
        lab.until("green is back at 10 %", |s| s.share("green") == "10%");
    });
    assert!((0.6..3.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(lab.users(100).on("green"), predicted(100, 10));
}

/// Method: cutover and back in one command each; a second rollback changes nothing and succeeds.
#[test]
fn switch_and_rollback_are_one_command_each() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    let line = lab.ctl("switch green").succeeds();
    assert!(line.contains("green 0% → 100%") && line.contains("revision 2"), "{line}");
    assert_eq!(lab.users(100).on("green").len(), 100);
    lab.ctl("rollback").succeeds();
    assert_eq!(lab.users(100).on("blue").len(), 100);
    let revision = lab.status().revision;
    lab.ctl("rollback").succeeds();
    assert_eq!(lab.status().revision, revision);
}

/// Method: a rollback in steps: shares only fall, pass in between, and end at the baseline.
#[test]
fn a_rollback_in_steps_goes_down_to_the_baseline() {
    let (blue, green) = two();
    let lab = lab_of(&blue, &green).start();
    lab.ctl("switch green").succeeds();
    lab.ctl("rollback --ramp 2s").succeeds();
    let mut seen = vec![10_000];
    eventually("green is at 0 %", || {
        let share = lab.status().pool("green").share.basis_points();
        if seen.last() != Some(&share) {
            seen.push(share);
        }
        (share == 0).then_some(())
    });
    assert!(seen.len() > 4 && seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    lab.ctl("switch green").succeeds();
    lab.ctl("rollback --ramp 1s --wait").succeeds();
    assert_eq!(lab.status().share("green"), "0%");
}
