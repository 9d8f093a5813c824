//! Turns an nginx configuration into an lbd.toml, and says of every directive what became of it.
//!
//! - `lexer` and `parser` read a text by nginx's own rules; `include` puts included files in.
//! - `scope` says which directives hold in a place, `ledger` keeps the account of all of them, and
//!   `table` knows what to say of those that nobody asked for.
//! - `guard` says what kept clients out, and `closed` shuts what would be more open than it was.
//! - `server`, `listener`, `location`, `path`, `upstream`, `split`, `policy`, `patience`, `page` and `rewrite` each turn
//!   their directives into sections of the `document`.
//!
//! The parser is lbd's own: the crates that were looked at are not maintained, or cut words otherwise
//! than nginx does, or have no bound on how deep blocks lie.
//!
//! Pure, but for the [`Files`] it is given. What nginx does by default and lbd does otherwise is said
//! at the head of the new file.

mod closed;
mod document;
mod guard;
mod include;
mod ledger;
mod lexer;
mod listener;
mod location;
mod page;
mod parser;
mod path;
mod patience;
mod policy;
mod rewrite;
mod scope;
mod server;
mod split;
mod table;
mod upstream;
mod value;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use serde::Serialize;

pub use include::Files;
pub use ledger::{Kind, Note};
pub use parser::{Broken, Place};

use document::{Document, Section};
use ledger::Ledger;
use location::Services;
use scope::Context;

/// The new file, and what became of the old one.
#[derive(Debug, Serialize)]
pub struct Imported {
    /// The text of the new file.
    pub config: String,
    /// How many directives are in it.
    pub carried: usize,
    /// What is to be said of the others, by kind and place.
    pub notes: Vec<Note>,
}

impl Imported {
    /// How many notes of this kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.notes.iter().filter(|note| note.kind == kind).count()
    }
}

/// Turns the nginx file at `path`, with everything it includes, into a config of lbd's. The files that
/// it names are found from `folder`, its own: the new file may lie elsewhere.
///
/// # Errors
///
/// Where and why it is no nginx file.
pub fn import(path: &Path, folder: &Path, files: &dyn Files) -> Result<Imported, Broken> {
    let ledger = Ledger::default();
    let directives = include::read(path, files, &ledger)?;
    let context = Context::new(&directives, folder, &ledger);
    let servers = server::servers(&context);
    let mut services = Services {
        context: &context,
        names: Names::default(),
        claims: BTreeSet::new(),
        page: None,
        sections: Vec::new(),
        written: Vec::new(),
    };
    servers.iter().for_each(|server| services.add(server));
    services.shut_unreached(&servers);
    let listeners = listener::sections(&context, &servers);
    let mut document = Document { head: head(path), sections: Vec::new() };
    if let Some((page, at)) = services.page {
        let mut section = Section::table(&["maintenance"]);
        section.comment("What `lbctl maintenance on` shows.");
        section.set_because("page", page, at);
        document.sections.push(section);
    }
    if listeners.is_empty() {
        document.head.push("nginx has no server here: add [listener.http] and a service.".into());
    }
    document.sections.extend(listeners);
    document.sections.extend(services.sections);
    let config = document.to_string();
    let (carried, notes) = ledger.close(&directives);
    Ok(Imported { config, carried, notes })
}

fn head(path: &Path) -> Vec<String> {
    let lines = [
        &format!(
            "From {}, by `lbctl config import-nginx`. Check it with `lbctl config check`.",
            path.display()
        ),
        "",
        "Each section says where it comes from. Where nginx has a default that lbd does not share:",
        "- bodies: 1 MiB at most in nginx, any size in lbd without max_body_bytes;",
        "- proxy_connect_timeout: 60s in nginx, 2s in lbd without timeouts.connect;",
        "- access_log: on in nginx, off in lbd without access_log;",
        "- a service answers on every listener.",
    ];
    lines.map(str::to_owned).into()
}

/// Names that are taken.
#[derive(Default)]
pub struct Names(HashMap<String, usize>);

impl Names {
    /// The name if it is free, else with a number.
    fn free(&mut self, name: &str) -> String {
        let name: String = name.chars().take(55).collect();
        let mut wished = name.clone();
        while self.0.contains_key(&wished) {
            let count = self.0.entry(name.clone()).or_insert(1);
            *count += 1;
            wished = format!("{name}-{count}");
        }
        self.0.insert(wished.clone(), 1);
        wished
    }
}

#[cfg(test)]
mod tests;
