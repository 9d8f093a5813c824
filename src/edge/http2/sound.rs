//! What is wrong with a request of HTTP/2 that the library lets pass: what could be read in two ways
//! once it is written as HTTP/1 (RFC 9113, sections 8.2 and 8.3).

use http::{HeaderValue, Method, StatusCode, header, request::Parts};

use crate::edge::{
    framing::{Said, said},
    head::{HEADERS_MAX, is_authority},
};

/// Judges a request's head, and returns the length of its body, if it says one.
///
/// # Errors
///
/// The status of the answer to a request that is refused.
pub fn judge(head: &Parts) -> Result<Option<u64>, StatusCode> {
    if head.method == Method::CONNECT {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    if head.headers.len() > HEADERS_MAX {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let is_known =
        |expected: &HeaderValue| expected.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !head.headers.get_all(header::EXPECT).iter().all(is_known) {
        return Err(StatusCode::EXPECTATION_FAILED);
    }
    if has_sound_path(head) && has_one_host(head) {
        let lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
        let codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
        let said = said(lengths.map(|v| v.as_bytes()), codings.map(|v| v.as_bytes()), false);
        match said {
            Ok(Said::Nothing) => return Ok(None),
            Ok(Said::Length(length)) => return Ok(Some(length)),
            Ok(Said::Chunked) | Err(_) => {}
        }
    }
    Err(StatusCode::BAD_REQUEST)
}

fn has_sound_path(head: &Parts) -> bool {
    let Some(path) = head.uri.path_and_query() else { return false };
    let path = path.as_str();
    let is_plain = path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    is_plain && (path.starts_with('/') || (path == "*" && head.method == Method::OPTIONS))
}

/// Whether its authority and its Host header, of which one must be there, name the same host.
fn has_one_host(head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter().map(|host| host.as_bytes());
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    match (authority, hosts.next(), hosts.next()) {
        (_, _, Some(_)) | (None, None, _) => false,
        (Some(one), Some(other), None) => one.eq_ignore_ascii_case(other) && is_authority(one),
        (Some(host), None, None) | (None, Some(host), None) => is_authority(host),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judged(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Option<u64>, u16> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        judge(&request.body(()).unwrap().into_parts().0).map_err(|status| status.as_u16())
    }

    #[test]
    fn what_is_clear_passes() {
        assert_eq!(judged("GET", "http://a.example:81/x?y=%20", &[]), Ok(None));
        assert_eq!(judged("GET", "/x", &[("host", "a")]), Ok(None));
        assert_eq!(judged("GET", "http://a/x", &[("host", "a")]), Ok(None));
        assert_eq!(judged("OPTIONS", "*", &[("host", "a")]), Ok(None));
        assert_eq!(judged("POST", "http://a/", &[("content-length", "5")]), Ok(Some(5)));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (uri, headers) in [
            ("/", &[][..]),
            ("http://a/", &[("host", "b")]),
            ("http://a/", &[("host", "a"), ("host", "a")]),
            ("http://b@a/", &[]),
            ("/", &[("host", "a:b")]),
            ("/", &[("host", "a/b")]),
            ("*", &[("host", "a")]),
            ("http://a/", &[("content-length", "5"), ("content-length", "5")]),
            ("http://a/", &[("content-length", "+5")]),
            ("http://a/", &[("content-length", "5, 5")]),
            ("http://a/", &[("transfer-encoding", "chunked")]),
            ("http://a/\u{e9}", &[]),
        ] {
            assert_eq!(judged("GET", uri, headers), Err(400), "{uri} {headers:?}");
        }
        assert_eq!(judged("CONNECT", "a:80", &[]), Err(405));
        assert_eq!(judged("POST", "http://a/", &[("expect", "wonders")]), Err(417));
    }
}
