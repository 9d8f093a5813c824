//! TLS towards clients and endpoints: reads certificates, and holds what a handshake needs.
//!
//! Towards clients: the config check reads certificate files with [`certificate()`], control puts what is in force into
//! a listener's [`Holder`], and workers ask it at each handshake. So certificates change without
//! touching a connection. Towards endpoints: [`client`] makes what control's probes and checks use, and the
//! lean path; the full path's own is made of the same files.

mod automatic;
mod certificate;
mod endpoint;
mod holder;
mod names;
mod own;
mod pem;
mod server;

pub use automatic::{Automatic, Proofs};
pub use certificate::{Problem, certificate};
pub use endpoint::{client, is_host_name};
pub use holder::{Handshake, Holder, Holders};
pub use own::{ACME_TLS, request};
pub use pem::{Fault, belong_together, certificates, private_key, roots};
pub use server::{Tickets, server};

/// Makes aws-lc-rs what all TLS of this process uses. Later calls change nothing.
pub fn install_provider() {
    // An error means that it is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
