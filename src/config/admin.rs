//! `[admin]`, `[runtime]` and `[bucketing]`.

use std::path::PathBuf;

use super::{
    places::{absolute_path, socket_address, socket_path},
    reader::Section,
    values::{Limits, mode, principal, span, text, truth, whole},
};
use crate::model::{
    Millis,
    settings::{Admin, Bucketing, Runtime},
};

const DRAIN_LIMITS: Limits = (Millis(0), Millis::from_secs(24 * 3600));
const WORKERS_MAX: usize = 1024;
const CONNECTIONS_MAX: usize = 10_000_000;
/// Longest salt in bytes: it is hashed with every user id.
const SALT_MAX: usize = 200;
/// Longest name of a group in bytes; systems stop at 32.
const GROUP_NAME_MAX: usize = 255;

/// Reads `[admin]`.
pub(super) fn admin(mut section: Section<'_>) -> Admin {
    let people = "a list of names, as in [\"deploy\", \"@ops\"]";
    let admin = Admin {
        socket: section.or("socket", PathBuf::from("/run/lbd/admin.sock"), socket_path),
        socket_mode: section.or("socket_mode", 0o660, mode),
        socket_group: section.optional("socket_group", text(GROUP_NAME_MAX)),
        state_dir: section.or("state_dir", PathBuf::from("/var/lib/lbd"), absolute_path),
        http: section.optional("http", socket_address),
        viewers: section.list("viewers", people, principal).unwrap_or_default(),
        operators: section.list("operators", people, principal).unwrap_or_default(),
    };
    section.finish();
    admin
}

/// Reads `[runtime]`.
pub(super) fn runtime(mut section: Section<'_>) -> Runtime {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
    let runtime = Runtime {
        workers: section.or("workers", cores, whole(1..=WORKERS_MAX)),
        upgrade_drain: section.or("upgrade_drain", Millis::from_secs(30), span(DRAIN_LIMITS)),
        max_connections: section.or("max_connections", 50_000, whole(1..=CONNECTIONS_MAX)),
        fast_path: section.or("fast_path", true, truth),
    };
    section.finish();
    runtime
}

/// Reads `[bucketing]`.
pub(super) fn bucketing(mut section: Section<'_>) -> Bucketing {
    let salt = section.optional("salt", text(SALT_MAX));
    section.finish();
    Bucketing { salt: salt.map_or_else(|| "lbd".into(), Into::into) }
}
