//! The head of an HTTP/1 request, judged strictly before anything acts on it.
//!
//! What RFC 9112 lets a lenient server repair is refused here: a repair that an endpoint makes
//! differently is how requests are smuggled. pingora parses the same bytes again afterwards; nothing
//! reaches it that this module finds ambiguous.

#![cfg_attr(
    not(test),
    expect(clippy::indexing_slicing, reason = "indexes are bounded by the bytes' own length")
)]

use std::{mem::MaybeUninit, net::Ipv6Addr, sync::LazyLock};

use memchr::memmem::Finder;

use super::framing::{Said, Unclear, said};

/// How many headers a request may have.
pub const HEADERS_MAX: usize = 100;

/// What the bytes read so far amount to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Inspected {
    /// The head is not complete yet.
    Partial,
    /// A whole head of `length` bytes, with what follows it.
    Whole {
        /// Bytes up to and including the empty line.
        length: usize,
        /// How the body is framed.
        body: Framing,
    },
    /// A request that is not served; the connection must be closed.
    Refused(Fault),
}

/// How a request body is framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// So many bytes; 0: no body.
    Length(u64),
    /// Chunks.
    Chunked,
    /// The request asks for another protocol: bytes may follow without end.
    Upgrade,
}

/// Why a request is refused, and with which status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, for the client.
    pub why: &'static str,
}

const fn fault(status: u16, why: &'static str) -> Fault {
    Fault { status, why }
}

const UNSOUND: Fault = fault(400, "the request's head contains a control byte or a bare line end");

/// Judges the bytes read so far, of which at most `limit` may be head.
pub fn inspect(bytes: &[u8], limit: usize) -> Inspected {
    let whole = end_of_head(bytes);
    let head = &bytes[..whole.unwrap_or(bytes.len())];
    if head.len() > limit {
        return Inspected::Refused(too_large(head, limit));
    }
    let Some(length) = whole else {
        return match line_ends(head) {
            Ok(()) => Inspected::Partial,
            Err(fault) => Inspected::Refused(fault),
        };
    };
    if !are_lines_sound(head) {
        return Inspected::Refused(UNSOUND);
    }
    match framing(head) {
        Ok(body) => Inspected::Whole { length, body },
        Err(fault) => Inspected::Refused(fault),
    }
}

fn too_large(head: &[u8], limit: usize) -> Fault {
    match find(&head[..limit], b"\r\n") {
        Some(_) => fault(431, "the request's headers are too large"),
        None => fault(414, "the request's address is too long"),
    }
}

/// Every line ends with CRLF, no CR or LF stands alone, and no other control byte but HTAB occurs.
fn line_ends(head: &[u8]) -> Result<(), Fault> {
    for (at, byte) in head.iter().enumerate() {
        let sound = match byte {
            b'\n' => at > 0 && head[at - 1] == b'\r',
            b'\r' => head.get(at + 1).is_none_or(|next| *next == b'\n'),
            b'\t' => true,
            0..=31 | 127 => false,
            _ => true,
        };
        if !sound {
            return Err(UNSOUND);
        }
    }
    Ok(())
}

/// Where the head at the front of `bytes` ends, behind its empty line, if it is all there.
pub fn end_of_head(bytes: &[u8]) -> Option<usize> {
    static EMPTY_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n\r\n"));
    EMPTY_LINE.find(bytes).map(|at| at + 4)
}

/// Whether every line of a whole head ends with CRLF. That no other control byte occurs is seen to by
/// whoever parses it.
pub fn are_lines_sound(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

fn framing(head: &[u8]) -> Result<Framing, Fault> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(fault(400, "the request's head is malformed")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(fault(431, "the request has too many headers"));
        }
        Err(httparse::Error::Version) if names_version(head) => {
            return Err(fault(505, "this HTTP version is not spoken here"));
        }
        Err(_) => return Err(fault(400, "the request's head is malformed")),
    }
    let newest = request.version == Some(1);
    let method = request.method.unwrap_or_default();
    let authority = target(method, request.path.unwrap_or_default())?;
    host(request.headers, newest, authority)?;
    expectation(request.headers)?;
    body(request.headers, newest)
}

/// Whether the first line has three words, of which the last is a version of HTTP, spoken here or not.
fn names_version(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ').skip(2);
    words.next().is_some_and(|version| version.starts_with(b"HTTP/")) && words.next().is_none()
}

/// Judges the request's address, and returns its authority if it has one.
fn target<'t>(method: &str, target: &'t str) -> Result<Option<&'t str>, Fault> {
    if method == "CONNECT" {
        return Err(fault(405, "this is no forward proxy: CONNECT is not allowed"));
    }
    let behind = |scheme: &str| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = behind("http://").or_else(|| behind("https://"));
    let authority = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let sound = target.starts_with('/')
        || authority
            .is_some_and(|a| !a.is_empty() && !a.starts_with(':') && is_authority(a.as_bytes()))
        || (target == "*" && method == "OPTIONS");
    let plain = target.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if sound && plain {
        Ok(authority)
    } else {
        Err(fault(400, "the request's address is malformed"))
    }
}

fn values<'h>(
    headers: &'h [httparse::Header<'h>],
    name: &'h str,
) -> impl Iterator<Item = &'h [u8]> {
    headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value)
}

fn host(
    headers: &[httparse::Header<'_>],
    needed: bool,
    authority: Option<&str>,
) -> Result<(), Fault> {
    let mut hosts = values(headers, "host");
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(fault(400, "the request has several Host headers")),
        (None, None) if needed => Err(fault(400, "the request has no Host header")),
        (Some(host), None) if !is_authority(host) => {
            Err(fault(400, "the request's Host header is malformed"))
        }
        (host, None) => match authority.zip(host) {
            Some((authority, host)) if !authority.as_bytes().eq_ignore_ascii_case(host) => {
                Err(fault(400, "the request's address and its Host header name different hosts"))
            }
            Some(_) | None => Ok(()),
        },
    }
}

/// A host and an optional port, without user, path or blanks; or nothing, where no host is known
/// (RFC 9112, section 3.2).
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let port = if let Some(inside) = authority.strip_prefix(b"[") {
        let Some(end) = inside.iter().position(|b| *b == b']') else { return false };
        if !is_literal(&inside[..end]) {
            return false;
        }
        &inside[end + 1..]
    } else {
        let end = authority.iter().position(|b| *b == b':').unwrap_or(authority.len());
        // RFC 9110, section 4.2.1: a port needs a host.
        if !is_name(&authority[..end]) || (end == 0 && !authority.is_empty()) {
            return false;
        }
        &authority[end..]
    };
    match port.strip_prefix(b":") {
        Some(digits) => digits.is_empty() || is_port(digits),
        None => port.is_empty(),
    }
}

/// A registered name or an IPv4 address: whatever stands behind a `%` is a byte in hexadecimal digits.
fn is_name(name: &[u8]) -> bool {
    let is_hex = |at: usize| name.get(at).is_some_and(u8::is_ascii_hexdigit);
    name.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => is_hex(at + 1) && is_hex(at + 2),
        byte => is_plain(*byte),
    })
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
        )
}

/// What stands in brackets: an IPv6 address, or one of a version to come.
fn is_literal(inside: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(inside) else { return false };
    if text.parse::<Ipv6Addr>().is_ok() {
        return true;
    }
    let version = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.'));
    version.is_some_and(|(version, address)| {
        !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !address.is_empty()
            && address.bytes().all(|byte| byte == b':' || is_plain(byte))
    })
}

fn is_port(digits: &[u8]) -> bool {
    // A sign would be read too.
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number && str::from_utf8(digits).is_ok_and(|text| text.parse::<u16>().is_ok())
}

fn expectation(headers: &[httparse::Header<'_>]) -> Result<(), Fault> {
    if values(headers, "expect").all(|value| value.eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(fault(417, "the request expects something that is not known here"))
    }
}

fn body(headers: &[httparse::Header<'_>], newest: bool) -> Result<Framing, Fault> {
    let (lengths, codings) =
        (values(headers, "content-length"), values(headers, "transfer-encoding"));
    match said(lengths, codings, newest) {
        Ok(Said::Nothing | Said::Length(0)) if newest && is_websocket(headers) => {
            Ok(Framing::Upgrade)
        }
        Ok(Said::Nothing) => Ok(Framing::Length(0)),
        Ok(Said::Length(length)) => Ok(Framing::Length(length)),
        Ok(Said::Chunked) => Ok(Framing::Chunked),
        Err(Unclear::Twice) => Err(fault(400, "the request gives the length of its body twice")),
        Err(Unclear::Coding) => Err(fault(501, "this transfer encoding is not spoken here")),
        Err(Unclear::Number) => Err(fault(400, "the request's Content-Length is not a number")),
    }
}

/// Whether the request asks for WebSocket, the one protocol that is let through. Others are optional
/// for the client (h2c), and its request is served as it is.
fn is_websocket(headers: &[httparse::Header<'_>]) -> bool {
    values(headers, "upgrade").any(|value| value.eq_ignore_ascii_case(b"websocket"))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(head: &str) -> Inspected {
        inspect(head.as_bytes(), 1024)
    }

    fn status(head: &str) -> u16 {
        match judge(head) {
            Inspected::Refused(fault) => fault.status,
            other => panic!("{head:?} was {other:?}"),
        }
    }

    #[test]
    fn a_plain_request_is_whole_when_its_empty_line_is_there() {
        let head = "GET /a?b HTTP/1.1\r\nHost: a.example:80\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(judge(&head[..cut]), Inspected::Partial, "{cut}");
        }
        let whole = Inspected::Whole { length: head.len(), body: Framing::Length(0) };
        assert_eq!(judge(head), whole);
        assert_eq!(judge(&format!("{head}GET / HT")), whole);
    }

    #[test]
    fn framing_is_read() {
        let of =
            |headers: &str| match judge(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")) {
                Inspected::Whole { body, .. } => body,
                other => panic!("{headers:?} was {other:?}"),
            };
        assert_eq!(of("Content-Length: 12\r\n"), Framing::Length(12));
        assert_eq!(of("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
        assert_eq!(of("Connection: upgrade\r\nUpgrade: websocket\r\n"), Framing::Upgrade);
        assert_eq!(of("Upgrade: websocket\r\nContent-Length: 0\r\n"), Framing::Upgrade);
        assert_eq!(of("Connection: upgrade\r\nUpgrade: h2c\r\n"), Framing::Length(0));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        let post = |headers: &str| status(&format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        for headers in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X : y\r\n",
            "X: a\r\n b\r\n",
            "X: a\0b\r\n",
            "X: a\x01b\r\n",
            ": x\r\n",
        ] {
            assert_eq!(post(headers), 400, "{headers:?}");
        }
        assert_eq!(post("Transfer-Encoding: gzip, chunked\r\n"), 501);
        assert_eq!(status("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a[::1]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: []\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [:::1]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [1:2:3:4:5:6:7:8:9]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [v.a]\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n",
            "GET http://a%zz/ HTTP/1.1\r\nHost: a%zz\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://:80/ HTTP/1.1\r\nHost: :80\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(status(head), 400, "{head:?}");
        }
        assert_eq!(status("GET / HTTP/3.0\r\nHost: a\r\n\r\n"), 505);
        assert_eq!(status("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
        assert_eq!(status("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n"), 417);
    }

    #[test]
    fn hosts_of_every_form_are_taken() {
        for host in [
            "",
            "a",
            "a.",
            "a:",
            "a:80",
            "a:00080",
            "a:65535",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:80",
            "[2001:db8::7]",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]",
            "a%41b",
            "a_b",
            "~!$&'()*+,;=",
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert!(matches!(judge(&head), Inspected::Whole { .. }), "{host}");
        }
    }

    #[test]
    fn size_limits_are_told_apart() {
        let long = "x".repeat(2000);
        assert_eq!(status(&format!("GET /{long}")), 414);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}")), 431);
        let many = "X: y\r\n".repeat(HEADERS_MAX);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")), 431);
    }

    proptest! {
        /// What the whole head's quick look leaves to the parser is no less strict.
        #[test]
        fn control_bytes_are_refused_in_whole_heads_too(
            at in 0usize..60, byte in prop::sample::select(&b"\0\n\r\x01\x0b\x1b\x7f"[..]),
        ) {
            let mut head = b"GET /path?query HTTP/1.1\r\nHost: a.example\r\nX-Own: value\r\n\r\n".to_vec();
            head.insert(at.min(head.len() - 4), byte);
            if line_ends(&head).is_err() {
                prop_assert!(matches!(inspect(&head, 1024), Inspected::Refused(_)));
            }
        }

        /// However the bytes arrive, the verdict on the whole is the same.
        #[test]
        fn arrival_does_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..200) {
            let cut = cut.min(bytes.len());
            let early = inspect(&bytes[..cut], 1024);
            if matches!(early, Inspected::Whole { .. }) {
                prop_assert_eq!(inspect(&bytes, 1024), early);
            }
        }
    }
}
