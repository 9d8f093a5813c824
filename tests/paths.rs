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

use crate::support::{Answer, Lab, PATIENCE, timed};

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
    let lab = Lab::new()
        .runtime(&format!("fast_path = {is_fast}\nworkers = 1"))
        .app("user_id = ['header:X-User-Id']\nretries = 0\npin = { name = 'x-pin', secret = 'open-sesame' }")
        .pool("blue", address)
        .config("[service.app.health]\npassive = false")
        .start();
    let mut client = lab.client();
    let mut answer = client.send(request).read_as(request);
    answer.headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    let served = answer.header("date") == Some(LONG_AGO);
    (asked.recv_timeout(PATIENCE).ok(), answer, served)
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
