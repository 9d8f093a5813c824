//! What can be typed. Types only: every value is checked here, so that nothing later parses a text.

mod guard;
mod release;
mod traffic;

use std::{net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use super::{
    complete::service_names,
    values::{header, interval},
};
use crate::model::{Millis, ServiceName};

pub use guard::{Guard, GuardArgs, Judging, Notify};
pub use release::{CheckArgs, Format, ReportArgs, Rollout, Shift, SimulateArgs, StartArgs};
pub use traffic::{
    Cohort, CohortArgs, Endpoint, Leaving, Maintenance, MaintenanceOn, PauseArgs, RollbackArgs,
    SwitchArgs, WeightArgs, Which,
};

/// Where the daemon listens, if not told otherwise.
pub const SOCKET: &str = "/run/lbd/admin.sock";
/// The environment variable that tells otherwise.
pub const SOCKET_VARIABLE: &str = "LBCTL_SOCKET";
/// The file that the daemon reads, if not told otherwise.
pub const CONFIG_FILE: &str = "/etc/lbd/lbd.toml";

/// Operates lbd, the edge proxy for blue/green releases.
#[derive(Debug, Parser)]
#[command(name = "lbctl", version, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What holds for every verb.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The daemon's admin socket
    #[arg(long, global = true, env = SOCKET_VARIABLE, hide_env_values = true)]
    #[arg(value_name = "PATH", default_value = SOCKET, value_hint = ValueHint::FilePath)]
    pub socket: PathBuf,
    /// Give up after this time [default: 10s for a reply, 5m for checks, 60s for --wait]
    #[arg(long, global = true, value_name = "SPAN")]
    pub timeout: Option<Millis>,
    /// Print the daemon's reply as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing on success
    #[arg(long, global = true, conflicts_with = "json")]
    pub quiet: bool,
    /// Use no colour; so does a non-empty NO_COLOR, and output to a file or pipe
    #[arg(long, global = true)]
    pub no_color: bool,
    /// Why, for the journal (verbs that change something)
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Check and answer, change nothing (verbs that change something)
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Refuse unless this revision is in force (verbs that change something)
    #[arg(long, global = true, value_name = "N")]
    pub if_revision: Option<u64>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show what is in force and what is happening
    #[command(after_help = "Examples:\n  lbctl status\n  lbctl status app -w --interval 2s")]
    Status(StatusArgs),
    /// Give a pool a percentage of the traffic, or show the percentages
    #[command(after_help = "Examples:
  lbctl weight green 25 --reason 'canary of release 7'
  lbctl weight green 50 --service api --for 10m")]
    Weight(WeightArgs),
    /// Give a pool all traffic at once, after its preflight
    #[command(
        after_help = "Examples:\n  lbctl switch green\n  lbctl switch green --service api --dry-run"
    )]
    Switch(SwitchArgs),
    /// Give all traffic back to the baselines; always allowed, safe to repeat
    #[command(after_help = "Examples:
  lbctl rollback --reason 'checkout fails'
  lbctl rollback --ramp 30s --wait")]
    Rollback(RollbackArgs),
    /// Shift to a pool in stages, judged by the guard
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl rollout start green --wait
  lbctl rollout why"
    )]
    Rollout(Rollout),
    /// Run a pool's preflight: what it must pass before it gets traffic
    #[command(after_help = "Examples:\n  lbctl check green\n  lbctl check green --service api")]
    Check(CheckArgs),
    /// Show or change what candidates are judged by
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl guard status app
  lbctl guard set --error-rate 1% --service app"
    )]
    Guard(Guard),
    /// Hold new requests for a while, instead of refusing them
    #[command(after_help = "Examples:
  lbctl pause --max 30s --reason 'database failover'
  lbctl pause --service api")]
    Pause(PauseArgs),
    /// Let held requests go on
    #[command(after_help = "Examples:\n  lbctl resume\n  lbctl resume --service api")]
    Resume(Services),
    /// Answer 503 with a page instead of forwarding
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl maintenance on --for 2h --message 'Back at noon'
  lbctl maintenance off"
    )]
    Maintenance(Maintenance),
    /// Change the endpoints of a pool without a reload
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl endpoint list green
  lbctl endpoint drain green 10.0.0.7:9001 --wait"
    )]
    Endpoint(Endpoint),
    /// Name users who always or never go to a pool
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl cohort add green alice bob
  lbctl cohort list green"
    )]
    Cohort(Cohort),
    /// Say which pool a user goes to, and why
    #[command(after_help = "Examples:
  lbctl explain --user alice --service app
  lbctl explain --header 'Cookie: uid=alice' --path /account")]
    Explain(ExplainArgs),
    /// Show the journal: who changed what, when and why
    #[command(after_help = "Examples:\n  lbctl events --since 1h\n  lbctl events -f --json")]
    Events(EventsArgs),
    /// List or try the receivers of notices
    #[command(subcommand, after_help = "Examples:\n  lbctl notify list\n  lbctl notify test chat")]
    Notify(Notify),
    /// Show the listeners' certificates, or load their files again
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl cert list
  lbctl cert reload --reason 'renewed by certbot'"
    )]
    Cert(Cert),
    /// Check, compare, load or show the config; import one from nginx
    #[command(
        subcommand,
        after_help = "Examples:
  lbctl config check /etc/lbd/lbd.toml
  lbctl config reload --reason 'new endpoint for api'"
    )]
    Config(Config),
    /// Hand over to the lbd binary on the disk: no connection is refused, no request is lost
    #[command(after_help = "Examples:
  lbctl upgrade --dry-run
  lbctl upgrade --wait --reason 'release 0.2.0'")]
    Upgrade(UpgradeArgs),
    /// Show the releases of lbctl and of the running daemon
    #[command(after_help = "Examples:\n  lbctl version\n  lbctl version --json")]
    Version,
    /// Print the script that completes lbctl in a shell, with the daemon's own names
    #[command(after_help = "Examples:
  lbctl completion bash > /etc/bash_completion.d/lbctl
  lbctl completion fish > ~/.config/fish/completions/lbctl.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(
        after_help = "Examples:\n  lbctl man > /usr/share/man/man1/lbctl.1\n  lbctl man | man -l -"
    )]
    Man,
}

impl Verb {
    /// Whether it asks the daemon for a change, so that --dry-run and the like mean something.
    pub fn changes(&self) -> bool {
        match self {
            Self::Weight(args) => args.percent.is_some(),
            Self::Switch(_)
            | Self::Rollback(_)
            | Self::Pause(_)
            | Self::Resume(_)
            | Self::Upgrade(_) => true,
            Self::Rollout(verb) => verb.changes(),
            Self::Guard(verb) => matches!(verb, Guard::Set(_)),
            Self::Maintenance(verb) => !matches!(verb, Maintenance::Status),
            Self::Endpoint(verb) => !matches!(verb, Endpoint::List { .. }),
            Self::Cohort(verb) => !matches!(verb, Cohort::List { .. }),
            Self::Cert(verb) => matches!(verb, Cert::Reload),
            Self::Config(verb) => matches!(verb, Config::Reload { .. }),
            Self::Status(_)
            | Self::Check(_)
            | Self::Notify(_)
            | Self::Explain(_)
            | Self::Events(_)
            | Self::Version
            | Self::Completion { .. }
            | Self::Man => false,
        }
    }
}

/// Which services a verb is limited to.
#[derive(Args, Clone, Debug, Default)]
pub struct Services {
    /// Only this service; may be given several times
    #[arg(long = "service", value_name = "SERVICE", add = service_names())]
    pub names: Vec<ServiceName>,
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Only this service
    #[arg(add = service_names())]
    pub service: Option<ServiceName>,
    /// Show it again and again
    #[arg(short, long)]
    pub watch: bool,
    /// How often
    #[arg(long, value_name = "SPAN", default_value = "1s")]
    #[arg(value_parser = interval, requires = "watch")]
    pub interval: Millis,
}

/// `explain`.
#[derive(Args, Debug)]
#[group(id = "whom", required = true, multiple = true, args = ["user", "header", "client", "path"])]
pub struct ExplainArgs {
    /// The user's id
    #[arg(long, value_name = "ID", conflicts_with_all = ["header", "client", "path"])]
    pub user: Option<String>,
    /// A header of the request; may be given several times
    #[arg(long, value_name = "K: V", value_parser = header)]
    pub header: Vec<(String, String)>,
    /// The client's address
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// Path and query of the request
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// Which services.
    #[command(flatten)]
    pub services: Services,
}

/// `upgrade`.
#[derive(Args, Debug)]
pub struct UpgradeArgs {
    /// How long the new process may take to be ready; else it is ended and the old one goes on
    /// [default: 30s]
    #[arg(long, value_name = "SPAN")]
    pub ready_within: Option<Millis>,
    /// Wait until the old process has finished what it began, and has gone
    #[arg(long)]
    pub wait: bool,
}

/// `events`.
#[derive(Args, Debug)]
pub struct EventsArgs {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only events of this last span of time
    #[arg(long, value_name = "SPAN")]
    pub since: Option<Millis>,
    /// At most so many, the latest [default: 20, or with --since all]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// `cert`.
#[derive(Debug, Subcommand)]
pub enum Cert {
    /// List them, with their names and how many days are left
    #[command(after_help = "Examples:\n  lbctl cert list\n  lbctl cert list --json")]
    List,
    /// Load their files again, all or nothing, and order at once what could not be had by ACME; open
    /// connections keep what they have
    #[command(after_help = "Examples:\n  lbctl cert reload\n  lbctl cert reload --dry-run")]
    Reload,
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Check a config file; needs no daemon
    #[command(after_help = "Examples:\n  lbctl config check\n  lbctl config check ./lbd.toml")]
    Check {
        /// The file
        #[arg(default_value = CONFIG_FILE, value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Show where runtime differs from the file
    #[command(after_help = "Examples:\n  lbctl config diff\n  lbctl config diff --json")]
    Diff,
    /// Load the config file again, all or nothing
    #[command(after_help = "Examples:
  lbctl config reload --dry-run
  lbctl config reload --reset-runtime --reason 'back to the file'")]
    Reload {
        /// Then return weights, baselines and endpoints to what the file says
        #[arg(long)]
        reset_runtime: bool,
    },
    /// Turn an nginx configuration into an lbd.toml, and list what was not carried over; needs no
    /// daemon
    #[command(after_help = "Examples:
  lbctl config import-nginx /etc/nginx/nginx.conf --output lbd.toml
  lbctl config import-nginx /etc/nginx/sites-enabled/shop --json")]
    ImportNginx {
        /// The file: nginx.conf, or a part of it with servers and upstreams
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Where to write the new file; absent: to standard output
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
    },
    /// Show the config in force with every default
    #[command(after_help = "Examples:\n  lbctl config show\n  lbctl config show --json")]
    Show,
}

/// A shell that can be completed in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}
