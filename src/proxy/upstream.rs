//! What an endpoint is asked.

use http::{HeaderValue, Method, Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::model::{Target, snapshot::Endpoint};

/// Endpoints are asked in origin form (RFC 9112, section 3.2.1), whatever the client wrote. Its
/// authority is that of the Host header: the head was refused otherwise.
///
/// # Errors
///
/// If the address is malformed, or HTTP/2 brought a header that HTTP/1 cannot.
pub fn to_origin_form(request: &mut RequestHeader) -> Result<()> {
    if request.version == Version::HTTP_2 && request.headers.values().any(is_padded) {
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "a blank around a header's value");
    }
    if request.version == Version::HTTP_2
        && !request.headers.contains_key(header::HOST)
        && let Some(authority) = request.uri.authority().map(ToString::to_string)
    {
        request.insert_header(header::HOST, authority)?;
    }
    let target = String::from_utf8_lossy(request.raw_path()).into_owned();
    let Some((_, rest)) = target.split_once("://").filter(|_| !target.starts_with('/')) else {
        return Ok(());
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let malformed = |_| Error::explain(ErrorType::InvalidHTTPHeader, "the address is malformed");
    request.set_uri(path.parse().map_err(malformed)?);
    if !request.headers.contains_key(header::HOST) {
        request.insert_header(header::HOST, authority)?;
    }
    Ok(())
}

/// Whether a value begins or ends with a blank, which HTTP/1 strips and HTTP/2 forbids (RFC 9113,
/// section 8.2.1).
fn is_padded(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.as_bytes().first()) || is_blank(value.as_bytes().last())
}

/// HTTP/1.0 clients need not name a host; the request to the endpoint must.
///
/// # Errors
///
/// If the address cannot be put into a header, which it always can.
pub fn name_host(request: &mut RequestHeader, endpoint: &Endpoint) -> Result<()> {
    if request.headers.contains_key(header::HOST) || request.uri.authority().is_some() {
        return Ok(());
    }
    let host = match endpoint.target {
        Target::Tcp(_) => endpoint.address.to_string(),
        Target::Unix(_) => "localhost".to_owned(),
    };
    request.insert_header(header::HOST, host)
}

/// Gives a client leave to send its body, where it waits for that: HTTP/2 endpoints do not.
///
/// # Errors
///
/// If the client is gone.
pub async fn give_leave(session: &mut Session, request: &mut RequestHeader) -> Result<()> {
    if request.remove_header(&header::EXPECT).is_none() || session.is_body_done() {
        return Ok(());
    }
    // It is no early end of the request.
    session.set_close_on_response_before_downstream_finish(false);
    session.write_continue_response().await
}

/// Makes an answer readable for an HTTP/1.0 client, which knows no chunks: the end of the connection ends
/// the body. Returns whether it does.
///
/// # Errors
///
/// If the answer is that of an HTTP/2 endpoint, without a length: pingora sends those in chunks whatever
/// the client is.
pub fn without_chunks(
    response: &mut ResponseHeader,
    method: &Method,
    is_http2: bool,
) -> Result<bool> {
    let has_body = *method != Method::HEAD && !matches!(response.status.as_u16(), 204 | 304);
    if is_http2 && has_body && !response.headers.contains_key(header::CONTENT_LENGTH) {
        let why = "an answer of HTTP/2 without a length, to an HTTP/1.0 client";
        return Error::e_explain(ErrorType::HTTPStatus(505), why);
    }
    Ok(response.remove_header(&header::TRANSFER_ENCODING).is_some())
}

/// Whether the client speaks HTTP/1.0.
pub fn is_old(session: &Session) -> bool {
    session.req_header().version == Version::HTTP_10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_around_a_value_is_refused_in_http2() {
        for (value, is_sound) in
            [("y", true), ("", true), ("y z", true), (" y", false), ("y\t", false)]
        {
            let mut request = RequestHeader::build("GET", b"/", None).unwrap();
            request.append_header("x-a", value).unwrap();
            assert!(to_origin_form(&mut request).is_ok(), "{value:?} in HTTP/1.1");
            request.set_version(Version::HTTP_2);
            assert_eq!(to_origin_form(&mut request).is_ok(), is_sound, "{value:?}");
        }
    }
}
