//! One POST, with what its failure means.

use std::{io::Read, time::Duration};

use ureq::{
    Agent, Body, Error, Timeout,
    http::{Response, StatusCode, header::RETRY_AFTER},
};

use super::{
    failure::{Failure, Retry},
    patience::Patience,
    words,
};

/// How much of an answer is read, in bytes.
const ANSWER_MAX: u64 = 4096;
/// How much of an answer is told, in characters.
const TOLD_MAX: usize = 200;

/// Posts to receivers.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    patience: Patience,
}

impl Http {
    /// A client. It ignores proxies from the environment, since all settings are in the config, and
    /// follows no redirects, since they would take secrets to another place.
    pub fn new(patience: Patience) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(patience.connect))
            .timeout_global(Some(patience.whole))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            // Notices are rare: a kept connection would mostly be a dead one.
            .max_idle_connections(0)
            .user_agent(concat!("lbd/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), patience }
    }

    /// Posts a JSON body.
    ///
    /// # Errors
    ///
    /// If it was not answered with a status of success.
    pub fn post(&self, url: &str, headers: &[(&str, String)], body: &[u8]) -> Result<(), Failure> {
        let mut request = self.agent.post(url).content_type("application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send(body).map_err(|error| self.failure(&error))?;
        if answer.status().is_success() { Ok(()) } else { Err(refused(answer)) }
    }

    fn failure(&self, error: &Error) -> Failure {
        match error {
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Failure::timeout(self.patience.connect)
            }
            Error::Timeout(_) => Failure::timeout(self.patience.whole),
            // Their words would name the address, which may be a secret.
            Error::BadUri(_) | Error::Http(_) => {
                Failure::lasting("the URL or a header is not what HTTP allows")
            }
            Error::HostNotFound => Failure::passing("the host has no address"),
            Error::Io(error) => Failure::passing(error.to_string()),
            other => Failure::passing(other.to_string()),
        }
    }
}

/// What a status that is no success means.
fn refused(mut answer: Response<Body>) -> Failure {
    let status = answer.status();
    let retry = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            retry_after(&answer).map_or(Retry::Later, Retry::After)
        }
        StatusCode::REQUEST_TIMEOUT => Retry::Later,
        _ if status.is_server_error() => Retry::Later,
        // A redirect, too, stays one.
        _ => Retry::Never,
    };
    let mut start = Vec::new();
    // The status says enough if the body breaks off.
    let _ = answer.body_mut().as_reader().take(ANSWER_MAX).read_to_end(&mut start);
    let told = words::one_line(String::from_utf8_lossy(&start).trim(), TOLD_MAX);
    let colon = if told.is_empty() { "" } else { ": " };
    Failure { text: format!("status {}{colon}{told}", status.as_u16()), retry }
}

/// The wait that a receiver asks for. Its form as a date is rare, and the usual wait serves for it.
fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{super::fake::*, *};

    fn post(url: &str) -> Failure {
        Http::new(PATIENCE).post(url, &[], b"{}").unwrap_err()
    }

    #[test]
    fn statuses_say_whether_another_try_helps() {
        let secs = |n| Retry::After(Duration::from_secs(n));
        let table = [
            ("302 Found", "location: /elsewhere\r\n", Retry::Never),
            ("400 Bad Request", "", Retry::Never),
            ("404 Not Found", "retry-after: 3\r\n", Retry::Never),
            ("408 Request Timeout", "", Retry::Later),
            ("429 Too Many Requests", "retry-after: 3\r\n", secs(3)),
            ("500 Internal Server Error", "retry-after: 3\r\n", Retry::Later),
            ("503 Service Unavailable", "Retry-After: 9\r\n", secs(9)),
            ("503 Service Unavailable", "retry-after: tomorrow\r\n", Retry::Later),
        ];
        for (status, header, retry) in table {
            let server = HttpServer::start(&[Answer::Status(status, header, "no")]);
            let failure = post(&server.url());
            assert_eq!((failure.retry, &failure.text[..3]), (retry, "sta"), "{status}");
            assert_eq!(failure.text, format!("status {}: no", &status[..3]));
            server.next();
        }
    }

    #[test]
    fn long_answers_are_cut() {
        let long = "é".repeat(10_000).leak();
        let server = HttpServer::start(&[Answer::Status("403 Forbidden", "", long)]);
        let text = post(&server.url()).text;
        assert_eq!(text.chars().count(), "status 403: ".len() + TOLD_MAX);
    }

    #[test]
    fn failures_to_connect_have_words_and_may_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let failure = post(&url);
        assert_eq!(failure.retry, Retry::Later);
        assert!(failure.text.to_lowercase().contains("refused"), "{}", failure.text);
    }

    #[test]
    fn a_bad_url_is_not_repeated_in_the_error() {
        for url in ["htp//se cret", "http://[secret/x", ""] {
            assert!(!post(url).text.contains("cret"), "{url}");
        }
    }

    #[test]
    fn silence_is_a_timeout() {
        let server = HttpServer::start(&[Answer::Never]);
        let patience = Patience { whole: Duration::from_millis(50), ..PATIENCE };
        let failure = Http::new(patience).post(&server.url(), &[], b"{}").unwrap_err();
        assert_eq!(failure, Failure::passing("timed out after 50ms"));
    }
}
