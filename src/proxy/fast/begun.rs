//! Which requests the lean path serves, and what it knows of one.

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::{BufMut, BytesMut};
use http::HeaderValue;

use super::{
    Fast,
    outbound::{self, Randoms, hex},
    request::{Request, Slots, slots, text},
    trip::{Asked, Trip},
};
use crate::{
    edge::{
        buffers::{self, Lent},
        io::{EdgeIo, lean::Coming},
    },
    model::{
        Draw, Facts, Headers, Outcome, Placement, decide, link::Protocol,
        maintenance::BYPASS_COOKIE, settings::ServiceTimeouts, snapshot::Service,
    },
    proxy::{
        choose::{Choice, Field, Tried},
        client::Client,
        exchange::Exchange,
        facts::without_port,
        record::Said,
        shield::Replay,
    },
    view::LocalView,
};

/// A request that is served here.
#[derive(Debug)]
pub struct Begun {
    /// What is known of it.
    pub exchange: Exchange,
    /// Its service's time limits.
    pub timeouts: ServiceTimeouts,
    /// Whether the client's connection may go on after the answer.
    pub keeps: bool,
    /// Whether it may be sent twice without harm.
    pub is_idempotent: bool,
    /// Its id.
    pub id: Id,
    is_reading: bool,
}

/// A request's id.
#[derive(Clone, Debug)]
pub enum Id {
    /// The client's own: where in the head it stands.
    Own(Range<usize>),
    /// The same, from a head of HTTP/2.
    Given(HeaderValue),
    /// One that was made.
    Made(u128),
}

impl Id {
    /// Writes it.
    pub fn write(&self, head: &[u8], out: &mut BytesMut) {
        match self {
            Self::Own(place) => out.put_slice(head.get(place.clone()).unwrap_or_default()),
            Self::Given(id) => out.put_slice(id.as_bytes()),
            Self::Made(number) => hex::<32>(*number, out),
        }
    }

    /// The same as the full path has it.
    pub fn value(&self, head: &[u8]) -> HeaderValue {
        if let Self::Given(id) = self {
            return id.clone();
        }
        let mut text = BytesMut::with_capacity(32);
        self.write(head, &mut text);
        HeaderValue::from_maybe_shared(text.freeze()).unwrap_or(HeaderValue::from_static("-"))
    }
}

impl Begun {
    /// Its first attempt begins; `is_whole`: with its whole body.
    pub fn start(&mut self, is_whole: bool) {
        let exchange = &mut self.exchange;
        exchange.is_whole = is_whole;
        if let Some(client) = &exchange.client {
            client.begin(self.timeouts.total);
        }
        exchange.tell_attempt(is_whole);
        if is_whole {
            exchange.is_sent();
        }
    }

    /// What can be done with it if its attempt fails; `is_whole`: it can be sent again as it was.
    pub fn replay(&self, is_whole: bool) -> Replay {
        Replay { is_reading: self.is_reading, is_untouched: true, is_whole }
    }

    /// What the full path needs to go on with it.
    pub fn handed_over(self, head: &[u8]) -> Exchange {
        let mut exchange = self.exchange;
        exchange.id = self.id.value(head);
        exchange
    }
}

/// What was decided of a request by its head alone.
struct Decided {
    service: usize,
    placement: Placement,
    choice: Choice,
}

impl Fast {
    /// Begins with the request whose head `io` has read. `None`: it is the full path's, and nothing was
    /// done.
    pub(super) fn begin(&self, io: &mut EdgeIo) -> Option<(Begun, Asked)> {
        let client = io.client().clone();
        let view = self.view(&client).filter(|_| io.coming() != Coming::Tunnel)?;
        let mut outgoing = Lent::from(buffers::take());
        let (mut begun, is_head) = {
            let (head, mut slots) = (io.head(), slots());
            let request = Request::read(head, &mut slots)?;
            let own = |id: &[u8]| {
                let start = (id.as_ptr() as usize).saturating_sub(head.as_ptr() as usize);
                Id::Own(start..start + id.len())
            };
            self.read(&request, io.coming(), own, &view, &client, &mut outgoing)?
        };
        let head = io.head().len();
        let request = Lent::from(io.take_request());
        outgoing.extend_from_slice(request.get(head..).unwrap_or_default());
        begun.start(io.coming() == Coming::Nothing);
        Some((begun, Asked { request, head, outgoing, is_head }))
    }

    /// The view, if requests of `client` can be served here at all.
    pub(super) fn view(&self, client: &Client) -> Option<Arc<LocalView>> {
        let view = self.reader.current();
        let is_proof = view.proofs.is_some() && !client.is_secure;
        let is_redirected = client.listener.redirect_to_https && !client.is_secure;
        // The full path chooses the traces that are recorded.
        let is_special = is_proof || is_redirected || view.spans.is_some();
        if view.runtime.fast_path && !is_special { Some(view) } else { None }
    }

    /// Decides on a request, and writes the head that its endpoint is asked with to `outgoing`; `own`
    /// says where the client's own id is. Returns besides whether it is a HEAD.
    pub(super) fn read(
        &self,
        request: &Request<'_>,
        coming: Coming,
        own: impl FnOnce(&[u8]) -> Id,
        view: &Arc<LocalView>,
        client: &Arc<Client>,
        outgoing: &mut BytesMut,
    ) -> Option<(Begun, bool)> {
        let (path, query) = request.path();
        let host = without_port(request.first("host")?);
        let address = request.address(client);
        let facts = Facts { host, path, query, client: address, headers: request };
        let draw = Draw(fastrand::u64(..));
        let Decided { service, placement, choice } = self.decided(view, &facts, coming, draw)?;
        let berth = match view.bulkhead(service, choice.pool) {
            None => None,
            Some(bulkhead) => Some(bulkhead.try_enter()?),
        };
        let mut exchange = Exchange::new(self.worker);
        let randoms =
            Randoms { id: fastrand::u128(..), trace: exchange.trace.id, span: fastrand::u64(..) };
        let written = outbound::write(request, client, randoms, outgoing)?;
        let id = written.id.map_or(Id::Made(randoms.id), own);
        exchange.client = Some(client.clone());
        exchange.address = Some(address);
        exchange.view = Some(view.clone());
        exchange.service = Some(service);
        exchange.placement = Some(placement);
        exchange.berth = berth;
        exchange.own_answer = false;
        exchange.attempt(choice);
        let timeouts = exchange.field()?.service.settings.timeouts;
        let method = request.method;
        let is_reading = matches!(method, "GET" | "HEAD" | "OPTIONS");
        let is_idempotent = is_reading || matches!(method, "PUT" | "DELETE" | "TRACE");
        let keeps = written.keeps;
        let begun = Begun { exchange, timeouts, keeps, is_idempotent, id, is_reading };
        Some((begun, method == "HEAD"))
    }

    /// Decides where the request goes, as the full path would. `None`: only that one can serve it.
    fn decided(
        &self,
        view: &LocalView,
        facts: &Facts<'_, Request<'_>>,
        coming: Coming,
        draw: Draw,
    ) -> Option<Decided> {
        let Outcome::Serve(at, placement) = decide(&view.snapshot, facts, draw) else {
            return None;
        };
        let service = view.snapshot.services.get(at)?;
        if service.paused.is_some() || !is_plain(service, facts.headers, coming) {
            return None;
        }
        let field = Field { service, view: view.services.get(at)?, worker: self.worker };
        let attempts = service.settings.retries as usize + 1;
        let draw = Draw(fastrand::u64(..));
        let choice = field.choose(placement.pool, &Tried::default(), attempts, draw)?;
        let link = &service.pools.get(choice.pool)?.link;
        let is_usual = choice.pool == placement.pool
            && matches!(link.protocol, Protocol::Http1 | Protocol::Https)
            && link.proxy_protocol.is_none();
        is_usual.then_some(Decided { service: at, placement, choice })
    }
}

/// Whether nothing has to be done to the request or its answer that only the full path does.
fn is_plain(service: &Service, request: &Request<'_>, coming: Coming) -> bool {
    let policy = &service.settings.policy;
    let is_pinned = || service.settings.pin.as_ref().is_some_and(|pin| request.has(&pin.name));
    let is_small = match coming {
        Coming::Bytes(length) => !policy.is_too_large(length),
        Coming::Chunks => policy.max_body_bytes.is_none(),
        Coming::Nothing | Coming::Tunnel => true,
    };
    policy.is_plain() && is_small && !is_pinned() && !request.has(BYPASS_COOKIE)
}

/// What the log has of a request that was served here.
pub fn said<'t>(trip: &'t Trip, slots: &'t mut Slots<'t>) -> Said<'t> {
    let request = Request::read(trip.request.get(..trip.head).unwrap_or_default(), slots);
    let request = request.as_ref();
    let method = request.map_or("-", |request| request.method);
    let target = request.map_or("-", |request| request.target);
    let value = |name: &str| text(request?.values(name).next()?);
    Said {
        method,
        host: value("host").unwrap_or_default(),
        path: Cow::Borrowed(target),
        protocol: "HTTP/1.1",
        bytes: trip.bytes,
        bytes_in: trip.sent,
        referer: value("referer"),
        user_agent: value("user-agent"),
    }
}
