//! The full request path: pingora's `ProxyHttp` over lbd's decisions.
//!
//! Hooks are thin: they read facts, call the plain functions beside this file, and put into pingora's
//! types what those say. Work-arounds for pingora's holes say which one they close.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, header};
use pingora_core::{
    Error, ErrorSource, ErrorType, Result, modules::http::HttpModules, upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::sync::Notify;

use super::{
    answer::{answer, answered, maintain},
    client::Client,
    dial::Dial,
    exchange::Exchange,
    facts::{Map, client_address, facts},
    failure::{
        blame, failure_status, has_expired, is_closing, is_loss, is_timeout, is_unprocessed,
    },
    grpc::Status,
    headers,
    peers::{Need, Peers},
    record,
    tunnel::{self, Opened, Tunnel, Tunnels},
    upstream::{give_leave, is_old, name_host, to_origin_form, without_chunks},
};
use crate::{
    model::{
        Blame, Draw, Facts, Outcome, decide, guard::Fate, link::Protocol, route::Unrouted,
        settings::ServiceTimeouts,
    },
    observe::access_log::Buffers,
    page::Page,
    view::{LocalView, Reader},
};

/// Ends an attempt whose request the baseline gets next.
const SHIELDED: ErrorType = ErrorType::Custom("Shielded");
/// About what a waiting request takes in memory besides its path, in bytes.
const HEAD_COST: usize = 4096;

/// One worker's request path.
pub struct Full {
    /// The worker's index.
    pub worker: usize,
    /// The worker's handle on the view.
    pub reader: Reader,
    /// Told when an attempt failed, so that control looks at once.
    pub failures: Arc<Notify>,
    /// How it connects to endpoints.
    pub peers: Peers,
    /// Its open tunnels.
    pub tunnels: Arc<Tunnels>,
    /// The worker's part of the access logs.
    pub logs: Arc<Buffers>,
}

#[async_trait]
impl ProxyHttp for Full {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.worker)
    }

    // pingora would build its compression module for every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        exchange: &mut Exchange,
        connection: Box<dyn std::any::Any + Send + Sync>,
    ) {
        exchange.client = connection.downcast::<Arc<Client>>().ok().map(|client| *client);
    }

    async fn early_request_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let Some(client) = &exchange.client else {
            return Error::e_explain(ErrorType::InternalError, "a request without its connection");
        };
        let timeouts = client.listener.timeouts;
        session.set_read_timeout(Some(timeouts.body.duration()));
        // pingora's own limit is for a whole batch of pieces; the transport's is for progress.
        session.set_write_timeout(None);
        session.set_total_drain_timeout(Some(timeouts.body.duration()));
        let ignores_interim = is_old(session);
        session.set_ignore_info_resp(ignores_interim);
        to_origin_form(session.req_header_mut())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let Some(client) = exchange.client.clone() else { return Ok(false) };
        let request = session.req_header();
        let address = client_address(request, &client);
        let headers = Map(&request.headers);
        let facts = facts(request, &headers, address);
        let (mut view, mut outcome) = self.decide(&facts);
        let mut is_late = false;
        while let Outcome::Serve(service, _) = outcome
            && let Some((barrier, limit)) = view.paused(service)
        {
            is_late = !barrier.pass(request.raw_path().len() + HEAD_COST, limit).await;
            if is_late {
                break;
            }
            // Weights may have changed meanwhile: that is what pauses are for.
            (view, outcome) = self.decide(&facts);
        }
        exchange.id = headers::request_id(&request.headers, fastrand::u128(..));
        exchange.address = Some(address);
        exchange.view = Some(view);
        match outcome {
            Outcome::Unrouted(why) => {
                client.begin(None);
                let status = match why {
                    Unrouted::Host => 421,
                    Unrouted::Path => 404,
                };
                answer(session, exchange, status, &Page::of_status(status), &[]).await?;
                Ok(true)
            }
            Outcome::Maintenance(service, gate) => {
                client.begin(None);
                exchange.service = Some(service);
                maintain(session, exchange, gate).await?;
                Ok(true)
            }
            Outcome::Serve(service, _) if is_late => {
                client.begin(None);
                exchange.service = Some(service);
                let retry_after = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
                answer(session, exchange, 503, &Page::of_status(503), &retry_after).await?;
                Ok(true)
            }
            Outcome::Serve(service, placement) => {
                exchange.service = Some(service);
                exchange.placement = Some(placement);
                client.begin(exchange.field().and_then(|f| f.service.settings.timeouts.total));
                Ok(false)
            }
        }
    }

    async fn upstream_peer(
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
            self.tell_unserved(exchange);
            return Error::e_explain(ErrorType::HTTPStatus(503), "no usable endpoint");
        };
        if exchange.attempts > 0
            && exchange.shielded.is_none()
            && let Some(tally) = exchange.tally()
        {
            tally.cell(self.worker).retries.add(1);
        }
        exchange.own_answer = false;
        exchange.attempt(choice);
        if exchange.attempts > 1
            && let Some(client) = &exchange.client
        {
            client.again();
        }
        exchange.tell_attempt(session.is_body_done());
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
        let tunnel = if is_upgrade { Tunnel::new(exchange) } else { None };
        if tunnel.is_some() || announcement.is_some() {
            let dial = Dial { announcement, tunnel: tunnel.clone() };
            peer.options.custom_l4 = Some(Arc::new(dial));
        }
        exchange.tunnel = tunnel;
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if let Some(tunnel) = exchange.tunnel.as_ref().filter(|_| session.is_body_done()) {
            tunnel.hold();
        }
        if session.is_body_empty() {
            // HTTP/2 ends such a request with its head: no further hook is asked.
            wait(exchange, |timeouts| timeouts.first_byte);
        }
        if exchange.link().is_some_and(|link| link.protocol.is_http2()) {
            give_leave(session, request).await?;
        }
        let Some(client) = &exchange.client else { return Ok(()) };
        let pin = exchange.field().and_then(|f| f.service.settings.pin.as_ref());
        headers::to_endpoint(request, client, &exchange.id, pin.map(|pin| &*pin.name))?;
        match exchange.endpoint() {
            Some(endpoint) => name_host(request, endpoint),
            None => Ok(()),
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        // pingora issue 935: an empty last piece would be written as a second chunk terminator.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        if end_of_stream && exchange.first_byte.is_none() {
            if let Some(tunnel) = &exchange.tunnel {
                tunnel.end_request();
            }
            exchange.tell_sent();
            wait(exchange, |timeouts| timeouts.first_byte);
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        headers::strip_response(response);
        if response.status.is_informational()
            && response.status != http::StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        exchange.first_byte = Some(Instant::now());
        let failed = self.judge_answer(exchange, response);
        if failed && exchange.shield(session, Blame::Upstream5xx) {
            return Error::e_explain(SHIELDED, "the baseline answers instead");
        }
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
            exchange.opened = exchange.tunnel.take().map(|tunnel| self.tunnels.open(tunnel));
            if let (Some(client), Some(_)) = (&exchange.client, &exchange.opened) {
                client.switch();
            }
            // The tunnel's own limit is for both directions together.
            session.set_read_timeout(None);
            wait(exchange, |timeouts| timeouts.tunnel);
        } else {
            wait(exchange, |timeouts| timeouts.idle);
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<std::time::Duration>> {
        if let Some(client) = &exchange.client {
            client.progress();
        }
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<()> {
        self.judge_end(exchange, Status::of(trailers));
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if exchange.client.as_ref().is_some_and(|c| c.is_draining()) {
            session.set_keepalive(None);
        }
        // An interim answer to a client that waits to send its body is not an early end.
        session.set_close_on_response_before_downstream_finish(!response.status.is_informational());
        if response.status.is_informational() {
            return Ok(());
        }
        response.set_version(Version::HTTP_11);
        let is_http2 = exchange.link().is_some_and(|link| link.protocol.is_http2());
        let method = &session.req_header().method;
        if is_old(session) && without_chunks(response, method, is_http2)? {
            session.set_keepalive(None);
        }
        headers::to_client(response, &exchange.id, exchange.placement.and_then(|p| p.new_id))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        exchange.timed_out = is_timeout(&error);
        // Nothing was sent: another endpoint may have the request, whatever it is.
        error.set_retry(true);
        if is_closing(&error) && !exchange.fresh {
            // A kept connection, which the endpoint takes no more requests on.
            exchange.renew();
            return error;
        }
        // What this machine lacks (descriptors, ports) is not the endpoint's fault.
        let ours = matches!(
            error.etype(),
            ErrorType::InternalError | ErrorType::BindError | ErrorType::SocketError
        );
        if ours {
            exchange.tell_nothing();
        } else {
            exchange.blame.get_or_insert(Blame::Connect);
            self.judge(exchange, true);
            self.tell(exchange, Fate::Failed);
        }
        exchange.tried.failed.extend(exchange.choice());
        if !ours {
            exchange.shield(session, Blame::Connect);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        if *error.etype() == SHIELDED {
            error.set_retry(true);
            return error;
        }
        if exchange.opened.as_ref().is_some_and(Opened::is_closed) {
            return error;
        }
        let upstream = *error.esource() == ErrorSource::Upstream;
        let untouched = exchange.first_byte.is_none() && answered(session).is_none();
        let whole = !session.as_ref().retry_buffer_truncated();
        let idempotent = session.req_header().method.is_idempotent();
        // A kept connection that the endpoint closed meanwhile is nobody's failure, and not one of the
        // service's retries. The next attempt makes a new one: others that were kept may be as stale.
        let stale = (reused && is_loss(&error)) || (is_closing(&error) && !exchange.fresh);
        let unbegun = is_unprocessed(&error) && !exchange.fresh;
        let retry = upstream && untouched && whole && (unbegun || (stale && idempotent));
        error.set_retry(retry);
        if retry {
            exchange.renew();
        } else if upstream || (has_expired(exchange) && session.is_body_done()) {
            let blame = blame(&error, exchange);
            exchange.blame = Some(blame);
            self.judge(exchange, true);
            self.tell(exchange, Fate::Failed);
            if untouched && exchange.shield(session, blame) {
                error.set_retry(true);
            }
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        if exchange.opened.is_some() {
            // It was answered: what ended the tunnel is not that request's failure.
            return FailToProxy { error_code: 101, can_reuse_downstream: false };
        }
        let mut status = failure_status(error, exchange);
        if has_expired(exchange) && !session.is_body_done() {
            // Its time ran out while the client still sent: not the endpoint's fault.
            status = 408;
        }
        // A failure that was seen before the client left stays one.
        if status == 499 && exchange.blame != Some(Blame::Upstream5xx) {
            exchange.blame = Some(Blame::ClientAbort);
            exchange.tell(Fate::Left);
        }
        if matches!(status, 400 | 408) {
            exchange.own_answer = true;
        }
        if let ErrorType::HTTPStatus(_) = error.etype() {
            exchange.own_answer = exchange.attempt.is_none();
        }
        session.set_keepalive(None);
        if status != 499 && answered(session).is_none() {
            let retry_after = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
            let extra = if status == 503 { &retry_after[..] } else { &[] };
            // A client that is gone cannot be told anything.
            let _ = answer(session, exchange, status, &Page::of_status(status), extra).await;
        }
        if !session.is_body_done() {
            // Closed with unread bytes, the answer would be destroyed by a reset.
            session.shutdown().await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        if error.is_none() {
            self.judge_end(exchange, None);
        }
        if let Some(client) = &exchange.client {
            client.rest();
        }
        exchange.tell_over();
        record::record(session, exchange, &self.logs);
        exchange.attempt = None;
    }

    // Failures are counted, logged with their request and judged; pingora's own lines would only be
    // a storm in a storm.
    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _exchange: &Exchange,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Full {
    fn decide(&self, facts: &Facts<'_, Map<'_>>) -> (Arc<LocalView>, Outcome) {
        let view = self.reader.current();
        let outcome = decide(&view.snapshot, facts, Draw(fastrand::u64(..)));
        (view, outcome)
    }
}

fn wait(exchange: &Exchange, of: impl Fn(&ServiceTimeouts) -> crate::model::Millis) {
    if let (Some(client), Some(field)) = (&exchange.client, exchange.field()) {
        client.wait_for_endpoint(of(&field.service.settings.timeouts));
    }
}
