//! Turns a config file into checked [`Settings`], or tells everything that is wrong with it.
//!
//! The text is parsed as TOML with as much recovery as the parser has, and the tree is then read
//! key by key. Nothing stops at the first mistake: one run shows all of them, each with its line,
//! its key, what is wrong and what to write instead. What comes out needs no further check.
//!
//! - [`check()`] is the reader itself; it touches nothing but the files that the text names.
//! - [`load`] reads a file from disk.
//! - [`needs_restart`] names the changes that a reload cannot make.
//!
//! Each section has a file with its keys, defaults and limits; `values` and `places` read single
//! values.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use crate::model::{Settings, guard::Terms};
use reader::{Report, Section};

mod access;
mod acme;
mod admin;
mod check;
mod diff;
mod guard;
mod health;
mod link;
mod listener;
mod maintenance;
mod notify;
mod places;
mod policy;
mod pool;
mod problem;
mod reader;
mod rollout;
mod service;
mod tls;
mod tracing;
mod values;

pub use diff::needs_restart;
pub use places::beside;
pub use problem::{Problem, Problems};
pub use tls::reread;

/// Reads a file that the config names, by its path as it stands there.
type Read<'r> = &'r dyn Fn(&Path) -> std::io::Result<String>;

/// The name that problems carry where the text did not come from a file.
const FILE_NAME: &str = "lbd.toml";

/// Longest config file in bytes. Nobody writes more, and a device or a log is soon recognised.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A config file that was read and found right.
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// Its text, secrets included.
    pub text: String,
    /// What was in the files that it names, by their paths as they stand in it; secrets included.
    pub files: BTreeMap<PathBuf, String>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the text, which holds the secrets.
        f.debug_struct("Loaded").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Reads the config `text`.
///
/// `read` reads the files that the text names, and is given their paths as they stand in it.
///
/// # Errors
///
/// Every mistake in the text. Where the text is not TOML, what may only follow from that is left
/// out.
pub fn check(
    text: &str,
    read: &dyn Fn(&Path) -> std::io::Result<String>,
) -> Result<Settings, Problems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let report = Report::new(text);
    errors.iter().for_each(|error| report.syntax(error));
    let settings = settings(Section::root(&report, document.get_ref()), read);
    report.close(FILE_NAME, settings)
}

/// Reads the config file at `path`. Relative paths in it start at its folder.
///
/// # Errors
///
/// Every mistake in the file, or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let text = read_file(path).map_err(|message| Problems::of_file(&file, message))?;
    let files = RefCell::new(BTreeMap::new());
    let read = |file: &Path| {
        let text = std::fs::read_to_string(places::beside(path, file))?;
        files.borrow_mut().insert(file.to_owned(), text.clone());
        Ok(text)
    };
    let checked = check(&text, &read);
    match checked {
        Ok(settings) => Ok(Loaded { settings, text, files: files.into_inner() }),
        Err(problems) => Err(Problems { file, ..problems }),
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| {
        format!("cannot be read: {error}; check the path and that lbd's user may read the file")
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut file = std::io::Read::take(file, FILE_BYTES_MAX + 1);
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let mebibytes = FILE_BYTES_MAX >> 20;
        return Err(format!("is larger than {mebibytes}MiB; is it the config file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = valid.filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file as UTF-8 text")
    })
}

fn settings(mut root: Section<'_>, read: Read<'_>) -> Option<Settings> {
    let admin = admin::admin(root.section("admin"));
    let runtime = admin::runtime(root.section("runtime"));
    let bucketing = admin::bucketing(root.section("bucketing"));
    let maintenance = maintenance::maintenance(root.section("maintenance"), read);
    let guard = guard::guard(root.section("guard"), &Terms::default());
    let rollout = rollout::plans(root.section("rollout"));
    let notify = notify::receivers(&mut root);
    let tracing = root.optional("tracing", tracing::tracing(read));
    let acme = acme::acme(root.section("acme"), read);
    let listener = listener::listeners(root.section("listener"), admin.http, read);
    if let (Some(acme), Some(listeners)) = (&acme, &listener) {
        acme::contradictions(&root, acme, listeners);
    }
    let service = service::services(root.section("service"), &guard, read);
    root.finish();
    let (acme, listener, service) = (acme?, listener?, service?);
    Some(Settings {
        admin,
        runtime,
        bucketing,
        maintenance,
        guard,
        rollout,
        notify,
        tracing,
        acme,
        listener,
        service,
    })
}

#[cfg(test)]
mod tests;
