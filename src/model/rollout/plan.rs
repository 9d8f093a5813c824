//! What a rollout is to do: `[rollout.PLAN]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::units::{Millis, Share};

/// A staged shift to a candidate.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Plan {
    /// The stages; never empty, shares rise, the last is the whole.
    pub stages: Vec<Stage>,
    /// How long a stage is held that does not say itself; above 0.
    pub hold: Millis,
    /// What ends a stage.
    pub advance: Advance,
    /// What the candidate must pass before the first stage.
    pub require: Vec<Requirement>,
    /// How long a stage may be held in all while the verdict is undecided; then the rollout pauses.
    pub max_hold: Millis,
    /// How long the candidate is judged at 100 % before it is the new baseline.
    pub bake: Millis,
}

/// One share with its hold.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Stage {
    /// The candidate's share.
    pub share: Share,
    /// How long it is held, if not as long as the plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Millis>,
    /// Judged requests without which it is not passed, if not as many as the guard says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u32>,
}

/// What ends a stage.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advance {
    /// Its hold, if nothing is wrong by then.
    #[default]
    Hold,
    /// The verdict go, or its hold if nothing is wrong by then.
    Evidence,
    /// `lbctl rollout promote`.
    Manual,
}

/// What a candidate must pass before it gets traffic.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// The service's `check` requests.
    Checks,
    /// Usable endpoints.
    Health,
}

impl Default for Plan {
    fn default() -> Self {
        let stage = |percent: u16| Stage::of(Share::from_basis_points(percent * 100));
        Self {
            stages: [5, 10, 25, 50, 100].map(stage).into(),
            hold: Millis::from_secs(5 * 60),
            advance: Advance::Hold,
            require: vec![Requirement::Checks, Requirement::Health],
            max_hold: Millis::from_secs(3600),
            bake: Millis::from_secs(24 * 3600),
        }
    }
}

impl Stage {
    /// A stage that leaves all else to the plan.
    pub const fn of(share: Share) -> Self {
        Self { share, hold: None, min_requests: None }
    }
}

impl Plan {
    /// What is wrong with it, if anything is.
    pub fn problem(&self) -> Option<String> {
        let shares: Vec<Share> = self.stages.iter().map(|s| s.share).collect();
        let no_hold = |s: &Stage| s.hold.unwrap_or(self.hold) == Millis(0);
        let falls = shares.iter().zip(shares.iter().skip(1)).find(|(a, b)| a >= b);
        match (shares.first(), shares.last()) {
            (None, _) => Some("a plan needs a stage".into()),
            (_, Some(last)) if *last != Share::WHOLE => {
                Some(format!("the last stage is {last}, not 100%"))
            }
            (Some(&Share::NONE), _) => Some("a stage of 0% tries nothing".into()),
            _ => {
                falls.map(|(a, b)| format!("stages must rise: {b} comes after {a}")).or_else(|| {
                    let stage = self.stages.iter().find(|s| no_hold(s))?;
                    Some(format!("the hold of the {} stage is 0", stage.share))
                })
            }
        }
    }
}
