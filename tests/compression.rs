//! Compression, as clients and caches see it.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    thread,
};

use crate::support::{Answer, Lab, Plan, RawOrigin, Request};

const TEXT: &str = "all work and no play makes lbd a dull proxy\n";

/// A lab whose origin says this head, and a body of 4,400 bytes with its length.
fn saying(head: &str) -> (RawOrigin, Plan) {
    let body = TEXT.repeat(100);
    let length = body.len();
    let answer = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}");
    let origin = RawOrigin::saying(&answer);
    let plan = Lab::new().pool("blue", &origin.address).app("compression = {}");
    (origin, plan)
}

fn asking(encoding: &str) -> Request {
    Request::get("/").header("Accept-Encoding", encoding)
}

/// The body as it was before it was compressed.
fn plain(answer: &Answer) -> String {
    let mut plain = String::new();
    let body = answer.body.as_slice();
    match answer.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(body).read_to_string(&mut plain),
        Some("br") => brotli::Decompressor::new(body, 4096).read_to_string(&mut plain),
        Some("zstd") => zstd::stream::read::Decoder::new(body).unwrap().read_to_string(&mut plain),
        _ => return answer.text().to_owned(),
    }
    .unwrap();
    plain
}

/// Method: what browsers and tools send; the body must be the same each time, and its head true.
#[test]
fn a_client_gets_what_it_likes_best() {
    let (_origin, plan) = saying(
        "200 OK\r\nContent-Type: text/html\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\n\
         Content-MD5: x\r\nVary: Cookie",
    );
    let lab = plan.start();
    for (accept, encoding) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("br;q=0.5, gzip;q=0.8", Some("gzip")),
        ("*;q=0.1", Some("zstd")),
        ("gzip;q=0", None),
        ("identity", None),
        ("deflate", None),
    ] {
        let answer = lab.request(&asking(accept)).expect(200);
        assert_eq!(answer.header("content-encoding"), encoding, "{accept}");
        assert_eq!(plain(&answer), TEXT.repeat(100), "{accept}");
        assert_eq!(answer.all("vary"), ["Cookie", "Accept-Encoding"], "{accept}");
        let is_packed = encoding.is_some();
        let tag = if is_packed { "W/\"v1\"" } else { "\"v1\"" };
        assert_eq!(answer.header("etag"), Some(tag));
        assert_eq!(answer.header("content-length").is_some(), !is_packed);
        assert_eq!(answer.header("accept-ranges").is_some(), !is_packed);
        assert_eq!(answer.header("content-md5").is_some(), !is_packed);
        assert!(!is_packed || answer.body.len() < 200, "{} bytes", answer.body.len());
    }
    let silent = lab.get("/").expect(200);
    assert_eq!((silent.header("content-encoding"), silent.body.len()), (None, 4400));
}

/// Method: one head for each reason not to compress.
#[test]
fn what_must_stay_as_it_is_does() {
    for head in [
        "200 OK\r\nContent-Type: image/png",
        "200 OK",
        "200 OK\r\nContent-Type: text/html\r\nContent-Encoding: br",
        "200 OK\r\nContent-Type: text/html\r\nCache-Control: public, no-transform",
        "206 Partial Content\r\nContent-Type: text/html\r\nContent-Range: bytes 0-4399/9000",
    ] {
        let (_origin, plan) = saying(head);
        let lab = plan.start();
        let answer = lab.request(&asking("gzip"));
        assert_ne!(answer.header("content-encoding"), Some("gzip"), "{head}");
        assert_eq!(answer.text(), TEXT.repeat(100), "{head}");
        assert_eq!(answer.header("content-length"), Some("4400"), "{head}");
    }
    let small = RawOrigin::saying(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nsmall",
    );
    let lab = Lab::new().pool("blue", &small.address).app("compression = {}").start();
    assert_eq!(lab.request(&asking("gzip")).expect(200).text(), "small");
}

/// Method: HEAD has the head of GET without a body; 304 stays as it is, but for
/// those who have what was compressed; an old client gets no chunks.
#[test]
fn heads_and_old_clients_are_told_the_truth() {
    let (_origin, plan) = saying("200 OK\r\nContent-Type: text/html\r\nETag: \"v1\"");
    let lab = plan.start();
    let head = lab.request(&Request::new("HEAD", "/").header("Accept-Encoding", "gzip"));
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    assert_eq!((head.header("etag"), head.header("content-length")), (Some("W/\"v1\""), None));
    let mut old = lab.client();
    old.send("GET / HTTP/1.0\r\nHost: app.test\r\nAccept-Encoding: gzip\r\n\r\n");
    let mut answer = old.read_head().unwrap();
    assert_eq!((answer.header("transfer-encoding"), answer.header("content-length")), (None, None));
    answer.body = old.rest();
    assert_eq!(plain(&answer), TEXT.repeat(100));
    let unchanged = RawOrigin::saying(
        "HTTP/1.1 304 Not Modified\r\nContent-Type: text/html\r\nETag: \"v1\"\r\n\r\n",
    );
    let lab = Lab::new().pool("blue", &unchanged.address).app("compression = {}").start();
    let answer = lab.request(&asking("gzip")).expect(304);
    assert_eq!((answer.header("content-encoding"), answer.header("etag")), (None, Some("\"v1\"")));
    // Who has the compressed form is told of that one.
    let held = asking("gzip").header("If-None-Match", "\"v0\", W/\"v1\"");
    let answer = lab.request(&held).expect(304);
    assert_eq!(answer.header("etag"), Some("W/\"v1\""));
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
}

/// Method: an origin sends its second event only when the first was read through all three encoders.
#[test]
fn an_event_is_not_held_back() {
    for encoding in ["gzip", "br", "zstd"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (go_on, wait) = mpsc::channel();
        let origin = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
            stream.write_all(format!("{head}data: one\n\n").as_bytes()).unwrap();
            wait.recv_timeout(crate::support::PATIENCE).expect("the first event arrives");
            stream.write_all(b"data: two\n\n").unwrap();
        });
        let lab = Lab::new().pool("blue", address).app("compression = {}").start();
        let mut client = lab.client();
        client.begin(&asking(encoding));
        let mut answer = client.read_head().unwrap();
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        let mut decoder = Decoder::of(encoding);
        while decoder.plain.len() < b"data: one\n\n".len() {
            decoder.feed(&chunk(&mut client));
        }
        assert_eq!(decoder.plain, b"data: one\n\n");
        go_on.send(()).unwrap();
        loop {
            let piece = chunk(&mut client);
            if piece.is_empty() {
                break;
            }
            decoder.feed(&piece);
        }
        answer.body = decoder.packed;
        assert_eq!(plain(&answer), "data: one\n\ndata: two\n\n");
        origin.join().unwrap();
    }
}

/// The next chunk of a body; empty at its end.
fn chunk(client: &mut crate::support::Client) -> Vec<u8> {
    let size = usize::from_str_radix(&client.line(), 16).expect("the size of a chunk");
    let mut bytes = client.bytes(size + 2);
    bytes.truncate(size);
    bytes
}

/// What was read so far, and as much of it as can be decoded by now.
struct Decoder {
    encoding: String,
    packed: Vec<u8>,
    plain: Vec<u8>,
}

impl Decoder {
    fn of(encoding: &str) -> Self {
        Self { encoding: encoding.into(), packed: Vec::new(), plain: Vec::new() }
    }

    fn feed(&mut self, piece: &[u8]) {
        self.packed.extend_from_slice(piece);
        let packed = self.packed.as_slice();
        let mut reader: Box<dyn Read> = match &*self.encoding {
            "gzip" => Box::new(flate2::read::GzDecoder::new(packed)),
            "br" => Box::new(brotli::Decompressor::new(packed, 4096)),
            _ => Box::new(zstd::stream::read::Decoder::new(packed).unwrap()),
        };
        self.plain.clear();
        let mut byte = [0];
        // What is missing shows as an error.
        while let Ok(1) = reader.read(&mut byte) {
            self.plain.push(byte[0]);
        }
    }
}
