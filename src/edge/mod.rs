//! The edge: sockets, workers, connections.
//!
//! Each worker is one thread with one current-thread runtime, one SO_REUSEPORT socket for each
//! listener and one pool of upstream connections; workers share nothing on the request path but the
//! published view, which they only read. A connection's loop ([`connection`]) judges each request's
//! head before pingora sees it.

pub mod chunks;
mod connection;
pub mod head;
mod io;
pub mod listener;
pub mod worker;
