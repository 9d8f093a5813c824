//! An endpoint's bytes, as lbd reads them and as hyper's client does.

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use lbd::{
    edge::{
        chunks::Chunks,
        framing::{Said, said},
        trailers::{Trailers, may_follow},
    },
    proxy::{
        fast::{
            answer::{Head, slots},
            body::Body,
        },
        framing::settle,
        headers::strip_response,
    },
};
use pingora_core::protocols::http::{HttpTask, v1::client::HttpSession};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// How much may be sent in one go.
const ROOM: usize = 256 * 1024;

/// One final answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    /// `None`: it did not come to its end, or is broken.
    body: Option<Vec<u8>>,
    /// What comes behind it: of lbd's reading, what goes on.
    trailers: HeaderMap,
    /// Whether the connection is good for another request.
    is_kept: bool,
    /// Whether it is in chunks whose lines pingora reads laxly: an empty size is a 0 to it, and
    /// extensions and trailers may hold any bytes. None of that is passed on: what the client gets is
    /// framed anew.
    is_lax: bool,
}

impl Answer {
    /// One with this status, of whose body nothing is known.
    fn of(status: StatusCode) -> Self {
        Self { status, body: None, trailers: HeaderMap::new(), is_kept: false, is_lax: false }
    }
}

/// Holds the law on a connection where a request is answered with `bytes` and then nothing more.
/// Returns how many answers lbd takes, of one to GET and one to HEAD.
pub fn check(bytes: &[u8]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut taken = 0;
    for method in [Method::GET, Method::HEAD] {
        let (ours, theirs) =
            runtime.block_on(async { (ours(&method, bytes).await, theirs(&method, bytes).await) });
        taken += usize::from(ours.is_some());
        for (path, ours) in [("full", ours), ("lean", lean(&method, bytes))] {
            if let Some(ours) = ours {
                hold(&format!("{path}, {method}: {}", bytes.escape_ascii()), &ours, &theirs);
            }
        }
    }
    taken
}

/// What lbd takes, hyper takes, and the same way.
fn hold(shown: &str, ours: &Answer, theirs: &Result<Answer, hyper::Error>) {
    let theirs = match theirs {
        Ok(theirs) => theirs,
        Err(error) => panic!("hyper refuses ({error:?}) {ours:?}, {shown}"),
    };
    assert_eq!(ours.status, theirs.status, "{shown}");
    if ours.body.is_some() && !(theirs.body.is_none() && ours.is_lax) {
        assert_eq!(ours.body, theirs.body, "{shown}");
        for name in ours.trailers.keys() {
            let values = |of: &HeaderMap| of.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!(values(&ours.trailers), values(&theirs.trailers), "{shown}");
            assert!(may_follow(name.as_str().as_bytes()), "{shown}");
        }
        assert!(!ours.is_kept || theirs.is_kept, "the connection is used again, {shown}");
    }
}

/// What lbd's lean path makes of them; `None`: it is no answer.
fn lean(method: &Method, mut bytes: &[u8]) -> Option<Answer> {
    loop {
        let mut slots = slots();
        let (head, answer) =
            Head::read(bytes, &mut slots, method == Method::HEAD).ok().flatten()?;
        bytes = &bytes[answer.length..];
        match answer.status {
            101 => return None,
            100..200 => continue,
            _ => {}
        }
        let mut reply = BytesMut::new();
        head.write(answer.body, false, &mut reply);
        reply.extend_from_slice(b"\r\n");
        one_length(&reply, answer.body);
        let status = StatusCode::from_u16(answer.status).expect("a status");
        let mut answered = Answer::of(status);
        let rest = match answer.body {
            Body::UntilClosed => {
                answered.body = Some(bytes.to_vec());
                &[]
            }
            Body::Length(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let Some((body, rest)) = bytes.split_at_checked(length) else {
                    return Some(answered);
                };
                answered.body = Some(body.to_vec());
                rest
            }
            Body::Chunked(mut chunks) => {
                let mut bytes = bytes.to_vec();
                // What breaks off here breaks off for the client too.
                let mut trailers = Trailers::default();
                let Ok(cleaned) = chunks.clean(&mut bytes, &mut trailers) else {
                    return Some(answered);
                };
                if !chunks.is_done() {
                    return Some(answered);
                }
                let mut passed = BytesMut::from(&bytes[..cleaned.kept]);
                if !trailers.is_empty() {
                    trailers.write(&mut passed);
                }
                let (data, fields) = dechunked(&passed);
                answered.body = Some(data);
                answered.trailers = fields;
                &bytes[cleaned.taken..].to_vec()
            }
        };
        answered.is_kept = answer.keeps && rest.is_empty();
        return Some(answered);
    }
}

/// What goes on to the client is one head to whoever reads it, and says one length, if any.
fn one_length(reply: &[u8], body: Body) {
    let mut headers = [httparse::EMPTY_HEADER; 512];
    let mut read = httparse::Response::new(&mut headers);
    let end = read.parse(reply);
    assert_eq!(end, Ok(httparse::Status::Complete(reply.len())), "{}", reply.escape_ascii());
    let of = |name: &str| {
        let named = |h: &&httparse::Header<'_>| h.name.eq_ignore_ascii_case(name);
        read.headers.iter().filter(named).map(|h| h.value).collect::<Vec<_>>()
    };
    let (lengths, codings) = (of("content-length"), of("transfer-encoding"));
    let said = said(lengths.into_iter(), codings.into_iter(), true)
        .unwrap_or_else(|unclear| panic!("{unclear:?}: {}", reply.escape_ascii()));
    let is_chunked = matches!(body, Body::Chunked(_) | Body::UntilClosed);
    assert_eq!(said == Said::Chunked, is_chunked, "{}", reply.escape_ascii());
}

/// The data of sound chunks without extensions, and their trailers.
fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, HeaderMap) {
    let mut data = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").expect("a size line");
        let size = std::str::from_utf8(&bytes[..end]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return (data, fields(&bytes[end + 2..]));
        }
        data.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
}

/// Fields that make up the whole of these bytes.
fn fields(bytes: &[u8]) -> HeaderMap {
    let mut room = [httparse::EMPTY_HEADER; 4096];
    let (end, fields) = match httparse::parse_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete(read)) => read,
        other => panic!("{other:?}: {}", bytes.escape_ascii()),
    };
    assert_eq!(end, bytes.len(), "{}", bytes.escape_ascii());
    let mut map = HeaderMap::new();
    for field in fields {
        let name: http::HeaderName = field.name.parse().expect("a name");
        map.append(name, http::HeaderValue::from_bytes(field.value).expect("a value"));
    }
    map
}

/// What lbd makes of them; `None`: it is no answer.
async fn ours(method: &Method, bytes: &[u8]) -> Option<Answer> {
    let (here, mut there) = duplex(ROOM);
    let mut session = HttpSession::new(Box::new(here));
    let mut request = RequestHeader::build(method.clone(), b"/", None).expect("a request");
    request.insert_header(header::HOST, "a").expect("a host");
    session.write_request_header(Box::new(request)).await.expect("room for a head");
    there.write_all(bytes).await.expect("room for an answer");
    there.shutdown().await.expect("an open connection");
    let mut answer = Answer::of(StatusCode::OK);
    let mut body = Vec::new();
    let (mut begin, mut is_final) = (0, false);
    loop {
        let ended = match session.read_response_task().await {
            Ok(HttpTask::Header(mut head, ended)) => {
                begin += session.get_headers_raw_bytes().len();
                strip_response(&mut head);
                settle(&mut head, false).ok()?;
                passed_on(&head);
                answer.status = head.status;
                is_final = !head.status.is_informational();
                answer.is_lax = head.headers.contains_key(header::TRANSFER_ENCODING)
                    && Chunks::default().follow(&bytes[begin..]).is_err();
                ended
            }
            Ok(HttpTask::Body(piece, ended)) => {
                body.extend_from_slice(&piece.unwrap_or_default());
                ended
            }
            Ok(HttpTask::Done) => true,
            Ok(task) => panic!("{task:?}, of {}", bytes.escape_ascii()),
            Err(_) => return is_final.then_some(answer),
        };
        if ended && is_final {
            break;
        }
    }
    session.respect_keepalive();
    answer.body = Some(body);
    answer.is_kept = session.reuse().await.is_some();
    Some(answer)
}

/// What goes on to the client says one length, if any, and is one head to whoever reads it.
fn passed_on(head: &ResponseHeader) {
    let of = |name| {
        head.headers.get_all(name).into_iter().map(|value: &http::HeaderValue| value.as_bytes())
    };
    let knows = head.version == Version::HTTP_11;
    let said =
        said(of(header::CONTENT_LENGTH), of(header::TRANSFER_ENCODING), knows).expect("one length");
    let has_none = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
    assert!(!has_none || said == Said::Nothing, "{head:?}");
    let mut wire = BytesMut::from(&b"HTTP/1.1 200 "[..]);
    wire.extend_from_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    wire.extend_from_slice(b"\r\n");
    head.header_to_h1_wire(&mut wire);
    wire.extend_from_slice(b"\r\n");
    let mut headers = [httparse::EMPTY_HEADER; 512];
    let mut read = httparse::Response::new(&mut headers);
    let end = read.parse(&wire);
    assert_eq!(end, Ok(httparse::Status::Complete(wire.len())), "{}", wire.escape_ascii());
    let again: HeaderMap = read
        .headers
        .iter()
        .map(|header| {
            let name: http::HeaderName = header.name.parse().expect("a name");
            (name, http::HeaderValue::from_bytes(header.value).expect("a value"))
        })
        .collect();
    assert_eq!(again.len(), head.headers.len(), "{}", wire.escape_ascii());
}

/// What hyper makes of them.
async fn theirs(method: &Method, bytes: &[u8]) -> Result<Answer, hyper::Error> {
    let (here, there) = duplex(ROOM);
    // RFC 9112, sections 5.1 and 5.2: a proxy may mend these, and lbd does.
    let (mut sender, connection) = http1::Builder::new()
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .max_headers(256)
        .handshake(TokioIo::new(here))
        .await?;
    let ask = async move {
        let request = Request::builder().method(method.clone()).uri("/").header(header::HOST, "a");
        let request = request.body(Empty::<Bytes>::new()).expect("a request");
        let (head, body) = sender.send_request(request).await?.into_parts();
        let mut answer = Answer::of(head.status);
        if let Ok(body) = body.collect().await {
            answer.trailers = body.trailers().cloned().unwrap_or_default();
            answer.body = Some(body.to_bytes().to_vec());
        }
        Ok(answer)
    };
    let (answer, end, ()) = tokio::join!(ask, connection, answer(there, bytes));
    answer.map(|answer| Answer { is_kept: end.is_ok(), ..answer })
}

/// Reads a head, answers with `bytes` and closes.
async fn answer(mut stream: DuplexStream, bytes: &[u8]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole head"));
    }
    // A client that refuses does not read on.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
}
