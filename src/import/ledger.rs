//! What became of every directive.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use serde::Serialize;

use super::{parser::Directive, table};

/// What became of a directive that was not simply carried over.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is not in the new file.
    Left,
    /// It is, and does not mean quite the same.
    Differs,
    /// It is not, and need not be.
    Unneeded,
}

impl Kind {
    /// As people read it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Left => "not carried over",
            Self::Differs => "differs",
            Self::Unneeded => "not needed",
        }
    }
}

/// What is to be said about a directive.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Note {
    /// What became of it.
    pub kind: Kind,
    /// The file it is in.
    pub file: String,
    /// The line it begins on.
    pub line: usize,
    /// It, with its arguments.
    pub directive: String,
    /// Why.
    pub why: String,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, file, line, directive, why } = self;
        write!(f, "{file}:{line}: {directive}: {}: {why}", kind.words())
    }
}

/// Keeps the account. A directive that several places inherit is written down by each of them.
#[derive(Default)]
pub struct Ledger {
    carried: RefCell<BTreeSet<usize>>,
    notes: RefCell<BTreeMap<(usize, Kind, String), Note>>,
}

/// What became of the block around a directive.
#[derive(Clone, Copy)]
enum Above {
    Carried,
    Left,
}

/// Longest directive in characters that is shown whole.
const SHOWN_MAX: usize = 60;

impl Ledger {
    /// It is in the new file.
    pub fn carry(&self, directive: &Directive) {
        self.carried.borrow_mut().insert(directive.id);
    }

    /// It is not in the new file.
    pub fn left(&self, directive: &Directive, why: impl Into<String>) {
        self.note(Kind::Left, directive, why.into());
    }

    /// It is in the new file, and does not mean quite the same.
    pub fn differs(&self, directive: &Directive, why: impl Into<String>) {
        self.carry(directive);
        self.note(Kind::Differs, directive, why.into());
    }

    /// lbd does without it.
    pub fn unneeded(&self, directive: &Directive, why: impl Into<String>) {
        self.note(Kind::Unneeded, directive, why.into());
    }

    /// Whether anything was written down about it.
    pub fn is_known(&self, directive: &Directive) -> bool {
        let noted = |(id, ..): &(usize, Kind, String)| *id == directive.id;
        self.carried.borrow().contains(&directive.id) || self.notes.borrow().keys().any(noted)
    }

    /// Looks at every directive, so that none is dropped without a word. Returns how many were carried
    /// over, and what is to be said, by kind and place.
    pub fn close(&self, directives: &[Directive]) -> (usize, Vec<Note>) {
        let mut known: BTreeMap<usize, Vec<Kind>> = BTreeMap::new();
        for (id, kind, _) in self.notes.borrow().keys() {
            known.entry(*id).or_default().push(*kind);
        }
        self.account(directives, &known, Above::Carried);
        let notes: BTreeSet<(Kind, usize, String, Note)> = self
            .notes
            .borrow()
            .iter()
            .map(|((id, kind, why), note)| (*kind, *id, why.clone(), note.clone()))
            .collect();
        let notes = notes.into_iter().map(|(.., note)| note).collect();
        (self.carried.borrow().len(), notes)
    }

    fn account(&self, directives: &[Directive], known: &BTreeMap<usize, Vec<Kind>>, above: Above) {
        for directive in directives {
            let carried = self.carried.borrow().contains(&directive.id);
            let noted = known.get(&directive.id).map(Vec::as_slice).unwrap_or_default();
            let mut left = noted.contains(&Kind::Left);
            if !carried && noted.is_empty() {
                match (table::unneeded(&directive.name), table::reason(&directive.name), above) {
                    (Some(why), ..) => self.unneeded(directive, why),
                    (None, Some(why), _) => self.left(directive, why),
                    (None, None, Above::Carried) => self.left(directive, table::UNKNOWN),
                    (None, None, Above::Left) => self.left(directive, table::INSIDE),
                }
                left = table::unneeded(&directive.name).is_none();
            }
            // What is inside a block that is not needed is not needed either.
            match (carried, left) {
                (true, _) => self.account(directive.inside(), known, Above::Carried),
                (false, true) => self.account(directive.inside(), known, Above::Left),
                (false, false) => {}
            }
        }
    }

    fn note(&self, kind: Kind, directive: &Directive, why: String) {
        let note = Note {
            kind,
            file: directive.at.file.to_string(),
            line: directive.at.line,
            directive: shown(directive),
            why: why.clone(),
        };
        self.notes.borrow_mut().insert((directive.id, kind, why), note);
    }
}

/// A directive on one line.
pub fn shown(directive: &Directive) -> String {
    let words = std::iter::once(&directive.name).chain(&directive.args);
    let text = words.map(String::as_str).collect::<Vec<_>>().join(" ");
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > SHOWN_MAX {
        text = text.chars().take(SHOWN_MAX).collect();
        text.push('…');
    }
    text
}
