//! A tiny daemon for tests: answers every request on a Unix socket with what it is told.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

use super::client::Client;
use crate::model::Millis;

type Answer = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// A daemon that keeps what it was asked.
pub struct Daemon {
    folder: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    /// Answers a request, given as `METHOD TARGET`, with a status and a body; with status 0 it hangs up,
    /// like a daemon that restarts.
    pub fn answering(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("admin.sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer): (_, Arc<Answer>) = (asked.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                let serve =
                    service_fn(move |request| respond(request, log.clone(), answer.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
            }
        });
        Self { folder, asked }
    }

    /// Where it listens.
    pub fn socket(&self) -> String {
        self.folder.path().join("admin.sock").display().to_string()
    }

    /// A client of it.
    pub fn client(&self, limit: Millis) -> Client {
        Client::new(self.socket(), limit)
    }

    /// What it was asked: `METHOD TARGET[ if-match=N][ BODY]`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn respond(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<String>>>,
    answer: Arc<Answer>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let asked = format!("{} {}", request.method(), request.uri());
    let if_match = request.headers().get(header::IF_MATCH).cloned();
    let body = request.into_body().collect().await?.to_bytes();
    let mut line = asked.clone();
    if let Some(revision) = if_match {
        line.push_str(&format!(" if-match={}", revision.to_str().unwrap()));
    }
    if !body.is_empty() {
        line.push_str(&format!(" {}", String::from_utf8_lossy(&body)));
    }
    log.lock().unwrap().push(line);
    let (status, text) = answer(&asked);
    if status == 0 {
        return Err("the daemon hangs up".into());
    }
    Ok(Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap())
}
