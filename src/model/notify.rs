//! Who is told of events, `[[notify]]`.

use std::sync::Arc;

use serde::Serialize;

use super::{event::Severity, settings::Secret, units::ReceiverName};

/// A receiver of notices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receiver {
    /// Its name, for `lbctl notify test NAME`.
    pub name: ReceiverName,
    /// Only events at least this severe.
    pub severity: Severity,
    /// How it is reached; written as `kind` with the kind's own keys.
    #[serde(flatten)]
    pub channel: Channel,
}

/// How a receiver is reached.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Channel {
    /// A POST of the event as JSON.
    Webhook {
        /// `http://` or `https://`.
        url: Arc<str>,
        /// Signs the body: `X-Lbd-Signature: sha256=` and the HMAC in hexadecimal digits.
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<Secret>,
        /// Sent as `Authorization: Bearer`.
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<Secret>,
    },
    /// A Slack incoming webhook, or what understands its form.
    Slack {
        /// The webhook's address; it is a secret.
        url: Secret,
    },
    /// PagerDuty Events API v2.
    Pagerduty {
        /// The integration's key.
        routing_key: Secret,
        /// Where events are sent, `https://events.pagerduty.com/v2/enqueue` if not said otherwise.
        url: Arc<str>,
    },
    /// Mail over SMTP.
    Email {
        /// `smtp://HOST:PORT` (STARTTLS where it is offered), `smtps://HOST:PORT` (TLS from the start).
        server: Arc<str>,
        /// The sender.
        from: Arc<str>,
        /// The recipients; at least one.
        to: Vec<Arc<str>>,
        /// The user to log in as.
        #[serde(skip_serializing_if = "Option::is_none")]
        username: Option<Arc<str>>,
        /// The user's password.
        #[serde(skip_serializing_if = "Option::is_none")]
        password: Option<Secret>,
    },
}

impl Channel {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack { .. } => "slack",
            Self::Pagerduty { .. } => "pagerduty",
            Self::Email { .. } => "email",
        }
    }
}
