//! Regressions of traffic: each was wrong once, between a client, lbd and an endpoint.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::support::{Client, Lab, Origin, PATIENCE, RawOrigin, Request, eventually, timed};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// A connection whose receive buffer is small, so that what is not read stays with lbd.
fn narrow(lab: &Lab) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&lab.address().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// An endpoint that does with each connection what `act` says.
fn scripted(act: impl Fn(TcpStream) -> std::io::Result<()> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that breaks is what the test looks at from its other end.
            let _ = stream.and_then(&act);
        }
    });
    address
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    Ok(())
}

/// Method: 10 MB, of which 64 KiB are read every 20 ms, which takes ten times as long as `write`.
#[test]
fn a_slow_reader_gets_its_response_whole() {
    const SIZE: usize = 10_000_000;
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("timeouts = { write = \"300ms\" }").pool("blue", &blue).start();
    let mut stream = narrow(&lab);
    let head = format!("GET /bytes/{SIZE} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut got = Vec::with_capacity(SIZE + 1024);
    let (took, ()) = timed(|| {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let mut filled = 0;
            while filled < piece.len() {
                match stream.read(&mut piece[filled..]).expect("the response goes on") {
                    0 => break,
                    n => filled += n,
                }
            }
            got.extend_from_slice(&piece[..filled]);
            if filled < piece.len() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let head = got.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(got.len() - head, SIZE, "after {took:?}");
    assert!(took.as_secs_f64() > 1.0, "{took:?} is not slow");
}

/// Method: fifty pipelined requests for a megabyte each, of whose answers nothing is ever read.
#[test]
fn a_client_that_never_reads_is_closed_after_the_write_limit() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("timeouts = { write = \"500ms\" }").pool("blue", &blue).start();
    let mut stream = narrow(&lab);
    let request = "GET /bytes/1000000 HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let (took, ()) = timed(|| {
        stream.write_all(request.repeat(50).as_bytes()).unwrap();
        eventually("the origin is asked", || (blue.requests() > 0).then_some(()));
        lab.until_metric("lbd_connections{listener=\"http\"}", 0.0);
        lab.until("nothing runs any more", |s| {
            s.endpoint("blue", &blue.address).is_some_and(|e| e.in_flight == 0)
                && s.pool("blue").in_flight == 0
        });
    });
    assert!((0.4..4.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(blue.requests() < 50, "the later requests are not served to nobody");
    lab.get("/").expect(200);
}

/// Method: endpoints that say an interim answer and close; status and metrics tell the final one.
#[test]
fn an_interim_answer_and_then_nothing_is_502() {
    for (interim, code) in [("100 Continue", 100), ("103 Early Hints", 103)] {
        let raw = RawOrigin::saying(&format!("HTTP/1.1 {interim}\r\n\r\n"));
        let lab = Lab::new().pool("blue", &raw.address).start();
        lab.client().call(&Request::post("/", "pay")).expect(502);
        let metric =
            |code| format!("lbd_requests_total{{service=\"app\",pool=\"blue\",code=\"{code}\"}}");
        lab.until_metric(&metric(502), 1.0);
        assert_eq!(lab.metric(&metric(code)), 0.0, "{interim} is no outcome");
    }
}

/// Method: 5 MB are sent to a host that is not served and to a service in maintenance, by clients that
/// read while they send.
#[test]
fn an_early_answer_to_a_long_upload_arrives() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().app("hosts = [\"app.test\"]").pool("blue", &blue).start();
    lab.ctl("maintenance on").succeeds();
    let body = vec![b'x'; 5_000_000];
    for (host, status) in [("other.test", 421), ("app.test", 503)] {
        for round in 0..5 {
            let post = Request::post("/", body.clone()).host(host).head();
            let mut stream = TcpStream::connect(lab.address()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(post.as_bytes()).unwrap();
            let mut sender = stream.try_clone().unwrap();
            let answer = thread::scope(|scope| {
                // It may be told to stop by the end of the connection.
                let sent = scope.spawn(|| sender.write_all(&body));
                let answer = whole_answer(&mut stream);
                let _ = sent.join().expect("no panic");
                answer
            });
            let answer = answer.unwrap_or_else(|e| panic!("{host}, round {round}: {e}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        }
    }
    assert_eq!(blue.requests(), 0);
}

/// Method: 800 kB in pieces, by clients that read only when they have sent everything.
#[test]
fn an_early_answer_does_not_cut_a_short_upload() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().app("hosts = [\"app.test\"]").pool("blue", &blue).start();
    lab.ctl("maintenance on").succeeds();
    for (host, status) in [("other.test", 421), ("app.test", 503)] {
        let body = vec![b'x'; 800_000];
        let mut client = lab.client();
        client.send(Request::post("/", body.clone()).host(host).head());
        for piece in body.chunks(50_000) {
            client.send(piece);
            thread::sleep(Duration::from_millis(10));
        }
        client.answer().expect(status);
    }
}

/// Method: the same by clients that read only when they have sent everything: nothing may stop them.
#[test]
fn an_early_answer_waits_for_a_client_that_sends_first() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().app("hosts = [\"app.test\"]").pool("blue", &blue).start();
    lab.ctl("maintenance on").succeeds();
    let body = vec![b'x'; 5_000_000];
    for (host, status) in [("other.test", 421), ("app.test", 503)] {
        let post = Request::post("/", body.clone()).host(host).head();
        let mut stream = TcpStream::connect(lab.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(post.as_bytes()).unwrap();
        let sent = stream.write_all(&body);
        let answer = whole_answer(&mut stream);
        let whole = answer.as_ref().is_ok_and(|a| a.starts_with(&format!("HTTP/1.1 {status} ")));
        assert!(sent.is_ok() && whole, "{host}: sending {sent:?}, then reading {answer:?}");
    }
    assert_eq!(blue.requests(), 0);
}

/// Reads a head, and a body by its length.
fn whole_answer(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    let text = String::from_utf8(seen).map_err(std::io::Error::other)?;
    let lower = text.to_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length = length.expect("a length").trim().parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(text)
}

/// Method: a client asks for HTTP/2 over plain text and sends another request behind.
#[test]
fn requests_behind_an_upgrade_to_h2c_are_answered_in_order() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let mut client = lab.client();
    client.send(
        "GET /201 HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n\
         GET /202 HTTP/1.1\r\nHost: app.test\r\n\r\n",
    );
    client.answer().expect(201);
    client.answer().expect(202);
    assert_eq!(blue.requests(), 2);
}

/// Method: the endpoint begins its answer at once and ends it when the upload is over, which takes
/// four times as long as `idle`.
#[test]
fn an_upload_that_goes_on_behind_an_early_head_is_not_idle() {
    let early = scripted(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n")?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n")?;
        read_until(&mut stream, b"0\r\n\r\n")?;
        stream.write_all(b"4\r\ndone\r\n0\r\n\r\n")
    });
    let limits = "[service.app.timeouts]\nidle = \"300ms\"";
    let lab = Lab::new().config(limits).pool("blue", early).start();
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..12 {
        client.send("1\r\nx\r\n");
        thread::sleep(Duration::from_millis(100));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer().expect(200).text(), "begundone");
}

/// Method: a client whose body takes longer than `total`, and an endpoint that one failure suspends.
#[test]
fn a_total_that_ends_in_the_middle_of_an_upload_is_408() {
    let blue = Origin::answering("blue");
    let limits = "[service.app.timeouts]\ntotal = \"500ms\"\n\
                  [service.app.health]\npassive = { failures = 1 }";
    let lab = Lab::new().config(limits).pool("blue", &blue).start();
    let mut client = lab.client();
    client.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..4 {
        client.send("x");
        thread::sleep(Duration::from_millis(100));
    }
    client.answer().expect(408);
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"-\",code=\"408\"}", 1.0);
    assert_eq!(lab.status().standing("blue", &blue.address), "up");
    let blamed = "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"timeout\"}";
    assert_eq!(lab.metric(blamed), 0.0);
    lab.get("/").expect(200);
}

/// Method: one request with a pin and a bypass among its cookies; the link itself in the log.
#[test]
fn secrets_stay_with_lbd() {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let config = format!(
        "[service.app.pin]\nname = \"x-lbd-pin\"\nsecret = \"open-sesame\"\n\
         [service.app.access_log]\ntarget = \"{}\"\nformat = \"json\"",
        file.display()
    );
    let lab = Lab::new().config(&config).pool("blue", &blue).pool("green", &green).start();
    lab.ctl("maintenance on --secret pass-me-by").succeeds();
    let cookies = "a=1; x-lbd-pin=green:open-sesame; lbd_bypass=pass-me-by; b=2";
    let seen = lab.request(&Request::get("/echo").header("Cookie", cookies)).expect(200);
    assert_eq!(seen.origin(), "green", "the pin counts");
    assert!(!seen.text().contains("open-sesame") && !seen.text().contains("pass-me-by"));
    let headers = seen.json()["headers"].clone();
    let cookie = headers.as_array().unwrap().iter().find(|pair| pair[0] == "cookie").unwrap();
    let kept: Vec<_> = cookie[1].as_str().unwrap().split(';').map(str::trim).collect();
    assert_eq!(kept, ["a=1", "b=2"]);
    lab.get("/.lbd/bypass/pass-me-by").expect(303);
    let text = eventually("the link is in the log", || {
        std::fs::read_to_string(&file).ok().filter(|text| text.contains("/.lbd/bypass/"))
    });
    assert!(!text.contains("pass-me-by"), "{text}");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(lines.map(|l| l["path"].clone()).any(|p| p == "/.lbd/bypass/***"), "{text}");
}

/// Method: targets with a scheme and a host, whose host is that of the header and another.
#[test]
fn an_absolute_target_reaches_the_endpoint_as_its_path() {
    let raw =
        RawOrigin::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let lab = Lab::new().pool("blue", &raw.address).start();
    let ask = |host: &str| {
        let request = format!("GET http://app.test/abs?x=1 HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let mut client: Client = lab.client();
        client.send(request).answer()
    };
    ask("app.test").expect(200);
    let heads = eventually("a head came", || Some(raw.heads()).filter(|heads| !heads.is_empty()));
    assert!(heads[0].starts_with("GET /abs?x=1 HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].to_lowercase().contains("\r\nhost: app.test\r\n"), "{}", heads[0]);
    let refused = ask("other.test").expect(400);
    assert_eq!(refused.header("server"), None);
    assert_eq!(raw.heads().len(), 1);
}

/// Method: a head without a host, and one that is too large; both are told apart from services.
#[test]
fn refused_heads_are_counted() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("max_header_bytes = \"4KiB\"").pool("blue", &blue).start();
    lab.client().send("GET / HTTP/1.1\r\n\r\n").answer().expect(400);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(5000));
    lab.client().send(large).answer().expect(431);
    for code in [400, 431] {
        let metric = format!("lbd_requests_total{{service=\"-\",pool=\"-\",code=\"{code}\"}}");
        lab.until_metric(&metric, 1.0);
    }
}
