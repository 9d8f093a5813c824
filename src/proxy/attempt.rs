//! The next attempt: which endpoint is asked, and over what kind of connection.

use std::{sync::Arc, time::Duration};

use pingora_core::{
    Error, ErrorType, Result,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
};
use pingora_proxy::Session;

use super::{
    dial::Dial,
    exchange::Exchange,
    full::Full,
    patience::await_body,
    peers::Need,
    tunnel::{self, Tunnel},
};
use crate::model::{Draw, link::Protocol};

/// No upload takes longer. The client's deadline begins when the request is whole.
const WHOLE_UPLOAD: Duration = Duration::from_secs(24 * 3600);
/// On HTTP/1, pingora counts the wait for an answer anew with each piece of the body that it sends on, and
/// waits once more after it gave up sending. So much longer than a client's pause in its body, or the
/// endpoint's silence after it, may take: whoever ends those comes first.
const STUCK_UPLOAD: Duration = Duration::from_secs(1);

impl Full {
    /// Begins the next attempt.
    ///
    /// # Errors
    ///
    /// If nobody can be asked, which is answered with 503.
    pub(super) fn next_attempt(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let choice = exchange.placement.and_then(|placement| {
            let field = exchange.field()?;
            let attempts = field.service.settings.retries as usize + 1;
            let is_shielded = exchange.shielded.is_some();
            let pool = if is_shielded { field.service.baseline } else { placement.pool };
            field.choose(pool, &exchange.tried, attempts, Draw(fastrand::u64(..)))
        });
        let Some(choice) = choice else {
            self.judge.unserved(exchange);
            return Error::e_explain(ErrorType::HTTPStatus(503), "no usable endpoint");
        };
        if !exchange.takes_place(choice.pool) {
            return Error::e_explain(ErrorType::HTTPStatus(503), "no place in the pool");
        }
        if exchange.attempts > 0
            && exchange.shielded.is_none()
            && let Some(tally) = exchange.tally()
        {
            tally.cell(self.worker).retries.add(1);
        }
        exchange.own_answer = false;
        exchange.received = 0;
        exchange.attempt(choice);
        exchange.trace_attempt(session.req_header());
        if exchange.attempts > 1
            && let Some(client) = &exchange.client
        {
            client.again();
        }
        exchange.tell_attempt(session.is_body_done());
        if session.is_body_done() {
            exchange.is_sent();
        }
        let timeouts = exchange.field().map(|f| f.service.settings.timeouts);
        let (Some(endpoint), Some(link), Some(timeouts)) =
            (exchange.endpoint(), exchange.link(), timeouts)
        else {
            return Error::e_explain(ErrorType::InternalError, "an endpoint vanished");
        };
        // HTTP/2 knows no upgrades: the request goes as it is.
        let is_upgrade = link.protocol != Protocol::H2c && tunnel::is_wanted(session.req_header());
        let need = match exchange.fresh {
            _ if is_upgrade => Need::Upgrade,
            true => Need::Fresh,
            false => Need::Any,
        };
        let ends = exchange.client.as_ref().map(|client| client.ends());
        let announcement = link.proxy_protocol.map(|form| form.announce(ends));
        let mut peer = self.peers.peer(endpoint, link, &timeouts, need, announcement.as_deref())?;
        if !session.is_body_done() {
            // The endpoint need not answer before it has the whole request.
            let is_duplex = is_upgrade || link.protocol.is_http2();
            let body = exchange.client.as_ref().map(|client| client.listener.timeouts.body);
            let patience = timeouts.first_byte.max(timeouts.idle).max(body.unwrap_or_default());
            peer.options.read_timeout =
                Some(if is_duplex { WHOLE_UPLOAD } else { patience.duration() + STUCK_UPLOAD });
        }
        if session.is_custom() {
            if link.protocol.is_http2() {
                // Nothing of it concerns the connection only: the library has seen to that.
                peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
            }
            await_body(session.is_body_done(), exchange);
        }
        let tunnel = if is_upgrade { Tunnel::new(exchange) } else { None };
        if tunnel.is_some() || announcement.is_some() {
            let dial = Dial { announcement, tunnel: tunnel.clone() };
            peer.options.custom_l4 = Some(Arc::new(dial));
        }
        exchange.tunnel = tunnel;
        Ok(Box::new(peer))
    }
}
