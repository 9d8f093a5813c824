//! What people and programs look at: the access log and the metrics.

pub mod access_log;
pub mod metrics;
