//! The lean path and the full one: whatever takes either, endpoint and client see the same, but for
//! this: the full path sets `Date` anew, says `Connection: keep-alive`, and neither passes trailers on nor
//! asks for them.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use crate::support::{
    Answer, Http2, Lab, PATIENCE, eventually,
    h2::{Whole, send, whole},
    timed,
};

/// What no endpoint would say today. pingora sets the date anew, so that this tells the paths apart.
const LONG_AGO: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// A message as it came.
#[derive(Debug)]
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<String>,
}

impl Message {
    fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut lines = Self::read_lines(from)?;
        let first = lines.remove(0);
        let headers: Vec<_> = lines
            .iter()
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no header")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut message = Self { first, headers, body: Vec::new(), trailers: Vec::new() };
        if message.value("transfer-encoding").is_some() {
            message.read_chunks(from)?;
        } else if let Some(length) = message.value("content-length") {
            message.body.resize(length.parse().unwrap(), 0);
            from.read_exact(&mut message.body).ok()?;
        }
        Some(message)
    }

    fn read_lines(from: &mut impl BufRead) -> Option<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.strip_suffix("\r\n").expect("lines end with CRLF") {
                "" => return Some(lines),
                line => lines.push(line.to_owned()),
            }
        }
    }

    fn read_chunks(&mut self, from: &mut impl BufRead) -> Option<()> {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let size = usize::from_str_radix(line.trim_end(), 16).expect("a bare chunk size");
            if size == 0 {
                self.trailers = Self::read_lines(from)?;
                return Some(());
            }
            let begin = self.body.len();
            self.body.resize(begin + size + 2, 0);
            from.read_exact(&mut self.body[begin..]).ok()?;
            assert_eq!(&self.body[begin + size..], b"\r\n", "no loose ends");
            self.body.truncate(begin + size);
        }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Without what is made up for each request and what only concerns trailers, in an order of its own.
    fn plain(&self, own_id: Option<&str>) -> (String, BTreeSet<String>, Vec<u8>) {
        let made_up = |name: &str, value: &str| match name {
            "x-request-id" => Some(value) != own_id,
            "traceparent" => !value.contains("0af7651916cd43dd8448eb211c80319c"),
            "date" | "connection" => true,
            _ => false,
        };
        let is_left_out = |name: &str| ["connection", "te", "trailer"].contains(&name);
        let line = |(name, value): &(String, String)| {
            let value = if made_up(name, value) { "*" } else { value };
            format!("{name}: {value}")
        };
        let lines = self.headers.iter().filter(|(name, _)| !is_left_out(name)).map(line);
        (self.first.clone(), lines.collect(), self.body.clone())
    }
}

/// An endpoint that says `answer` to every request, and tells what it was asked.
fn endpoint(answer: &str) -> (SocketAddr, mpsc::Receiver<Message>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = mpsc::channel();
    let answer = answer.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut from = BufReader::new(stream.try_clone().unwrap());
            if let Some(message) = Message::read(&mut from) {
                // Whoever asked may be gone.
                let _ = tell.send(message);
                let _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    (address, asked)
}

/// What endpoint and client see of a request and its answer on one path, and whether the lean one
/// served it.
fn seen(is_fast: bool, request: &str, answer: &str) -> (Option<Message>, Answer, bool) {
    let (address, asked) = endpoint(answer);
    let lab = lab_of_plain(is_fast, address);
    let mut client = lab.client();
    let mut answer = client.send(request).read_as(request);
    answer.headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    let served = answer.header("date") == Some(LONG_AGO);
    (asked.recv_timeout(PATIENCE).ok(), answer, served)
}

fn lab_of_plain(is_fast: bool, address: SocketAddr) -> Lab {
    Lab::new()
        .runtime(&format!("fast_path = {is_fast}\nworkers = 1"))
        .app("user_id = ['header:X-User-Id']\nretries = 0\npin = { name = 'x-pin', secret = 'open-sesame' }")
        .pool("blue", address)
        .config("[service.app.health]\npassive = false")
        .start()
}

trait ReadAs {
    fn read_as(&mut self, request: &str) -> Answer;
}

impl ReadAs for crate::support::Client {
    fn read_as(&mut self, request: &str) -> Answer {
        let is_head = request.starts_with("HEAD");
        if is_head { self.read_head().unwrap() } else { self.answer() }
    }
}

fn alike(is_lean: bool, request: &str, answer: &str) {
    let own_id = request.contains("own-id").then_some("own-id");
    let (asked_fast, answer_fast, was_lean) = seen(true, request, answer);
    let (asked_full, answer_full, was_full_lean) = seen(false, request, answer);
    assert!(!was_full_lean, "the lean path is off");
    assert_eq!(was_lean, is_lean, "who serves {request:?}");
    let passed = |asked: &Option<Message>| asked.as_ref().map_or(0, |asked| asked.trailers.len());
    let trailers = usize::from(is_lean && request.contains("\r\nX-Sum: 1"));
    assert_eq!((passed(&asked_fast), passed(&asked_full)), (trailers, 0), "{request:?}");
    let trailers = usize::from(is_lean && answer.contains("\r\nX-Sum: 1"));
    let passed = (answer_fast.trailers.len(), answer_full.trailers.len());
    assert_eq!(passed, (trailers, 0), "{answer:?}");
    let plain = |asked: Option<Message>| asked.map(|asked| asked.plain(own_id));
    assert_eq!(plain(asked_fast), plain(asked_full), "asked for {request:?}");
    let plain = |answer: Answer| {
        let Answer { version, status, headers, body, trailers: _ } = answer;
        let (first, trailers) = (format!("{version} {status}"), Vec::new());
        Message { first, headers, body, trailers }.plain(own_id)
    };
    assert_eq!(plain(answer_fast), plain(answer_full), "answered to {request:?}");
}

fn ok(rest: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nDate: {LONG_AGO}\r\n{rest}")
}

/// Method: requests and answers of every kind that the lean path serves.
#[test]
fn what_is_plain_is_alike() {
    let answer = ok("Content-Length: 5\r\nX-Own: a\r\nX-Own: b\r\n\r\nhello");
    for request in [
        "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET /a/%20b?c=d&e HTTP/1.1\r\nHost: a.example:8080\r\nX-User-Id: 7\r\nCookie: a=b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nAccept: */*\r\nX-Two: 2\r\nX-Empty:\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-For: 1.2.3.4\r\nx_forwarded_for: 5\r\n\
         X-Forwarded-Proto: https\r\nForwarded: for=x\r\nX-Request-Id: own-id\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\ntracestate: x=y\r\n\
         traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\ntracestate: x=y\r\ntraceparent: none\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip;q=0.5, trailers\r\nConnection: keep-alive, te\r\n\r\n",
        "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: x/y\r\n\r\nhello",
        "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        "DELETE /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        alike(true, request, &answer);
    }
}

/// Method: one request, answers of every kind.
#[test]
fn answers_are_alike() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for answer in [
        "Content-Length: 0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n",
        "\r\nuntil the end",
        "Content-Length: 2\r\nConnection: x-private, close\r\nX-Private: 1\r\nKeep-Alive: 5\r\n\
         X-Request-Id: theirs\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nok",
    ] {
        alike(true, get, &ok(answer));
    }
    let date = format!("Date: {LONG_AGO}\r\n");
    for answer in [
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\nok"
        ),
        format!("HTTP/1.1 404 Nothing Here\r\n{date}Content-Length: 4\r\n\r\ngone"),
        format!("HTTP/1.1 500 Oops\r\n{date}Content-Length: 4\r\n\r\noops"),
        format!("HTTP/1.1 304 Not Modified\r\n{date}ETag: \"x\"\r\n\r\n"),
        format!("HTTP/1.1 204 No Content\r\n{date}\r\n"),
        format!("HTTP/1.0 200 OK\r\n{date}Content-Length: 3\r\n\r\nold"),
        format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\nok"
        ),
    ] {
        alike(true, get, &answer);
    }
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    alike(true, head, &ok("Content-Length: 500\r\n\r\n"));
}

/// Method: what the lean path leaves to the full one, and answers that are none.
#[test]
fn what_needs_more_is_alike() {
    let answer = ok("Content-Length: 5\r\n\r\nhello");
    for request in [
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Pin: blue:open-sesame\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nCookie: x=1; x-pin=blue:open-sesame\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0000000000000002\r\nok\r\n0\r\n\r\n",
    ] {
        alike(false, request, &answer);
    }
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        alike(false, get, answer);
    }
}

/// Method: a request of which the endpoint sees only a part before it dies; the client has an answer.
#[test]
fn an_upload_that_breaks_off_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut some = [0; 1000];
            // Whatever came of it, it is closed now.
            let _ = stream.and_then(|mut stream: TcpStream| stream.read(&mut some));
        }
    });
    let lab = Lab::new().app("retries = 0").pool("blue", address).start();
    let mut client = lab.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n");
    client.send(vec![b'x'; 200_000]);
    assert_eq!(client.answer().status, 502);
    assert!(client.is_closed());
}

/// A laboratory on one path, with short patience.
fn lab_on(is_fast: bool, address: SocketAddr) -> Lab {
    Lab::new()
        .runtime(&format!("fast_path = {is_fast}\nworkers = 1"))
        .app("retries = 0\ntimeouts = { first_byte = '300ms', idle = '300ms' }")
        .listener("timeouts = { body = '300ms' }")
        .pool("blue", address)
        .config("[service.app.health]\npassive = false\n[guard]\nshield = false")
        .start()
}

/// What the client still sends of a body that nobody takes is no request. Method: an endpoint that
/// answers a large upload at once and closes without reading it; the body is full of requests.
#[test]
fn a_body_that_nobody_takes_is_never_a_request() {
    for is_fast in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::with_capacity(64, &stream).read_line(&mut line).unwrap();
                tell.send(line).unwrap();
                // lbd may see the reset first.
                let _ = stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
            }
        });
        let lab = lab_on(is_fast, address);
        let mut client = lab.client();
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".repeat(50_000);
        let head =
            format!("POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len());
        client.send(head);
        // lbd may stop taking it.
        client.try_send(&smuggled);
        let said = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(said.matches("HTTP/1.1 ").count() <= 1, "{said}");
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 413") || said.starts_with("HTTP/1.1 502")
        );
        assert_eq!(asked.try_iter().filter(|line| line.contains("smuggled")).count(), 0);
    }
}

/// Method: an endpoint that takes the connection and never reads; an upload that no buffer holds.
#[test]
fn an_endpoint_that_stops_reading_is_given_up() {
    for is_fast in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lab = lab_on(is_fast, listener.local_addr().unwrap());
        let mut client = lab.client();
        client.send("POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n");
        let body = vec![b'x'; 50_000_000];
        let (took, ()) = timed(|| client.try_send(&body));
        assert!(took < PATIENCE, "{took:?}");
        let of_blue =
            |name: &str, blame: &str| format!("{name}{{service=\"app\",pool=\"blue\"{blame}}}");
        lab.until_metric(&of_blue("lbd_request_failures_total", ",blame=\"timeout\""), 1.0);
        lab.until_metric(&of_blue("lbd_requests_in_flight", ""), 0.0);
        lab.until_metric("lbd_requests_total{service=\"app\",pool=\"blue\",code=\"504\"}", 1.0);
    }
}

/// Method: an endpoint that answers while its client still sends, which then stops.
#[test]
fn a_client_that_stops_sending_is_not_the_endpoints_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0; 20]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome").unwrap();
            // Until lbd has had enough.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let lab = lab_on(true, address);
    let mut client = lab.client();
    client.send("POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\nsome");
    assert!(String::from_utf8_lossy(&client.rest()).ends_with("some"));
    lab.until_metric("lbd_requests_in_flight{service=\"app\",pool=\"blue\"}", 0.0);
    for blame in ["timeout", "reset", "protocol"] {
        let failures = format!(
            "lbd_request_failures_total{{service=\"app\",pool=\"blue\",blame=\"{blame}\"}}"
        );
        assert_eq!(lab.metric(&failures), 0.0, "{blame}");
    }
}

/// A request of HTTP/2: method, address, headers, and its body in pieces if it has one.
type Streamed = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<&'static [&'static str]>,
);

/// The same as [`seen`], over HTTP/2.
async fn seen_on_stream(
    is_fast: bool,
    (method, uri, headers, body): Streamed,
    answer: &str,
) -> (Option<Message>, Whole, bool) {
    let (address, asked) = endpoint(answer);
    let lab = tokio::task::block_in_place(|| lab_of_plain(is_fast, address));
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = Http2::plain(lab.address()).await;
    let (response, mut stream) = client.begin(request.body(()).unwrap(), body.is_some()).await;
    if let Some(pieces) = body {
        for piece in pieces {
            send(&mut stream, piece.as_bytes()).await;
        }
        stream.send_data(bytes::Bytes::new(), true).unwrap();
    }
    let answer = whole(response).await.unwrap();
    let served = answer.headers.get("date").is_some_and(|date| date == LONG_AGO);
    let asked = tokio::task::block_in_place(|| asked.recv_timeout(PATIENCE).ok());
    (asked, answer, served)
}

async fn alike_on_streams(is_lean: bool, request: Streamed, answer: &str) {
    let own_id = request.2.iter().any(|(_, value)| *value == "own-id").then_some("own-id");
    let (asked_fast, answer_fast, was_lean) = seen_on_stream(true, request, answer).await;
    let (asked_full, answer_full, was_full_lean) = seen_on_stream(false, request, answer).await;
    assert!(!was_full_lean, "the lean path is off");
    assert_eq!(was_lean, is_lean, "who serves {request:?}, answered {answer:?}: {answer_fast:?}");
    let asked_fast = asked_fast.map(|asked| asked.plain(own_id));
    // Each is asked as if the client spoke HTTP/1: with a host, and with a body that says where it ends.
    assert!(asked_fast.as_ref().is_none_or(|(_, lines, _)| lines.contains("host: a")));
    let asked_full = asked_full.map(|asked| asked.plain(own_id));
    assert_eq!(asked_fast, asked_full, "asked for {request:?}");
    let plain = |answer: Whole| {
        let value = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let headers = answer.headers.iter().map(|(n, v)| (n.as_str().to_owned(), value(v)));
        let first = answer.status.to_string();
        let (headers, trailers) = (headers.collect(), Vec::new());
        Message { first, headers, body: answer.body, trailers }.plain(own_id)
    };
    assert_eq!(plain(answer_fast), plain(answer_full), "answered to {request:?}: {answer:?}");
}

/// Method: requests of every kind that the lean path serves, over HTTP/2.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_plain_is_alike_on_streams() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = ok("Content-Length: 5\r\nX-Own: a\r\nX-Own: b\r\n\r\nhello");
    let requests: [Streamed; 12] = [
        ("GET", "http://a/", &[], None),
        ("GET", "http://a/a/%20b?c=d&e", &[("x-user-id", "7"), ("cookie", "a=b")], None),
        ("GET", "http://a/", &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d; e=f")], None),
        (
            "GET",
            "http://a/",
            &[("host", "a"), ("x-two", "1"), ("accept", "*/*"), ("x-two", "")],
            None,
        ),
        (
            "GET",
            "http://a/",
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("x_forwarded_for", "5"),
                ("x-forwarded-proto", "https"),
                ("forwarded", "for=x"),
                ("x-request-id", "own-id"),
            ],
            None,
        ),
        ("GET", "http://a/", &[("tracestate", "x=y"), ("traceparent", TRACE)], None),
        ("GET", "http://a/", &[("tracestate", "x=y"), ("traceparent", "none")], None),
        (
            "POST",
            "http://a/p",
            &[("content-length", "5"), ("content-type", "x/y")],
            Some(&["hello"]),
        ),
        ("POST", "http://a/p", &[("content-length", "5")], Some(&["he", "", "llo"])),
        ("PUT", "http://a/p", &[], Some(&["hello", " world", ""])),
        ("DELETE", "http://a/p", &[("content-length", "0")], Some(&[])),
        ("BREW", "http://a/pot", &[], None),
    ];
    for request in requests {
        alike_on_streams(true, request, &answer).await;
    }
    alike_on_streams(true, ("HEAD", "http://a/", &[], None), &ok("Content-Length: 500\r\n\r\n"))
        .await;
}

/// Method: one request of HTTP/2, answers of every kind.
#[tokio::test(flavor = "multi_thread")]
async fn answers_are_alike_on_streams() {
    let date = format!("Date: {LONG_AGO}\r\n");
    for answer in [
        ok("Content-Length: 0\r\n\r\n"),
        ok("Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ok("\r\nuntil the end"),
        ok(
            "Content-Length: 2\r\nConnection: x-private, close\r\nX-Private: 1\r\nKeep-Alive: 5\r\n\
            X-Request-Id: theirs\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nok",
        ),
        format!("HTTP/1.1 404 Nothing Here\r\n{date}Content-Length: 4\r\n\r\ngone"),
        format!("HTTP/1.1 500 Oops\r\n{date}Content-Length: 4\r\n\r\noops"),
        format!("HTTP/1.1 304 Not Modified\r\n{date}ETag: \"x\"\r\n\r\n"),
        format!("HTTP/1.1 204 No Content\r\n{date}\r\n"),
        format!("HTTP/1.0 200 OK\r\n{date}Content-Length: 3\r\n\r\nold"),
    ] {
        alike_on_streams(true, ("GET", "http://a/", &[], None), &answer).await;
    }
}

/// Method: requests of HTTP/2 that the lean path leaves to the full one, and answers that are none.
#[tokio::test(flavor = "multi_thread")]
async fn what_needs_more_is_alike_on_streams() {
    let answer = ok("Content-Length: 5\r\n\r\nhello");
    let requests: [Streamed; 3] = [
        ("GET", "http://a/\"quoted\"", &[], None),
        ("GET", "http://a/", &[("x-pin", "blue:open-sesame")], None),
        ("GET", "http://a/", &[("cookie", "x=1"), ("cookie", "x-pin=blue:open-sesame")], None),
    ];
    for request in requests {
        alike_on_streams(false, request, &answer).await;
    }
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        alike_on_streams(false, ("GET", "http://a/", &[], None), answer).await;
    }
}

/// Method: trailers that may go on and such that may not, of a request and of its answer.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_on_streams() {
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Host\r\n\r\n\
                  5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nX-Sum: 2\r\n\r\n";
    let (address, asked) = endpoint(answer);
    let lab = tokio::task::block_in_place(|| lab_of_plain(true, address));
    let mut client = Http2::plain(lab.address()).await;
    let request = http::Request::post("http://a/").header("te", "trailers");
    let request = request.header("trailer", "x-in").body(()).unwrap();
    let (response, mut stream) = client.begin(request, true).await;
    send(&mut stream, b"to you").await;
    let trailers = [("x-in", "3"), ("x-forwarded-for", "1.2.3.4"), ("host", "b")];
    let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    stream.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
    let answer = whole(response).await.unwrap();
    let asked = tokio::task::block_in_place(|| asked.recv_timeout(PATIENCE).unwrap());
    assert_eq!((&*asked.body, &*asked.trailers), (&b"to you"[..], &["x-in: 3".to_owned()][..]));
    assert_eq!((asked.value("te"), asked.value("trailer")), (Some("trailers"), Some("x-in")));
    assert_eq!(
        (answer.body, &answer.headers["trailer"]),
        (b"hello".to_vec(), &"X-Sum".parse().unwrap())
    );
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(trailers.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(trailers.len(), 2);
}

/// Method: an endpoint that gives a hint before its answer; the hint is waited for first.
#[tokio::test(flavor = "multi_thread")]
async fn hints_arrive_on_streams() {
    let answer = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for is_fast in [true, false] {
        let (address, _asked) = endpoint(answer);
        let lab = tokio::task::block_in_place(|| lab_of_plain(is_fast, address));
        let mut client = Http2::plain(lab.address()).await;
        let request = http::Request::get("http://a/").body(()).unwrap();
        let (mut response, _) = client.begin(request, false).await;
        let hint = std::future::poll_fn(|cx| response.poll_informational(cx));
        let hint = tokio::time::timeout(PATIENCE, hint).await.unwrap().expect("a hint").unwrap();
        assert_eq!(
            (hint.status().as_u16(), &hint.headers()["link"]),
            (103, &"</a>".parse().unwrap())
        );
        assert!(!hint.headers().contains_key("connection"));
        assert_eq!(whole(response).await.unwrap().body, b"ok");
    }
}

/// Method: an endpoint that never answers, on each path, for each limit. The client owes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_limit_ends_a_stream_it_is_answered() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for limit in ["first_byte = '200ms'", "first_byte = '300ms', idle = '100ms'", "total = '200ms'"]
    {
        for is_fast in [true, false] {
            let lab = tokio::task::block_in_place(|| {
                Lab::new()
                    .runtime(&format!("fast_path = {is_fast}\nworkers = 1"))
                    .app(&format!("retries = 0\ntimeouts = {{ {limit} }}"))
                    .pool("blue", silent.local_addr().unwrap())
                    .config("[service.app.health]\npassive = false")
                    .start()
            });
            let mut client = Http2::plain(lab.address()).await;
            let get = client.get("http://a/").await;
            assert_eq!(get.status, 504, "{limit}, fast_path = {is_fast}");
            assert_eq!(client.post("http://a/", &[b"all", b" of it"]).await.status, 504);
            let late =
                "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"timeout\"}";
            tokio::task::block_in_place(|| lab.until_metric(late, 2.0));
        }
    }
}

/// Method: an endpoint that answers an upload of which it has seen the head only, and reads no more.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_end_of_an_upload_arrives_on_streams() {
    for is_fast in [true, false] {
        let (tell, _held) = mpsc::channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.read_exact(&mut [0; 20]).unwrap();
                stream.write_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
                // It stays open.
                tell.send(stream).unwrap();
            }
        });
        let lab = tokio::task::block_in_place(|| lab_on(is_fast, address));
        let mut client = Http2::plain(lab.address()).await;
        let request = http::Request::post("http://a/u").body(()).unwrap();
        let (response, mut body) = client.begin(request, true).await;
        send(&mut body, b"a beginning").await;
        let answer = whole(response).await.unwrap();
        assert_eq!((answer.status, &*answer.body), (413, &b"no"[..]), "fast_path = {is_fast}");
        if is_fast {
            // It need not send the rest (RFC 9113, section 8.1).
            let reset = std::future::poll_fn(|cx| body.poll_reset(cx));
            let reset = tokio::time::timeout(PATIENCE, reset).await.unwrap().unwrap();
            assert_eq!(reset, h2::Reason::NO_ERROR);
        }
        tokio::task::block_in_place(|| {
            let running = "lbd_requests_in_flight{service=\"app\",pool=\"blue\"}";
            eventually("it is over", || (lab.metric(running) == 0.0).then_some(()));
        });
    }
}
