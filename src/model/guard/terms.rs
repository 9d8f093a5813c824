//! What the guard judges by: `[guard]` and `[service.NAME.guard]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

use crate::model::{
    refusal::Refusal,
    units::{Millis, Share},
};

/// The longest window of a limit: the guard keeps no second that is older.
pub const WINDOW_MAX: Millis = Millis::from_secs(15 * 60);

/// What the guard judges a service's candidates by.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What to do about a no-go.
    pub action: Action,
    /// Whether candidates are compared with the baseline's concurrent traffic.
    pub compare: bool,
    /// The chance that a good candidate is ever accused, over a whole shift: above 0, at most 0.1.
    pub alpha: f64,
    /// Differences that do not matter.
    pub tolerance: Tolerance,
    /// The largest part of failed requests; absent: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Share>,
    /// The longest median of response times; absent: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50: Option<Millis>,
    /// The longest 95th percentile; absent: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Millis>,
    /// The longest 99th percentile; absent: not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99: Option<Millis>,
    /// Over how long limits are judged; at most [`WINDOW_MAX`].
    pub window: Millis,
    /// How long a limit must be exceeded without a break.
    pub sustain: Millis,
    /// Below so many requests limits are not judged, and no stage is passed.
    pub min_requests: u32,
    /// For how long the traffic of a fresh endpoint is not judged.
    pub warmup: Millis,
    /// Whether failed first attempts on a candidate are replayed on the baseline.
    pub shield: bool,
}

/// What the guard does about a no-go.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Give all traffic back to the baseline.
    #[default]
    Rollback,
    /// Leave the weights, hold the rollout, and alert.
    Hold,
    /// Alert only.
    Alert,
}

/// Differences between candidate and baseline that do not matter.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// In percentage points of failed requests.
    pub errors: Share,
    /// In parts of the baseline's response time, which counts as 25 ms at least.
    pub latency: Share,
}

impl Terms {
    /// Writes the terms as a config file has them: limits that are absent as `"none"`, since what is
    /// left out of a service is as in `[guard]`.
    pub(crate) fn spelled_out<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'t> {
            #[serde(flatten)]
            terms: &'t Terms,
            #[serde(flatten)]
            unlimited: BTreeMap<&'static str, &'static str>,
        }
        let limits = [
            ("error_rate", self.error_rate.is_none()),
            ("p50", self.p50.is_none()),
            ("p95", self.p95.is_none()),
            ("p99", self.p99.is_none()),
        ];
        let absent = limits.into_iter().filter(|(_, absent)| *absent);
        let unlimited = absent.map(|(name, _)| (name, "none")).collect();
        Written { terms: self, unlimited }.serialize(to)
    }
}

impl Action {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rollback => "rollback",
            Self::Hold => "hold",
            Self::Alert => "alert",
        }
    }
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            action: Action::Rollback,
            compare: true,
            alpha: 1e-4,
            tolerance: Tolerance {
                errors: Share::from_basis_points(50),
                latency: Share::from_basis_points(2_000),
            },
            error_rate: None,
            p50: None,
            p95: None,
            p99: None,
            window: Millis::from_secs(10),
            sustain: Millis(0),
            min_requests: 50,
            warmup: Millis(0),
            shield: true,
        }
    }
}

/// `terms` with what `changes` says, by the keys of `[guard]`; `null` takes a limit away.
///
/// # Errors
///
/// [`Refusal::Senseless`] if they are no terms then.
pub fn changed(
    terms: &Terms,
    changes: &serde_json::Map<String, serde_json::Value>,
) -> Result<Terms, Refusal> {
    let senseless = |problem: String| Refusal::Senseless {
        problem,
        hint: "write keys of the [guard] section as the config file has them",
    };
    let mut all = serde_json::to_value(terms).map_err(|e| senseless(e.to_string()))?;
    if let Some(all) = all.as_object_mut() {
        for (key, value) in changes {
            match (all.get_mut(key).and_then(|old| old.as_object_mut()), value.as_object()) {
                (Some(old), Some(new)) => old.extend(new.clone()),
                _ if value.is_null() => drop(all.remove(key)),
                _ => drop(all.insert(key.clone(), value.clone())),
            }
        }
    }
    let next: Terms = serde_json::from_value(all).map_err(|e| senseless(e.to_string()))?;
    let problem = match &next {
        t if !(t.alpha > 0.0 && t.alpha <= 0.1) => "alpha must be above 0 and at most 0.1",
        t if t.window < Millis::from_secs(1) || t.window > WINDOW_MAX => "window must be 1s to 15m",
        t if t.min_requests == 0 => "min_requests must be at least 1",
        _ => return Ok(next),
    };
    Err(senseless(problem.into()))
}
