//! The guard: judges candidates by their live traffic.
//!
//! Three detectors, any of which accuses: gross failure and regression are a sequential test against the
//! baseline's concurrent traffic ([`wealth`], [`sequential`], [`voices`], [`trial`]), valid at every moment with one
//! budget of false alarms for the whole shift; limits are judged over a window on a confidence bound
//! ([`judge`]). Where the baseline serves nothing, its profile from before the shift stands in.
//!
//! What the guarantee assumes: users are divided by chance (by hash or by draw), so that under "no
//! worse" what goes wrong falls on the candidate as often as traffic does; and a user's trouble is their
//! own, not that of all users of one side at once.

pub mod bounds;
pub mod judge;
pub mod outlook;
pub mod recent;
pub mod replay;
pub mod sample;
pub mod seconds;
pub mod selftest;
pub mod sequential;
pub mod terms;
pub mod trial;
mod users;
mod variety;
pub mod verdict;
pub mod voices;
pub mod watch;
pub mod wealth;
mod words;

pub use recent::Profile;
pub use replay::rejudge;
pub use sample::{Epoch, Fate, PoolTag, Sample};
pub use terms::{Action, Terms, Tolerance};
pub use verdict::{Breach, Detector, Evidence, Finding, Lacking, Measure, Tape, Verdict};
pub use watch::Watch;
