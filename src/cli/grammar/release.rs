//! What can be typed about rollouts and preflight.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{Judging, Services};
use crate::{
    cli::{
        complete::{plan_names, pool_names, rollout_ids},
        values::{RolloutId, one_of},
    },
    model::{Millis, PoolName, Share, rollout::Advance, units::PlanName},
};

/// `rollout`.
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Start a staged shift to a pool, after its preflight
    #[command(after_help = "Examples:
  lbctl rollout start green --wait --reason 'release 7'
  lbctl rollout start green --stages 5,25,100 --hold 5m --service api")]
    Start(StartArgs),
    /// Show the rollout that runs, or the last one
    #[command(after_help = "Examples:\n  lbctl rollout status\n  lbctl rollout status --json")]
    Status,
    /// Hold the rollout where it is; the guard goes on
    #[command(after_help = "Examples:
  lbctl rollout pause
  lbctl rollout pause --reason 'support has questions'")]
    Pause,
    /// Let the rollout go on
    #[command(after_help = "Examples:
  lbctl rollout resume
  lbctl rollout resume --reason 'questions answered'")]
    Resume,
    /// Go on to the next stage now; while it bakes, make the candidate the baseline
    #[command(after_help = "Examples:\n  lbctl rollout promote\n  lbctl rollout promote --full")]
    Promote {
        /// Pass over all stages that are left
        #[arg(long)]
        full: bool,
    },
    /// End the rollout and give everything back to the baselines
    #[command(after_help = "Examples:
  lbctl rollout abort
  lbctl rollout abort --reason 'wrong release'")]
    Abort,
    /// List all rollouts, the latest first
    #[command(after_help = "Examples:\n  lbctl rollout history\n  lbctl rollout history --json")]
    History,
    /// Show the evidence behind a verdict, with its numbers
    #[command(after_help = "Examples:\n  lbctl rollout why\n  lbctl rollout why 7")]
    Why {
        /// The rollout's number, or last [default: who is on trial now, else the last one]
        #[arg(add = rollout_ids())]
        id: Option<RolloutId>,
    },
    /// Show what each stage would notice and how soon, at the present rates
    #[command(after_help = "Examples:
  lbctl rollout plan green
  lbctl rollout plan green --stages 1,10,100 --hold 10m")]
    Plan(Shift),
    /// Show what the guard would have found in a rollout by other terms
    #[command(after_help = "Examples:
  lbctl rollout simulate --p95 500ms --window 30s
  lbctl rollout simulate 7 --alpha 0.01 --error-rate none")]
    Simulate(SimulateArgs),
    /// Print the report of a rollout
    #[command(after_help = "Examples:
  lbctl rollout report
  lbctl rollout report 7 --format html --output rollout-7.html")]
    Report(ReportArgs),
}

impl Rollout {
    /// Whether it asks the daemon for a change.
    pub fn changes(&self) -> bool {
        match self {
            Self::Start(_) | Self::Pause | Self::Resume | Self::Promote { .. } | Self::Abort => {
                true
            }
            Self::Status
            | Self::History
            | Self::Why { .. }
            | Self::Plan(_)
            | Self::Simulate(_)
            | Self::Report(_) => false,
        }
    }
}

/// `rollout start`.
#[derive(Args, Debug)]
pub struct StartArgs {
    /// What shift.
    #[command(flatten)]
    pub shift: Shift,
    /// Follow it to its end; the exit code is its outcome (no --timeout: as long as it takes)
    #[arg(long)]
    pub wait: bool,
    /// Take other users first than always, by a new salt
    #[arg(long)]
    pub fresh_cohort: bool,
    /// Without the pool's preflight
    #[arg(long)]
    pub skip_checks: bool,
}

/// A staged shift to a candidate.
#[derive(Args, Clone, Debug)]
pub struct Shift {
    /// The candidate
    #[arg(add = pool_names())]
    pub pool: PoolName,
    /// Which plan of the config file [default: default]
    #[arg(long, value_name = "NAME", add = plan_names())]
    pub plan: Option<PlanName>,
    /// Other stages than the plan's: rising percentages up to 100, as in 5,25,100
    #[arg(long, value_name = "PERCENT,...", value_delimiter = ',')]
    pub stages: Vec<Share>,
    /// How long each stage is held
    #[arg(long, value_name = "SPAN")]
    pub hold: Option<Millis>,
    /// What ends a stage: its hold, the evidence that nothing is wrong, or only promote
    #[arg(long, value_name = "HOW", value_parser = one_of::<Advance>(&["hold", "evidence", "manual"]))]
    pub advance: Option<Advance>,
    /// How long a stage may be held undecided before the rollout pauses
    #[arg(long, value_name = "SPAN")]
    pub max_hold: Option<Millis>,
    /// How long the candidate is judged at 100% before it is the baseline
    #[arg(long, value_name = "SPAN")]
    pub bake: Option<Millis>,
    /// Which services.
    #[command(flatten)]
    pub services: Services,
}

/// `rollout simulate`.
#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// The rollout's number, or last
    #[arg(default_value_t, add = rollout_ids())]
    pub id: RolloutId,
    /// By which terms.
    #[command(flatten)]
    pub judging: Judging,
}

/// `rollout report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// The rollout's number, or last
    #[arg(default_value_t, add = rollout_ids())]
    pub id: RolloutId,
    /// In which form [default: md, or with --json json]
    #[arg(long, value_name = "FORM")]
    pub format: Option<Format>,
    /// Into this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// The form of a report.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    /// Markdown, for a ticket or a chat.
    Md,
    /// JSON, for programs.
    Json,
    /// One HTML file with plots.
    Html,
}

impl Format {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md => "md",
            Self::Json => "json",
            Self::Html => "html",
        }
    }
}

/// `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The pool
    #[arg(add = pool_names())]
    pub pool: PoolName,
    /// Which services.
    #[command(flatten)]
    pub services: Services,
}
