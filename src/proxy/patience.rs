//! For how long requests wait, and for what.

use super::exchange::Exchange;
use crate::model::{Millis, settings::ServiceTimeouts};

/// On HTTP/2: whether the rest of the request's body must come in time.
pub fn await_body(is_complete: bool, exchange: &Exchange) {
    if let Some(client) = &exchange.client {
        client.owe_body(!is_complete);
    }
}

/// From now on the endpoint may keep the request waiting for as long as its service says.
pub fn wait(exchange: &Exchange, of: impl Fn(&ServiceTimeouts) -> Millis) {
    if let (Some(client), Some(field)) = (&exchange.client, exchange.field()) {
        client.wait_for_endpoint(of(&field.service.settings.timeouts));
    }
}
