//! What pingora is told of an endpoint, and what an endpoint is asked.

use http::header;
use pingora_core::{Error, ErrorType, Result, upstreams::peer::HttpPeer};
use pingora_http::RequestHeader;

use crate::model::{Target, settings::ServiceTimeouts, snapshot::Endpoint};

/// Endpoints are asked in origin form (RFC 9112, section 3.2.1), whatever the client wrote. Its
/// authority is that of the Host header: the head was refused otherwise.
///
/// # Errors
///
/// If the address is malformed.
pub fn to_origin_form(request: &mut RequestHeader) -> Result<()> {
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

/// HTTP/1.0 clients need not name a host; the HTTP/1.1 request to the endpoint must.
///
/// # Errors
///
/// If the address cannot be put into a header, which it always can.
pub fn name_host(request: &mut RequestHeader, endpoint: &Endpoint) -> Result<()> {
    if request.headers.contains_key(header::HOST) {
        return Ok(());
    }
    let host = match endpoint.target {
        Target::Tcp(_) => endpoint.address.to_string(),
        Target::Unix(_) => "localhost".to_owned(),
    };
    request.insert_header(header::HOST, host)
}

/// pingora's form of an endpoint, with every time limit set: its defaults are none.
///
/// # Errors
///
/// If the path of a Unix socket is none.
pub fn peer(target: &Target, timeouts: &ServiceTimeouts) -> Result<HttpPeer> {
    let mut peer = match target {
        Target::Tcp(address) => HttpPeer::new(*address, false, String::new()),
        Target::Unix(path) => HttpPeer::new_uds(&path.to_string_lossy(), false, String::new())?,
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect.duration());
    options.total_connection_timeout = Some(timeouts.connect.duration());
    // The client's deadline tells first byte and idle apart; this only catches what escapes it.
    options.read_timeout = Some(timeouts.first_byte.max(timeouts.idle).duration() * 2);
    options.write_timeout = Some(timeouts.idle.duration());
    options.idle_timeout = Some(timeouts.keepalive.duration());
    Ok(peer)
}
