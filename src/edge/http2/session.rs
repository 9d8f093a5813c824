//! A stream as pingora serves it: its own HTTP/2 session cannot be made of a request that was looked at
//! before, answers what came too late with a reset, and swallows interim answers.

use std::{future::poll_fn, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_core::Stream as Messages;
use h2::Reason;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use pingora_core::{
    Error, ErrorType, Result,
    protocols::{
        Digest,
        http::{
            HttpTask,
            custom::{CustomMessageWrite, server},
            date::get_cached_date,
        },
        l4::socket::SocketAddr,
    },
};
use pingora_http::{RequestHeader, ResponseHeader};

use super::stream::{Broken, Stream};
use crate::edge::io::lean::Coming;

/// How much of a request's body is kept to be sent again.
const KEPT_MAX: usize = 64 * 1024;
/// Where there is no limit.
const FOR_EVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// Headers of HTTP/1 that HTTP/2 must not have (RFC 9113, section 8.2.2).
const OF_CONNECTION: [HeaderName; 5] = [
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

type Reader = Box<dyn Messages<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A stream that pingora serves.
#[derive(Debug)]
pub struct Session {
    stream: Stream,
    request: RequestHeader,
    written: Option<Box<ResponseHeader>>,
    sent: usize,
    /// What was read of the body, while it can be sent again.
    kept: Option<BytesMut>,
    is_kept_in_part: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

impl Session {
    /// A stream, for pingora.
    pub fn new(stream: Stream) -> Self {
        let request = request(&stream);
        Self {
            stream,
            request,
            written: None,
            sent: 0,
            kept: None,
            is_kept_in_part: false,
            read_timeout: None,
            write_timeout: None,
            drain_timeout: None,
        }
    }

    fn is_done(&self) -> bool {
        self.stream.coming() == Coming::Nothing
    }

    async fn read(&mut self) -> Result<Option<Bytes>> {
        // Once it is answered it is a talk: whoever speaks keeps it going.
        let patience = self.read_timeout.filter(|_| self.stream.client().owes_body());
        let read = poll_fn(|cx| self.stream.poll_body(cx, patience)).await;
        let read = read.map_err(|broken| error(broken, "the client's body"))?;
        if let Some(piece) = &read {
            self.keep(piece);
        }
        Ok(read)
    }

    fn keep(&mut self, piece: &Bytes) {
        let Some(kept) = &mut self.kept else { return };
        if kept.len() + piece.len() <= KEPT_MAX {
            kept.extend_from_slice(piece);
        } else {
            self.is_kept_in_part = true;
        }
    }

    fn write_head(&mut self, mut head: Box<ResponseHeader>, ends: bool) -> Result<()> {
        if self.stream.is_ended() || self.written.is_some() {
            return Ok(());
        }
        for name in OF_CONNECTION {
            head.remove_header(&name);
        }
        let is_interim = head.status.is_informational();
        if is_interim {
            let may_come = match head.status {
                StatusCode::CONTINUE => self.request.headers.contains_key(header::EXPECT),
                status => status != StatusCode::SWITCHING_PROTOCOLS,
            };
            if !may_come {
                return Ok(());
            }
        } else {
            head.insert_header(header::DATE, get_cached_date())?;
        }
        // For these pingora writes no body, and not its end either.
        let is_bodiless = self.request.method == http::Method::HEAD
            || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ends = ends || is_bodiless;
        let response = Response::from_parts(head.as_owned_parts(), ());
        let sent = if is_interim {
            self.stream.inform(response)
        } else {
            self.stream.answer(response, ends)
        };
        sent.map_err(|broken| error(broken, "the answer's head"))?;
        if !is_interim {
            self.written = Some(head);
        }
        Ok(())
    }

    async fn write(&mut self, mut data: Bytes, ends: bool) -> Result<()> {
        if self.stream.is_ended() {
            return Ok(());
        }
        let patience = self.write_timeout.unwrap_or(FOR_EVER);
        while !data.is_empty() {
            let room = poll_fn(|cx| self.stream.poll_room(cx, data.len(), patience)).await;
            let room = room.map_err(|broken| error(broken, "the answer's body"))?;
            let piece = data.split_to(room);
            self.sent += piece.len();
            let is_last = ends && data.is_empty();
            self.stream
                .send(piece, is_last)
                .map_err(|broken| error(broken, "the answer's body"))?;
        }
        if ends { self.end() } else { Ok(()) }
    }

    fn write_end(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.stream.is_ended() {
            return Ok(());
        }
        self.stream.send_trailers(trailers).map_err(|broken| error(broken, "the answer's end"))
    }

    fn end(&mut self) -> Result<()> {
        if self.written.is_none() {
            // Dropped, the stream is reset.
            return Ok(());
        }
        self.stream.finish().map_err(|broken| error(broken, "the answer's end"))
    }
}

/// The request in the form that HTTP/1 has it in.
fn request(stream: &Stream) -> RequestHeader {
    let mut head = stream.head().clone();
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, host);
    }
    head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    head.into()
}

/// The reader's or writer's error, as pingora's own sessions tell it.
fn error(broken: Broken, of: &'static str) -> Box<Error> {
    let kind = match broken {
        Broken::Left => ErrorType::H2Error,
        Broken::Late => ErrorType::ReadError,
        Broken::Starved => ErrorType::ReadTimedout,
        Broken::Stalled => ErrorType::WriteTimedout,
    };
    Error::because(kind, of, std::io::Error::from(broken)).into_down()
}

#[async_trait]
impl server::Session for Session {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        self.read().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.drain_timeout.unwrap_or(FOR_EVER);
        let draining = async {
            while self.read().await?.is_some() {}
            Ok(())
        };
        let drained = tokio::time::timeout(limit, draining).await;
        drained.unwrap_or_else(|_| Err(error(Broken::Starved, "the client's body")))
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, ends: bool) -> Result<()> {
        self.write_head(head, ends)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, ends: bool) -> Result<()> {
        self.write_head(Box::new(head.clone()), ends)
    }

    async fn write_body(&mut self, data: Bytes, ends: bool) -> Result<()> {
        self.write(data, ends).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.write_end(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut ends = false;
        for task in tasks {
            ends |= match task {
                HttpTask::Header(head, is_last) => {
                    self.write_head(head, is_last)?;
                    is_last
                }
                HttpTask::Body(data, is_last) => {
                    self.write(data.unwrap_or_default(), is_last).await?;
                    is_last
                }
                HttpTask::UpgradedBody(..) => {
                    let why = "another protocol cannot be spoken on a stream of HTTP/2";
                    return Error::e_explain(ErrorType::InternalError, why);
                }
                HttpTask::Trailer(Some(trailers)) => {
                    self.write_end(*trailers)?;
                    true
                }
                HttpTask::Trailer(None) | HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if ends {
            self.end()?;
        }
        Ok(ends)
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read_timeout = timeout;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write_timeout = timeout;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.request.method, self.request.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _code: u32, _why: &str) {
        self.stream.reset(Reason::INTERNAL_ERROR);
    }

    fn is_body_done(&mut self) -> bool {
        self.is_done()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        self.stream.received() == 0 && self.is_done()
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_done() {
            return self.read().await;
        }
        let gone = poll_fn(|cx| self.stream.poll_gone(cx)).await;
        gone.map_err(|broken| error(broken, "the client"))
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.stream.received()
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        // For requests that pingora makes of this one, which it is never asked to.
        Bytes::new()
    }

    fn enable_retry_buffering(&mut self) {
        self.kept.get_or_insert_default();
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.is_kept_in_part
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        let kept = self.kept.as_ref().filter(|kept| !kept.is_empty() && !self.is_kept_in_part)?;
        Some(Bytes::copy_from_slice(kept))
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<Reader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: Reader) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
