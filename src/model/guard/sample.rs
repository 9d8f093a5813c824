//! What the guard hears of a request.

use serde::{Deserialize, Serialize};

use crate::model::bucket::UserHash;

/// A pool's number in its service: the same as long as the process lives.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct PoolTag(pub u8);

/// The number of a split in its service; it wraps, so that only recent ones are told apart. A request
/// belongs to the split it began under, however late it ends.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
pub struct Epoch(pub u8);

/// The first attempt of one request, as it went. Only attempts on the pool that the request belongs to
/// by bucket or draw are told, or that nobody in it could be asked: pinned testers, cohort lists and
/// warming endpoints are not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sample {
    /// The pool that served it.
    pub pool: PoolTag,
    /// The split it began under.
    pub epoch: Epoch,
    /// The user; `None`: unknown, the pool was drawn by chance for this request alone.
    pub user: Option<UserHash>,
    /// How it went.
    pub fate: Fate,
    /// The bucket ([`crate::model::histogram::bucket_of`]) of the time in microseconds from the end of
    /// the request to the first byte of the response, or to the failure, or until now.
    pub latency: u16,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    /// An answer other than a 5xx.
    Good,
    /// It failed by the fault of the pool: 5xx, connect, timeout, reset, protocol.
    Failed,
    /// Told as good before, it failed before its response was whole. Not a further request.
    Broke,
    /// The client left before an answer came: no failure, but it took at least this long.
    Left,
    /// It waits for its answer: it takes at least this long. Told anew at each judgement, and again
    /// with its real fate when it ends; never counted twice.
    Waiting,
}
