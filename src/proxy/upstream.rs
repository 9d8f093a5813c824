//! What an endpoint is asked.

use http::{Version, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use crate::model::{Target, snapshot::Endpoint};

/// Endpoints are asked in origin form (RFC 9112, section 3.2.1), whatever the client wrote. Its
/// authority is that of the Host header: the head was refused otherwise.
///
/// # Errors
///
/// If the address is malformed.
pub fn to_origin_form(request: &mut RequestHeader) -> Result<()> {
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
