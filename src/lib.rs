//! lbd: the edge proxy that ships releases.
//!
//! It stands between clients and the pools of a service, shifts traffic between them, keeps each user
//! on one side, and is driven live through an admin socket by `lbctl`.
//!
//! # The parts
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] | pure: what lbd knows and decides; time and chance are arguments |
//! | [`config`] | a file's text → checked settings, or every mistake at once |
//! | [`import`] | pure: an nginx configuration → a config file, and what became of each directive |
//! | [`edge`] | workers, sockets, connections; judges each request's head |
//! | [`proxy`] | the request path over model values: the lean one, and the full one on pingora |
//! | [`view`] | the one published value: control stores it, workers load it once per request |
//! | [`tally`] | counters with one writer each: workers record, control reads |
//! | [`control`] | the single writer: orders, state, probes, reload, certificates by ACME, admin API |
//! | [`handover`] | from one process to the next: sockets and what control knows, for an upgrade |
//! | [`init`] | what a container's first process must do besides |
//! | [`observe`] | access log, metrics and spans |
//! | [`notify`] | tells receivers of events, each from a thread of its own |
//! | [`page`] | what lbd answers in its own name |
//! | [`api`] | the admin API as one table, and what goes over the wire |
//! | [`tls`] | certificates and keys: read or made, held for each listener, chosen at each handshake; TLS towards endpoints |
//! | [`report`] | pure: a rollout's record → JSON, Markdown or one HTML file with plots |
//! | [`cli`] | `lbctl`: grammar → request; reply → text or JSON |
//!
//! # The flows
//!
//! **A request**: `edge::connection` reads and judges the head → `proxy::fast` serves it, if it asks for
//! nothing special, or leaves it to `proxy::full` → the view is loaded → `model::decide` picks the pool →
//! `proxy::gate` lets it in → `proxy::choose` the endpoint → our own loop or pingora carries it → the
//! worker's own tally counts it.
//!
//! **A command**: `lbctl` → `control::server` (who is it?) → `control::handler` (what is it?) →
//! `Control::order` → `Model::handle` thinks out a step → the store writes it → the view is published →
//! the reply. A rollback is published first and written after.
//!
//! **A sight**: a probe, a failing endpoint, a resolved name → `Model::observe` → if it changes who is
//! fit to serve, the view is published.
//!
//! **An upgrade**: `control::upgrade` starts the binary on the disk → `handover` offers it the sockets → it
//! prepares itself → control changes nothing any more and hands over what it knows → the other serves →
//! this one finishes what it began, and does meanwhile what the other decides.
//!
//! `proxy` and `control` never import each other: they meet in `view` and `tally`. Only `edge` and
//! `proxy` name pingora. `tests/laws.rs` holds the code to that.

#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]
// The model is held to them; see src/model/mod.rs.
#![allow(clippy::disallowed_methods)]

pub mod api;
pub mod cli;
pub mod config;
pub mod control;
pub mod edge;
pub mod handover;
pub mod import;
pub mod init;
pub mod model;
pub mod notify;
pub mod observe;
pub mod page;
pub mod proxy;
pub mod report;
pub mod tally;
pub mod tls;
pub mod view;
