//! Header policy: what an endpoint is told about the client, and what stays between neighbours.

use std::{fmt::Write, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};

use super::client::Client;
use crate::model::{
    decide::{ID_COOKIE, IssuedId},
    maintenance::BYPASS_COOKIE,
};

/// The header that carries the request id.
pub const REQUEST_ID: &str = "x-request-id";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Headers that concern one connection only (RFC 9110, section 7.6.1), besides those that
/// `Connection` names.
const HOP_BY_HOP: [&str; 5] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// The client's own request id if it is sound, else a new one made from `random`.
pub fn request_id(headers: &HeaderMap, random: u128) -> HeaderValue {
    let kept = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes())).cloned();
    kept.unwrap_or_else(|| {
        let mut text = String::with_capacity(32);
        // Writing to a String cannot fail.
        let _ = write!(text, "{random:032x}");
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("-"))
    })
}

/// Whether a client's own request id is sound.
pub fn is_request_id(id: &[u8]) -> bool {
    const LENGTH_MAX: usize = 128;
    (1..=LENGTH_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// How the client asked: `http` or `https`, as far as proxies are trusted by their word.
pub fn scheme(request: &RequestHeader, client: &Client) -> &'static str {
    let said = request.headers.get(FORWARDED_PROTO).filter(|_| client.is_trusted(client.peer.ip()));
    let is_secure = match said {
        Some(said) => said.as_bytes().eq_ignore_ascii_case(b"https"),
        None => client.is_secure,
    };
    if is_secure { "https" } else { "http" }
}

/// Adds what lbd knows of the client to `Forwarded` (RFC 7239), behind what trusted proxies said.
///
/// # Errors
///
/// If a value cannot be put into a header, which values taken from headers always can.
pub fn forwarded(
    request: &mut RequestHeader,
    host: Option<&HeaderValue>,
    scheme: &str,
    peer: IpAddr,
) -> pingora_core::Result<()> {
    let peer = match peer.to_canonical() {
        IpAddr::V6(address) => format!("\"[{address}]\""),
        address @ IpAddr::V4(_) => address.to_string(),
    };
    // A host with a port is no token; quotes and backslashes no host has.
    let host = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\']));
    let host = host.map_or_else(String::new, |host| format!(";host=\"{host}\""));
    let own = format!("for={peer}{host};proto={scheme}");
    let chain = joined(&request.headers, header::FORWARDED.as_str());
    let value = chain.map_or_else(|| own.clone(), |chain| format!("{chain}, {own}"));
    request.insert_header(header::FORWARDED, value)
}

/// Tells the endpoint who asks, for which host and how; forged claims are replaced, those of trusted
/// proxies kept. Removes the pin, whose secret is none of the endpoint's business.
///
/// # Errors
///
/// If a value cannot be put into a header, which values taken from headers always can.
pub fn to_endpoint(
    request: &mut RequestHeader,
    client: &Client,
    id: &HeaderValue,
    pin: Option<&str>,
) -> pingora_core::Result<()> {
    let peer = client.peer.ip().to_canonical();
    let trusted = client.is_trusted(peer);
    let chain = if trusted { joined(&request.headers, FORWARDED_FOR) } else { None };
    request.insert_header(FORWARDED_FOR, forwarded_for(chain, peer))?;
    if !(trusted && request.headers.contains_key(FORWARDED_HOST)) {
        match request.headers.get(header::HOST).cloned() {
            Some(host) => request.insert_header(FORWARDED_HOST, host)?,
            None => drop(request.remove_header(FORWARDED_HOST)),
        }
    }
    if !(trusted && request.headers.contains_key(FORWARDED_PROTO)) {
        let scheme = scheme(request, client);
        request.insert_header(FORWARDED_PROTO, scheme)?;
    }
    if !trusted {
        request.remove_header(&header::FORWARDED);
    }
    request.insert_header(REQUEST_ID, id.clone())?;
    remove_doubles(request);
    if let Some(pin) = pin {
        request.remove_header(pin);
    }
    without_secrets(request, pin)?;
    match joined_cookies(&request.headers) {
        Some(joined) => request.insert_header(header::COOKIE, joined),
        None => Ok(()),
    }
}

/// The cookies in one field, where they came in several: HTTP/2 clients may send each in a field of its
/// own, HTTP/1 endpoints know one field only (RFC 9113, section 8.2.3).
pub fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let fields = headers.get_all(header::COOKIE);
    fields.iter().nth(1)?;
    let fields: Vec<&[u8]> = fields.iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_maybe_shared(fields.join(&b"; "[..])).ok()
}

/// Whether it is another spelling of a header that lbd sets: for many applications `X_Forwarded_For` is
/// the same variable, and would be believed.
pub fn is_double(name: &str) -> bool {
    const SET: [&str; 4] = [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, REQUEST_ID];
    let same = |set: &&str| {
        let alike = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'_' && b == b'-');
        set.len() == name.len() && name.bytes().zip(set.bytes()).all(alike)
    };
    name.contains('_') && SET.iter().any(same)
}

fn remove_doubles(request: &mut RequestHeader) {
    let names = request.headers.keys();
    let doubles: Vec<HeaderName> = names.filter(|name| is_double(name.as_str())).cloned().collect();
    for name in doubles {
        request.remove_header(&name);
    }
}

/// Takes the cookies out that carry secrets of lbd's own.
fn without_secrets(request: &mut RequestHeader, pin: Option<&str>) -> pingora_core::Result<()> {
    let is_secret = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().trim();
        name == BYPASS_COOKIE || Some(name) == pin
    };
    let fields = || request.headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    if !fields().flat_map(|field| field.split(';')).any(is_secret) {
        return Ok(());
    }
    let kept: Vec<String> = fields()
        .map(|field| field.split(';').filter(|pair| !is_secret(pair)).collect::<Vec<_>>().join(";"))
        .map(|field| field.trim().to_owned())
        .filter(|field| !field.is_empty())
        .collect();
    request.remove_header(&header::COOKIE);
    for field in kept {
        request.append_header(header::COOKIE, field)?;
    }
    Ok(())
}

fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    if values.is_empty() { None } else { Some(values.join(", ")) }
}

fn forwarded_for(chain: Option<String>, peer: IpAddr) -> String {
    match chain {
        Some(chain) => format!("{chain}, {peer}"),
        None => peer.to_string(),
    }
}

/// Removes what an endpoint says to its neighbour only.
pub fn strip_response(response: &mut ResponseHeader) {
    let named: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Upgrades are negotiated through both neighbours; framing is pingora's.
        .filter(|name| *name != header::UPGRADE && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in named {
        response.remove_header(&name);
    }
    for name in HOP_BY_HOP {
        response.remove_header(name);
    }
}

/// What the client is told besides the endpoint's own headers.
///
/// # Errors
///
/// If a value cannot be put into a header, which these always can.
pub fn to_client(
    response: &mut ResponseHeader,
    id: &HeaderValue,
    new_id: Option<u64>,
) -> pingora_core::Result<()> {
    response.insert_header(REQUEST_ID, id.clone())?;
    if let Some(new_id) = new_id {
        response.append_header(header::SET_COOKIE, id_cookie(new_id))?;
    }
    Ok(())
}

/// The cookie that gives a user an id.
pub fn id_cookie(id: u64) -> String {
    const YEAR: u32 = 365 * 24 * 60 * 60;
    let id = IssuedId(id);
    format!(
        "{ID_COOKIE}={}; Path=/; Max-Age={YEAR}; HttpOnly; SameSite=Lax",
        id.write(&mut [0; 16])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_request_id_is_kept_and_a_strange_one_replaced() {
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            request_id(&headers, 7).to_str().unwrap().to_owned()
        };
        assert_eq!(id(b"abc-123"), "abc-123");
        let made = "00000000000000000000000000000007";
        for strange in [&b""[..], b"a b", b"\xff", &[b'x'; 129]] {
            assert_eq!(id(strange), made);
        }
    }

    #[test]
    fn other_spellings_of_what_lbd_sets_are_removed() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in ["X_Forwarded_For", "x-forwarded_proto", "X_Own"] {
            request.append_header(name, "1").unwrap();
        }
        remove_doubles(&mut request);
        let left: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x_own"]);
    }

    #[test]
    fn cookies_with_secrets_stay_here() {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for field in ["a=1; lbd_bypass=secret; b=2", "x-pin=green:secret"] {
            request.append_header("Cookie", field).unwrap();
        }
        without_secrets(&mut request, Some("x-pin")).unwrap();
        let left: Vec<_> = request.headers.get_all("cookie").iter().collect();
        assert_eq!(left, ["a=1; b=2"]);
    }

    #[test]
    fn cookies_come_in_one_field() {
        let joined = |fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::COOKIE, field.parse().unwrap());
            }
            joined_cookies(&headers)
        };
        assert_eq!(joined(&["a=1", "b=2; c=3", "d=4"]).unwrap(), "a=1; b=2; c=3; d=4");
        assert_eq!(joined(&["a=1; b=2"]), None);
        assert_eq!(joined(&[]), None);
    }

    #[test]
    fn what_is_between_neighbours_stays_there() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("Connection", "close, X-Private"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "Basic"),
            ("X-Public", "1"),
        ] {
            response.append_header(name, value).unwrap();
        }
        strip_response(&mut response);
        let left: Vec<_> = response.headers.keys().map(|k| k.as_str().to_owned()).collect();
        assert_eq!(left, ["connection", "x-public"]);
    }
}
