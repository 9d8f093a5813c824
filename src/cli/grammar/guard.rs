//! What can be typed about the guard and about notices.

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value};

use super::Services;
use crate::{
    cli::{
        complete::{receiver_names, service_names},
        values::{Limit, one_of, probability},
    },
    model::{Millis, ServiceName, Share, guard::Action, units::ReceiverName},
};

/// `guard`.
#[derive(Debug, Subcommand)]
pub enum Guard {
    /// Show what the guard judges by and what it finds
    #[command(after_help = "Examples:\n  lbctl guard status\n  lbctl guard status app --json")]
    Status {
        /// Only this service
        #[arg(add = service_names())]
        service: Option<ServiceName>,
    },
    /// Change what the guard judges by, until the config file says something else
    #[command(after_help = "Examples:
  lbctl guard set --p95 500ms --action hold --reason 'slow night'
  lbctl guard set --service api --reset")]
    Set(GuardArgs),
    /// Show how often the guard accuses one half of a baseline against the other
    #[command(after_help = "Examples:\n  lbctl guard selftest\n  lbctl guard selftest --json")]
    Selftest,
}

/// `guard set`.
#[derive(Args, Debug)]
pub struct GuardArgs {
    /// Which services.
    #[command(flatten)]
    pub services: Services,
    /// The terms that can be simulated, too.
    #[command(flatten)]
    pub judging: Judging,
    /// What to do about a no-go
    #[arg(long, value_name = "ACTION", value_parser = one_of::<Action>(&["rollback", "hold", "alert"]))]
    pub action: Option<Action>,
    /// For how long the traffic of a fresh endpoint is not judged
    #[arg(long, value_name = "SPAN")]
    pub warmup: Option<Millis>,
    /// Whether failed first attempts on a candidate are replayed on the baseline
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub shield: Option<bool>,
    /// Back to what the config file says
    #[arg(long, conflicts_with_all = ["Judging", "action", "warmup", "shield"])]
    pub reset: bool,
}

/// Terms by which evidence is judged; what is left out stays as it is.
#[derive(Args, Clone, Debug, Default)]
pub struct Judging {
    /// The chance that a good candidate is ever accused: above 0, at most 0.1
    #[arg(long, value_name = "CHANCE", value_parser = probability)]
    pub alpha: Option<f64>,
    /// Differences of the failed part that do not matter, in percentage points
    #[arg(long, value_name = "PERCENT")]
    pub tolerance_errors: Option<Share>,
    /// Differences of response time that do not matter
    #[arg(long, value_name = "PERCENT")]
    pub tolerance_latency: Option<Share>,
    /// The largest failed part, or none for no such limit
    #[arg(long, value_name = "PERCENT")]
    pub error_rate: Option<Limit<Share>>,
    /// The longest median of response times, or none
    #[arg(long, value_name = "SPAN")]
    pub p50: Option<Limit<Millis>>,
    /// The longest 95th percentile, or none
    #[arg(long, value_name = "SPAN")]
    pub p95: Option<Limit<Millis>>,
    /// The longest 99th percentile, or none
    #[arg(long, value_name = "SPAN")]
    pub p99: Option<Limit<Millis>>,
    /// Over how long limits are judged, 1s to 15m
    #[arg(long, value_name = "SPAN")]
    pub window: Option<Millis>,
    /// How long a limit must be exceeded without a break
    #[arg(long, value_name = "SPAN")]
    pub sustain: Option<Millis>,
    /// Requests without which limits are not judged and no stage is passed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub min_requests: Option<u32>,
    /// Whether candidates are compared with the baseline
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub compare: Option<bool>,
}

impl Judging {
    /// What was named, by the keys of the config file.
    pub fn terms(&self) -> Map<String, Value> {
        let mut terms = Named::default();
        terms.add("alpha", self.alpha);
        terms.add("error_rate", self.error_rate);
        terms.add("p50", self.p50);
        terms.add("p95", self.p95);
        terms.add("p99", self.p99);
        terms.add("window", self.window);
        terms.add("sustain", self.sustain);
        terms.add("min_requests", self.min_requests);
        terms.add("compare", self.compare);
        let mut tolerance = Named::default();
        tolerance.add("errors", self.tolerance_errors);
        tolerance.add("latency", self.tolerance_latency);
        terms.add("tolerance", Some(tolerance.0).filter(|tolerance| !tolerance.is_empty()));
        terms.0
    }
}

impl GuardArgs {
    /// What was named, by the keys of the config file; nothing with `--reset`.
    pub fn terms(&self) -> Map<String, Value> {
        let mut terms = Named(self.judging.terms());
        terms.add("action", self.action);
        terms.add("warmup", self.warmup);
        terms.add("shield", self.shield);
        terms.0
    }
}

/// Keys that were named.
#[derive(Default)]
struct Named(Map<String, Value>);

impl Named {
    fn add(&mut self, key: &str, value: Option<impl Serialize>) {
        // None of them is a type that JSON has no form for.
        if let Some(Ok(value)) = value.map(serde_json::to_value) {
            self.0.insert(key.into(), value);
        }
    }
}

/// `notify`.
#[derive(Debug, Subcommand)]
pub enum Notify {
    /// List the receivers of notices and how they fare
    #[command(after_help = "Examples:\n  lbctl notify list\n  lbctl notify list --json")]
    List,
    /// Send a test notice and say whether it arrived
    #[command(after_help = "Examples:\n  lbctl notify test chat\n  lbctl notify test pager --json")]
    Test {
        /// The receiver
        #[arg(add = receiver_names())]
        name: ReceiverName,
    },
}
