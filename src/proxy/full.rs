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
use http::{HeaderValue, Version, header};
use pingora_core::{
    Error, ErrorSource, ErrorType, Result, modules::http::HttpModules, upstreams::peer::HttpPeer,
};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::sync::Notify;

use super::{
    answer::{answered, refuse},
    changes,
    client::Client,
    compress,
    exchange::Exchange,
    facts::{Map, announced, client_address, facts},
    failure::{blame, failure_status, has_expired, is_timeout},
    gate::{Gate, deny},
    headers, outcome, record,
    upstream::{name_host, peer, to_origin_form},
};
use crate::{
    model::{Blame, Draw, Facts, Outcome, decide, guard::Fate, settings::ServiceTimeouts},
    observe::access_log::Buffers,
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
    /// The worker's part of the access logs.
    pub logs: Arc<Buffers>,
    /// Who gets in.
    pub gate: Gate,
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
        let is_old = session.req_header().version == Version::HTTP_10;
        session.set_ignore_info_resp(is_old);
        to_origin_form(session.req_header_mut())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let Some(client) = exchange.client.clone() else { return Ok(false) };
        let request = session.req_header();
        let address = client_address(request, &client);
        let headers = Map(&request.headers);
        let facts = facts(request, &headers, address);
        let (mut view, mut outcome) = self.decide(&facts);
        let service = outcome.service().and_then(|at| view.snapshot.services.get(at));
        let denied = match service {
            Some(service) => self.gate.denial(service, &facts, announced(request)).await,
            None => None,
        };
        let mut is_late = false;
        while denied.is_none()
            && let Outcome::Serve(service, _) = outcome
            && let Some((barrier, limit)) = outcome::paused(&view, service)
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
        if let Some(denial) = denied {
            client.begin(None);
            exchange.service = outcome.service();
            deny(session, exchange, &denial).await?;
            return Ok(true);
        }
        outcome::begin(session, exchange, outcome, is_late).await
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
        exchange.received = 0;
        exchange.attempt(choice);
        if exchange.attempts > 1
            && let Some(client) = &exchange.client
        {
            client.again();
        }
        exchange.tell_attempt(session.is_body_done());
        let timeouts = exchange.field().map(|f| f.service.settings.timeouts);
        match (exchange.endpoint(), timeouts) {
            (Some(endpoint), Some(timeouts)) => {
                let mut peer = peer(&endpoint.target, &timeouts)?;
                if exchange.fresh {
                    // No kept connection has this key.
                    peer.group_key = fastrand::u64(1..);
                }
                Ok(Box::new(peer))
            }
            (Some(_) | None, _) => {
                Error::e_explain(ErrorType::InternalError, "an endpoint vanished")
            }
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
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
        if end_of_stream && exchange.first_byte.is_none() {
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
        let status = response.status.as_u16();
        let failed = status >= 500;
        exchange.blame = if failed { Some(Blame::Upstream5xx) } else { None };
        // A 500 or 501 is the application's word; these three are what gateways and dying servers say.
        self.judge(exchange, matches!(status, 502..=504));
        self.tell(exchange, if failed { Fate::Failed } else { Fate::Good });
        if failed && exchange.shield(session, Blame::Upstream5xx) {
            return Error::e_explain(SHIELDED, "the baseline answers instead");
        }
        wait(exchange, |timeouts| timeouts.idle);
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
        if let Some(compression) = policy.and_then(|policy| policy.compression.as_ref()) {
            exchange.encoder = compress::begin(session.req_header(), response, compression)?;
        }
        response.set_version(Version::HTTP_11);
        if session.req_header().version == Version::HTTP_10
            && response.remove_header(&header::TRANSFER_ENCODING).is_some()
        {
            // Such a client knows no chunks: the end of the connection ends the body.
            session.set_keepalive(None);
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
        // Nothing was sent: another endpoint may have the request, whatever it is.
        error.set_retry(true);
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
        let upstream = *error.esource() == ErrorSource::Upstream;
        let untouched = exchange.first_byte.is_none() && answered(session).is_none();
        let replayable = session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated();
        // A kept connection that the endpoint closed meanwhile is nobody's failure, and not one of the
        // service's retries. The next attempt makes a new one: others that were kept may be as stale.
        let lost = matches!(
            error.etype(),
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError
        );
        let stale = upstream && reused && untouched && lost;
        let retry = stale && replayable;
        error.set_retry(retry);
        if retry {
            exchange.fresh = true;
            exchange.tried.avoid = exchange.choice();
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
            exchange.own_answer = exchange.attempt.is_none() || status < 500;
        }
        session.set_keepalive(None);
        if status != 499 && answered(session).is_none() {
            let retry_after = [(header::RETRY_AFTER, HeaderValue::from_static("5"))];
            let extra = if status == 503 { &retry_after[..] } else { &[] };
            // A client that is gone cannot be told anything.
            let _ = refuse(session, exchange, status, extra).await;
        }
        if !session.is_body_done() {
            // Closed with unread bytes, the answer would be destroyed by a reset.
            session.shutdown().await;
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    async fn logging(
        &self,
        session: &mut Session,
        _error: Option<&Error>,
        exchange: &mut Exchange,
    ) {
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

    fn tell(&self, exchange: &mut Exchange, fate: Fate) {
        if exchange.tell(fate) {
            self.failures.notify_one();
        }
    }

    /// Nobody could be asked for it: its pool has failed it, unless the operator wants it so.
    fn tell_unserved(&self, exchange: &mut Exchange) {
        if exchange.attempts == 0 && exchange.is_wanted() {
            self.tell(exchange, Fate::Failed);
        }
    }

    fn judge(&self, exchange: &mut Exchange, failed: bool) {
        if let Some(attempt) = &mut exchange.attempt {
            attempt.judge(failed);
        }
        if failed {
            self.failures.notify_one();
        }
    }
}

fn wait(exchange: &Exchange, of: impl Fn(&ServiceTimeouts) -> crate::model::Millis) {
    if let (Some(client), Some(field)) = (&exchange.client, exchange.field()) {
        client.wait_for_endpoint(of(&field.service.settings.timeouts));
    }
}
