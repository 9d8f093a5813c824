//! The request path: what becomes of a request, over the values of the published view.
//!
//! [`full`] drives pingora's `ProxyHttp`; everything it decides stands in plain functions beside it,
//! which a leaner HTTP/1 path can call as well: [`crate::model::decide`] picks the pool, [`choose`] the
//! endpoint, [`headers`] edits heads, [`record`] counts and logs.

mod answer;
mod attempt;
pub mod buckets;
mod changes;
pub mod choose;
pub mod client;
mod compress;
mod dial;
mod door;
pub mod exchange;
mod facts;
mod failure;
pub mod fast;
pub mod framing;
pub mod full;
pub mod gate;
pub mod grpc;
pub mod handed;
pub mod headers;
pub mod judging;
mod outcome;
mod patience;
pub mod peers;
mod proof;
mod record;
mod secure;
mod shield;
mod span;
mod telling;
mod trace;
pub mod tunnel;
mod turn;
mod upstream;
