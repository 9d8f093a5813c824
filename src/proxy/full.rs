//! The full request path: pingora's `ProxyHttp` over lbd's decisions.
//!
//! Hooks are thin: they read facts, call the plain functions beside this file, and put into pingora's
//! types what those say. Work-arounds for pingora's holes say which one they close.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Version};
use pingora_core::{
    Error, ErrorSource, ErrorType, Result, modules::http::HttpModules, upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

use super::{
    answer::{answer_failure, answered},
    changes, compress,
    exchange::Exchange,
    facts::{Map, announced, client_address, facts},
    failure::{
        blame, failure_status, has_expired, is_closing, is_loss, is_timeout, is_unprocessed,
    },
    framing,
    gate::{Gate, deny},
    grpc::{Said, Status},
    handed::Handed,
    headers,
    judging::Judge,
    outcome,
    patience::{await_body, wait},
    peers::Peers,
    proof, record, secure,
    shield::Replay,
    tunnel::{Opened, Tunnels},
    turn::Turn,
    upstream::{give_leave, is_old, name_host, to_origin_form, without_chunks},
};
use crate::{
    model::{Blame, Draw, guard::Fate},
    observe::Gathered,
    view::Reader,
};

/// The streams of a connection of HTTP/2 take turns: each may be taken nothing of for so many times as
/// long as its connection.
const STREAMS_AT_ONCE: u32 = 8;
/// Ends an attempt whose request the baseline gets next.
const SHIELDED: ErrorType = ErrorType::Custom("Shielded");

/// One worker's request path.
pub struct Full {
    /// The worker's index.
    pub worker: usize,
    /// The worker's handle on the view.
    pub reader: Reader,
    /// Tells how requests went.
    pub judge: Judge,
    /// How it connects to endpoints.
    pub peers: Peers,
    /// Its open tunnels.
    pub tunnels: Arc<Tunnels>,
    /// The worker's part of the access logs and the spans.
    pub gathered: Arc<Gathered>,
    /// Who gets in.
    pub gate: Gate,
}

#[async_trait]
impl ProxyHttp for Full {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        // On HTTP/1 it is told with the connection that is used again.
        Handed::take().map_or_else(|| Exchange::new(self.worker), |it| it.exchange(self.worker))
    }

    // pingora would build its compression module for every request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        exchange: &mut Exchange,
        connection: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Ok(handed) = connection.downcast::<Handed>() {
            *exchange = handed.exchange(self.worker);
        }
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
        // pingora's own limit is for a whole batch of pieces; the transport's is for progress. It does
        // not see a stream of HTTP/2 whose window is shut, for which the stream itself looks.
        let patience = session.is_custom().then(|| timeouts.write.duration() * STREAMS_AT_ONCE);
        session.set_write_timeout(patience);
        session.set_total_drain_timeout(Some(timeouts.body.duration()));
        let ignores_interim = is_old(session);
        session.set_ignore_info_resp(ignores_interim);
        to_origin_form(session.req_header_mut()).map_err(|error| error.into_down())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let Some(client) = exchange.client.clone() else { return Ok(false) };
        if let Some(status) = exchange.verdict {
            answer_failure(session, exchange, status).await;
            return Ok(true);
        }
        if exchange.attempts > 0 {
            // It was decided on the lean path.
            return Ok(false);
        }
        let request = session.req_header();
        let address = client_address(request, &client);
        exchange.id = headers::request_id(&request.headers, fastrand::u128(..));
        exchange.address = Some(address);
        let view = self.reader.current();
        if proof::give(session, exchange, &client, &view).await?
            || secure::send_to_tls(session, exchange, &client).await?
        {
            // So that it is counted.
            exchange.view = Some(view);
            return Ok(true);
        }
        let request = session.req_header();
        let headers = Map(&request.headers);
        let facts = facts(request, &headers, address);
        let mut turn = Turn::of(view, &facts, Draw(fastrand::u64(..)));
        let service = turn.outcome.service().and_then(|at| turn.view.snapshot.services.get(at));
        let denied = match service {
            Some(service) => self.gate.denial(service, &facts, announced(request)).await,
            None => None,
        };
        if denied.is_none() {
            turn = self.take_turn(session, exchange, turn).await?;
        }
        exchange.view = Some(turn.view);
        exchange.berth = turn.berth;
        if let Some(denial) = denied {
            client.begin(None);
            exchange.service = turn.outcome.service();
            deny(session, exchange, &denial).await?;
            return Ok(true);
        }
        outcome::begin(session, exchange, turn.outcome, turn.is_late).await
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        self.next_attempt(session, exchange)
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
        changes::to_endpoint(session.req_header(), request, exchange)?;
        exchange.endpoint().map_or(Ok(()), |endpoint| name_host(request, endpoint))
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if !session.was_upgraded() && exchange.receives(body.as_ref()) {
            exchange.tell_nothing();
            return Error::e_explain(ErrorType::HTTPStatus(413), "the body is too large");
        }
        // pingora issue 935: an empty last piece would be written as a second chunk terminator.
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        exchange.is_whole |= end_of_stream;
        if session.is_custom() {
            await_body(end_of_stream || exchange.first_byte.is_some(), exchange);
            if let Some(client) = &exchange.client {
                client.progress();
            }
        }
        if end_of_stream && exchange.first_byte.is_none() {
            if let Some(tunnel) = &exchange.tunnel {
                tunnel.end_request();
            }
            exchange.tell_sent();
            exchange.is_sent();
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
        framing::settle(response, exchange.tunnel.is_some())?;
        if response.status.is_informational()
            && response.status != http::StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        exchange.first_byte = Some(Instant::now());
        if let Some(berth) = &mut exchange.berth {
            berth.answered();
        }
        let (status, said) = (response.status.as_u16(), Said::in_head(&response.headers));
        let failed = self.judge.answer(exchange, status, said);
        if failed && exchange.shield(Replay::of(session), Blame::Upstream5xx) {
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
            // From now on it is a talk: whoever speaks keeps it going.
            await_body(true, exchange);
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
            if client.is_over() {
                return Error::e_explain(ErrorType::ReadTimedout, "the request's time is up");
            }
        }
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<()> {
        self.judge.end(exchange, Status::of(trailers));
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
        changes::to_client(session.req_header(), response, exchange)?;
        let policy = exchange.field().map(|field| &field.service.settings.policy);
        let compression = policy.and_then(|policy| policy.compression.as_ref());
        let is_http2 = exchange.link().is_some_and(|link| link.protocol.is_http2());
        // Then the length that compressing takes away is all that an HTTP/1.0 client could go by.
        let needs_length = is_http2 && is_old(session);
        if let Some(compression) = compression.filter(|_| !needs_length) {
            exchange.encoder = compress::begin(session.req_header(), response, compression)?;
        }
        response.set_version(Version::HTTP_11);
        let method = &session.req_header().method;
        if is_old(session) && without_chunks(response, method, is_http2)? {
            session.set_keepalive(None);
        }
        if let Some((name, value)) = exchange.client.as_deref().and_then(secure::hsts) {
            response.insert_header(name, value)?;
        }
        headers::to_client(response, &exchange.id, exchange.placement.and_then(|p| p.new_id))
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        if let Some(encoder) = &mut exchange.encoder {
            *body = encoder.encode(body.as_ref(), end_of_stream)?;
        }
        Ok(None)
    }

    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        _trailers: &mut http::HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Option<Bytes>> {
        // Trailers that nobody announced: the end of the body is worth more.
        exchange.encoder.as_mut().map_or(Ok(None), |encoder| encoder.encode(None, true))
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
            self.judge.failure(exchange);
        }
        exchange.tried.failed.extend(exchange.choice());
        if !ours {
            exchange.shield(Replay::of(session), Blame::Connect);
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
            self.judge.failure(exchange);
            if untouched && exchange.shield(Replay::of(session), blame) {
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
        if status == 499
            && answered(session).is_none()
            && let Some(client) = &exchange.client
        {
            client.leave();
        }
        // A failure that was seen before the client left stays one.
        if status == 499 && exchange.blame != Some(Blame::Upstream5xx) {
            exchange.blame = Some(Blame::ClientAbort);
            exchange.tell(Fate::Left);
        }
        if let ErrorType::HTTPStatus(_) = error.etype() {
            exchange.own_answer = exchange.attempt.is_none() || status < 500;
        }
        answer_failure(session, exchange, status).await;
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        if error.is_none() {
            self.judge.end(exchange, None);
        }
        if let Some(client) = &exchange.client {
            client.rest();
        }
        exchange.tell_over();
        record::end_trace(session, exchange, &self.gathered);
        let status = record::status(session, exchange);
        record::record(exchange, status, &self.gathered, || record::said(session));
        exchange.berth = None;
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
