//! A client that speaks HTTP/2, down to its frames.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, Response};
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, task::JoinHandle};

use super::{PATIENCE, Pki};

/// A connection.
pub struct Http2 {
    pub send: SendRequest<Bytes>,
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Http2 {
    /// Without TLS, by prior knowledge.
    pub async fn plain(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let (send, connection) = h2::client::handshake(tcp).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// The same, of a client that takes so little at once for each stream.
    pub async fn narrow(address: SocketAddr, window: u32) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_window_size(window).handshake(tcp).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Through TLS with whoever is `name`, agreed by ALPN.
    pub async fn secured(pki: &Pki, address: SocketAddr, name: &str) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(pki.client(&["h2", "http/1.1"])));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = connector.connect(name, tcp).await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = h2::client::handshake(tls).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Begins a request, with its body to follow if `is_open`.
    pub async fn begin(
        &mut self,
        request: Request<()>,
        is_open: bool,
    ) -> (ResponseFuture, h2::SendStream<Bytes>) {
        let ready = self.send.clone().ready().await.unwrap();
        self.send = ready;
        self.send.send_request(request, !is_open).unwrap()
    }

    pub async fn get(&mut self, uri: &str) -> Whole {
        let request = Request::get(uri).body(()).unwrap();
        let (response, _) = self.begin(request, false).await;
        whole(response).await.unwrap()
    }

    pub async fn post(&mut self, uri: &str, pieces: &[&[u8]]) -> Whole {
        let request = Request::post(uri).body(()).unwrap();
        let (response, mut body) = self.begin(request, true).await;
        let sending = async {
            for piece in pieces {
                send(&mut body, piece).await;
            }
            body.send_data(Bytes::new(), true).unwrap();
        };
        // Beside each other: what mirrors the body sends while it is sent to.
        tokio::join!(sending, whole(response)).1.unwrap()
    }
}

/// Sends a piece as far and as fast as the other side takes it.
pub async fn send(body: &mut h2::SendStream<Bytes>, piece: &[u8]) {
    let mut rest = Bytes::copy_from_slice(piece);
    while !rest.is_empty() {
        body.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
        body.send_data(rest.split_to(room.min(rest.len())), false).unwrap();
    }
}

/// The whole answer.
pub async fn whole(response: ResponseFuture) -> Result<Whole, h2::Error> {
    let read = async {
        let (head, mut stream) = Response::into_parts(response.await?);
        let mut body = Vec::new();
        while let Some(piece) = stream.data().await {
            let piece = piece?;
            stream.flow_control().release_capacity(piece.len())?;
            body.extend_from_slice(&piece);
        }
        let trailers = stream.trailers().await?;
        Ok(Whole { status: head.status.as_u16(), headers: head.headers, body, trailers })
    };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer in time")
}
