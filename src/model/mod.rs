//! The pure core: what lbd knows and decides.
//!
//! Nothing here touches a clock, a socket, a file, the environment or a random number generator.
//! Time and chance are arguments, so every decision can be replayed in a test. The two entry points:
//!
//! - [`Model::handle`] takes one [`Input`] and answers with a [`Step`]: the next model, how it must be
//!   committed, what to reply and what to journal. Only control calls it.
//! - [`decide`] takes the published [`Snapshot`], the [`Facts`] of one request and a [`Draw`], and says
//!   which pool serves it. Workers call it for every request.

#![deny(clippy::disallowed_methods)]

pub mod acme;
pub mod address;
pub mod announcement;
pub mod blame;
pub mod bucket;
pub mod change;
pub mod cohort;
pub mod command;
pub mod decide;
pub mod diff;
pub mod event;
pub mod facts;
pub mod guard;
pub mod handed;
pub mod health;
pub mod histogram;
pub mod limit;
pub mod link;
pub mod listener;
pub mod maintenance;
mod merge;
pub mod notify;
mod orders;
pub mod policy;
pub mod preflight;
pub mod refusal;
pub mod rollout;
pub mod route;
pub mod settings;
mod sight;
pub mod snapshot;
pub mod spans;
pub mod split;
pub mod state;
pub mod step;
pub mod tls;
pub mod units;
mod watching;

pub use address::{Address, Target};
pub use blame::Blame;
pub use bucket::{Bucket, Draw, UserHash};
pub use change::Changed;
pub use command::{Command, EndpointKey, Input, Order, Sight};
pub use decide::{Outcome, Placement, Rule, decide};
pub use event::{Actor, Event, Severity};
pub use facts::{Facts, Headers};
pub use refusal::Refusal;
pub use settings::Settings;
pub use snapshot::Snapshot;
pub use split::Split;
pub use state::State;
pub use step::{Commit, Model, Step};
pub use units::{Millis, Moment, PoolName, Revision, ServiceName, Share};
