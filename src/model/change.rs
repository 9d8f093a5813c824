//! What a command changed, for the reply and the journal.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    split::Split,
    units::{PoolName, Revision, ServiceName, Share},
};

/// The reply to every command.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Changed {
    /// The revision in force now.
    pub revision: Revision,
    /// Whether anything changed; with `dry_run`, whether anything would.
    pub changed: bool,
    /// Nothing was changed because only a rehearsal was asked for.
    #[serde(default)]
    pub dry_run: bool,
    /// What changed, in words, a line each.
    pub summary: Vec<String>,
    /// The services' old and new shares, where those changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitChange>,
    /// What the operator should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Old and new shares of a service.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct SplitChange {
    /// The service.
    pub service: ServiceName,
    /// Its pools.
    pub pools: Vec<ShareChange>,
}

/// Old and new share of a pool.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct ShareChange {
    /// The pool.
    pub pool: PoolName,
    /// Its share before.
    pub from: Share,
    /// Its share now.
    pub to: Share,
}

impl SplitChange {
    /// The difference between two splits of a service.
    pub fn between(service: &ServiceName, old: &Split, new: &Split) -> Self {
        let pools = new.iter().map(|(pool, to)| ShareChange {
            pool: pool.clone(),
            from: old.share(pool),
            to,
        });
        Self { service: service.clone(), pools: pools.collect() }
    }

    /// Whether the service has the pool.
    pub fn has(&self, pool: &PoolName) -> bool {
        self.pools.iter().any(|p| p.pool == *pool)
    }

    /// Whether any share changed.
    pub fn is_change(&self) -> bool {
        self.pools.iter().any(|p| p.from != p.to)
    }

    /// `green 10% → 25% (blue 90% → 75%)`, with `lead` first.
    pub fn describe(&self, lead: &PoolName) -> String {
        let mut text = String::new();
        if let Some(pool) = self.pools.iter().find(|p| p.pool == *lead) {
            let _ = write!(text, "{pool}");
        }
        let others = self.pools.iter().filter(|p| p.pool != *lead && p.from != p.to);
        let others: Vec<_> = others.map(ToString::to_string).collect();
        if !others.is_empty() {
            let _ = write!(text, " ({})", others.join(", "));
        }
        text
    }
}

impl std::fmt::Display for ShareChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.from == self.to {
            write!(f, "{} stays at {}", self.pool, self.to)
        } else {
            write!(f, "{} {} → {}", self.pool, self.from, self.to)
        }
    }
}

/// One line if all services say the same, else a line for each.
pub fn grouped(lines: &[(ServiceName, String)]) -> Vec<String> {
    match lines {
        [] => Vec::new(),
        [(_, first), rest @ ..] if rest.iter().all(|(_, text)| text == first) => {
            vec![first.clone()]
        }
        _ => lines.iter().map(|(service, text)| format!("{service}: {text}")).collect(),
    }
}
