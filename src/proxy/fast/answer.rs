//! An endpoint's answer: its head, of which only what RFC 9112 lets a proxy mend is mended, and what the
//! client gets of it.

use std::{
    fmt::{Display, Write},
    mem::MaybeUninit,
};

use bytes::{BufMut, BytesMut};

use super::{super::grpc, body::Body};
use crate::edge::{
    framing::{Said, said},
    head::{are_lines_sound, end_of_head},
    trailers::{announce, may_follow},
};

/// The longest head, in bytes, and how many headers it may have: as the full path has it.
const HEAD_MAX: usize = 1024 * 1024;
const HEADERS_MAX: usize = 256;

/// What is known of an answer once its head is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Bytes of the head.
    pub length: usize,
    /// The status.
    pub status: u16,
    /// How the body is framed.
    pub body: Body,
    /// Whether the endpoint's connection may be used again after it.
    pub keeps: bool,
    /// What it says of a gRPC call.
    pub said: grpc::Said,
}

/// An answer that is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed;

/// Room for the headers of a head.
pub type Slots<'h> = [MaybeUninit<httparse::Header<'h>>; HEADERS_MAX];

/// Room for the headers of a head.
pub const fn slots<'h>() -> Slots<'h> {
    [const { MaybeUninit::uninit() }; HEADERS_MAX]
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head<'h> {
    /// The status.
    pub status: u16,
    reason: &'h str,
    headers: &'h [httparse::Header<'h>],
}

impl<'h> Head<'h> {
    /// Reads the head at the front of `bytes`; `None`: it is not complete yet. `is_head`: the request
    /// was a HEAD, whose answer has no body whatever it says.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is no head of HTTP/1, or does not say without doubt where its body ends
    /// (RFC 9112, section 6.3).
    pub fn read(
        bytes: &'h [u8],
        slots: &'h mut Slots<'h>,
        is_head: bool,
    ) -> Result<Option<(Self, Answer)>, Malformed> {
        let Some(end) = end_of_head(bytes) else {
            return if bytes.len() > HEAD_MAX { Err(Malformed) } else { Ok(None) };
        };
        let (length, mut parsed) = (end, httparse::Response::new(&mut []));
        let bytes = bytes.get(..length).unwrap_or_default();
        // What a proxy may mend in answers (RFC 9112, section 5), and the full path does.
        let mut config = httparse::ParserConfig::default();
        config.allow_spaces_after_header_name_in_responses(true);
        config.allow_obsolete_multiline_headers_in_responses(true);
        match config.parse_response_with_uninit_headers(&mut parsed, bytes, slots) {
            Ok(httparse::Status::Complete(at)) if at == length && are_lines_sound(bytes) => {}
            _ => return Err(Malformed),
        }
        let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
            return Err(Malformed);
        };
        let reason = parsed.reason.unwrap_or_default();
        let head = Self { status, reason, headers: parsed.headers };
        let body = head.body(is_head, version)?;
        let keeps = head.keeps(version) && body != Body::UntilClosed;
        let said = grpc::Said::of(head.value("content-type"), head.value("grpc-status"));
        Ok(Some((head, Answer { length, status, body, keeps, said })))
    }

    /// The first value of the header `name` (lower case).
    pub fn value(&self, name: &str) -> Option<&'h [u8]> {
        self.values(name).next()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'h [u8]> + Clone {
        self.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
    }

    fn body(&self, is_head: bool, version: u8) -> Result<Body, Malformed> {
        if !(100..600).contains(&self.status) {
            return Err(Malformed);
        }
        let has_none = matches!(self.status, 100..=199 | 204);
        if has_none {
            // They must not say any (RFC 9110, section 8.6), but some do, mostly none.
            return Ok(Body::Length(0));
        }
        let (lengths, codings) = (self.values("content-length"), self.values("transfer-encoding"));
        // Where chunks are spoken, a single length beside them does not count (RFC 9112, section 6.3).
        let is_overruled = codings.clone().next().is_some() && lengths.clone().count() == 1;
        let lengths = lengths.skip(usize::from(is_overruled));
        let body = match said(lengths, codings, version == 1).map_err(|_| Malformed)? {
            Said::Nothing => Body::UntilClosed,
            Said::Length(length) => Body::Length(length),
            Said::Chunked => Body::chunked(),
        };
        let has_none = is_head || self.status == 304;
        Ok(if has_none { Body::Length(0) } else { body })
    }

    fn keeps(&self, version: u8) -> bool {
        let says = |word: &[u8]| self.options().any(|said| said.eq_ignore_ascii_case(word));
        if version == 1 { !says(b"close") } else { says(b"keep-alive") }
    }

    /// What `Connection` says.
    fn options(&self) -> impl Iterator<Item = &'h [u8]> {
        let said = self.values("connection").flat_map(|value| value.split(|b| *b == b','));
        said.map(<[u8]>::trim_ascii)
    }

    /// Whether what comes behind the last chunk of its `body` may go on: not where `Connection` names
    /// fields that may stand there, which are between neighbours then (RFC 9110, section 7.6.1).
    pub fn passes_trailers(&self, body: Body) -> bool {
        let is_harmless = |said: &[u8]| {
            said.is_empty() || said.eq_ignore_ascii_case(b"close") || !may_follow(said)
        };
        matches!(body, Body::Chunked(_)) && self.options().all(is_harmless)
    }

    /// Writes to `out` what the client gets of the head, without the line that ends it. `hides_hsts`: lbd
    /// has a word of its own for that.
    pub fn write(&self, body: Body, hides_hsts: bool, out: &mut BytesMut) {
        let digits = [self.status / 100, self.status / 10 % 10, self.status % 10];
        out.put_slice(b"HTTP/1.1 ");
        out.put_slice(&digits.map(|digit| b'0' + digit as u8));
        for part in [" ", self.reason, "\r\n"] {
            out.put_slice(part.as_bytes());
        }
        for header in self.passed_on(hides_hsts) {
            if !header.name.eq_ignore_ascii_case("trailer") {
                field(out, header.name.as_bytes(), header.value);
            } else if self.passes_trailers(body) {
                announce(header.value, out);
            }
        }
        if matches!(body, Body::Chunked(_) | Body::UntilClosed) {
            field(out, b"transfer-encoding", b"chunked");
        }
        if self.lacks_date() {
            // Writing to a buffer that grows cannot fail.
            let _ = write!(out, "date: {}\r\n", date());
        }
    }

    /// Whoever passes on an answer without a date adds it (RFC 9110, section 6.6.1).
    pub fn lacks_date(&self) -> bool {
        self.value("date").is_none() && self.status >= 200
    }

    /// The headers that the client gets. `hides_hsts`: lbd has a word of its own for that.
    pub fn passed_on(&self, hides_hsts: bool) -> impl Iterator<Item = &httparse::Header<'h>> {
        let named =
            |name: &str| self.options().any(|said| said.eq_ignore_ascii_case(name.as_bytes()));
        let has_named = self.value("connection").is_some();
        // One that chunks overrule was not even read, also where there is no body.
        let has_no_length =
            self.value("transfer-encoding").is_some() || matches!(self.status, 100..=199 | 204);
        self.headers.iter().filter(move |header| {
            let name = header.name;
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            // No length is ever between neighbours, whatever `Connection` says.
            !match () {
                () if is("content-length") => has_no_length,
                () if is("upgrade") => self.status != 426,
                () if is("strict-transport-security") => hides_hsts,
                () => is_between_neighbours(name) || (has_named && named(name)),
            }
        })
    }
}

/// Now, as headers have it.
pub fn date() -> impl Display {
    jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT")
}

/// Writes a header.
pub fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.put_slice(name);
    out.put_slice(b": ");
    unfold(out, value);
    out.put_slice(b"\r\n");
}

/// Writes a header's value. One that was folded over several lines has one line now.
pub fn unfold(out: &mut BytesMut, value: &[u8]) {
    if memchr::memchr(b'\r', value).is_none() {
        out.put_slice(value);
    } else {
        for (n, line) in value.split(|b| *b == b'\r').enumerate() {
            out.put_slice(if n == 0 { b"" } else { b" " });
            out.put_slice(line.trim_ascii());
        }
    }
}

/// Headers that concern one connection only, or that lbd sets itself.
fn is_between_neighbours(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "connection",
        "keep-alive",
        "x-request-id",
        "proxy-connection",
        "transfer-encoding",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
    ];
    let is = |known: &str| known.len() == name.len() && known.eq_ignore_ascii_case(name);
    NAMES.into_iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, is_head: bool) -> Result<Option<Answer>, Malformed> {
        let mut slots = slots();
        Ok(Head::read(text.as_bytes(), &mut slots, is_head)?.map(|(_, answer)| answer))
    }

    fn whole(text: &str) -> (u16, Body, bool) {
        let answer = read(text, false).unwrap().unwrap();
        (answer.status, answer.body, answer.keeps)
    }

    #[test]
    fn the_body_ends_where_the_head_says() {
        let ok = |headers: &str| whole(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"));
        assert_eq!(ok("Content-Length: 5\r\n"), (200, Body::Length(5), true));
        assert_eq!(ok("Transfer-Encoding: Chunked\r\n"), (200, Body::chunked(), true));
        assert_eq!(ok(""), (200, Body::UntilClosed, false));
        assert!(!ok("Content-Length: 5\r\nConnection: x, Close\r\n").2);
        assert_eq!(
            whole("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").1,
            Body::Length(0)
        );
        assert_eq!(whole("HTTP/1.1 204\r\n\r\n").1, Body::Length(0));
        assert!(!whole("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n").2);
        assert!(whole("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n").2);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(read(head, true).unwrap().unwrap().body, Body::Length(0));
        for cut in 0..head.len() {
            assert_eq!(read(&head[..cut], false), Ok(None), "{cut}");
        }
    }

    #[test]
    fn what_is_ambiguous_is_no_answer() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nX: a\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "no head\r\n\r\n",
        ] {
            assert_eq!(read(head, false), Err(Malformed), "{head:?}");
        }
    }

    #[test]
    fn what_a_proxy_may_mend_is_mended() {
        let text = "HTTP/1.1 200 OK\r\nX : 1\r\nY: a\r\n \t b\r\n\r\n";
        let mut slots = slots();
        let (head, _) = Head::read(text.as_bytes(), &mut slots, false).unwrap().unwrap();
        let mut out = BytesMut::new();
        head.write(Body::Length(0), false, &mut out);
        assert!(out.starts_with(b"HTTP/1.1 200 OK\r\nX: 1\r\nY: a b\r\ndate: "), "{out:?}");
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let text = "HTTP/1.1 200 Fine\r\nX-Own: 1\r\nConnection: X-Private\r\nX-Private: 2\r\n\
                    Date: now\r\nUpgrade: x\r\nKeep-Alive: 5\r\nX-Request-Id: theirs\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut slots = slots();
        let (head, answer) = Head::read(text.as_bytes(), &mut slots, false).unwrap().unwrap();
        let mut out = BytesMut::new();
        head.write(answer.body, false, &mut out);
        let expected =
            "HTTP/1.1 200 Fine\r\nX-Own: 1\r\nDate: now\r\ntransfer-encoding: chunked\r\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_length_beside_chunks_is_not_passed_on() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 9\r\nTransfer-Encoding: chunked\r\n\
                    Date: x\r\n\r\n";
        for is_head in [false, true] {
            let mut slots = slots();
            let (head, answer) = Head::read(text.as_bytes(), &mut slots, is_head).unwrap().unwrap();
            let mut out = BytesMut::new();
            head.write(answer.body, false, &mut out);
            assert!(!out.windows(14).any(|w| w.eq_ignore_ascii_case(b"content-length")), "{out:?}");
        }
    }

    #[test]
    fn a_length_is_never_left_out_by_name() {
        let text = "HTTP/1.1 200 OK\r\nConnection: Content-Length\r\nContent-Length: 5\r\nDate: x\r\n\
                    Strict-Transport-Security: max-age=0\r\n\r\n";
        let mut slots = slots();
        let (head, answer) = Head::read(text.as_bytes(), &mut slots, false).unwrap().unwrap();
        let mut out = BytesMut::new();
        head.write(answer.body, true, &mut out);
        assert_eq!(out, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: x\r\n");
    }
}
