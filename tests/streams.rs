//! How bodies come through: events as they are sent, trailers, old clients, leave to send.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use crate::support::{Lab, Origin, PATIENCE, RawOrigin, Request, Speech};
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

/// Trailers of HTTP/1.1 are dropped; what is left is framed as it must be, on both sides, and the
/// connections are good for more.
#[test]
fn trailers_are_dropped_and_nothing_else() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().runtime("workers = 1").pool("blue", &blue).start();
    let mut client = lab.client();
    for _ in 0..3 {
        let head = "POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n";
        let body = "\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
        let seen = client.send(format!("{head}{body}")).answer().expect(200).json();
        assert_eq!(seen["body"], "hello");
        let names: Vec<_> =
            seen["headers"].as_array().unwrap().iter().map(|h| h[0].clone()).collect();
        assert!(
            !names.contains(&"x-sum".into()) && !names.contains(&"trailer".into()),
            "{names:?}"
        );
        client.call(&Request::get("/")).expect(200);
    }
    assert_eq!(blue.connections(), 1, "the endpoint's connection is used again");
}

#[test]
fn trailers_of_answers_do_not_reach_the_next_one() {
    let raw = RawOrigin::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: HTTP/1.1 200 OK\r\n\r\n",
    );
    let lab = Lab::new().pool("blue", &raw.address).start();
    let mut client = lab.client();
    for _ in 0..3 {
        let answer = client.call(&Request::get("/")).expect(200);
        assert_eq!((answer.text(), answer.header("x-sum")), ("hello", None));
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
