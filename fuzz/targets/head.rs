//! A request's head, and a chunked body: however the bytes arrive, the verdict is the same; what
//! httparse refuses is refused; what is let through says one length, and one only. What goes on of a
//! chunked body is one, and goes on as it is at the next proxy.
#![no_main]

use bytes::BytesMut;
use lbd::edge::{
    chunks::Chunks,
    head::{Framing, HEADERS_MAX, Inspected, inspect},
    trailers::{Trailers, may_follow},
};
use libfuzzer_sys::fuzz_target;

/// The largest head.
const LIMIT: usize = 2048;
/// Into how many parts the bytes are cut.
const CUTS: usize = 8;

// The first bytes say where the rest is cut.
fuzz_target!(|input: &[u8]| {
    let (cuts, bytes) = input.split_at(CUTS.min(input.len()));
    let verdict = head(bytes, cuts);
    if let Inspected::Whole { length, body } = verdict {
        accepted(&bytes[..length], body);
    }
    chunks(bytes, cuts);
    let passed = passed(bytes, &[]);
    assert_eq!(self::passed(bytes, cuts), passed, "in parts, and whole");
    if let Some(passed) = passed {
        assert_eq!(self::passed(&passed, cuts).as_ref(), Some(&passed), "at the next proxy");
    }
});

/// Judges growing beginnings of `bytes` as a connection does, and checks that the first verdict that
/// is not "partial" is also that on the whole.
fn head(bytes: &[u8], cuts: &[u8]) -> Inspected {
    let whole = inspect(bytes, LIMIT);
    let mut read = 0;
    for cut in cuts {
        read = (read + usize::from(*cut)).min(bytes.len());
        match inspect(&bytes[..read], LIMIT) {
            Inspected::Partial => {}
            early @ Inspected::Whole { .. } => {
                assert_eq!(early, whole, "the first {read} bytes alone");
                break;
            }
            Inspected::Refused(_) => {
                let refused = matches!(whole, Inspected::Refused(_));
                assert!(refused, "refused after {read} bytes, but then let through");
                break;
            }
        }
    }
    whole
}

/// A head that was let through is one to httparse too, with no doubt about its body.
fn accepted(head: &[u8], body: Framing) {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(head);
    assert_eq!(parsed, Ok(httparse::Status::Complete(head.len())), "httparse sees another head");
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "several lengths were let through");
    match body {
        Framing::Chunked => assert!(codings[0].eq_ignore_ascii_case(b"chunked")),
        Framing::Length(length) => {
            assert!(codings.is_empty());
            let said = lengths
                .first()
                .map_or(0, |text| std::str::from_utf8(text).unwrap().parse().unwrap());
            assert_eq!(length, said);
        }
        Framing::Upgrade => assert!(lengths.is_empty() && codings.is_empty()),
    }
    assert!(values("host").len() <= 1);
}

/// Follows `bytes` as a chunked body, whole and in parts.
fn chunks(bytes: &[u8], cuts: &[u8]) {
    let mut whole = Chunks::default();
    let taken = whole.follow(bytes);
    let mut parts = Chunks::default();
    let mut sum = Ok(0);
    let mut rest = bytes;
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([bytes.len()]) {
        let (part, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        sum = sum.and_then(|sum| parts.follow(part).map(|taken| sum + taken));
    }
    assert_eq!(sum, taken, "in parts, and whole");
    if taken.is_ok() {
        assert_eq!(parts, whole);
    }
    if let Ok(taken) = taken
        && taken < bytes.len()
    {
        assert!(whole.is_done(), "bytes were left, but the body goes on");
    }
}

/// What goes on of a chunked body that comes in these parts, if it comes to its end.
fn passed(bytes: &[u8], cuts: &[u8]) -> Option<Vec<u8>> {
    let (mut chunks, mut trailers) = (Chunks::default(), Trailers::default());
    let (mut out, mut rest) = (BytesMut::new(), bytes);
    for cut in cuts.iter().map(|cut| usize::from(*cut)).chain([bytes.len()]) {
        let (part, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        let mut part = part.to_vec();
        let cleaned = chunks.clean(&mut part, &mut trailers).ok()?;
        out.extend_from_slice(&part[..cleaned.kept]);
    }
    if !chunks.is_done() {
        return None;
    }
    if !trailers.is_empty() {
        assert!(trailers.fields().all(|(name, _)| may_follow(name)));
        trailers.write(&mut out);
    }
    Some(out.to_vec())
}
