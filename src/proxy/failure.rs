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
        _ => Blame::Reset,
    }
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
