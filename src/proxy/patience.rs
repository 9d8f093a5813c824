//! For how long requests wait, and for what.

use super::exchange::Exchange;
use crate::model::{Millis, settings::ServiceTimeouts};

/// On HTTP/2: the rest of the request's body must go on in time. How long the endpoint may leave it
/// lying is its own limit.
pub fn await_body(is_complete: bool, exchange: &Exchange) {
    if let (Some(client), Some(field)) = (&exchange.client, exchange.field()) {
        let (body, idle) = (client.listener.timeouts.body, field.service.settings.timeouts.idle);
        let patience = Millis(body.0.saturating_add(idle.0));
        client.wait_for_body(if is_complete { None } else { Some(patience) });
    }
}

/// From now on the endpoint may keep the request waiting for as long as its service says.
pub fn wait(exchange: &Exchange, of: impl Fn(&ServiceTimeouts) -> Millis) {
    if let (Some(client), Some(field)) = (&exchange.client, exchange.field()) {
        client.wait_for_endpoint(of(&field.service.settings.timeouts));
    }
}
