//! lbd: the edge proxy that ships releases.
pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod edge;
pub mod model;
pub mod observe;
pub mod proxy;
pub mod tally;
pub mod view;
