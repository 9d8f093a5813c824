//! What an endpoint's answer says of its body, judged before anything of it reaches the client.
//!
//! pingora repairs what it can and passes the head on as it was: a client that repairs it differently
//! would take the rest of one answer for the next. Such an answer is the endpoint's failure, and its
//! connection is closed.

use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;

use crate::edge::framing::{Unclear, said};

/// Judges what the answer says of its body, and removes it where there is none. `may_switch`: the
/// request asked for another protocol.
///
/// # Errors
///
/// If the length is unclear, or the protocol changes though nobody asked for it.
pub fn settle(response: &mut ResponseHeader, may_switch: bool) -> Result<()> {
    let is_old = matches!(response.version, Version::HTTP_09 | Version::HTTP_10);
    match response.status {
        StatusCode::SWITCHING_PROTOCOLS if is_old || !may_switch => {
            Err(malformed("the endpoint changes the protocol, and nobody asked for it"))
        }
        // They must not say any (RFC 9110, section 8.6), but some do, mostly none.
        status if status.is_informational() || status == StatusCode::NO_CONTENT => {
            response.remove_header(&header::CONTENT_LENGTH);
            response.remove_header(&header::TRANSFER_ENCODING);
            Ok(())
        }
        _ => {
            let of = |name: HeaderName| {
                response.headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
            };
            let said = said(of(header::CONTENT_LENGTH), of(header::TRANSFER_ENCODING), !is_old);
            said.map(drop).map_err(|unclear| {
                malformed(match unclear {
                    Unclear::Twice => "the answer gives the length of its body twice",
                    Unclear::Coding => "the answer's transfer encoding is not spoken here",
                    Unclear::Number => "the answer's Content-Length is not a number",
                })
            })
        }
    }
}

fn malformed(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, why).into_up()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in headers {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    #[test]
    fn a_clear_length_stays() {
        for headers in [
            &[("Content-Length", "5")][..],
            &[("Transfer-Encoding", "chunked")],
            &[("X-Other", "1")],
        ] {
            let mut response = answer(200, headers);
            settle(&mut response, false).unwrap();
            assert_eq!(response.headers.len(), 1, "{headers:?}");
        }
    }

    #[test]
    fn an_unclear_length_is_the_endpoints_failure() {
        for headers in [
            &[("Content-Length", "5"), ("Content-Length", "5")][..],
            &[("Content-Length", "5, 5")],
            &[("Transfer-Encoding", "gzip, chunked")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
        ] {
            let error = settle(&mut answer(200, headers), false).unwrap_err();
            assert_eq!(error.etype(), &ErrorType::InvalidHTTPHeader, "{headers:?}");
            assert_eq!(error.esource(), &pingora_core::ErrorSource::Upstream);
        }
        let mut old = answer(200, &[("Transfer-Encoding", "chunked")]);
        old.set_version(Version::HTTP_10);
        settle(&mut old, false).unwrap_err();
    }

    #[test]
    fn what_has_no_body_says_no_length() {
        for status in [100, 103, 204] {
            let mut response =
                answer(status, &[("Content-Length", "5"), ("Transfer-Encoding", "x")]);
            settle(&mut response, false).unwrap();
            assert_eq!(response.headers.len(), 0, "{status}");
        }
    }

    #[test]
    fn protocols_change_only_if_somebody_asked() {
        settle(&mut answer(101, &[]), true).unwrap();
        settle(&mut answer(101, &[]), false).unwrap_err();
        let mut old = answer(101, &[]);
        old.set_version(Version::HTTP_10);
        settle(&mut old, true).unwrap_err();
    }
}
