//! A POST of the event as JSON, signed if there is a secret.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;

use super::{
    failure::Failure,
    http::Http,
    notice::{Notice, Purpose},
    patience::Patience,
    words,
};
use crate::model::{event::Event, settings::Secret};

/// Sends to a webhook.
#[derive(Debug)]
pub struct Webhook {
    http: Http,
    url: Arc<str>,
    secret: Option<Secret>,
    token: Option<Secret>,
}

/// The body: the event's own keys, and where it comes from.
#[derive(Serialize)]
struct Payload<'a> {
    #[serde(flatten)]
    event: &'a Event,
    host: &'a str,
    /// `true` in tests, else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<bool>,
}

impl Webhook {
    /// A sender to `url`, which signs with `secret` and shows `token`.
    pub fn new(
        url: &Arc<str>,
        secret: Option<&Secret>,
        token: Option<&Secret>,
        patience: Patience,
    ) -> Self {
        Self {
            http: Http::new(patience),
            url: url.clone(),
            secret: secret.cloned(),
            token: token.cloned(),
        }
    }

    /// Sends a notice.
    ///
    /// # Errors
    ///
    /// If it was not taken.
    pub fn send(&self, notice: &Notice) -> Result<(), Failure> {
        let body = body(notice)?;
        let mut headers = vec![("X-Lbd-Event", notice.event.kind.clone())];
        if let Some(secret) = &self.secret {
            headers.push(("X-Lbd-Signature", signature(secret, &body)?));
        }
        if let Some(token) = &self.token {
            headers.push(("Authorization", format!("Bearer {}", token.0)));
        }
        self.http.post(&self.url, &headers, &body)
    }
}

fn body(notice: &Notice) -> Result<Vec<u8>, Failure> {
    let test = match notice.purpose {
        Purpose::News => None,
        Purpose::Test => Some(true),
    };
    let payload = Payload { event: &notice.event, host: &notice.host, test };
    serde_json::to_vec(&payload).map_err(|error| Failure::lasting(error.to_string()))
}

/// `sha256=` and the HMAC of exactly these bytes.
fn signature(secret: &Secret, body: &[u8]) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes())
        .map_err(|error| Failure::lasting(error.to_string()))?;
    mac.update(body);
    Ok(format!("sha256={}", words::hex(&mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::{super::fake::*, *};

    fn webhook(url: &str, secret: Option<&str>, token: Option<&str>) -> Webhook {
        let secret = secret.map(|text| Secret(text.into()));
        let token = token.map(|text| Secret(text.into()));
        Webhook::new(&url.into(), secret.as_ref(), token.as_ref(), PATIENCE)
    }

    #[test]
    fn the_body_is_the_event_with_the_host() {
        let server = HttpServer::start(&[Answer::OK]);
        let event = event("rollback", "green is taken back");
        webhook(&server.url(), None, None).send(&notice(&event)).unwrap();
        let request = server.next();
        let mut expected = serde_json::to_value(&event).unwrap();
        expected["host"] = "edge-1".into();
        assert_eq!(request.json(), expected);
        assert_eq!(request.head.lines().next(), Some("POST /hook HTTP/1.1"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("x-lbd-event"), Some("rollback"));
        let agent = concat!("lbd/", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.header("user-agent"), Some(agent));
        assert_eq!(
            (request.header("x-lbd-signature"), request.header("authorization")),
            (None, None)
        );
    }

    #[test]
    fn the_signature_is_that_of_the_bytes_sent() {
        let server = HttpServer::start(&[Answer::OK]);
        let webhook = webhook(&server.url(), Some("key"), Some("pass"));
        webhook.send(&notice(&event("weight", "ü"))).unwrap();
        let request = server.next();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
        mac.update(&request.body);
        let expected = format!("sha256={}", words::hex(&mac.finalize().into_bytes()));
        assert_eq!(request.header("x-lbd-signature"), Some(&*expected));
        assert_eq!(request.header("authorization"), Some("Bearer pass"));
    }

    #[test]
    fn the_signature_is_what_others_compute() {
        // RFC 4231, test case 2.
        let signature = signature(&Secret("Jefe".into()), b"what do ya want for nothing?").unwrap();
        let digits = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature, format!("sha256={digits}"));
    }

    #[test]
    fn a_test_says_so() {
        let notice = Notice::test(&"ops".parse().unwrap(), &"edge-1".into());
        let body: serde_json::Value = serde_json::from_slice(&body(&notice).unwrap()).unwrap();
        assert_eq!((&body["test"], &body["kind"]), (&true.into(), &"test".into()));
    }
}
