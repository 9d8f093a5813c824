//! TLS towards clients: reads certificates, and holds what a handshake needs.
//!
//! The config check reads certificate files with [`certificate()`], control puts what is in force into
//! a listener's [`Holder`], and workers ask it at each handshake. So certificates change without
//! touching a connection.

mod certificate;
mod holder;
mod names;
mod server;

pub use certificate::{Problem, anchors, certificate};
pub use holder::{Holder, Holders};
pub use server::{Tickets, server};

/// Makes aws-lc-rs what all TLS of this process uses. Later calls change nothing.
pub fn install_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
