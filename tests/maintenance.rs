//! Maintenance: what users see meanwhile, who passes, and how it ends.

use std::{fs, thread};

use crate::support::{Answer, Lab, Origin, Request};

fn lab_of(blue: &Origin) -> Lab {
    Lab::new().listener("trusted_proxies = [\"127.0.0.1\"]").pool("blue", blue).start()
}

fn accepting(lab: &Lab, media: &str) -> Answer {
    lab.request(&Request::get("/shop?x=1").header("Accept", media)).expect(503)
}

/// Method: the same request as a browser, a program and a terminal would send it.
#[test]
fn everyone_gets_503_in_the_form_they_ask_for() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    lab.ctl("maintenance on --message 'Back at <noon> & rested'").succeeds();
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let html = accepting(&lab, browser);
    assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(html.text().contains("Back at &lt;noon&gt; &amp; rested"), "{}", html.text());
    let json = accepting(&lab, "application/json");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(
        (json.json()["status"].as_u64(), json.json()["message"].as_str()),
        (Some(503), Some("Back at <noon> & rested"))
    );
    let text = accepting(&lab, "text/plain");
    assert!(text.header("content-type").unwrap().starts_with("text/plain"));
    assert!(text.text().contains("Back at <noon> & rested"));
    for answer in [html, json, text] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("retry-after"), Some("60"), "the configured default");
        assert!(!answer.text().contains("127.0.0.1") && answer.header("x-request-id").is_some());
    }
    let posted = lab.request(&Request::post("/shop", "order")).expect(503);
    assert!(!posted.body.is_empty());
    assert_eq!(blue.requests(), 0);
    let metric = "lbd_maintenance{service=\"app\"}";
    assert_eq!(lab.metric(metric), 1.0);
    lab.ctl("maintenance off").succeeds();
    assert_eq!((lab.get("/").expect(200).origin(), lab.metric(metric)), ("blue", 0.0));
}

/// Method: an end in 90 s is told; an end in 700 ms comes without anybody's help.
#[test]
fn it_ends_by_itself_and_says_when() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    lab.ctl("maintenance on --for 90s").succeeds();
    let seconds: u64 = lab.get("/").expect(503).header("retry-after").unwrap().parse().unwrap();
    assert!((80..=90).contains(&seconds), "{seconds}");
    lab.ctl("maintenance on --for 700ms").succeeds();
    assert_eq!(lab.get("/").expect(503).header("retry-after"), Some("1"));
    lab.until("maintenance is over", |s| s.service("app").maintenance.is_none());
    lab.get("/").expect(200);
    let said = lab.ctl("maintenance on --until 2001-01-01T00:00:00Z").fails_with(4);
    assert!(said.contains("past"), "{said}");
}

/// Method: clients behind a trusted proxy, of whom one network is allowed by the command and one by
/// the config.
#[test]
fn allowed_networks_pass() {
    let blue = Origin::answering("blue");
    let plan = Lab::new().listener("trusted_proxies = [\"127.0.0.1\"]");
    let lab = plan.config("[maintenance]\nallow = [\"192.0.2.0/24\"]").pool("blue", &blue).start();
    lab.ctl("maintenance on --allow 10.0.0.0/8 --allow 2001:db8::1").succeeds();
    let from = |ip: &str| lab.request(&Request::get("/").header("X-Forwarded-For", ip)).status;
    for (ip, status) in [
        ("10.1.2.3", 200),
        ("11.1.2.3", 503),
        ("2001:db8::1", 200),
        ("2001:db8::2", 503),
        ("192.0.2.7", 200),
    ] {
        assert_eq!(from(ip), status, "{ip}");
    }
    assert_eq!(lab.get("/").status, 503, "the proxy itself is not allowed");
}

/// Method: the link from lbctl's own output, opened as a browser does; wrong secrets beside it.
#[test]
fn the_secret_link_lets_its_bearer_pass() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    let said = lab.ctl("maintenance on --secret").succeeds();
    let link = said
        .split_whitespace()
        .find(|w| w.starts_with("/.lbd/bypass/"))
        .expect("a link is printed");
    let opened = lab.get(link).expect(303);
    assert_eq!(opened.header("location"), Some("/"));
    let cookie = opened.header("set-cookie").expect("a cookie is set");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let with = |cookie: &str| lab.request(&Request::get("/").header("Cookie", cookie)).status;
    assert_eq!(with(pair), 200);
    assert_eq!((with("lbd_bypass=wrong-secret"), with("lbd_bypass=")), (503, 503));
    lab.get("/.lbd/bypass/wrong-secret").expect(503);
    lab.ctl("maintenance on --secret another-secret").succeeds();
    assert_eq!(with(pair), 503, "an old secret is worth nothing");
    assert_eq!(with("lbd_bypass=another-secret"), 200);
    lab.ctl("maintenance on --secret short").fails_with(2);
}

/// Method: two services, of which one goes into maintenance; then all, then one cannot be excepted.
#[test]
fn one_service_can_be_in_maintenance_alone() {
    let blue = Origin::answering("blue");
    let api = format!(
        "[service.api]\nhosts = [\"api.test\"]\n[service.api.pool.blue]\nendpoints = [\"{blue}\"]"
    );
    let lab = Lab::new().pool("blue", &blue).config(&api).start();
    let statuses =
        || ["app.test", "api.test"].map(|host| lab.request(&Request::get("/").host(host)).status);
    lab.ctl("maintenance on --service api").succeeds();
    assert_eq!(statuses(), [200, 503]);
    lab.ctl("maintenance off --service api").succeeds();
    assert_eq!(statuses(), [200, 200]);
    lab.ctl("maintenance on").succeeds();
    assert_eq!(statuses(), [503, 503]);
    let said = lab.ctl("maintenance off --service api").fails_with(4);
    assert!(said.contains("all services"), "{said}");
    assert_eq!(statuses(), [503, 503]);
    lab.ctl("maintenance off").succeeds();
    assert_eq!(statuses(), [200, 200]);
}

/// Method: a template with every value it may use, and a message that would break the page.
#[test]
fn the_page_can_be_ones_own() {
    let blue = Origin::answering("blue");
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("page.html");
    fs::write(&template, "<h1>{{ service }}</h1>{{ message }} [{{ retry_after }}]{% if until %} {{ until }}{% endif %}")
        .unwrap();
    let page = format!("[maintenance]\npage = \"{}\"\nretry_after = \"7s\"", template.display());
    let lab = Lab::new().config(&page).pool("blue", &blue).start();
    lab.ctl("maintenance on --message '<script>'").succeeds();
    let answer = lab.get("/").expect(503);
    assert_eq!(answer.text().trim(), "<h1>app</h1>&lt;script&gt; [7]");
    assert_eq!(answer.header("retry-after"), Some("7"));
    lab.ctl("maintenance on --until 2999-01-01T00:00:00Z").succeeds();
    assert!(lab.get("/").expect(503).text().contains("2999-01-01"));
}

/// Method: a template that names the end, of a maintenance that has none.
#[test]
fn a_value_that_is_not_there_is_empty_in_the_page() {
    let blue = Origin::answering("blue");
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("page.html");
    fs::write(&template, "({{ until }})").unwrap();
    let page = format!("[maintenance]\npage = \"{}\"", template.display());
    let lab = Lab::new().config(&page).pool("blue", &blue).start();
    lab.ctl("maintenance on").succeeds();
    assert_eq!(lab.get("/").expect(503).text().trim(), "()");
}

/// Method: the page says how long it takes, as the header does, with an end set.
#[test]
fn page_and_header_agree_on_when_to_come_back() {
    let blue = Origin::answering("blue");
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("page.html");
    fs::write(&template, "{{ retry_after }}").unwrap();
    let page = format!("[maintenance]\npage = \"{}\"", template.display());
    let lab = Lab::new().config(&page).pool("blue", &blue).start();
    lab.ctl("maintenance on --for 10m").succeeds();
    let answer = lab.get("/").expect(503);
    let header: i64 = answer.header("retry-after").unwrap().parse().unwrap();
    let page: i64 = answer.text().trim().parse().unwrap();
    assert!((header - page).abs() <= 10, "the header says {header} s, the page {page} s");
}

/// Method: a restart and a kill in the middle; the terms must be the same afterwards.
#[test]
fn it_survives_a_restart() {
    let blue = Origin::answering("blue");
    let mut lab = lab_of(&blue);
    lab.ctl("maintenance on --for 10m --message 'Hold on' --allow 10.0.0.0/8 --secret open-sesame")
        .succeeds();
    let before = serde_json::to_value(&lab.status().service("app").maintenance).unwrap();
    for kill in [false, true] {
        if kill {
            lab.kill9()
        } else {
            lab.stop()
        }
        lab.launch();
        let after = serde_json::to_value(&lab.status().service("app").maintenance).unwrap();
        assert_eq!(after, before);
        assert!(accepting(&lab, "text/plain").text().contains("Hold on"));
        let bypass = Request::get("/").header("Cookie", "lbd_bypass=open-sesame");
        assert_eq!(lab.request(&bypass).status, 200);
    }
    let shown = lab.ctl("maintenance status").succeeds();
    assert!(shown.contains("Hold on") && shown.contains("10.0.0.0/8"), "{shown}");
}

/// Method: a request is held at its origin while maintenance begins; lbd's own health stays good.
#[test]
fn running_requests_finish_and_lbd_itself_stays_healthy() {
    let blue = Origin::answering("blue");
    let lab = lab_of(&blue);
    blue.hold();
    let mut client = lab.client();
    let running = thread::spawn(move || client.call(&Request::get("/")));
    blue.until_running(1);
    lab.ctl("maintenance on").succeeds();
    lab.get("/").expect(503);
    blue.release();
    assert_eq!(running.join().unwrap().expect(200).origin(), "blue");
    for path in ["/healthz", "/readyz"] {
        lab.admin().call(&Request::get(path)).expect(200);
    }
}
