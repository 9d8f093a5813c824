//! Spans of requests, as an OpenTelemetry collector gets them.

use lbd::model::maintenance::BYPASS_PATH;
use opentelemetry_proto::tonic::{common::v1::any_value::Value, trace::v1::span::SpanKind};

use crate::support::{
    Answer, Collector, Dead, Deaf, Http2, Lab, Origin, PATIENCE, Pki, Plan, RawOrigin, Request,
    Speech,
    collector::{Seen, value},
    eventually,
    h2::send,
    timed,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const ALL: &str = "sample = \"100%\"";
const LOST: &str = "lbd_spans_lost_total";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

fn plan(collector: &Collector, more: &str) -> Plan {
    // The tests are a proxy that is trusted.
    let trusted = "trusted_proxies = ['127.0.0.0/8']";
    Lab::new().listener(trusted).config(&collector.section(more))
}

/// A header of the request that `/echo` was asked with.
#[track_caller]
fn echoed(answer: &Answer, name: &str) -> Vec<String> {
    let headers = answer.json()["headers"].clone();
    let named = headers.as_array().expect("a list of headers").iter().filter(|h| h[0] == name);
    named.map(|h| h[1].as_str().unwrap().to_owned()).collect()
}

/// Method: a collector behind TLS whose certificate an own authority signed; first the file holds
/// another one.
#[test]
fn a_collector_behind_tls_is_believed_if_the_authority_in_the_config_vouches_for_it() {
    let (blue, collector, pki) = (Origin::answering("blue"), Collector::new(), Pki::new());
    pki.sign("front", &["127.0.0.1"], 2100);
    let front = Lab::new()
        .listener(&format!("tls = {{ {} }}", pki.certificates(&["front"])))
        .pool("blue", collector.address)
        .start();
    let ca = pki.path("trusted.pem");
    std::fs::copy(Pki::new().path("ca.pem"), &ca).unwrap();
    let tracing =
        format!("[tracing]\nendpoint = \"https://{}\"\nca = {ca:?}\n{ALL}", front.address());
    let lab = Lab::new().config(&tracing).pool("blue", &blue).start();
    lab.get("/doubted").expect(200);
    eventually("the log says that the collector is a stranger", || {
        lab.log().contains("invalid peer certificate").then_some(())
    });
    assert!(collector.posts().is_empty());
    std::fs::copy(pki.path("ca.pem"), &ca).unwrap();
    lab.ctl("config reload").succeeds();
    lab.get("/believed").expect(200);
    assert_eq!(collector.traced("/believed").server.number("http.response.status_code"), Some(200));
}

// What a collector gets.

#[test]
fn a_request_and_its_attempt_are_two_spans_of_one_trace() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).start();
    let request = Request::get("/echo?a=1&sig=secret").header("User-Agent", "test/1").user("ada");
    let answer = lab.request(&request.header("X-Request-Id", "req-1")).expect(200);
    let seen = collector.traced("/echo");

    let server = &seen.server;
    assert_eq!((server.0.name.as_str(), server.parent()), ("GET", String::new()));
    assert!(!server.is_failed() && server.text("error.type").is_none());
    let port = i64::from(lab.address().port());
    for (key, expected) in [
        ("http.request.method", "GET"),
        ("url.path", "/echo"),
        ("url.query", "a=1&sig=REDACTED"),
        ("url.scheme", "http"),
        ("server.address", "app.test"),
        ("client.address", "127.0.0.1"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "test/1"),
        ("lbd.service", "app"),
        ("lbd.pool", "blue"),
        ("lbd.rule", "bucket"),
        ("lbd.request_id", "req-1"),
    ] {
        assert_eq!(server.text(key), Some(expected), "{key}");
    }
    assert_eq!(server.number("http.response.status_code"), Some(200));
    assert_eq!(server.number("server.port"), Some(80));
    assert_eq!(server.number("lbd.revision"), Some(lab.status().revision.0 as i64));
    assert_ne!(server.number("network.peer.port"), Some(port));

    assert_eq!(seen.attempts.len(), 1);
    let attempt = &seen.attempts[0];
    assert!(attempt.is(SpanKind::Client) && !attempt.is_failed());
    assert_eq!((attempt.trace(), attempt.parent()), (server.trace(), server.id()));
    let (host, port) = blue.address.split_once(':').unwrap();
    assert_eq!(attempt.text("server.address"), Some(host));
    assert_eq!(attempt.number("server.port"), port.parse().ok());
    let url = format!("http://{}/echo?a=1&sig=REDACTED", blue.address);
    assert_eq!(attempt.text("url.full"), Some(url.as_str()));
    assert_eq!(attempt.number("http.response.status_code"), Some(200));
    assert_eq!(attempt.number("http.request.resend_count"), None);
    // The endpoint continues the trace from the attempt.
    let told = format!("00-{}-{}-01", server.trace(), attempt.id());
    assert_eq!(echoed(&answer, "traceparent"), [told]);
    // One lies within the other, and now.
    let (whole, part) = (&server.0, &attempt.0);
    assert!(whole.start_time_unix_nano <= part.start_time_unix_nano);
    assert!(part.start_time_unix_nano < part.end_time_unix_nano);
    assert!(part.end_time_unix_nano <= whole.end_time_unix_nano);
    let now = jiff::Timestamp::now().as_nanosecond();
    let age = now - i128::from(whole.end_time_unix_nano);
    assert!((0..20_000_000_000).contains(&age), "{age}");
}

#[test]
fn a_collector_is_told_who_speaks_and_what_it_wants_to_hear() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let more =
        "sample = \"100%\"\nservice_name = \"edge-7\"\nheaders = { X-Key = \"open-sesame\" }";
    let lab = plan(&collector, more).pool("blue", &blue).start();
    lab.get("/").expect(200);
    collector.traced("/");
    let post = collector.posts()[0].clone();
    assert_eq!(post.path, "/v1/traces");
    assert_eq!(post.headers["content-type"], "application/x-protobuf");
    assert_eq!(post.headers["x-key"], "open-sesame");
    let resource = post.body.resource_spans[0].resource.clone().unwrap().attributes;
    let name = Value::StringValue("edge-7".into());
    assert_eq!(value(&resource, "service.name"), Some(&name));
    assert!(value(&resource, "service.instance.id").is_some());
    let shown = lab.ctl("config show").succeeds();
    assert!(shown.contains("edge-7") && !shown.contains("open-sesame"), "{shown}");
    assert!(!lab.log().contains("open-sesame"));
}

#[test]
fn what_lbd_answers_itself_has_no_attempt() {
    let collector = Collector::new();
    let lab = plan(&collector, ALL).pool_toml("blue", "[]").start();
    lab.get("/own").expect(503);
    let seen = collector.traced("/own");
    assert!(seen.attempts.is_empty() && seen.server.is_failed());
    assert_eq!(seen.server.text("error.type"), Some("503"));
    assert_eq!(seen.server.text("lbd.pool"), None);
}

#[test]
fn what_the_client_did_wrong_is_no_failure_of_the_server() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).start();
    lab.get("/404").expect(404);
    let seen = collector.traced("/404");
    assert!(!seen.server.is_failed() && seen.attempts[0].is_failed());
    assert_eq!(seen.attempts[0].text("error.type"), Some("404"));
    lab.request(&Request::new("PROPFIND", "/strange"));
    let seen = collector.traced("/strange");
    assert_eq!(seen.server.0.name, "HTTP");
    assert_eq!(seen.server.text("http.request.method"), Some("_OTHER"));
    assert_eq!(seen.server.text("http.request.method_original"), Some("PROPFIND"));
}

/// Method: the endpoint is asked for another path than lbd.
#[test]
fn each_side_has_the_path_that_it_was_asked_for() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let app = "user_id = [\"client-ip\"]\nstrip_prefix = \"/api\"";
    let lab = plan(&collector, ALL).app(app).pool("blue", &blue).start();
    lab.get("/api/echo?b").expect(200);
    let seen = collector.traced("/api/echo");
    let url = format!("http://{}/echo?b", blue.address);
    assert_eq!(seen.attempts[0].text("url.full"), Some(url.as_str()));
}

/// Method: the path of a link past maintenance, whose end is its secret.
#[test]
fn the_secret_of_a_link_is_told_nobody() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).start();
    lab.get(&format!("/shop{BYPASS_PATH}hunter2")).expect(200);
    let seen = collector.traced(&format!("/shop{BYPASS_PATH}***"));
    assert_eq!(seen.attempts.len(), 1);
    let all = format!("{:?}", collector.spans());
    assert!(!all.contains("hunter2"), "{all}");
}

// Which traces are recorded.

#[test]
fn a_trace_that_the_client_records_goes_on() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, "sample = \"0%\"").pool("blue", &blue).start();
    let request = Request::get("/echo").header("tracestate", "a=b,c=d");
    let answer = lab.request(&request.header("traceparent", &traceparent("01"))).expect(200);
    let seen = collector.traced("/echo");
    assert_eq!((seen.server.trace(), seen.server.parent()), (TRACE.into(), CALLER.into()));
    assert_eq!(seen.server.0.trace_state, "a=b,c=d");
    // The parent of one is elsewhere, that of the other here.
    assert_eq!((seen.server.0.flags, seen.attempts[0].0.flags), (0x301, 0x101));
    let told = format!("00-{TRACE}-{}-01", seen.attempts[0].id());
    assert_eq!(echoed(&answer, "traceparent"), [told]);
    assert_eq!(echoed(&answer, "tracestate"), ["a=b,c=d"]);
}

/// Method: a request whose trace is recorded comes after, so that what never comes would have come.
#[test]
fn a_trace_that_the_client_does_not_record_is_passed_on_only() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).start();
    let answer = lab.request(&Request::get("/echo").header("traceparent", &traceparent("00")));
    assert_eq!(echoed(&answer.expect(200), "traceparent"), [traceparent("00")]);
    lab.get("/after").expect(200);
    collector.traced("/after");
    assert_eq!(collector.spans().len(), 2);
}

/// Method: as before.
#[test]
fn a_sample_of_nothing_records_nothing_and_says_so() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, "sample = \"0%\"").pool("blue", &blue).start();
    for _ in 0..20 {
        let told = echoed(&lab.get("/echo").expect(200), "traceparent");
        assert_eq!((told[0].len(), &told[0][52..]), (55, "-00"));
    }
    lab.request(&Request::get("/after").header("traceparent", &traceparent("01"))).expect(200);
    collector.traced("/after");
    assert_eq!(collector.spans().len(), 2);
}

/// Method: as before, from a client that nobody trusts.
#[test]
fn strangers_do_not_decide_what_is_recorded() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let section = collector.section("sample = \"0%\"");
    let lab = Lab::new().config(&section).pool("blue", &blue).start();
    let asked = Request::get("/echo").header("traceparent", &traceparent("01"));
    let told = echoed(&lab.request(&asked).expect(200), "traceparent");
    assert_eq!(told, [traceparent("01")], "it is passed on as it came");
    lab.write_plan(&Lab::new().config(&collector.section(ALL)).pool("blue", &blue));
    lab.ctl("config reload").succeeds();
    lab.get("/after").expect(200);
    collector.traced("/after");
    assert_eq!(collector.spans().len(), 2);
}

/// Method: what endpoints are told must agree with what the collector gets.
#[test]
fn endpoints_are_told_which_traces_are_recorded() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, "sample = \"50%\"").pool("blue", &blue).start();
    let mut client = lab.client();
    let mut recorded: Vec<String> = Vec::new();
    for _ in 0..200 {
        let told = echoed(&client.call(&Request::get("/echo")).expect(200), "traceparent");
        if told[0].ends_with("-01") {
            recorded.push(told[0][3..35].to_owned());
        }
    }
    assert!((50..150).contains(&recorded.len()), "{}", recorded.len());
    let mut got = eventually("all that are recorded", || {
        let servers = collector.spans().into_iter().filter(|span| span.is(SpanKind::Server));
        let traces: Vec<String> = servers.map(|span| span.trace()).collect();
        (traces.len() >= recorded.len()).then_some(traces)
    });
    got.sort();
    recorded.sort();
    assert_eq!(got, recorded);
}

// Attempts.

#[test]
fn each_retry_is_a_span_of_its_own() {
    let (dead, blue, collector) = (Dead::new(), Origin::answering("blue"), Collector::new());
    let endpoints = [&*dead.address.to_string(), &*blue.address];
    let lab = plan(&collector, ALL).app("balance = \"round-robin\"").pool_of("blue", &endpoints);
    let lab = lab.start();
    let mut told = Vec::new();
    for n in 0..2 {
        let answer = lab.request(&Request::get("/echo").header("X-Request-Id", &n.to_string()));
        told.extend(echoed(&answer.expect(200), "traceparent"));
    }
    let seen = eventually("a request with two attempts", || {
        let spans = collector.spans();
        let again = spans.iter().find(|s| s.number("http.request.resend_count") == Some(1))?;
        let of = |s: &&Seen| s.0.parent_span_id == again.0.parent_span_id;
        let mut attempts: Vec<_> = spans.iter().filter(of).cloned().collect();
        attempts.sort_by_key(|span| span.0.start_time_unix_nano);
        Some(attempts)
    });
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[0].is_failed(), seen[1].is_failed()), (true, false));
    assert_eq!(seen[0].text("error.type"), Some("connect"));
    assert_eq!(seen[0].number("http.response.status_code"), None);
    let url = format!("http://{}/echo", dead.address);
    assert_eq!(seen[0].text("url.full"), Some(url.as_str()));
    assert_eq!(seen[0].number("server.port"), Some(dead.address.port().into()));
    assert!(seen[0].0.end_time_unix_nano <= seen[1].0.start_time_unix_nano);
    let continued = format!("00-{}-{}-01", seen[1].trace(), seen[1].id());
    assert!(told.contains(&continued), "{told:?}");
}

#[test]
fn a_shielded_request_shows_both_pools_and_no_failure_of_its_own() {
    let bad = RawOrigin::saying("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).pool("green", &bad.address).start();
    lab.ctl("weight green 100 --force").succeeds();
    let answer = lab.get("/echo").expect(200);
    let seen = collector.traced("/echo");
    assert!(!seen.server.is_failed());
    assert_eq!(seen.server.text("lbd.shielded_from"), Some("green"));
    assert_eq!(seen.server.text("lbd.pool"), Some("blue"));
    let pools: Vec<_> = seen.attempts.iter().map(|a| a.text("lbd.pool").unwrap()).collect();
    assert_eq!(pools, ["green", "blue"]);
    let [first, second] = &seen.attempts[..] else { panic!("{seen:?}") };
    assert_eq!(first.number("http.response.status_code"), Some(502));
    assert_eq!((first.text("error.type"), second.text("error.type")), (Some("502"), None));
    let head = bad.heads()[0].to_ascii_lowercase();
    assert!(head.contains(&format!("traceparent: 00-{}-{}-01", first.trace(), first.id())));
    let told = format!("00-{}-{}-01", second.trace(), second.id());
    assert_eq!(echoed(&answer, "traceparent"), [told]);
}

#[test]
fn an_endpoint_that_fails_fails_both_spans() {
    let (dead, collector) = (Dead::new(), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", dead.address).start();
    lab.get("/dead").expect(502);
    let seen = collector.traced("/dead");
    assert!(seen.server.is_failed() && seen.attempts[0].is_failed());
    assert_eq!(seen.server.text("error.type"), Some("502"));
    assert_eq!(seen.server.text("lbd.blame"), Some("connect"));
    assert_eq!(seen.attempts[0].text("error.type"), Some("connect"));
}

/// Method: the endpoint ends the connection in the middle of its answer.
#[test]
fn an_answer_that_breaks_off_is_a_failure_whatever_its_status() {
    let cut = RawOrigin::saying("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort");
    let collector = Collector::new();
    let lab = plan(&collector, ALL).pool("blue", &cut.address).start();
    let _ = lab.client().try_call(&Request::get("/cut"));
    let seen = collector.traced("/cut");
    assert_eq!(seen.server.number("http.response.status_code"), Some(200));
    for span in [&seen.server, &seen.attempts[0]] {
        assert!(span.is_failed());
        assert_eq!(span.text("error.type"), Some("reset"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_told_as_such_on_both_sides() {
    let speech = Speech { http2: true, ..Speech::default() };
    let (blue, collector) = (Origin::speaking("blue", speech), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).link("blue", "protocol = \"h2c\"").start();
    let answer = Http2::plain(lab.address()).await.get("http://app.test:81/h2?x").await;
    assert_eq!(answer.status, 200);
    let seen = tokio::task::block_in_place(|| collector.traced("/h2"));
    assert_eq!(seen.server.text("network.protocol.version"), Some("2"));
    assert_eq!(seen.server.text("server.address"), Some("app.test"));
    assert_eq!(seen.server.number("server.port"), Some(81));
    assert_eq!(seen.attempts[0].text("network.protocol.version"), Some("2"));
    let url = format!("http://{}/h2?x", blue.address);
    assert_eq!(seen.attempts[0].text("url.full"), Some(url.as_str()));
}

/// Method: the endpoint holds the answer until the client has gone.
#[test]
fn a_client_that_leaves_is_told_of_without_a_status() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).start();
    blue.hold();
    let mut client = lab.client();
    client.begin(&Request::get("/left"));
    blue.until_running(1);
    drop(client);
    let seen = collector.traced("/left");
    for span in [&seen.server, &seen.attempts[0]] {
        assert!(span.is_failed());
        assert_eq!(span.text("error.type"), Some("client-abort"));
        assert_eq!(span.number("http.response.status_code"), None);
    }
    blue.release();
}

/// Method: an upload over HTTP/2 that stops in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_stops_has_its_spans_too() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL)
        .listener("timeouts = { body = \"200ms\" }")
        .config("[service.app.timeouts]\nfirst_byte = \"300ms\"\nidle = \"100ms\"\n")
        .pool("blue", &blue)
        .start();
    let mut client = Http2::plain(lab.address()).await;
    let request = http::Request::post("http://a/echo").body(()).unwrap();
    let (_late, mut body) = client.begin(request, true).await;
    send(&mut body, b"a beginning").await;
    let seen = tokio::task::block_in_place(|| collector.traced("/echo"));
    assert_eq!(seen.server.number("http.response.status_code"), Some(408));
    assert_eq!((seen.attempts.len(), seen.attempts[0].is_failed()), (1, true));
}

// Collectors in trouble.

/// Method: collectors that refuse connections, never make them, and never answer.
#[test]
fn a_collector_that_is_not_there_delays_nobody() {
    let (dead, deaf, hanging) = (Dead::new(), Deaf::new(), Collector::new());
    hanging.hold();
    for collector in [dead.address, deaf.address, hanging.address] {
        let blue = Origin::answering("blue");
        let section = format!("[tracing]\nendpoint = \"http://{collector}\"\n{ALL}\n");
        let mut lab = Lab::new().config(&section).pool("blue", &blue).start();
        let mut client = lab.client();
        // More than may wait for it.
        let (slowest, _) = (0..5000).fold((std::time::Duration::ZERO, ()), |(slowest, ()), _| {
            let (took, answer) = timed(|| client.call(&Request::get("/")));
            answer.expect(200);
            (slowest.max(took), ())
        });
        // A worker that waits for the collector waits for far longer.
        assert!(slowest < PATIENCE / 2, "{slowest:?}");
        eventually("spans are lost", || (lab.metric(LOST) >= 1000.0).then_some(()));
        // Nor does it keep the process.
        let (took, ()) = timed(|| lab.stop());
        assert!(took < PATIENCE / 2, "{took:?}");
    }
}

#[test]
fn what_a_busy_collector_does_not_take_is_sent_again() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    for status in [429, 502, 503, 504] {
        collector.status(status);
        let lab = plan(&collector, ALL).pool("blue", &blue).start();
        let path = format!("/bytes/{status}");
        lab.get(&path).expect(200);
        let refused = |count| {
            let posts = collector.posts();
            (posts.iter().filter(|post| post.status == status).count() >= count).then_some(())
        };
        eventually("the collector refuses", || refused(1));
        collector.status(200);
        assert_eq!(collector.traced(&path).attempts.len(), 1);
        assert_eq!(lab.metric(LOST), 0.0);
        assert!(lab.log().contains("spans do not arrive"), "{}", lab.log());
    }
}

/// Method: a send takes longer than it may, until the collector answers again.
#[test]
fn what_a_hanging_collector_does_not_take_is_sent_again() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, &format!("{ALL}\ntimeout = \"200ms\"")).pool("blue", &blue).start();
    collector.hold();
    lab.get("/held").expect(200);
    eventually("a send takes too long", || lab.log().contains("spans do not arrive").then_some(()));
    assert!(lab.log().contains("timed out after 200ms"), "{}", lab.log());
    collector.release();
    collector.traced("/held");
    assert_eq!(lab.metric(LOST), 0.0);
}

#[test]
fn what_a_collector_refuses_is_lost_and_counted() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let lab = plan(&collector, ALL).pool("blue", &blue).start();
    collector.status(400);
    lab.get("/bad").expect(200);
    lab.until_metric(LOST, 2.0);
    assert_eq!(collector.posts().len(), 1, "it is not sent again");
    // Of the next it takes all but one.
    collector.status(200);
    collector.refuses(1);
    lab.get("/partial").expect(200);
    lab.until_metric(LOST, 3.0);
    assert_eq!(collector.posts().len(), 2);
}

// Reload and stop.

#[test]
fn a_reload_begins_changes_and_ends_the_export() {
    let (blue, one, two) = (Origin::answering("blue"), Collector::new(), Collector::new());
    let bare = Lab::new().pool("blue", &blue);
    let lab = bare.clone().start();
    let reload = |plan: &Plan| {
        lab.write_plan(plan);
        let said = lab.ctl("config reload").succeeds();
        assert!(!said.contains("restart"), "{said}");
    };
    // Without a collector, whoever wants traces gets to know of them all.
    assert!(echoed(&lab.get("/echo").expect(200), "traceparent")[0].ends_with("-01"));
    reload(&bare.clone().config(&one.section(ALL)));
    lab.get("/1").expect(200);
    reload(&bare.clone().config(&two.section(ALL)));
    lab.get("/2").expect(200);
    two.traced("/2");
    one.traced("/1");
    reload(&bare.clone().config(&two.section("sample = \"0%\"")));
    assert!(echoed(&lab.get("/echo").expect(200), "traceparent")[0].ends_with("-00"));
    reload(&bare);
    assert!(echoed(&lab.get("/echo").expect(200), "traceparent")[0].ends_with("-01"));
    assert_eq!((one.spans().len(), two.spans().len()), (2, 2));
}

/// Method: told to stop at once after an answer, long before the batch would be sent.
#[test]
fn what_waits_at_the_end_is_brought() {
    let (blue, collector) = (Origin::answering("blue"), Collector::new());
    let mut lab = plan(&collector, ALL).pool("blue", &blue).start();
    for n in 0..700 {
        lab.get(&format!("/last/{n}")).expect(200);
    }
    lab.stop();
    assert_eq!(collector.spans().len(), 1400);
    assert!(collector.posts().len() >= 3, "in batches");
}

#[test]
fn without_a_collector_there_is_no_thread_for_spans() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", lab.pid())).unwrap();
        let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm"));
        tasks.flatten().filter_map(|task| name(task).ok()).any(|name| name.trim() == "spans")
    };
    assert!(!threads());
    let collector = Collector::new();
    lab.write_plan(&lab.plan.clone().config(&collector.section("")));
    lab.ctl("config reload").succeeds();
    eventually("the thread begins", || threads().then_some(()));
    lab.write_plan(&lab.plan);
    lab.ctl("config reload").succeeds();
    eventually("every worker has seen that, and the thread ends", || {
        lab.get("/").expect(200);
        (!threads()).then_some(())
    });
}
