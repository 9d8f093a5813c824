//! What can be typed about weights, maintenance, pauses, endpoints and cohorts.

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::Services;
use crate::{
    cli::{
        complete::{endpoint_names, pool_names},
        moment::Until,
        values::{Secret, network},
    },
    model::{Address, Millis, PoolName, Share},
};

/// `weight`.
#[derive(Args, Debug)]
pub struct WeightArgs {
    /// The pool
    #[arg(add = pool_names())]
    pub pool: Option<PoolName>,
    /// Its percentage, as in 25 or 0.5%; without it, what is in force is shown
    #[arg(allow_hyphen_values = true)]
    pub percent: Option<Share>,
    /// Which services.
    #[command(flatten)]
    pub services: Services,
    /// Return to what was before after this time
    #[arg(long = "for", value_name = "SPAN", requires = "percent")]
    pub span: Option<Millis>,
    /// Even if the guard has locked the pool out, or a rollout runs, which this ends
    #[arg(long, requires = "percent")]
    pub force: bool,
}

/// `switch`.
#[derive(Args, Debug)]
pub struct SwitchArgs {
    /// The pool
    #[arg(add = pool_names())]
    pub pool: PoolName,
    /// Which services.
    #[command(flatten)]
    pub services: Services,
    /// Without the pool's preflight
    #[arg(long)]
    pub skip_checks: bool,
}

/// `rollback`.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// Which services.
    #[command(flatten)]
    pub services: Services,
    /// Go down in steps over this time
    #[arg(long, value_name = "SPAN")]
    pub ramp: Option<Millis>,
    /// Wait until the last step is done [default --timeout: the ramp and 60s]
    #[arg(long, requires = "ramp")]
    pub wait: bool,
}

/// `maintenance`.
#[derive(Debug, Subcommand)]
pub enum Maintenance {
    /// Begin maintenance, or change its terms
    #[command(after_help = "Examples:
  lbctl maintenance on --until 04:00 --message 'Back at four'
  lbctl maintenance on --service app --for 2h --allow 10.0.0.0/8 --secret")]
    On(MaintenanceOn),
    /// End maintenance
    #[command(
        after_help = "Examples:\n  lbctl maintenance off\n  lbctl maintenance off --service app"
    )]
    Off(Services),
    /// Show which maintenance is on
    #[command(
        after_help = "Examples:\n  lbctl maintenance status\n  lbctl maintenance status --json"
    )]
    Status,
}

/// `maintenance on`.
#[derive(Args, Debug)]
pub struct MaintenanceOn {
    /// Which services.
    #[command(flatten)]
    pub services: Services,
    /// How long it lasts
    #[arg(long = "for", value_name = "SPAN", conflicts_with = "until")]
    pub span: Option<Millis>,
    /// When it ends: "HH:MM", "YYYY-MM-DD HH:MM" (local time) or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub until: Option<Until>,
    /// What the page says
    #[arg(long, value_name = "TEXT")]
    pub message: Option<String>,
    /// A client network that passes; may be given several times
    #[arg(long, value_name = "CIDR", value_parser = network)]
    pub allow: Vec<IpNet>,
    /// Make a link that lets its bearer pass, with this secret or a random one
    #[arg(long, value_name = "SECRET")]
    pub secret: Option<Option<Secret>>,
}

/// `pause`.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// Which services.
    #[command(flatten)]
    pub services: Services,
    /// How long a request is held at most, up to 5m [default: 30s]
    #[arg(long, value_name = "SPAN")]
    pub max: Option<Millis>,
}

/// `endpoint`.
#[derive(Debug, Subcommand)]
pub enum Endpoint {
    /// List the endpoints of a pool
    #[command(after_help = "Examples:
  lbctl endpoint list green
  lbctl endpoint list green --service api --json")]
    List {
        /// The pool
        #[arg(add = pool_names())]
        pool: PoolName,
        /// Which services.
        #[command(flatten)]
        services: Services,
    },
    /// Add an endpoint to a pool
    #[command(after_help = "Examples:
  lbctl endpoint add green 10.0.0.8:9001
  lbctl endpoint add green app.internal:9001 --service api --weight 2")]
    Add {
        /// Which endpoint.
        #[command(flatten)]
        which: Which,
        /// Its weight inside the pool, 1 to 1000
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
        weight: Option<u16>,
    },
    /// Take an endpoint out of its pool for good
    #[command(after_help = "Examples:
  lbctl endpoint remove green 10.0.0.8:9001
  lbctl endpoint remove green 10.0.0.8:9001 --wait --timeout 5m")]
    Remove {
        /// Which endpoint.
        #[command(flatten)]
        which: Which,
        /// Drain it and wait for its running requests first
        #[arg(long)]
        wait: bool,
    },
    /// Give an endpoint no new requests; it is still probed
    #[command(after_help = "Examples:
  lbctl endpoint drain green 10.0.0.8:9001
  lbctl endpoint drain green 10.0.0.8:9001 --wait --timeout 2m")]
    Drain(Leaving),
    /// Take an endpoint out of use; it is not probed
    #[command(after_help = "Examples:
  lbctl endpoint maint green 10.0.0.8:9001 --reason 'kernel update'
  lbctl endpoint maint green unix:/run/app.sock --wait")]
    Maint(Leaving),
    /// Put an endpoint in use
    #[command(after_help = "Examples:
  lbctl endpoint ready green 10.0.0.8:9001
  lbctl endpoint ready green 10.0.0.8:9001 --service api")]
    Ready(Which),
}

/// An endpoint that goes out of use.
#[derive(Args, Debug)]
pub struct Leaving {
    /// Which endpoint.
    #[command(flatten)]
    pub which: Which,
    /// Wait until its running requests are done
    #[arg(long)]
    pub wait: bool,
}

/// Which endpoint.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// The pool
    #[arg(add = pool_names())]
    pub pool: PoolName,
    /// The endpoint: HOST:PORT, IP:PORT, [IPv6]:PORT or unix:/path
    #[arg(add = endpoint_names())]
    pub address: Address,
    /// Which services.
    #[command(flatten)]
    pub services: Services,
}

/// `cohort`.
#[derive(Debug, Subcommand)]
pub enum Cohort {
    /// List the users of a pool's two lists
    #[command(
        after_help = "Examples:\n  lbctl cohort list green\n  lbctl cohort list green --json"
    )]
    List {
        /// The pool
        #[arg(add = pool_names())]
        pool: PoolName,
    },
    /// Put users on a list
    #[command(after_help = "Examples:
  lbctl cohort add green alice bob
  lbctl cohort add green - --deny < users.txt")]
    Add(CohortArgs),
    /// Take users off a list
    #[command(after_help = "Examples:
  lbctl cohort remove green alice
  lbctl cohort remove green alice --deny")]
    Remove(CohortArgs),
}

/// `cohort add` and `cohort remove`.
#[derive(Args, Debug)]
pub struct CohortArgs {
    /// The pool
    #[arg(add = pool_names())]
    pub pool: PoolName,
    /// The users' ids; - reads them from standard input, one a line
    #[arg(value_name = "ID", required = true)]
    pub users: Vec<String>,
    /// The list of those who never go to the pool, instead of those who always do
    #[arg(long)]
    pub deny: bool,
}
