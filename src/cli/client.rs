//! Calls the admin API through its Unix socket: one connection for each call, with a deadline.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, task::JoinHandle, time::sleep};

use super::{call::Call, exit::Trouble};
use crate::{api::types::Failure, model::Millis};

/// Largest reply in bytes that is read.
const REPLY_BYTES_MAX: usize = 64 << 20;
/// Longest line of an event stream in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// How soon a call is made again that came while one process hands over to the next.
const AGAIN: Duration = Duration::from_millis(20);
/// Longest part of an unexpected reply that is repeated, in characters.
const SHOWN_MAX: usize = 200;

/// The daemon's reply to a call that it took.
#[derive(Clone, Debug)]
pub struct Reply(Bytes);

impl Reply {
    /// The JSON as it came, without white space around it.
    pub fn json(&self) -> &[u8] {
        self.0.trim_ascii()
    }

    /// The reply as text, as it came.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The reply as a value.
    ///
    /// # Errors
    ///
    /// [`Trouble::Garbled`] if it is not of that form.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Trouble> {
        serde_json::from_slice(&self.0).map_err(|error| Trouble::Garbled(error.to_string()))
    }
}

/// Where the daemon is, and how long it may take to answer.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    limit: Millis,
}

impl Client {
    /// A client of the daemon at `socket`, which must answer within `limit`.
    pub fn new(socket: impl Into<PathBuf>, limit: Millis) -> Self {
        Self { socket: socket.into(), limit }
    }

    /// The same client with another limit.
    pub fn within(&self, limit: Millis) -> Self {
        Self { limit, ..self.clone() }
    }

    /// Makes one call.
    ///
    /// # Errors
    ///
    /// If the daemon cannot be reached, does not answer in time, or refuses.
    pub async fn call(&self, call: &Call) -> Result<Reply, Trouble> {
        let exchange = async {
            loop {
                let (response, _driver) = self.send(call, "application/json").await?;
                match self.reply(response).await {
                    // Nothing was changed, and it takes moments.
                    Err(trouble) if trouble.is_refusal("handing_over") => sleep(AGAIN).await,
                    reply => return reply,
                }
            }
        };
        self.in_time(exchange).await
    }

    /// Opens the stream of events. Its deadline concerns its beginning only.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub async fn follow(&self, call: &Call) -> Result<EventStream, Trouble> {
        let opening = async {
            let (response, driver) = self.send(call, "text/event-stream").await?;
            if response.status() != StatusCode::OK {
                return Err(match self.reply(response).await {
                    Ok(_) => Trouble::Garbled("events were expected".into()),
                    Err(trouble) => trouble,
                });
            }
            let (body, socket) = (response.into_body(), self.socket.clone());
            Ok(EventStream { body, socket, buffer: Vec::new(), _driver: driver })
        };
        self.in_time(opening).await
    }

    async fn in_time<T>(
        &self,
        exchange: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let late = |_| Trouble::NoAnswer(self.limit);
        tokio::time::timeout(self.limit.duration(), exchange).await.map_err(late)?
    }

    async fn send(
        &self,
        call: &Call,
        accept: &'static str,
    ) -> Result<(Response<Incoming>, Driver), Trouble> {
        let request = call.request(accept)?;
        let unreachable = |error| Trouble::Unreachable { socket: self.socket.clone(), error };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let lost = |error| self.lost(&error);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        let driver = Driver(tokio::spawn(async move {
            // What goes wrong here, the request or the body reports.
            let _ = connection.await;
        }));
        let response = sender.send_request(request).await.map_err(lost)?;
        Ok((response, driver))
    }

    async fn reply(&self, response: Response<Incoming>) -> Result<Reply, Trouble> {
        let status = response.status();
        let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await;
        let bytes = body.map_err(|error| self.lost(&*error))?.to_bytes();
        if status.is_success() {
            return Ok(Reply(bytes));
        }
        let failure =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| unexplained(status, &bytes));
        Err(Trouble::Answered { status: status.as_u16(), failure })
    }

    fn lost(&self, error: &dyn std::error::Error) -> Trouble {
        Trouble::Lost { socket: self.socket.clone(), error: error.to_string() }
    }
}

fn unexplained(status: StatusCode, body: &[u8]) -> Failure {
    let said: String = String::from_utf8_lossy(body).trim().chars().take(SHOWN_MAX).collect();
    let colon = if said.is_empty() { "" } else { ": " };
    Failure {
        error: format!("lbd answered {status}{colon}{said}"),
        code: "unexplained".into(),
        hint: "is that lbd's admin socket? compare the releases with `lbctl version`".into(),
    }
}

/// The task that moves a connection's bytes; it ends with the call.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Server-sent events, as they come.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    socket: PathBuf,
    buffer: Vec<u8>,
    _driver: Driver,
}

impl EventStream {
    /// The data of the next event; waits for it as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Trouble::Lost`] when the daemon ends the stream.
    pub async fn next(&mut self) -> Result<String, Trouble> {
        let mut data = Vec::new();
        loop {
            let line = self.line().await?;
            match line.strip_prefix("data:") {
                Some(text) => data.push(text.strip_prefix(' ').unwrap_or(text).to_owned()),
                None if line.is_empty() && !data.is_empty() => return Ok(data.join("\n")),
                // Names, ids and comments that only keep the connection alive.
                None => {}
            }
        }
    }

    async fn line(&mut self) -> Result<String, Trouble> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&line)
                    .trim_end_matches(['\n', '\r'])
                    .to_owned());
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(Trouble::Garbled("an event without end".into()));
            }
            let lost = |error: String| Trouble::Lost { socket: self.socket.clone(), error };
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
                Some(Err(error)) => return Err(lost(error.to_string())),
                None => return Err(lost("the stream has ended".into())),
            }
        }
    }
}

/// How long `lbctl` waits before it asks again, when it waits for something.
pub const POLL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Op,
        cli::{call::Terms, exit::Exit, fake::Daemon},
        model::Revision,
    };

    const SECOND: Millis = Millis(1_000);

    #[tokio::test]
    async fn a_call_carries_method_target_terms_and_body() {
        let daemon = Daemon::answering(|_| (200, r#"{"version":"9.9.9"}"#.into()));
        let terms = Terms { if_revision: Some(Revision(41)), ..Terms::default() };
        let call = Call::new(Op::Rollback).body(&serde_json::json!({"ramp": "30s"})).unwrap();
        let reply = daemon.client(SECOND).call(&call.on(&terms)).await.unwrap();
        assert_eq!(reply.read::<crate::api::types::Version>().unwrap().version, "9.9.9");
        let asked = daemon.asked();
        assert_eq!(asked, ["POST /v1/rollback if-match=41 {\"ramp\":\"30s\"}"]);
    }

    #[tokio::test]
    async fn a_socket_without_daemon_is_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let client = Client::new(&path, SECOND);
        let trouble = client.call(&Call::new(Op::Version)).await.unwrap_err();
        assert_eq!(trouble.exit(), Exit::Unreachable);
        assert!(trouble.to_string().contains("admin.sock: there is no such socket"), "{trouble}");

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let trouble = client.call(&Call::new(Op::Version)).await.unwrap_err();
        assert_eq!(trouble.exit(), Exit::Unreachable);
        assert!(trouble.to_string().contains("connection refused"), "{trouble}");
    }

    #[tokio::test]
    async fn a_refusal_keeps_its_words_and_hint() {
        let failure = r#"{"error":"no pool","code":"unknown_pool","hint":"look"}"#;
        let daemon = Daemon::answering(move |_| (404, failure.into()));
        let trouble = daemon.client(SECOND).call(&Call::new(Op::Status)).await.unwrap_err();
        assert_eq!((trouble.exit(), trouble.hint()), (Exit::Refused, "look"));
        assert_eq!(trouble.to_string(), "no pool");
    }

    #[tokio::test]
    async fn an_error_that_is_not_json_is_shown() {
        let daemon = Daemon::answering(|_| (502, "bad gateway\n".into()));
        let trouble = daemon.client(SECOND).call(&Call::new(Op::Status)).await.unwrap_err();
        assert_eq!(trouble.exit(), Exit::Failed);
        assert_eq!(trouble.to_string(), "lbd answered 502 Bad Gateway: bad gateway");
    }

    #[tokio::test]
    async fn a_daemon_that_does_not_answer_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = Client::new(&path, Millis(30));
        let trouble = client.call(&Call::new(Op::Version)).await.unwrap_err();
        assert_eq!(trouble.exit(), Exit::TimedOut);
        assert_eq!(trouble.to_string(), "lbd did not answer within 30ms");
    }

    #[tokio::test]
    async fn events_are_read_from_a_stream() {
        let text = ": hello\n\nid: 4\ndata: one\n\nevent: x\r\ndata: two\r\ndata:three\r\n\r\n";
        let daemon = Daemon::answering(move |_| (200, text.into()));
        let mut stream = daemon.client(SECOND).follow(&Call::new(Op::Events)).await.unwrap();
        assert_eq!(stream.next().await.unwrap(), "one");
        assert_eq!(stream.next().await.unwrap(), "two\nthree");
        assert_eq!(stream.next().await.unwrap_err().exit(), Exit::Unreachable);
    }
}
