//! One line of the audit journal.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Moment, Revision, ServiceName};

/// Who did it.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Actor {
    /// The user's name, or `lbd` for what lbd did by itself.
    pub name: String,
    /// The user's number on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The process that sent the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

impl Actor {
    /// lbd itself: timers, probes, reloads by file change.
    pub fn lbd() -> Self {
        Self { name: "lbd".into(), uid: None, pid: None }
    }
}

/// How much an event matters.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For the record.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
}

/// What happened: who, what, why, before, after, at which revision.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Event {
    /// When, in milliseconds since the Unix epoch.
    pub time: Moment,
    /// What kind, as one word: `weight`, `rollback`, `endpoint`, `reload`, …
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// Who did it.
    pub actor: Actor,
    /// The services it concerns; none: all or lbd itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// What happened, in words.
    pub summary: String,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a rollback: what caused it, as one word. `operator`, or what the guard found:
    /// `gross-failure`, `regression`, `profile`, `limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What was before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub before: String,
    /// What is now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// The revision in force afterwards.
    pub revision: Revision,
}

impl Event {
    /// An event of lbd's own, of all services, with nothing before and after.
    pub fn new(
        time: Moment,
        revision: Revision,
        kind: &str,
        severity: Severity,
        summary: impl Into<String>,
    ) -> Self {
        Self {
            time,
            kind: kind.into(),
            severity,
            actor: Actor::lbd(),
            services: Vec::new(),
            summary: summary.into(),
            reason: None,
            cause: None,
            before: String::new(),
            after: String::new(),
            revision,
        }
    }
}
