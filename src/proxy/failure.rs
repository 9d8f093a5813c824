//! What a failure means: whose fault it is, and which status the client gets.

use pingora_core::{Error, ErrorSource, ErrorType};

use super::exchange::Exchange;
use crate::model::Blame;

/// Whether the request's time ran out, rather than its client going away.
pub fn has_expired(exchange: &Exchange) -> bool {
    exchange.client.as_ref().is_some_and(|client| client.has_expired())
}

/// Whether it failed by time.
pub fn is_timeout(error: &Error) -> bool {
    use ErrorType::{ConnectTimedout, ReadTimedout, TLSHandshakeTimedout, WriteTimedout};
    matches!(error.etype(), ConnectTimedout | ReadTimedout | TLSHandshakeTimedout | WriteTimedout)
}

/// Whose fault a failure towards an endpoint is.
pub fn blame(error: &Error, exchange: &Exchange) -> Blame {
    match error.etype() {
        _ if has_expired(exchange) || is_timeout(error) => Blame::Timeout,
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::InvalidH2 => Blame::Protocol,
        // What the library itself found wrong, not what the endpoint said.
        _ if h2_cause(error).is_some_and(h2::Error::is_library) => Blame::Protocol,
        _ => Blame::Reset,
    }
}

/// Whether the connection was lost, rather than the request refused or answered: what is nobody's
/// failure where the connection was a kept one.
pub fn is_loss(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
    )
}

/// Whether an HTTP/2 endpoint said that it did not begin with the request: it closes the connection
/// (GOAWAY), or wants no more requests on it (REFUSED_STREAM). Another connection may have it,
/// whatever its method (RFC 9113, section 8.7).
pub fn is_unprocessed(error: &Error) -> bool {
    h2_cause(error).is_some_and(|cause| {
        let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        let leaving = cause.is_go_away() && cause.reason() == Some(h2::Reason::NO_ERROR);
        cause.is_remote() && (refused || leaving)
    })
}

/// Whether an HTTP/2 endpoint said that it closes the whole connection, for whatever reason.
pub fn is_closing(error: &Error) -> bool {
    h2_cause(error).is_some_and(|cause| cause.is_go_away() && cause.is_remote())
}

fn h2_cause(error: &Error) -> Option<&h2::Error> {
    error.root_cause().downcast_ref()
}

/// The status for a request that could not be served; 499 where the client is gone.
pub fn failure_status(error: &Error, exchange: &Exchange) -> u16 {
    if let ErrorType::HTTPStatus(status) = error.etype() {
        return if exchange.attempt.is_some() && *status == 503 {
            unreachable_status(exchange)
        } else {
            *status
        };
    }
    if has_expired(exchange) {
        return 504;
    }
    match error.esource() {
        ErrorSource::Upstream if is_timeout(error) => 504,
        ErrorSource::Upstream => 502,
        ErrorSource::Downstream => match error.etype() {
            ErrorType::ReadTimedout => 408,
            ErrorType::InvalidHTTPHeader => 400,
            ErrorType::ReadError if is_malformed(error) => 400,
            _ => 499,
        },
        ErrorSource::Internal | ErrorSource::Unset => 500,
    }
}

/// Endpoints were tried and none could be reached.
fn unreachable_status(exchange: &Exchange) -> u16 {
    if exchange.timed_out { 504 } else { 502 }
}

/// Whether reading failed because the body's framing is broken, as the transport says.
fn is_malformed(error: &Error) -> bool {
    let root = error.root_cause().downcast_ref::<std::io::Error>();
    root.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData)
}
