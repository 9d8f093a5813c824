//! Begins what was decided on: an answer of lbd's own, or the way to an endpoint.

use http::{HeaderValue, header};
use pingora_core::Result;
use pingora_proxy::Session;

use super::{
    answer::{maintain, refuse},
    exchange::Exchange,
};
use crate::model::{Outcome, route::Unrouted};

/// Begins `outcome`; `is_late`: the request waited in vain for the end of a pause. True if the request
/// is answered.
///
/// # Errors
///
/// If the client cannot be written to.
pub async fn begin(
    session: &mut Session,
    exchange: &mut Exchange,
    outcome: Outcome,
    is_late: bool,
) -> Result<bool> {
    exchange.service = outcome.service();
    let limit = match outcome {
        Outcome::Serve(_, placement) if !is_late => {
            exchange.placement = Some(placement);
            exchange.field().and_then(|field| field.service.settings.timeouts.total)
        }
        Outcome::Serve(..) | Outcome::Unrouted(_) | Outcome::Maintenance(..) => None,
    };
    if let Some(client) = &exchange.client {
        client.begin(limit);
    }
    match outcome {
        Outcome::Unrouted(why) => {
            let status = match why {
                Unrouted::Host => 421,
                Unrouted::Path => 404,
            };
            refuse(session, exchange, status, &[]).await?;
        }
        Outcome::Maintenance(_, gate) => maintain(session, exchange, gate).await?,
        Outcome::Serve(..) if is_late => {
            let retry_after = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
            refuse(session, exchange, 503, &retry_after).await?;
        }
        Outcome::Serve(..) => return Ok(false),
    }
    Ok(true)
}
