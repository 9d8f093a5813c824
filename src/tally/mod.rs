//! What workers count and control reads.
//!
//! Every counter has one writer, the worker whose cell it lies in, so recording is a load and a store
//! without a lock prefix, on cache lines that no other worker writes. Readers sum over the cells and
//! take differences; nothing is ever reset. Cells are kept by identity across snapshots, so a weight
//! change or a reload loses no count.

mod cell;
mod histogram;
mod listener;
mod registry;
mod samples;

pub use cell::{Counter, EndpointCell, EndpointTally, PoolCell, PoolCounts, PoolTally};
pub use histogram::Histogram;
pub use listener::{ListenerCell, ListenerTally};
pub use registry::{Beat, Tallies};
pub use samples::{GuardCell, GuardTally, Waiting, micros};
