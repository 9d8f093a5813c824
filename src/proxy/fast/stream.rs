//! Requests of HTTP/2 on the lean path: to endpoints of HTTP/1, whose answers become frames again.

use std::{borrow::Cow, future::poll_fn, pin::pin, task::Poll, time::Instant};

use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Response, header, request::Parts};

use super::{
    Ended, Fast, INTERIM_MAX, Served,
    answer::{Answer, Head, date, unfold},
    begun::{Begun, Id},
    body::Body,
    crossing::{Asked, Crossing},
    left,
    request::Request,
    trip::Failure,
    verdict::Standing,
};
use crate::{
    edge::{
        buffers::{self, Lent},
        head::HEADERS_MAX,
        http2::stream::{Broken, Stream},
        io::lean::Coming,
        trailers::announce,
    },
    proxy::{
        headers::{REQUEST_ID, id_cookie},
        patience::wait,
        record::Said,
        secure::hsts,
    },
};

/// How many times as long as its connection a stream may take nothing: the streams of a connection take
/// turns.
const STREAMS_AT_ONCE: u32 = 8;

impl Fast {
    /// Serves the request that came on `stream`. [`Served::Kept`] and [`Served::Closed`] are the same
    /// here.
    pub async fn serve_stream(&self, stream: &mut Stream) -> Served {
        let begun = poll_fn(|cx| {
            let begun = self.begin_stream(stream).map(|(mut begun, mut asked)| {
                asked.take_early(stream, cx);
                begun.start(stream.coming() == Coming::Nothing);
                (begun, asked)
            });
            Poll::Ready(begun)
        });
        let Some((mut begun, asked)) = begun.await else { return Served::Left(None) };
        let connected = {
            let limit = begun.timeouts.connect.duration();
            let mut connecting = pin!(self.wire(&begun.exchange, limit));
            let connected = poll_fn(|cx| match stream.poll_gone::<()>(cx) {
                // Nobody is asked for somebody who has gone.
                Poll::Ready(Err(Broken::Left)) => Poll::Ready(None),
                _ => connecting.as_mut().poll(cx).map(Some),
            });
            connected.await
        };
        let wire = match connected {
            Some(Ok(wire)) => wire,
            None => {
                left(&mut begun.exchange);
                self.record(&mut begun, b"", 499, || said(stream, 0));
                return Served::Broken;
            }
            Some(Err(error)) => {
                stream.put_back(asked.into_early());
                return Served::Left(Some(self.unreached(begun, b"", &error)));
            }
        };
        if begun.exchange.is_whole {
            wait(&begun.exchange, |timeouts| timeouts.first_byte);
        } else {
            // Either side may be slow while it is sent.
            let patience = begun.timeouts.idle.max(stream.client().listener.timeouts.body);
            stream.client().wait_for_endpoint(patience);
        }
        let mut crossing = Crossing::new(wire, asked, stream, begun.timeouts.first_byte);
        let ended = match answer(stream, &mut begun, &mut crossing).await {
            Ok(answer) => self.answered_stream(stream, &mut begun, &mut crossing, answer).await,
            Err(failure) => {
                let standing = Standing {
                    is_here: crossing.can_be_sent_again(),
                    is_stale: crossing.is_stale(),
                    is_owed: crossing.is_owed(stream),
                };
                let ended = self.unanswered(&mut begun, standing, failure);
                if matches!(ended, Ended::Broken) {
                    self.record_stream(&mut begun, stream, &crossing, 499);
                }
                ended
            }
        };
        match ended {
            Ended::Answered { keeps_wire, .. } => {
                if let Some(tally) = begun.exchange.endpoint_tally().filter(|_| keeps_wire) {
                    let until = Instant::now() + begun.timeouts.keepalive.duration();
                    self.kept.put(tally, crossing.wire, until);
                }
                Served::Kept
            }
            Ended::Broken => Served::Broken,
            Ended::Left(verdict) => {
                let mut exchange = begun.handed_over(b"");
                exchange.verdict = verdict;
                if verdict.is_none() {
                    stream.put_back(crossing.asked.into_early());
                }
                Served::Left(Some(Box::new(exchange)))
            }
        }
    }

    /// Begins with the request. `None`: it is the full path's, and nothing was done.
    fn begin_stream(&self, stream: &Stream) -> Option<(Begun, Asked)> {
        let client = stream.client();
        let view = self.view(client)?;
        let (head, coming) = (stream.head(), stream.coming());
        let mut room = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let request = request(head, coming, &mut room)?;
        let mut outgoing = Lent::from(buffers::take());
        let own = |_: &[u8]| {
            let own = head.headers.get(REQUEST_ID).cloned();
            Id::Given(own.unwrap_or(HeaderValue::from_static("-")))
        };
        let (begun, is_head) = self.read(&request, coming, own, &view, client, &mut outgoing)?;
        Some((begun, Asked::new(outgoing, is_head, stream)))
    }

    /// Hands the answer on to the client.
    async fn answered_stream(
        &self,
        stream: &mut Stream,
        begun: &mut Begun,
        crossing: &mut Crossing,
        answer: Answer,
    ) -> Ended {
        if self.answers(begun, &answer, crossing.can_be_sent_again()) {
            return Ended::Left(None);
        }
        add_own(stream, begun, &mut crossing.reply);
        wait(&begun.exchange, |timeouts| timeouts.idle);
        let mut body = answer.body;
        let patience = stream.client().listener.timeouts.write.duration() * STREAMS_AT_ONCE;
        let head = std::mem::take(&mut crossing.reply);
        let handed = match stream.answer(head, body.is_done()) {
            Ok(()) => poll_fn(|cx| crossing.poll_handed(stream, cx, &mut body, patience)).await,
            Err(broken) => Err(broken.into()),
        };
        if let Err(failure) = handed {
            self.broke_off(begun, failure, crossing.is_owed(stream));
        }
        self.record_stream(begun, stream, crossing, answer.status);
        match handed {
            Ok(()) => {
                let keeps_wire = answer.keeps && crossing.is_clean();
                Ended::Answered { keeps: true, keeps_wire }
            }
            Err(_) => Ended::Broken,
        }
    }

    fn record_stream(&self, begun: &mut Begun, stream: &Stream, crossing: &Crossing, status: u16) {
        self.record(begun, b"", status, || said(stream, crossing.bytes));
    }
}

/// Waits for the answer; hands interim ones on.
async fn answer(
    stream: &mut Stream,
    begun: &mut Begun,
    crossing: &mut Crossing,
) -> Result<Answer, Failure> {
    for _ in 0..INTERIM_MAX {
        let exchange = &mut begun.exchange;
        let answer = poll_fn(|cx| {
            let answer = crossing.poll_answer(stream, cx);
            if crossing.is_sent() && !exchange.is_whole {
                exchange.is_whole = true;
                exchange.tell_sent();
                exchange.is_sent();
            }
            answer
        });
        let answer = answer.await?;
        match answer.status {
            // Nobody asked for another protocol.
            101 => return Err(Failure::Nonsense),
            // Leave to send too: whoever asked for it waits, others take no notice.
            100 | 102..200 => {
                stream.inform(std::mem::take(&mut crossing.reply))?;
                if answer.status == 100 {
                    stream.give_leave();
                }
            }
            _ => return Ok(answer),
        }
    }
    Err(Failure::Nonsense)
}

/// The request as one of HTTP/1, with its authority as its host.
/// `None`: it is not in the form that the lean path serves.
fn request<'h>(
    head: &'h Parts,
    coming: Coming,
    room: &'h mut [httparse::Header<'h>; HEADERS_MAX],
) -> Option<Request<'h>> {
    let target = head.uri.path_and_query()?.as_str();
    // Nor does HTTP/1 take these in an address here.
    let is_odd = target.bytes().any(|b| matches!(b, b'"' | b'<' | b'>' | b'`'));
    if !target.starts_with('/') || is_odd {
        return None;
    }
    let host = head.uri.authority().filter(|_| !head.headers.contains_key(header::HOST));
    let host = host.map(|authority| ("host", authority.as_str().as_bytes()));
    let coding = (coming == Coming::Chunks).then_some(("transfer-encoding", &b"chunked"[..]));
    let others = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let mut slots = room.iter_mut();
    let mut count = 0;
    for (name, value) in host.into_iter().chain(others).chain(coding) {
        if is_padded(value) {
            return None;
        }
        *slots.next()? = httparse::Header { name, value };
        count += 1;
    }
    drop(slots);
    let headers = room.get(..count)?;
    Some(Request { method: head.method.as_str(), target, headers })
}

/// Whether a value begins or ends with a blank, which the full path refuses.
fn is_padded(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// What the client gets of an answer's head. `None`: it has a header that is none in HTTP/2.
pub fn response(head: &Head<'_>, body: Body, hides_hsts: bool) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status).ok()?;
    let headers = response.headers_mut();
    headers.reserve(16);
    for field in head.passed_on(hides_hsts) {
        match HeaderName::from_bytes(field.name.as_bytes()).ok()? {
            header::UPGRADE => {}
            header::TRAILER => {
                let passed_on = announced(field.value).filter(|_| head.passes_trailers(body));
                headers.extend(passed_on.map(|names| (header::TRAILER, names)));
            }
            name => _ = headers.append(name, value(field.value)?),
        }
    }
    if head.lacks_date() {
        headers.append(header::DATE, HeaderValue::try_from(date().to_string()).ok()?);
    }
    Some(response)
}

/// What is said of the trailers that go on.
fn announced(said: &[u8]) -> Option<HeaderValue> {
    let mut line = BytesMut::new();
    announce(said, &mut line);
    let names = line.strip_prefix(b"trailer: ")?.strip_suffix(b"\r\n")?;
    HeaderValue::from_bytes(names).ok()
}

fn value(value: &[u8]) -> Option<HeaderValue> {
    if memchr::memchr(b'\r', value).is_none() {
        return HeaderValue::from_bytes(value).ok();
    }
    let mut line = BytesMut::with_capacity(value.len());
    unfold(&mut line, value);
    HeaderValue::from_maybe_shared(line.freeze()).ok()
}

/// Adds to an answer's head what lbd says itself.
fn add_own(stream: &Stream, begun: &Begun, reply: &mut Response<()>) {
    let headers = reply.headers_mut();
    headers.insert(HeaderName::from_static(REQUEST_ID), begun.id.value(b""));
    if let Some((name, value)) = hsts(stream.client()) {
        headers.insert(name, value);
    }
    let new_id = begun.exchange.placement.and_then(|placement| placement.new_id);
    if let Some(Ok(cookie)) = new_id.map(|id| HeaderValue::try_from(id_cookie(id))) {
        headers.append(header::SET_COOKIE, cookie);
    }
}

/// What the log has of a request that was served here.
fn said(stream: &Stream, bytes: usize) -> Said<'_> {
    let head = stream.head();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authority = head.uri.authority().map(|authority| authority.as_str());
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    Said {
        method: head.method.as_str(),
        host: text("host").or(authority).unwrap_or_default(),
        path: Cow::Borrowed(path),
        protocol: "HTTP/2",
        bytes,
        bytes_in: stream.received(),
        referer: text("referer"),
        user_agent: text("user-agent"),
    }
}
