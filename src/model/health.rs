//! Whether an endpoint can be used: what the operator wants, what probes and traffic say.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Millis, Moment};

/// What the operator wants of an endpoint.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// In use.
    #[default]
    Ready,
    /// Gets no new requests; running ones finish; it is still probed.
    Drain,
    /// Out of use, and not probed.
    Maint,
}

impl AdminState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// What probes found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Probed {
    /// No probe has answered yet, or none is configured.
    #[default]
    Unknown,
    /// Enough probes in a row passed.
    Up,
    /// Enough probes in a row failed.
    Down,
}

/// How many probes in a row it takes to change an endpoint's state.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Thresholds {
    /// Passes in a row after which a down endpoint is up.
    pub rise: u32,
    /// Failures in a row after which an up endpoint is down.
    pub fall: u32,
}

/// One endpoint's health. Survives weight changes and reloads, since it is kept by identity.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Health {
    /// What probes found.
    pub probed: Probed,
    /// Probes in a row that disagree with `probed`.
    against: u32,
    /// Why the last probe failed; empty if it passed.
    pub reason: Arc<str>,
    /// Until when passive checks keep the endpoint out, and for how long in all.
    pub suspended: Option<(Moment, Millis)>,
}

impl Health {
    /// Takes the result of one probe (`Err` says why it failed). True if `probed` changed.
    ///
    /// The first probe decides alone: nothing is known yet that it could contradict.
    pub fn probe(&mut self, result: &Result<(), Arc<str>>, thresholds: Thresholds) -> bool {
        self.reason = result.as_ref().err().cloned().unwrap_or_default();
        let (seen, needed) = match result {
            Ok(()) => (Probed::Up, thresholds.rise),
            Err(_) => (Probed::Down, thresholds.fall),
        };
        if seen == self.probed {
            self.against = 0;
            return false;
        }
        self.against += 1;
        if self.probed != Probed::Unknown && self.against < needed {
            return false;
        }
        self.against = 0;
        self.probed = seen;
        true
    }

    /// Keeps the endpoint out until `now + span`, because its traffic failed.
    pub fn suspend(&mut self, now: Moment, span: Millis) {
        self.suspended = Some((now.after(span), span));
    }

    /// Forgets what probes said, because nobody probes any more.
    pub fn forget_probes(&mut self) {
        self.probed = Probed::Unknown;
        self.against = 0;
        self.reason = Arc::default();
    }

    /// Lets the endpoint back in if its time is served. True if that changed anything.
    pub fn release(&mut self, now: Moment) -> bool {
        // A clock that was set back must not keep it out for longer than was said.
        let served =
            self.suspended.is_some_and(|(until, span)| until <= now || until.since(now) > span);
        if served {
            self.suspended = None;
        }
        served
    }
}

/// How fit an endpoint is to serve a request, best first.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Ready, and its probes pass or there are none.
    Up,
    /// Ready, but its first probe has not answered: serves while nobody in the pool is up.
    Unproven,
    /// Its traffic failed lately: serves only when no pool has anything better.
    Suspended,
    /// Its probes fail, its name does not resolve, or the operator took it out: never serves.
    Out,
}

impl Standing {
    /// The standing of an endpoint with this admin state and health; `probing` if probes are configured.
    pub fn of(admin: AdminState, health: &Health, probing: bool) -> Self {
        match (admin, health.probed) {
            (AdminState::Drain | AdminState::Maint, _) => Self::Out,
            // A verdict does not outlive the check that made it.
            (AdminState::Ready, Probed::Down) if probing => Self::Out,
            (AdminState::Ready, _) if health.suspended.is_some() => Self::Suspended,
            (AdminState::Ready, Probed::Unknown) if probing => Self::Unproven,
            (AdminState::Ready, Probed::Unknown | Probed::Up | Probed::Down) => Self::Up,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Thresholds = Thresholds { rise: 2, fall: 3 };

    fn failed() -> Result<(), Arc<str>> {
        Err("status 500".into())
    }

    #[test]
    fn the_first_probe_decides_alone() {
        let mut health = Health::default();
        assert!(health.probe(&failed(), T));
        assert_eq!(health.probed, Probed::Down);
    }

    #[test]
    fn it_takes_fall_failures_in_a_row_to_go_down_and_rise_passes_to_come_up() {
        let mut health = Health::default();
        health.probe(&Ok(()), T);
        for result in [failed(), failed(), Ok(()), failed(), failed()] {
            assert!(!health.probe(&result, T));
        }
        assert!(health.probe(&failed(), T));
        assert!(!health.probe(&Ok(()), T));
        assert!(health.probe(&Ok(()), T));
        assert_eq!(health.probed, Probed::Up);
    }

    #[test]
    fn without_a_probe_an_old_verdict_does_not_count() {
        let mut health = Health::default();
        health.probe(&failed(), T);
        assert_eq!(Standing::of(AdminState::Ready, &health, true), Standing::Out);
        assert_eq!(Standing::of(AdminState::Ready, &health, false), Standing::Up);
    }

    #[test]
    fn a_suspension_ends_by_time() {
        let mut health = Health::default();
        health.suspend(Moment(1_000), Millis(500));
        assert_eq!(Standing::of(AdminState::Ready, &health, false), Standing::Suspended);
        assert!(!health.release(Moment(1_499)));
        assert!(
            health.clone().release(Moment(100)),
            "the clock was set back by more than the span"
        );
        assert!(health.release(Moment(1_500)));
        assert_eq!(Standing::of(AdminState::Ready, &health, false), Standing::Up);
    }
}
