//! How bodies come through: events as they are sent, trailers, old clients, leave to send.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::support::{Dead, Lab, Origin, PATIENCE, RawOrigin, Request, Speech};
use bytes::Bytes;

const H2C: &str = "protocol = 'h2c'";

fn http2(label: &str) -> Origin {
    Origin::speaking(label, Speech { http2: true, tls: None })
}

/// An endpoint that sends an event whenever the test says so. Without chunks, its end is that of the
/// connection.
fn events(chunked: bool) -> (SocketAddr, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (next, ready) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let coding =
            if chunked { "Transfer-Encoding: chunked\r\n" } else { "Connection: close\r\n" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        while ready.recv().is_ok() {
            let event = if chunked { "d\r\ndata: event\n\n\r\n" } else { "data: event\n\n" };
            stream.write_all(event.as_bytes()).unwrap();
        }
    });
    (address, next)
}

/// An HTTP/2 endpoint that does the same.
fn events_of_http2() -> (SocketAddr, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (next, ready) = mpsc::channel::<()>();
    let (forward, mut asked) = tokio::sync::mpsc::unbounded_channel();
    thread::spawn(move || ready.into_iter().try_for_each(|()| forward.send(())));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            tokio::spawn(async move { while connection.accept().await.is_some() {} });
            let mut body = respond.send_response(http::Response::new(()), false).unwrap();
            while asked.recv().await.is_some() {
                body.send_data(Bytes::from_static(b"data: event\n\n"), false).unwrap();
            }
        });
    });
    (address, next)
}

/// Method: an event is only sent when the one before has reached the client.
#[test]
fn events_arrive_when_they_are_sent() {
    for (protocol, (address, next)) in
        [("http1", events(true)), ("http1", events(false)), ("h2c", events_of_http2())]
    {
        let lab =
            Lab::new().pool("blue", address).link("blue", &format!("protocol = '{protocol}'"));
        let lab = lab.start();
        let mut client = lab.client();
        client.send(Request::get("/").head());
        assert_eq!(client.read_head().expect("the head comes first").status, 200);
        for _ in 0..20 {
            next.send(()).unwrap();
            let event = client.bytes(18).to_ascii_lowercase();
            assert_eq!(event, b"d\r\ndata: event\n\n\r\n", "{protocol}");
        }
    }
}

/// An endpoint that answers `answer` to every request, and tells each as it came: head, chunks, trailers.
fn recorded(answer: &str) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let answer = answer.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (tell, answer) = (tell.clone(), answer.clone());
            // A connection that breaks off is what some tests are about.
            thread::spawn(move || -> std::io::Result<()> {
                let mut stream = stream?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let mut from = BufReader::new(stream.try_clone()?);
                loop {
                    let mut message = lines(&mut from)?;
                    if message.to_lowercase().contains("transfer-encoding: chunked") {
                        loop {
                            let mut size = String::new();
                            from.read_line(&mut size)?;
                            message += &size;
                            let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                            if size == 0 {
                                message += &lines(&mut from)?;
                                break;
                            }
                            let mut chunk = vec![0; size + 2];
                            from.read_exact(&mut chunk)?;
                            message += std::str::from_utf8(&chunk).unwrap();
                        }
                    }
                    // The test may have seen enough.
                    let _ = tell.send(message);
                    stream.write_all(answer.as_bytes())?;
                }
            });
        }
    });
    (address, told)
}

/// Lines up to an empty one.
fn lines(from: &mut impl BufRead) -> std::io::Result<String> {
    let mut lines = String::new();
    loop {
        let before = lines.len();
        if from.read_line(&mut lines)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if &lines[before..] == "\r\n" {
            return Ok(lines);
        }
    }
}

/// A laboratory of one worker, on one path.
fn lab_on(is_lean: bool, address: impl ToString) -> Lab {
    let runtime = format!("fast_path = {is_lean}\nworkers = 1");
    let lab = Lab::new().runtime(&runtime).app("retries = 0").pool("blue", address);
    lab.config("[service.app.health]\npassive = false").start()
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The head of a request in chunks.
const CHUNKED: &str = "POST /p HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n";

/// Trailers of requests pass on the lean path, those that change nothing about their message; none does on
/// the full one. Either way connections are good for more. Method: they arrive whole, and byte by byte.
#[test]
fn trailers_of_requests_pass_on_the_lean_path_only() {
    // The full path frames the body anew, in as many chunks as it is read in.
    let lean = "\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-two: a:\tb\r\n\r\n";
    for (is_lean, end) in [(true, lean), (false, "\r\n0\r\n\r\n")] {
        let (address, told) = recorded(OK);
        let lab = lab_on(is_lean, address);
        let mut client = lab.client();
        let head = format!("{CHUNKED}Trailer: X-Sum, Content-Length\r\n\r\n");
        let body = "5;x\r\nhello\r\n0\r\nX-Sum: 1\r\nCONTENT-length: 9\r\nHost: b\r\nX_Forwarded_For: 1\r\n\
                    Content_Length: 9\r\nx-two:\ta:\tb \r\nAuthorization: x\r\n\r\n";
        for piece in [body.len(), 1, 7] {
            client.send(&head);
            for bytes in body.as_bytes().chunks(piece) {
                client.send(bytes);
            }
            assert_eq!(client.answer().expect(200).text(), "ok");
            let seen = told.recv_timeout(PATIENCE).unwrap();
            assert!(seen.ends_with(end), "{is_lean}, by {piece}: {seen}");
            assert_eq!(seen.contains("\r\ntrailer: X-Sum\r\n"), is_lean, "{seen}");
        }
    }
}

/// The same of answers. Method: the client's next answer comes whole and unchanged behind them.
#[test]
fn trailers_of_answers_pass_on_the_lean_path_only() {
    let raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
               5\r\nhello\r\n0\r\nX-Sum: HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\ntransfer-ENCODING: x\r\n\
               Grpc-Status:0\r\nX-Request-Id: 9\r\n\r\n";
    let passed =
        [("X-Sum", "HTTP/1.1 200 OK"), ("Grpc-Status", "0")].map(|(n, v)| (n.into(), v.into()));
    for (is_lean, passed) in [(true, &passed[..]), (false, &[])] {
        let (address, _told) = recorded(raw);
        let lab = lab_on(is_lean, address);
        let mut client = lab.client();
        for _ in 0..3 {
            let answer = client.call(&Request::get("/")).expect(200);
            assert_eq!((answer.text(), answer.header("x-sum")), ("hello", None));
            assert_eq!(answer.trailers, passed, "{is_lean}");
            if is_lean {
                assert_eq!(answer.header("trailer"), Some("X-Sum"));
            }
        }
        let head = client.call(&Request::new("HEAD", "/")).expect(200);
        assert_eq!(head.header("trailer").filter(|_| is_lean), None, "no body, no trailers");
    }
}

/// Method: an endpoint writes a large body with trailers in the smallest pieces, behind an interim answer.
#[test]
fn trailers_of_answers_come_in_any_pieces() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = lab_on(true, listener.local_addr().unwrap());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut from = BufReader::new(stream.try_clone().unwrap());
        stream.set_nodelay(true).unwrap();
        while lines(&mut from).is_ok() {
            let big = "x".repeat(100_000);
            let hints = "HTTP/1.1 103 Early Hints\r\nConnection: x\r\n\r\n";
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            write!(stream, "{hints}{head}186a0\r\n{big}\r\n").unwrap();
            for byte in b"0\r\nA: 1\r\nHost: x\r\nB: 2\r\n\r\n" {
                stream.write_all(&[*byte]).unwrap();
            }
        }
    });
    let mut client = lab.client();
    for _ in 0..3 {
        let answer = client.call(&Request::get("/")).expect(200);
        assert_eq!(answer.body.len(), 100_000);
        assert_eq!(answer.trailers, [("A".into(), "1".into()), ("B".into(), "2".into())]);
    }
}

/// What `Connection` names is between neighbours, also behind the body; and HTTP/1.0 knows no trailers.
#[test]
fn trailers_that_are_between_neighbours_stay_there() {
    let raw = RawOrigin::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close, x-sum\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let lab = lab_on(true, &raw.address);
    let mut client = lab.client();
    for _ in 0..2 {
        let answer = client.call(&Request::get("/")).expect(200);
        assert_eq!((answer.text(), &answer.trailers[..]), ("hello", &[][..]));
        assert_eq!(answer.header("trailer"), None);
    }
    let old = lab.client().send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n").rest();
    let old = String::from_utf8(old).unwrap();
    assert!(old.ends_with("\r\n\r\nhello") && !old.to_lowercase().contains("x-sum: 1"), "{old}");
}

/// Trailers that are none end the request and both connections, and nothing of them reaches the endpoint.
#[test]
fn trailers_that_are_malformed_are_refused() {
    let endless = "T: v\r\n".repeat(3000);
    for trailers in [
        "T\r\n\r\n",
        "T : v\r\n\r\n",
        " T: v\r\n\r\n",
        ": v\r\n\r\n",
        "T: v\r\n w\r\n\r\n",
        "T: v\n\r\n",
        "T: \0\r\n\r\n",
        "T\u{e9}: v\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        &endless,
    ] {
        for is_lean in [true, false] {
            let (address, told) = recorded(OK);
            let lab = lab_on(is_lean, address);
            let mut client = lab.client();
            client.send(format!("{CHUNKED}\r\n5\r\nhello\r\n0\r\nA: 1\r\n"));
            // lbd may have had enough before the last of it.
            client.try_send(trailers);
            assert_eq!(client.answer().status, 400, "{is_lean} {trailers:?}");
            assert!(client.is_closed());
            assert!(told.try_recv().is_err(), "the endpoint had no whole request");
            lab.get("/").expect(200);
            assert!(told.recv_timeout(PATIENCE).unwrap().starts_with("GET / "));
        }
    }
}

/// The same of answers, whose client sees that they broke off.
#[test]
fn answers_with_malformed_trailers_break_off() {
    for trailers in ["T\r\n", "T : v\r\n", "T: v\r\n w\r\n", "T: \0\r\n", "T: v\n"] {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
        let (address, _told) = recorded(&format!("{head}A: 1\r\n{trailers}\r\n"));
        let lab = lab_on(true, address);
        let mut client = lab.client();
        client.send(Request::get("/").head());
        assert_eq!(client.read_head().unwrap().status, 200);
        let rest = String::from_utf8(client.rest()).unwrap();
        assert!("5\r\nhello\r\n0\r\n".starts_with(&rest), "{trailers:?}: {rest:?}");
        let failures =
            "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"protocol\"}";
        lab.until_metric(failures, 1.0);
    }
}

/// A request whose first endpoint cannot be reached takes the full path from there, whole but for its
/// trailers.
#[test]
fn a_request_that_is_tried_again_is_whole() {
    let (address, told) = recorded(OK);
    let dead = Dead::new();
    let lab = Lab::new()
        .runtime("fast_path = true\nworkers = 1")
        .app("retries = 2")
        .pool_of("blue", &[&dead.address.to_string(), &address.to_string()])
        .config("[service.app.health]\npassive = false")
        .start();
    let mut tried_again = 0;
    for _ in 0..20 {
        let request = format!("{CHUNKED}\r\n5\r\nhello\r\n0\r\nA: 1\r\n\r\n");
        lab.client().send(request).answer().expect(200);
        let seen = told.recv_timeout(PATIENCE).unwrap();
        let (_, body) = seen.split_once("\r\n\r\n").unwrap();
        tried_again += usize::from(body == "5\r\nhello\r\n0\r\n\r\n");
        assert!(body.ends_with("0\r\n\r\n") || body == "5\r\nhello\r\n0\r\nA: 1\r\n\r\n");
    }
    assert!(tried_again > 0, "no request came to the dead endpoint first");
}

/// Who takes trailers says so, and names it as meant for the next neighbour (RFC 9110, section 10.1.4); the
/// full path, which drops them, does not.
#[test]
fn endpoints_are_told_who_takes_trailers() {
    for is_lean in [true, false] {
        let (address, told) = recorded(OK);
        let lab = lab_on(is_lean, address);
        let mut client = lab.client();
        for headers in [
            "TE: trailers\r\nConnection: TE\r\n",
            "TE: trailers\r\n",
            "te: gzip;q=0.5, Trailers\r\nConnection: keep-alive, te\r\n",
        ] {
            client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n"));
            client.answer().expect(200);
            let seen = told.recv_timeout(PATIENCE).unwrap();
            let is_told = seen.contains("\r\nte: trailers\r\nconnection: TE\r\n");
            assert_eq!(is_told, is_lean, "{headers:?}: {seen}");
            assert!(!seen.contains("gzip"), "{seen}");
        }
    }
}

#[test]
fn an_old_client_gets_what_http2_endpoints_say_if_it_has_a_length() {
    let blue = http2("blue");
    let lab = Lab::new().pool("blue", &blue).link("blue", H2C).start();
    let get = |path: &str| {
        let head = format!("GET {path} HTTP/1.0\r\nHost: app.test\r\n\r\n");
        lab.client().send(head).answer()
    };
    assert_eq!(get("/bytes/1000").expect(200).body.len(), 1000);
    get("/204").expect(204);
    get("/chunks/3").expect(505);
}

/// HTTP/2 endpoints do not ask for the body: lbd does. Method: a client that sends nothing until then.
#[test]
fn leave_to_send_is_given_for_http2_endpoints() {
    let blue = http2("blue");
    let lab = Lab::new().pool("blue", &blue).link("blue", H2C).start();
    let mut client = lab.client();
    for _ in 0..2 {
        client.send(
            "POST /echo HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.read_head().expect("an interim answer").status, 100);
        assert_eq!(client.send("hello").answer().expect(200).json()["body"], "hello");
    }
}

/// The head of a request that waits for leave to send its body, `hello`.
const POLITE: &str =
    "POST /p HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

/// Leave to send is the endpoint's to give. Method: client and endpoint each wait for the other's word.
#[test]
fn leave_to_send_comes_from_the_endpoint() {
    for is_lean in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lab = lab_on(is_lean, listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut from = BufReader::new(stream.try_clone().unwrap());
            while let Ok(head) = lines(&mut from) {
                assert!(head.contains("\r\nExpect: 100-continue\r\n"), "{head}");
                assert!(from.buffer().is_empty(), "the client has no leave yet");
                stream.write_all(b"HTTP/1.1 100 Go on\r\nX-Own: 1\r\n\r\n").unwrap();
                let mut body = [0; 5];
                from.read_exact(&mut body).unwrap();
                assert_eq!(&body, b"hello");
                stream.write_all(OK.as_bytes()).unwrap();
            }
        });
        let mut client = lab.client();
        for _ in 0..3 {
            let leave = client.send(POLITE).read_head().unwrap();
            assert_eq!((leave.status, leave.header("x-own")), (100, Some("1")), "{is_lean}");
            assert_eq!(client.send("hello").answer().expect(200).text(), "ok");
        }
    }
}

/// Who is refused need not send, and what it sends is no request. Method: the body is one; the endpoint
/// looks what still comes.
#[test]
fn who_gets_no_leave_is_answered_and_its_connections_are_closed() {
    for is_lean in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let lab = lab_on(is_lean, listener.local_addr().unwrap());
        let (tell, rest) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut from = BufReader::new(stream.try_clone().unwrap());
                lines(&mut from).unwrap();
                stream.write_all(b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno").unwrap();
                let mut more = Vec::new();
                // A reset ends it as well.
                let _ = from.read_to_end(&mut more);
                tell.send(more).unwrap();
            }
        });
        let body = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
        let head = POLITE.replace(": 5", &format!(": {}", body.len()));
        let mut client = lab.client();
        let answer = client.send(&head).answer();
        assert_eq!((answer.status, answer.text()), (417, "no"), "{is_lean}");
        assert_eq!(answer.header("connection"), Some("close"));
        client.try_send(body);
        assert!(client.is_closed());
        // The full path still hands the body of that request on, and then closes.
        let rest = rest.recv_timeout(PATIENCE).unwrap();
        assert!(rest.is_empty() || (!is_lean && rest == body.as_bytes()), "{is_lean}: {rest:?}");
    }
}

/// Who waits for leave need not wait for ever. Method: an endpoint that answers when it has the body.
#[test]
fn a_body_is_passed_on_without_leave() {
    for is_lean in [true, false] {
        let (address, told) = recorded(OK);
        let lab = lab_on(is_lean, address);
        let mut client = lab.client();
        for _ in 0..2 {
            client.send(format!("{CHUNKED}Expect: 100-continue\r\n\r\n"));
            client.send("5\r\nhello\r\n0\r\n\r\n");
            assert_eq!(client.read_head().unwrap().status, 200);
            assert_eq!(client.bytes(2), b"ok");
            assert!(told.recv_timeout(PATIENCE).unwrap().ends_with("5\r\nhello\r\n0\r\n\r\n"));
        }
    }
}

/// How long an endpoint takes to give leave is not counted among the time that a client has to send.
/// Method: leave comes three times, each in less than that time, all together in more.
#[test]
fn a_client_has_its_time_to_send_once_it_has_leave() {
    const TIME: Duration = Duration::from_secs(1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = Lab::new()
        .runtime("fast_path = true")
        .listener("timeouts = { body = '1s' }")
        .pool("blue", listener.local_addr().unwrap())
        .start();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut from = BufReader::new(stream.try_clone().unwrap());
        lines(&mut from).unwrap();
        for _ in 0..3 {
            thread::sleep(TIME / 2);
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        }
        from.read_exact(&mut [0; 5]).unwrap();
        stream.write_all(OK.as_bytes()).unwrap();
    });
    let mut client = lab.client();
    client.send(POLITE);
    for _ in 0..3 {
        assert_eq!(client.read_head().unwrap().status, 100);
    }
    client.send("hello").answer().expect(200);
}

/// Reads what a connection begins with.
type ReadAnnouncement = fn(&mut TcpStream) -> std::io::Result<Vec<u8>>;

/// An endpoint that answers what the PROXY protocol told it, as `read` reads it.
fn told(read: ReadAnnouncement) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || -> std::io::Result<()> {
                let mut stream = stream?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let announced = read(&mut stream)?;
                let text: String = announced.iter().map(|b| format!("{b:02x}")).collect();
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        stream.read_exact(&mut byte)?;
                        head.push(byte[0]);
                    }
                    let length = text.len();
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}")?;
                }
            });
        }
    });
    address
}

fn line(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(line)
}

fn binary(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; 16];
    stream.read_exact(&mut head)?;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
    stream.read_exact(&mut rest)?;
    head.extend(rest);
    Ok(head)
}

/// Method: two clients in turn on one worker. Each is announced with its own address, on a connection
/// that it does not share; probes are announced as lbd's own.
#[test]
fn clients_are_announced_each_on_connections_of_its_own() {
    const PROBE: &str = "[service.app.health]\npath = '/'\ninterval = '100ms'";
    let forms: [(&str, ReadAnnouncement, &str); 2] = [
        ("v1", line, "body = '50524f585920554e4b4e4f574e0d0a'"),
        ("v2", binary, "body = '0d0a0d0a000d0a515549540a20000000'"),
    ];
    for (form, read, own) in forms {
        let lab = Lab::new()
            .runtime("workers = 1")
            .pool("blue", told(read))
            .link("blue", &format!("proxy_protocol = '{form}'"))
            .config(&format!("{PROBE}\n{own}"))
            .start();
        let address = lab.status().pool("blue").endpoints[0].address.to_string();
        lab.until("probes pass", |seen| seen.standing("blue", &address) == "up");
        let mut streams = [0, 1].map(|_| TcpStream::connect(lab.address()).unwrap());
        for _ in 0..3 {
            for stream in &mut streams {
                let (client, here) = (stream.local_addr().unwrap(), lab.address());
                let expected = match form {
                    "v1" => format!(
                        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
                        client.port(),
                        here.port()
                    )
                    .into_bytes(),
                    _ => [
                        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01"[..],
                        &client.port().to_be_bytes(),
                        &here.port().to_be_bytes(),
                    ]
                    .concat(),
                };
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(Request::get("/").head().as_bytes()).unwrap();
                let told = body(stream);
                let expected: String = expected.iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(told, expected, "{form}");
            }
        }
    }
}

/// The body of one answer with a length.
fn body(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_else(|| panic!("no length: {head}"))];
    stream.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}
