//! The request path: what becomes of a request, over the values of the published view.
//!
//! [`full`] drives pingora's `ProxyHttp`; everything it decides stands in plain functions beside it,
//! which a leaner HTTP/1 path can call as well: [`crate::model::decide`] picks the pool, [`choose`] the
//! endpoint, [`headers`] edits heads, [`record`] counts and logs.

mod answer;
pub mod choose;
pub mod client;
mod dial;
pub mod exchange;
mod facts;
mod failure;
pub mod full;
mod grpc;
pub mod headers;
mod judging;
pub mod peers;
mod record;
mod shield;
mod telling;
pub mod tunnel;
mod upstream;
