//! The edge: sockets, workers, connections.
//!
//! Each worker is one thread with one current-thread runtime, one SO_REUSEPORT socket for each
//! listener and one pool of upstream connections; workers share nothing on the request path but the
//! published view, which they only read. A connection's loop ([`connection`]) judges each request's
//! head before pingora sees it.

mod admission;
pub mod buffers;
pub mod chunks;
pub mod clients;
mod connection;
pub mod framing;
pub mod head;
pub mod http2;
pub mod io;
pub mod listener;
mod parking;
pub mod proxy_protocol;
mod socket;
pub mod timer;
pub mod trailers;
pub mod worker;
