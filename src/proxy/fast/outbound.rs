//! Writes the head that an endpoint is asked with. It says the same as what [`super::super::headers`]
//! and [`super::super::changes`] make of it; whatever would need more than that is not served here.

use std::{fmt::Write, net::IpAddr};

use bytes::{BufMut, BytesMut};

use super::{
    super::{
        client::Client,
        headers::{is_double, is_request_id},
    },
    request::{Request, text},
};
use crate::{edge::trailers::announce, model::policy::trace::Context};

/// What came along with a head that was written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'h> {
    /// The client's own request id, if it is sound.
    pub id: Option<&'h [u8]>,
    /// Whether the client's connection may go on after the answer.
    pub keeps: bool,
}

/// A random number for each thing that may have to be made up.
#[derive(Clone, Copy, Debug)]
pub struct Randoms {
    /// For a request id.
    pub id: u128,
    /// For a trace.
    pub trace: u128,
    /// For a step of it.
    pub span: u64,
}

/// What a header is to the lean path.
#[derive(Clone, Copy)]
enum Kind {
    /// It goes on as it is.
    Plain,
    /// It concerns this connection only.
    Hop,
    /// The full path knows what to do with it.
    Special,
    Coding,
    Connection,
    Te,
    Trailer,
    Cookie,
    Host,
    ForwardedFor,
    ForwardedHost,
    ForwardedProto,
    Forwarded,
    RequestId,
    Traceparent,
    Tracestate,
}

impl Kind {
    fn of(name: &str) -> Self {
        const KNOWN: [(&str, Kind); 22] = [
            ("te", Kind::Te),
            ("host", Kind::Host),
            ("cookie", Kind::Cookie),
            ("expect", Kind::Plain),
            ("upgrade", Kind::Special),
            ("trailer", Kind::Trailer),
            ("forwarded", Kind::Forwarded),
            ("tracestate", Kind::Tracestate),
            ("connection", Kind::Connection),
            ("keep-alive", Kind::Hop),
            ("traceparent", Kind::Traceparent),
            ("x-request-id", Kind::RequestId),
            ("http2-settings", Kind::Special),
            ("x-forwarded-for", Kind::ForwardedFor),
            ("x-forwarded-host", Kind::ForwardedHost),
            ("proxy-connection", Kind::Hop),
            ("x-forwarded-proto", Kind::ForwardedProto),
            ("transfer-encoding", Kind::Coding),
            ("proxy-authenticate", Kind::Special),
            ("proxy-authorization", Kind::Special),
            ("proxy-authentication-info", Kind::Special),
            ("content-length", Kind::Plain),
        ];
        // Most names have a length that no known one has.
        let known = KNOWN
            .iter()
            .find(|(known, _)| known.len() == name.len() && known.eq_ignore_ascii_case(name));
        match known {
            Some((_, kind)) => *kind,
            None if is_double(name) => Kind::Hop,
            None => Kind::Plain,
        }
    }
}

/// Writes the head of `request` to `out`. `None`: the full path must serve it.
pub fn write<'h>(
    request: &Request<'h>,
    client: &Client,
    randoms: Randoms,
    out: &mut BytesMut,
) -> Option<Written<'h>> {
    let peer = client.peer.ip().to_canonical();
    let trusted = client.is_trusted(peer);
    let (mut keeps, mut cookies, mut takes_trailers) = (true, 0, false);
    let (mut host, mut id, mut ids) = (None, None, 0);
    let (mut said_host, mut said_proto) = (false, false);
    let (mut parents, mut parent) = (0, None);
    line(out, request.method, request.target);
    for header in request.headers {
        let value = header.value;
        match Kind::of(header.name) {
            Kind::Plain => {}
            // In capitals it is the same, which not every endpoint knows.
            Kind::Coding if value == b"chunked" => {}
            Kind::Coding | Kind::Special => return None,
            Kind::Hop | Kind::ForwardedFor | Kind::Tracestate => continue,
            Kind::Connection => {
                for option in members(value) {
                    match option {
                        o if o.eq_ignore_ascii_case(b"keep-alive") => {}
                        o if o.eq_ignore_ascii_case(b"close") => keeps = false,
                        o if o.eq_ignore_ascii_case(b"te") || o.is_empty() => {}
                        _ => return None,
                    }
                }
                continue;
            }
            Kind::Te => {
                let is_word = |said: &[u8]| said.eq_ignore_ascii_case(b"trailers");
                takes_trailers |= members(value).any(is_word);
                continue;
            }
            Kind::Trailer => {
                // Only behind chunks is there a place for them.
                if request.values("transfer-encoding").next().is_some() {
                    announce(value, out);
                }
                continue;
            }
            Kind::Cookie => {
                cookies += 1;
                if cookies > 1 {
                    return None;
                }
            }
            Kind::Host => host = Some(value),
            Kind::ForwardedHost if trusted => said_host = true,
            Kind::ForwardedProto if trusted => said_proto = true,
            Kind::Forwarded if trusted => {}
            Kind::ForwardedHost | Kind::ForwardedProto | Kind::Forwarded => continue,
            Kind::RequestId => {
                // Only the first counts.
                if ids == 0 {
                    id = Some(value).filter(|id| is_request_id(id));
                }
                ids += 1;
                continue;
            }
            Kind::Traceparent => {
                (parents, parent) = (parents + 1, Some(value));
                continue;
            }
        }
        field(out, header.name.as_bytes(), value);
    }
    if takes_trailers {
        // The one coding that goes beyond this connection, since trailers do (RFC 9110, section 10.1.4).
        out.put_slice(b"te: trailers\r\nconnection: TE\r\n");
    }
    forwarded_for(request, trusted, peer, out)?;
    if !said_host {
        field(out, b"x-forwarded-host", host?);
    }
    if !said_proto {
        field(out, b"x-forwarded-proto", if client.is_secure { b"https" } else { b"http" });
    }
    match id {
        Some(id) => field(out, b"x-request-id", id),
        None => {
            out.put_slice(b"x-request-id: ");
            hex::<32>(randoms.id, out);
            out.put_slice(b"\r\n");
        }
    }
    let said = parent.filter(|_| parents == 1).and_then(Context::read);
    match parent.filter(|_| said.is_some()) {
        Some(parent) => {
            field(out, b"traceparent", parent);
            request.values("tracestate").for_each(|state| field(out, b"tracestate", state));
        }
        None => {
            // lbd records none here: which ones to leave out is for applications to decide.
            let Context { trace, span, flags } = Context::new(randoms.trace, randoms.span, true);
            out.put_slice(b"traceparent: 00-");
            hex::<32>(trace, out);
            out.put_slice(b"-");
            hex::<16>(span.into(), out);
            out.put_slice(b"-");
            hex::<2>(flags.into(), out);
            out.put_slice(b"\r\n");
        }
    }
    out.put_slice(b"\r\n");
    Some(Written { id, keeps })
}

/// The members of a list.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn line(out: &mut BytesMut, method: &str, target: &str) {
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.put_slice(part.as_bytes());
    }
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

/// Writes the last so many hexadecimal digits of a number.
pub fn hex<const DIGITS: usize>(number: u128, out: &mut BytesMut) {
    out.put_slice(&std::array::from_fn::<u8, DIGITS, _>(|n| {
        match (number >> (4 * (DIGITS - 1 - n))) as u8 & 15 {
            digit @ 0..=9 => b'0' + digit,
            digit => b'a' + digit - 10,
        }
    }));
}

/// Who asks, behind whom trusted proxies said. `None`: what they said is no text.
fn forwarded_for(
    request: &Request<'_>,
    trusted: bool,
    peer: IpAddr,
    out: &mut BytesMut,
) -> Option<()> {
    out.put_slice(b"x-forwarded-for: ");
    let said = request.values("x-forwarded-for").filter(|_| trusted);
    for value in said {
        out.put_slice(text(value)?.as_bytes());
        out.put_slice(b", ");
    }
    // Writing to a buffer that grows cannot fail.
    let _ = write!(out, "{peer}\r\n");
    Some(())
}

#[cfg(test)]
mod tests {
    use std::{mem::MaybeUninit, sync::Arc};

    use super::*;
    use crate::{
        edge::head::HEADERS_MAX,
        model::{announcement::Ends, listener::Listener},
    };

    const RANDOMS: Randoms = Randoms { id: 1, trace: 2, span: 3 };
    const MADE: &str = "traceparent: 00-00000000000000000000000000000002-0000000000000003-01";

    /// What the endpoint is asked with, a line each, if the lean path serves it at all.
    fn asked(trusted: &str, headers: &[&str]) -> Option<(Vec<String>, bool)> {
        let head = format!("GET /a?b HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"));
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let request = Request::read(head.as_bytes(), &mut slots)?;
        let here = "127.0.0.1:80".parse().unwrap();
        let trusted_proxies = vec![trusted.parse().unwrap()];
        let listener = Listener { trusted_proxies, ..Listener::at(here) };
        let ends = Ends { client: "192.0.2.7:99".parse().unwrap(), here };
        let client = Client::new(ends, Arc::new(listener), Arc::default());
        let mut out = BytesMut::new();
        let written = write(&request, &client, RANDOMS, &mut out)?;
        let text = String::from_utf8(out.to_vec()).unwrap();
        let lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
        Some((lines.map(str::to_owned).collect(), written.keeps))
    }

    #[test]
    fn the_endpoint_is_told_who_asks_and_how() {
        let (lines, keeps) = asked(
            "10.0.0.0/8",
            &[
                "Host: a.example:81",
                "X-Own: 1",
                "x-forwarded-FOR: 1.2.3.4",
                "X-Forwarded-Host: forged",
                "X_Forwarded_Proto: https",
                "Forwarded: for=forged",
                "X-Request-Id: mine",
                "tracestate: lost",
                "Keep-Alive: 5",
                "Connection: close",
            ],
        )
        .unwrap();
        let expected = [
            "GET /a?b HTTP/1.1",
            "Host: a.example:81",
            "X-Own: 1",
            "x-forwarded-for: 192.0.2.7",
            "x-forwarded-host: a.example:81",
            "x-forwarded-proto: http",
            "x-request-id: mine",
            MADE,
        ];
        assert_eq!((lines.as_slice(), keeps), (&expected.map(str::to_owned)[..], false));
    }

    #[test]
    fn what_trusted_proxies_say_goes_on() {
        let sound = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (lines, keeps) = asked(
            "192.0.2.0/24",
            &[
                "host: a",
                "x-forwarded-for: 1.2.3.4",
                "x-forwarded-for: 5.6.7.8",
                "x-forwarded-host: b",
                "x-forwarded-proto: https",
                "forwarded: for=c",
                "x-request-id: a b",
                sound,
                "tracestate: d",
                "connection: Keep-Alive",
            ],
        )
        .unwrap();
        let expected = [
            "GET /a?b HTTP/1.1",
            "host: a",
            "x-forwarded-host: b",
            "x-forwarded-proto: https",
            "forwarded: for=c",
            "x-forwarded-for: 1.2.3.4, 5.6.7.8, 192.0.2.7",
            "x-request-id: 00000000000000000000000000000001",
            sound,
            "tracestate: d",
        ];
        assert_eq!((lines.as_slice(), keeps), (&expected.map(str::to_owned)[..], true));
    }

    #[test]
    fn trailers_are_asked_for_by_whoever_takes_them() {
        let told = |headers: &[&str]| {
            let (lines, keeps) = asked("10.0.0.0/8", &[&["Host: a"], headers].concat()).unwrap();
            let of_te = |line: &&String| line.starts_with("te:") || line.starts_with("connection:");
            (lines.iter().filter(of_te).cloned().collect::<Vec<_>>().join(";"), keeps)
        };
        let yes = "te: trailers;connection: TE".to_owned();
        assert_eq!(told(&["TE: trailers", "Connection: TE"]), (yes.clone(), true));
        assert_eq!(told(&["te: gzip;q=0.5, Trailers"]), (yes.clone(), true));
        assert_eq!(told(&["TE: trailers", "Connection: close, te"]), (yes, false));
        for other in ["TE: gzip", "TE: trailers;q=0", "TE:", "Connection: keep-alive, TE"] {
            assert_eq!(told(&[other]), (String::new(), true), "{other}");
        }
    }

    #[test]
    fn trailers_are_announced_where_chunks_are_sent() {
        let announced = |headers: &[&str]| {
            let (lines, _) = asked("10.0.0.0/8", &[&["Host: a"], headers].concat()).unwrap();
            lines.into_iter().filter(|line| line.starts_with("trailer")).collect::<Vec<_>>()
        };
        let chunks = "Transfer-Encoding: chunked";
        assert_eq!(announced(&["Trailer: X-Sum, Host", chunks]), ["trailer: X-Sum"]);
        assert_eq!(announced(&["Trailer: Content-Length", chunks]), [""; 0]);
        assert_eq!(announced(&["Trailer: X-Sum", "Content-Length: 3"]), [""; 0]);
    }

    #[test]
    fn what_needs_more_is_left_to_the_full_path() {
        for header in [
            "Upgrade: h2c",
            "Connection: keep-alive, x-own",
            "Proxy-Authorization: x",
            "Transfer-Encoding: Chunked",
            "Cookie: a=1\r\nCookie: b=2",
        ] {
            assert_eq!(asked("10.0.0.0/8", &["Host: a", header]), None, "{header}");
        }
    }
}
