//! Failing: what clients get when an origin, the request or the client itself is broken.

use crate::support::{Dead, Deaf, Lab, Origin, Plan, RawOrigin, Request, timed};

/// Quick limits towards endpoints, so that waiting for them is short.
fn quick() -> Plan {
    Lab::new().config(
        "[service.app.timeouts]\nconnect = \"300ms\"\nfirst_byte = \"300ms\"\nidle = \"300ms\"",
    )
}

/// Method: nobody listens at the only endpoint.
#[test]
fn a_refused_connection_is_502() {
    let dead = Dead::new();
    let lab = quick().pool("blue", dead.address).start();
    let answer = lab.get("/").expect(502);
    assert!(!answer.text().contains("127.0.0.1") && answer.header("x-request-id").is_some());
    lab.until_metric(
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"connect\"}",
        1.0,
    );
}

/// Method: the kernel accepts for a listener whose process never reads.
#[test]
fn an_endpoint_that_never_answers_is_504() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = quick().pool("blue", listener.local_addr().unwrap()).start();
    let (took, answer) = timed(|| lab.get("/"));
    answer.expect(504);
    assert!((0.25..2.0).contains(&took.as_secs_f64()), "{took:?}");
    lab.until_metric(
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"timeout\"}",
        1.0,
    );
}

/// Method: a listener whose queue is full, so that a connection is never made.
#[test]
fn a_connection_that_is_never_made_is_504() {
    let deaf = Deaf::new();
    let lab =
        quick().config("[service.app.health]\npassive = false").pool("blue", deaf.address).start();
    let (took, answer) = timed(|| lab.get("/"));
    answer.expect(504);
    assert!(took.as_secs_f64() < 5.0, "{took:?}");
}

/// Method: the origin holds the request; after it is released the same connection is of use again.
#[test]
fn a_slow_answer_is_504_and_the_next_request_is_served() {
    let blue = Origin::answering("blue");
    let lab = quick().pool("blue", &blue).start();
    blue.hold();
    lab.get("/").expect(504);
    blue.release();
    lab.get("/").expect(200);
}

/// Method: the origin closes without an answer. A POST was sent once, and only once.
#[test]
fn a_closed_connection_is_502_and_a_post_is_not_repeated() {
    let blue = Origin::answering("blue");
    let lab = quick().pool("blue", &blue).start();
    blue.close();
    lab.request(&Request::post("/", "pay")).expect(502);
    assert_eq!(blue.requests(), 1);
}

/// Method: an origin that answers with something that is not HTTP.
#[test]
fn an_answer_that_is_not_http_is_502() {
    let raw = RawOrigin::saying("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    quick().pool("blue", &raw.address).start().get("/").expect(502);
}

/// Method: 100 of 1,000 bytes, then silence: the client's connection must end, not hang.
#[test]
fn a_body_that_stands_still_closes_the_connection() {
    let blue = Origin::answering("blue");
    let lab = quick().pool("blue", &blue).start();
    blue.stall(100);
    let mut client = lab.client();
    assert_eq!(client.begin(&Request::get("/")).read_head().unwrap().status, 200);
    let (took, rest) = timed(|| client.rest());
    assert_eq!(rest.len(), 100);
    assert!((0.2..2.0).contains(&took.as_secs_f64()), "{took:?}");
}

/// Method: 100 of 1,000 bytes, then the origin closes: the client must be able to see the lack.
#[test]
fn a_body_that_is_cut_short_is_not_made_whole() {
    let blue = Origin::answering("blue");
    let lab = quick().pool("blue", &blue).start();
    blue.cut(100);
    let mut client = lab.client();
    let head = client.begin(&Request::get("/")).read_head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("1000")));
    // pingora drops what it read together with the failure, so it may be fewer than were sent.
    assert!(client.rest().len() <= 100);
    blue.answer();
    lab.get("/").expect(200);
}

/// Method: each malformed request on a connection of its own; the origin must see none of them.
#[test]
fn malformed_requests_are_refused_with_their_status() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("max_header_bytes = \"4KiB\"").pool("blue", &blue).start();
    let long = "x".repeat(5000);
    let post = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
    for (what, request, status) in [
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
        ("length and chunks", post("Content-Length: 3\r\nTransfer-Encoding: chunked"), 400),
        ("two lengths", post("Content-Length: 3\r\nContent-Length: 4"), 400),
        ("a length in words", post("Content-Length: three"), 400),
        ("a blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(), 400),
        ("a bare line end", "GET / HTTP/1.1\nHost: a\n\n".into(), 400),
        ("a zero byte", "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n".into(), 400),
        ("a coding that nobody knows", post("Transfer-Encoding: gzip"), 501),
        ("HTTP/3.0 in words", "GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(), 505),
        ("CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n".into(), 405),
        ("large headers", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"), 431),
        ("a long address", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n".into(), 400),
    ] {
        let mut client = lab.client();
        let answer = client.send(request).answer();
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert!(client.is_closed(), "{what}: the connection must end");
    }
    assert_eq!(blue.requests(), 0);
    lab.get("/").expect(200);
}

/// Method: a megabyte of header, of which the client sends as much as is taken.
#[test]
fn a_header_of_a_megabyte_is_431() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    lab.client().send(head).answer().expect(431);
    lab.get("/").expect(200);
}

/// Method: a head that never ends gets 408 after the listener's limit, one that never begins nothing.
#[test]
fn a_head_that_does_not_arrive_in_time_is_408() {
    let blue = Origin::answering("blue");
    let limits = "timeouts = { header = \"300ms\", keepalive = \"300ms\" }";
    let lab = Lab::new().listener(limits).pool("blue", &blue).start();
    let mut slow = lab.client();
    slow.send("GET / HTTP/1.1\r\nHo").answer().expect(408);
    assert!(slow.is_closed());
    assert!(lab.client().is_closed(), "a silent connection is closed without a word");
}

/// Method: a body shorter than its length, then silence; a body in chunks that are none.
#[test]
fn a_request_body_that_is_not_what_it_claims_is_refused() {
    let blue = Origin::answering("blue");
    let limits = "timeouts = { body = \"300ms\" }";
    let lab = Lab::new().listener(limits).pool("blue", &blue).start();
    let head = "POST /echo HTTP/1.1\r\nHost: app.test\r\n";
    let mut short = lab.client();
    short.send(format!("{head}Content-Length: 10\r\n\r\nhello")).answer().expect(408);
    assert!(short.is_closed());
    let mut chunks = lab.client();
    chunks.send(format!("{head}Transfer-Encoding: chunked\r\n\r\nhello\r\n")).answer().expect(400);
    assert!(chunks.is_closed());
    lab.get("/").expect(200);
}

/// Method: a body longer than its length: the rest is a request of its own, and a bad one.
#[test]
fn bytes_behind_a_body_are_not_part_of_it() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let mut client = lab.client();
    client.send(
        "POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhelloSURPLUS\r\n\r\n",
    );
    assert_eq!(client.answer().expect(200).json()["body"], "hello");
    client.answer().expect(400);
    assert!(client.is_closed());
    assert_eq!(blue.requests(), 1);
}

/// Method: clients leave while the origin works, and in the middle of their body. They are nobody's
/// failure, and those who come next are served.
#[test]
fn a_client_that_leaves_does_not_break_the_next() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    blue.hold();
    let mut waiting = lab.client();
    waiting.begin(&Request::get("/"));
    blue.until_running(1);
    drop(waiting);
    let mut sending = lab.client();
    sending.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\nhello");
    blue.until_running(1);
    drop(sending);
    lab.until("nothing runs any more", |s| s.pool("blue").in_flight == 0);
    blue.release();
    for _ in 0..20 {
        lab.get("/").expect(200);
    }
    let aborts = "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"client-abort\"}";
    lab.until_metric(aborts, 2.0);
    assert_eq!(lab.status().pool("blue").error_ratio, 0.0);
}
