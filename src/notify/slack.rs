//! A Slack incoming webhook: one text, as readable on a phone as in the log.

use super::{failure::Failure, http::Http, notice::Notice, patience::Patience, words};
use crate::model::settings::Secret;

/// Sends to Slack.
#[derive(Debug)]
pub struct Slack {
    http: Http,
    url: Secret,
}

impl Slack {
    /// A sender to an incoming webhook.
    pub fn new(url: &Secret, patience: Patience) -> Self {
        Self { http: Http::new(patience), url: url.clone() }
    }

    /// Sends a notice.
    ///
    /// # Errors
    ///
    /// If it was not taken.
    pub fn send(&self, notice: &Notice) -> Result<(), Failure> {
        let body = serde_json::json!({ "text": text(notice) });
        self.http.post(&self.url.0, &[], body.to_string().as_bytes())
    }
}

/// The severity and what happened in the first line, which is all that a phone shows; then the rest.
fn text(notice: &Notice) -> String {
    let severity = words::severity(notice.event.severity).to_uppercase();
    let mut text = format!("*{severity}* on {}: {}", notice.host, notice.summary());
    for (what, value) in notice.details() {
        match what {
            // The first line has it, and Slack shows the time itself.
            "host" | "time" => {}
            _ => text.push_str(&format!("\n{what}: {value}")),
        }
    }
    escaped(&text)
}

/// Slack takes these three for its own marks, among them those that call a whole channel.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{super::fake::*, *};

    #[test]
    fn the_text_has_everything_and_calls_nobody() {
        let server = HttpServer::start(&[Answer::OK]);
        let mut event = event("rollback", "green is taken back: errors > 1% & rising");
        event.reason = Some("<!channel>".into());
        Slack::new(&Secret(server.url().into()), PATIENCE).send(&notice(&event)).unwrap();
        let expected = "*CRITICAL* on edge-1: green is taken back: errors &gt; 1% &amp; rising\n\
                        services: app, web\n\
                        reason: &lt;!channel&gt;\n\
                        before: green 50%\n\
                        after: green 0%\n\
                        by: lbd\n\
                        revision: 7\n\
                        kind: rollback";
        assert_eq!(server.next().json(), serde_json::json!({ "text": expected }));
    }
}
