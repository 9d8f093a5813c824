//! Rollouts: staged shifts to a candidate, as a state machine without a clock.

pub mod plan;
pub mod record;
mod run;

pub use plan::{Advance, Plan, Requirement, Stage};
pub use record::{Milestone, Point, Record, Traffic};
pub use run::{Merit, Phase, Rollout, Signal};
