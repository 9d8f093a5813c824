//! Talks to an ACME server, and remembers for how long it asks to be left alone.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::RETRY_AFTER};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, crypto::aws_lc_rs};

use crate::{
    model::{Millis, Moment, tls::TrustAnchors},
    tls,
};

/// How long a server may take for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// For how long a server asks to be left alone, as it said last.
#[derive(Clone, Debug, Default)]
pub struct Asked(Arc<Mutex<Option<Millis>>>);

impl Asked {
    /// What it said with its last refusal.
    pub fn span(&self) -> Option<Millis> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, status: StatusCode, headers: &HeaderMap, now: Moment) {
        let is_refusal = status.is_client_error() || status.is_server_error();
        let span = headers.get(RETRY_AFTER).filter(|_| is_refusal).and_then(|value| {
            let text = value.to_str().ok()?.trim();
            seconds(text).or_else(|| until(text, now))
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = span;
    }
}

fn seconds(text: &str) -> Option<Millis> {
    text.parse().ok().map(Millis::from_secs)
}

/// A date as HTTP writes it.
fn until(text: &str, now: Moment) -> Option<Millis> {
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let then = Moment(u64::try_from(date.timestamp().as_millisecond()).ok()?);
    Some(then.since(now))
}

/// A way to a server.
#[derive(Debug)]
pub struct Wire {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    asked: Asked,
    now: fn() -> Moment,
}

impl Wire {
    /// A way to a server whose certificate one of `ca` signed, or one that the system trusts.
    ///
    /// # Errors
    ///
    /// If the system's authorities cannot be read.
    pub fn new(
        ca: Option<&TrustAnchors>,
        asked: Asked,
        now: fn() -> Moment,
    ) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let connector = match ca {
            Some(ca) => {
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| error.to_string())?
                    .with_root_certificates(tls::roots(&ca.pem).map_err(|fault| fault.to_string())?)
                    .with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config)
            }
            None => HttpsConnectorBuilder::new()
                .with_provider_and_platform_verifier(provider)
                .map_err(|error| error.to_string())?,
        };
        let connector = connector.https_only().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, asked, now })
    }
}

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (answer, asked, now) = (self.client.request(request), self.asked.clone(), self.now);
        Box::pin(async move {
            let late = |_| Error::Str("the server did not answer in time");
            let response = tokio::time::timeout(ANSWER, answer).await.map_err(late)?;
            let response = response.map_err(|error| Error::Other(Box::new(error)))?;
            asked.hear(response.status(), response.headers(), now());
            Ok(BytesResponse::from(response))
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_refusal_says_for_how_long() {
        let asked = Asked::default();
        let hear = |status: u16, value: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (RETRY_AFTER, HeaderValue::from_static(value))));
            // 2015-10-21 07:28:00 UTC.
            asked.hear(StatusCode::from_u16(status).unwrap(), &headers, Moment(1_445_412_480_000));
            asked.span()
        };
        assert_eq!(hear(429, Some("3600")), Some(Millis::from_secs(3600)));
        assert_eq!(hear(503, Some("Wed, 21 Oct 2015 07:29:00 GMT")), Some(Millis::from_secs(60)));
        assert_eq!(hear(503, Some("Wed, 21 Oct 2015 07:27:00 GMT")), Some(Millis(0)));
        // That is how often to ask again, not that it refuses.
        assert_eq!(hear(200, Some("5")), None);
        assert_eq!(hear(429, None), None);
        assert_eq!(hear(429, Some("soon")), None);
    }
}
