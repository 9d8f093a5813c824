//! What goes over the wire about upgrades.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Millis, Moment};

/// `POST /v1/upgrade`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct UpgradeBody {
    /// How long the new process may take to be ready; absent: 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_within: Option<Millis>,
}

/// A process of the daemon.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Process {
    /// Its release.
    pub version: String,
    /// Its number.
    pub pid: u32,
}

/// The reply to `POST /v1/upgrade`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Upgraded {
    /// The process that answers. It finishes what it began, and ends.
    pub from: Process,
    /// The process that serves now.
    pub to: Process,
    /// How long all of it took.
    pub took: Millis,
    /// For how long of that nothing could be changed.
    pub frozen: Millis,
    /// Nothing was handed over because only a rehearsal was asked for.
    #[serde(default)]
    pub dry_run: bool,
}

/// `GET /v1/upgrade`.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct UpgradeStatus {
    /// The process that answers.
    #[serde(flatten)]
    pub process: Process,
    /// When it started.
    pub started: Moment,
    /// The process before it, while that still finishes what it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Process>,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lbd {} (pid {})", self.version, self.pid)
    }
}
