//! One send, and what its failure means (OTLP 1.9, section "OTLP/HTTP").

use std::{io::Read, sync::Arc, time::Duration};

use ureq::{
    Agent, Body, Error, Timeout,
    http::{Response, StatusCode, header::RETRY_AFTER},
    tls::{Certificate, RootCerts, TlsConfig},
};

use super::otlp::{self, Refused};
use crate::{
    model::{settings::Secret, spans::Tracing},
    notify::{Failure, Retry},
    tls,
};

/// How much of an answer is read, in bytes.
const ANSWER_MAX: u64 = 16 * 1024;

/// Sends to one collector.
#[derive(Debug)]
pub struct Post {
    agent: Agent,
    url: String,
    headers: Vec<(Box<str>, Secret)>,
}

impl Post {
    /// A client. It ignores proxies from the environment, since all settings are in the config, and
    /// follows no redirects, since they would take secrets to another place.
    pub fn new(settings: &Tracing) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .max_idle_connections(1)
            .tls_config(TlsConfig::builder().root_certs(roots(settings)).build())
            .user_agent(concat!("lbd/", env!("CARGO_PKG_VERSION")))
            .build();
        let headers = settings.headers.iter().map(|(name, secret)| (name.clone(), secret.clone()));
        Self {
            agent: config.new_agent(),
            url: format!("{}/v1/traces", settings.endpoint.trim_end_matches('/')),
            headers: headers.collect(),
        }
    }

    /// Where it sends to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a batch, within `limit`. What the collector refused of it is not to be sent again.
    ///
    /// # Errors
    ///
    /// If the collector took nothing of it.
    pub fn send(&self, body: &[u8], limit: Duration) -> Result<Option<Refused>, Failure> {
        let request = self.agent.post(&self.url).config().timeout_global(Some(limit)).build();
        let mut request = request.content_type("application/x-protobuf");
        for (name, secret) in &self.headers {
            request = request.header(&**name, &*secret.0);
        }
        let sent = request.send(body).map_err(|error| failure(&error, limit)).and_then(judged);
        let secrets: Vec<Secret> = self.headers.iter().map(|(_, secret)| secret.clone()).collect();
        match sent {
            Ok(Some(Refused { count, why })) => {
                let why = Failure::lasting(why).masked(&secrets).text;
                Ok(Some(Refused { count, why }))
            }
            sent => sent.map_err(|failure| failure.masked(&secrets)),
        }
    }
}

/// Who vouches for the collector: those in the config's file and nobody else, if it names one.
fn roots(settings: &Tracing) -> RootCerts {
    let Some(ca) = &settings.ca else { return RootCerts::WebPki };
    // It was read before. If it cannot be read now, nobody vouches for anybody.
    let certificates = tls::certificates(&ca.text.0).unwrap_or_default();
    let own = certificates.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    RootCerts::Specific(Arc::new(own))
}

fn failure(error: &Error, limit: Duration) -> Failure {
    match error {
        Error::Timeout(Timeout::Resolve) => Failure::passing("the name server does not answer"),
        Error::Timeout(_) => Failure::timeout(limit),
        Error::BadUri(_) | Error::Http(_) => {
            Failure::lasting("the address or a header is not what HTTP allows")
        }
        Error::HostNotFound => Failure::passing("the host has no address"),
        Error::Io(error) => Failure::passing(error.to_string()),
        other => Failure::passing(other.to_string()),
    }
}

/// What an answer means.
fn judged(mut answer: Response<Body>) -> Result<Option<Refused>, Failure> {
    let status = answer.status();
    let mut start = Vec::new();
    // The status says enough if the body breaks off. Read to its end, the connection is kept.
    let _ = answer.body_mut().as_reader().take(ANSWER_MAX).read_to_end(&mut start);
    if status.is_success() {
        return Ok(otlp::refused(&start));
    }
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => retry_after(&answer).map_or(Retry::Later, Retry::After),
        // All others mean that the batch would never be taken.
        _ => Retry::Never,
    };
    Err(Failure { text: format!("status {}", status.as_u16()), retry })
}

/// The wait that a collector asks for. Its form as a date is rare, and the usual wait serves for it.
fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
