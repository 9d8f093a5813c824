//! What lbd does with answers of endpoints whose framing is unclear, or says what it must not say.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use crate::support::{Lab, Request};

/// An endpoint that gives this answer to every request and keeps its connections open.
struct Steady {
    address: String,
    connections: Arc<AtomicUsize>,
}

impl Steady {
    fn saying(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, answer) = (connections.clone(), answer.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), answer) = (stream, answer.clone()) else { continue };
                count.fetch_add(1, SeqCst);
                thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut byte = [0];
                    while let Ok(1) = stream.read(&mut byte) {
                        head.push(byte[0]);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            // Who closed is counted elsewhere.
                            let _ = stream.write_all(answer.as_bytes());
                        }
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

fn lab(address: &str) -> Lab {
    Lab::new().runtime("workers = 1").pool("blue", address).start()
}

/// Each is an answer that two readers may read differently.
const UNCLEAR: [(&str, &str); 11] = [
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    (
        "two other lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ),
    ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
    (
        "chunks twice",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "two codings",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    ),
    (
        "another coding",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("chunks that are not last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, x\r\n\r\nhello"),
    (
        "chunks of HTTP/1.0",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("a NUL", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello"),
    ("another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello"),
];

/// Method: every answer is asked for with GET and with HEAD; the endpoint keeps its connections open.
#[test]
fn an_unclear_answer_is_502_and_its_connection_is_closed() {
    for (what, answer) in UNCLEAR {
        let steady = Steady::saying(answer);
        let lab = lab(&steady.address);
        let mut client = lab.client();
        for (round, method) in ["GET", "HEAD"].into_iter().enumerate() {
            let answer = client.call(&Request::new(method, "/"));
            assert_eq!((answer.status, what), (502, what));
            assert_eq!(steady.connections(), round + 1, "{what}: the connection is used again");
            client = lab.client();
        }
        let failures =
            "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"protocol\"}";
        lab.until_metric(failures, 2.0);
    }
}

/// RFC 9112, sections 5.1, 5.2 and 6.3, say how a proxy mends these; what it sends on is plain.
#[test]
fn what_a_proxy_may_mend_is_mended() {
    let mended = [
        "X-Note: a\r\nContent-Length:\r\n 5\r\n\r\nhello",
        "X-Note : a\r\nContent-Length: 5\r\n\r\nhello",
        "X-Note: a\r\n\t \r\nContent-Length : 5\r\n\r\nhello",
        "X-Note: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    for head in mended {
        let steady = Steady::saying(&format!("HTTP/1.1 200 OK\r\n{head}"));
        let lab = lab(&steady.address);
        let answer = lab.get("/").expect(200);
        assert_eq!((answer.text(), answer.header("x-note")), ("hello", Some("a")), "{head:?}");
        let lengths = answer.all("content-length").len() + answer.all("transfer-encoding").len();
        assert_eq!(lengths, 1, "{head:?} {:?}", answer.headers);
    }
}

/// Where there is no body, none is announced, and what the endpoint sends as one is not taken for its
/// next answer. Method: a client that reads on; endpoints that keep their connections open.
#[test]
fn a_body_where_none_belongs_reaches_nobody() {
    const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    for (method, head, announced) in [
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", None),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", Some("5")),
        ("HEAD", HELLO, Some("5")),
    ] {
        let steady = Steady::saying(head);
        let lab = lab(&steady.address);
        let mut client = lab.client();
        for round in 1..4 {
            let answer = client.call(&Request::new(method, "/"));
            assert_eq!(answer.header("content-length"), announced, "{head:?}");
            assert_eq!(answer.header("transfer-encoding"), None, "{head:?}");
            assert_eq!(steady.connections(), round, "{head:?}: the connection is used again");
        }
    }
}

/// Interim answers have no body, whatever they say.
#[test]
fn interim_answers_announce_no_body() {
    let steady = Steady::saying(
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\
         Link: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let lab = lab(&steady.address);
    let mut client = lab.client();
    for _ in 0..3 {
        let hints = client.begin(&Request::get("/")).read_head().unwrap();
        assert_eq!((hints.status, hints.header("link")), (103, Some("<a>")));
        assert_eq!(hints.header("content-length").or(hints.header("transfer-encoding")), None);
        assert_eq!(client.answer().expect(200).text(), "hello");
    }
    assert_eq!(steady.connections(), 1);
}
