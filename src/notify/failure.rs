//! Why a notice did not arrive, and whether another try could help.

use std::time::Duration;

use super::words;
use crate::model::settings::Secret;

/// How many characters of a failure are kept.
const TEXT_MAX: usize = 400;

/// Whether to try again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Retry {
    /// It would fail the same way.
    Never,
    /// After the usual wait.
    Later,
    /// After the wait that the receiver asked for.
    After(Duration),
}

/// Why a notice did not arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// In words, for people.
    pub text: String,
    /// Whether to try again.
    pub retry: Retry,
}

impl Failure {
    /// A failure that every further try would meet again.
    pub fn lasting(text: impl Into<String>) -> Self {
        Self { text: text.into(), retry: Retry::Never }
    }

    /// A failure that may be over soon.
    pub fn passing(text: impl Into<String>) -> Self {
        Self { text: text.into(), retry: Retry::Later }
    }

    /// A failure in that nothing came within a limit.
    pub fn timeout(limit: Duration) -> Self {
        Self::passing(format!("timed out after {}", humantime::format_duration(limit)))
    }

    /// The same failure on one short line and without the secrets: receivers may send back in their
    /// answers what they were sent, and the text goes into logs and replies.
    pub fn masked(mut self, secrets: &[Secret]) -> Self {
        for secret in secrets.iter().filter(|secret| !secret.0.is_empty()) {
            self.text = self.text.replace(&*secret.0, "***");
        }
        self.text = words::one_line(&self.text, TEXT_MAX);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_text_is_one_line() {
        let secrets = ["hunter2", ""].map(|text| Secret(text.into()));
        let failure = Failure::lasting("status 403: bad key hunter2\r\nERROR forged line");
        let text = failure.masked(&secrets).text;
        assert_eq!(text, "status 403: bad key ***  ERROR forged line");
        assert_eq!(Failure::lasting("x".repeat(1000)).masked(&[]).text.chars().count(), TEXT_MAX);
    }
}
