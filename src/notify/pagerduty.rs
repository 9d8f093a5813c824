//! PagerDuty Events API v2.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    failure::Failure,
    http::Http,
    incident::{Action, incident},
    notice::Notice,
    patience::Patience,
    words,
};
use crate::model::settings::Secret;

/// Sends to PagerDuty.
#[derive(Debug)]
pub struct Pagerduty {
    http: Http,
    routing_key: Secret,
    url: Arc<str>,
}

impl Pagerduty {
    /// A sender to the integration with `routing_key`.
    pub fn new(routing_key: &Secret, url: &Arc<str>, patience: Patience) -> Self {
        Self { http: Http::new(patience), routing_key: routing_key.clone(), url: url.clone() }
    }

    /// Sends a notice.
    ///
    /// # Errors
    ///
    /// If it was not taken.
    pub fn send(&self, notice: &Notice) -> Result<(), Failure> {
        let body = self.body(notice).to_string();
        self.http.post(&self.url, &[], body.as_bytes())
    }

    fn body(&self, notice: &Notice) -> Value {
        // A test has none yet.
        let own = || incident(&notice.event, &notice.host);
        let incident = notice.incident.clone().unwrap_or_else(own);
        let action = match incident.action {
            Action::Trigger | Action::Alert => "trigger",
            Action::Resolve => "resolve",
        };
        json!({
            "routing_key": &*self.routing_key.0,
            "event_action": action,
            "dedup_key": incident.key,
            "client": "lbd",
            "payload": {
                "summary": notice.summary(),
                "source": &*notice.host,
                "severity": words::severity(notice.event.severity),
                "timestamp": notice.time(),
                "component": notice.services(),
                "class": notice.event.kind,
                "custom_details": &*notice.event,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fake::*, *};

    fn sender(url: &str) -> Pagerduty {
        Pagerduty::new(&Secret("R0UT1NG".into()), &url.into(), PATIENCE)
    }

    #[test]
    fn the_payload_is_what_the_api_wants() {
        let server = HttpServer::start(&[Answer::Status("202 Accepted", "", "{}")]);
        let mut event = event("rollback", "green is taken back");
        event.summary.push_str(&"!".repeat(2000));
        sender(&server.url()).send(&notice(&event)).unwrap();
        let body = server.next().json();
        let payload = &body["payload"];
        assert_eq!(body["routing_key"], "R0UT1NG");
        assert_eq!(body["event_action"], "trigger");
        assert_eq!(body["dedup_key"], "lbd:edge-1:guard:app,web");
        assert_eq!(payload["summary"].as_str().unwrap().chars().count(), 1024);
        assert_eq!(
            (&payload["source"], &payload["severity"]),
            (&"edge-1".into(), &"critical".into())
        );
        assert_eq!(payload["timestamp"], "2026-01-02T03:04:05Z");
        assert_eq!(payload["component"], "app, web");
        assert_eq!(payload["custom_details"], serde_json::to_value(&event).unwrap());
    }

    #[test]
    fn the_key_does_not_show() {
        let text = format!("{:?}", sender("http://192.0.2.1/"));
        assert!(!text.contains("R0UT1NG"));
    }
}
