//! Reads a parsed TOML tree key by key and keeps count of what is wrong with it.
//!
//! A [`Section`] hands out its keys by name. It remembers the names, so that when it is finished it
//! can tell which keys of the file nobody asked for. A [`Value`] knows its line and key path, and
//! reports what is wrong with itself to the [`Report`] of the file. Nothing stops at a mistake:
//! readers go on with a default in its place, and [`Report::close`] lets no value out of a file
//! that had one.

use std::{cell::RefCell, fmt::Write as _, str::FromStr};

use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// Longest text that a message repeats, in characters.
const SHOWN_MAX: usize = 60;

/// What a name is made of, as messages say it.
pub(super) const NAME_FORM: &str =
    "up to 63 letters, digits, - and _, beginning with a letter or digit";

/// What to write instead, by how the parser's message begins.
const HINTS: &[(&str, &str)] = &[
    ("duplicate key", "write each key and each [section] once"),
    ("invalid boolean", "write texts in quotes"),
    ("string values must be quoted", "write texts in quotes"),
    ("invalid basic string", "write the closing quote on the same line"),
    ("invalid literal string", "write the closing quote on the same line"),
    ("key with no value", "write KEY = VALUE"),
    ("unclosed table", "write the section as [NAME]"),
    ("recursion limit", "write it with fewer levels of brackets or dots"),
];

/// The problems found so far in one file.
pub(super) struct Report {
    /// Byte offsets at which lines begin.
    lines: Vec<usize>,
    found: RefCell<Vec<(Kind, Problem)>>,
}

/// How a problem relates to others.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// The text is not TOML.
    Syntax,
    /// A key or value is wrong.
    Value,
    /// Something is lacking, or does not add up. Perhaps only since a syntax error hides a part.
    Absence,
}

impl Report {
    /// An empty report on `text`.
    pub fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Self { lines, found: RefCell::default() }
    }

    /// Reports what the TOML parser refused.
    pub fn syntax(&self, error: &toml::de::Error) {
        let at = error.span().map(|span| span.start);
        // The parser says what it expected in the terms of its grammar.
        let hint = HINTS.iter().find(|(start, _)| error.message().starts_with(start));
        let write = hint.map_or("correct this line", |(_, write)| write);
        self.add(Kind::Syntax, at, "syntax", format!("{}; {write}", error.message()));
    }

    /// The `value` if there was no problem.
    ///
    /// # Errors
    ///
    /// All problems. What a syntax error may have caused elsewhere is left out.
    pub fn close<T>(self, file: &str, value: Option<T>) -> Result<T, Problems> {
        let found = self.found.into_inner();
        if let (true, Some(value)) = (found.is_empty(), value) {
            return Ok(value);
        }
        let broken: Vec<_> =
            found.iter().filter(|(kind, _)| *kind == Kind::Syntax).map(|(_, p)| p.line).collect();
        let mut list: Vec<Problem> = Vec::new();
        for (kind, problem) in found {
            let keep = match kind {
                Kind::Syntax => true,
                Kind::Value => !broken.contains(&problem.line),
                Kind::Absence => broken.is_empty(),
            };
            if keep && !list.contains(&problem) {
                list.push(problem);
            }
        }
        debug_assert!(!list.is_empty(), "a reader gave up without saying why");
        Err(Problems::new(file, list))
    }

    fn add(&self, kind: Kind, at: Option<usize>, key: &str, message: String) {
        let line = at.map(|at| self.lines.partition_point(|begin| *begin <= at));
        let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        self.found.borrow_mut().push((kind, Problem { line, key: key.to_owned(), message }));
    }
}

/// A value of the file, with its place.
#[derive(Clone)]
pub(super) struct Value<'t> {
    report: &'t Report,
    key: String,
    at: Option<usize>,
    value: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    /// The path of its key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value if it is a text.
    pub fn text(&self) -> Option<&'t str> {
        self.value.as_str()
    }

    /// The value if it is a whole number.
    pub fn whole(&self) -> Option<i64> {
        let number = self.value.as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    }

    /// The value as it is written if it is a number with a decimal point.
    pub fn decimal(&self) -> Option<&str> {
        self.value.as_float().map(|number| number.as_str())
    }

    /// The value if it is `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.value.as_bool()
    }

    /// Whether the value is a table.
    pub fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// The elements if the value is an array; each has its own line.
    pub fn items(&self) -> Option<Vec<Self>> {
        let items = self.value.as_array()?.iter().enumerate();
        Some(
            items
                .map(|(n, item)| Self {
                    report: self.report,
                    key: format!("{}[{n}]", self.key),
                    at: Some(item.span().start),
                    value: item.get_ref(),
                })
                .collect(),
        )
    }

    /// The elements as `read` reads them; `None` if one is wrong. Reports if the value is no array,
    /// with an `example` of one.
    pub fn list<T>(&self, example: &str, read: impl Fn(&Self) -> Option<T>) -> Option<Vec<T>> {
        let Some(items) = self.items() else { return self.is_not("a list", example) };
        // Every element is read before one that is wrong spoils the list.
        let read: Vec<Option<T>> = items.iter().map(read).collect();
        read.into_iter().collect()
    }

    /// The value as a section; reports if it is no table. `write` shows how to write it.
    pub fn section(&self, write: &str) -> Option<Section<'t>> {
        match self.value.as_table() {
            Some(table) => Some(Section::new(self.report, self.key.clone(), self.at, Some(table))),
            None => self.is_not("a table", write),
        }
    }

    /// Reports that the value is not `what`, and what to `write` instead. Always `None`.
    pub fn is_not<T>(&self, what: &str, write: &str) -> Option<T> {
        self.problem(format!("{} is not {what}; write {write}", self.shown()))
    }

    /// Reports a problem with this value. Always `None`.
    pub fn problem<T>(&self, message: impl Into<String>) -> Option<T> {
        self.report.add(Kind::Value, self.at, &self.key, message.into());
        None
    }

    /// The value as a message repeats it: on one line, and not too long.
    pub fn shown(&self) -> String {
        match self.value {
            DeValue::String(text) => quoted(text),
            DeValue::Integer(number) => shortened(&number.to_string()),
            DeValue::Float(number) => shortened(number.as_str()),
            DeValue::Boolean(truth) => truth.to_string(),
            DeValue::Datetime(date) => date.to_string(),
            DeValue::Array(_) => "an array".into(),
            DeValue::Table(_) => "a table".into(),
        }
    }
}

/// A table of the file; empty if the file does not have it.
pub(super) struct Section<'t> {
    report: &'t Report,
    key: String,
    at: Option<usize>,
    entries: Option<&'t DeTable<'t>>,
    /// Whether the file has something else in its place, which was reported.
    refused: bool,
    known: Vec<&'static str>,
    /// Keys that were reported with a message of their own.
    strange: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// The whole file.
    pub fn root(report: &'t Report, table: &'t DeTable<'t>) -> Self {
        Self::new(report, String::new(), None, Some(table))
    }

    fn new(
        report: &'t Report,
        key: String,
        at: Option<usize>,
        entries: Option<&'t DeTable<'t>>,
    ) -> Self {
        Self { report, key, at, entries, refused: false, known: Vec::new(), strange: Vec::new() }
    }

    /// Takes the value of the key `name`, if it is there.
    pub fn take(&mut self, name: &'static str) -> Option<Value<'t>> {
        self.known.push(name);
        self.values().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Takes and reads the key `name`; `default` if it is absent or wrong.
    pub fn or<T>(
        &mut self,
        name: &'static str,
        default: T,
        read: impl FnOnce(&Value<'t>) -> Option<T>,
    ) -> T {
        self.optional(name, read).unwrap_or(default)
    }

    /// Takes and reads the key `name`; `None` if it is absent or wrong.
    pub fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value<'t>) -> Option<T>,
    ) -> Option<T> {
        self.take(name).and_then(|value| read(&value))
    }

    /// Takes and reads the key `name`; reports if it is absent, with an `example` of its value.
    pub fn required<T>(
        &mut self,
        name: &'static str,
        example: &str,
        read: impl FnOnce(&Value<'t>) -> Option<T>,
    ) -> Option<T> {
        match self.take(name) {
            Some(value) => read(&value),
            None => self.missing(name, &format!("is missing; write {name} = {example}")),
        }
    }

    /// Takes an array and reads each element; `None` if one is wrong, empty if it is absent.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        example: &str,
        read: impl Fn(&Value<'t>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.take(name).map_or_else(|| Some(Vec::new()), |value| value.list(example, read))
    }

    /// Takes the section `name`; an empty one if it is absent or no table.
    pub fn section(&mut self, name: &'static str) -> Section<'t> {
        let value = self.take(name);
        let path = self.path(name);
        let at = value.as_ref().map_or(self.at, |value| value.at);
        let refused = value.is_some();
        let write = format!("it as a section [{path}]");
        let section = value.and_then(|value| value.section(&write));
        section.unwrap_or_else(|| Section { refused, ..Section::new(self.report, path, at, None) })
    }

    /// All entries in the order of the file, for sections whose keys are names; reports the keys
    /// that cannot be one.
    pub fn named<N: FromStr>(&self) -> Vec<(Option<N>, Value<'t>)> {
        let named = |(key, value): (&str, Value<'t>)| {
            let name = key.parse().ok().or_else(|| {
                value.problem(format!("{} is not a name; write {NAME_FORM}", quoted(key)))
            });
            (name, value)
        };
        self.entries().into_iter().map(named).collect()
    }

    /// All entries in the order of the file.
    pub fn entries(&self) -> Vec<(&'t str, Value<'t>)> {
        let mut entries: Vec<_> = self.values().collect();
        // The table sorts by name, but of two that clash the later one is to blame.
        entries.sort_by_key(|(_, value)| value.at);
        entries
    }

    /// Reports the keys among `names` that are there but mean nothing here, with a `message` that
    /// says so better than that they are unknown.
    pub fn refuse(&mut self, names: &[&'static str], message: &str) {
        for (_, value) in self.values().filter(|(key, _)| names.contains(key)) {
            value.problem::<()>(message);
        }
        self.strange.extend(names);
    }

    /// Whether the section has no entry at all, and nothing else stands in its place.
    pub fn is_empty(&self) -> bool {
        !self.refused && self.entries.is_none_or(|entries| entries.is_empty())
    }

    /// Reports a problem with the section as a whole. Always `None`.
    pub fn problem<T>(&self, message: impl Into<String>) -> Option<T> {
        self.report.add(Kind::Value, self.at, &self.key, message.into());
        None
    }

    /// Reports that something is lacking at `name`, or does not add up. Always `None`.
    pub fn missing<T>(&self, name: &str, message: &str) -> Option<T> {
        self.report.add(Kind::Absence, self.at, &self.path(name), message.to_owned());
        None
    }

    /// Reports the keys that nobody has taken.
    pub fn finish(self) {
        let settled = |key: &str| self.known.contains(&key) || self.strange.contains(&key);
        for (key, value) in self.values().filter(|(key, _)| !settled(key)) {
            value.problem::<()>(match nearest(key, &self.known) {
                Some(near) => format!("unknown key; did you mean {near}?"),
                None => format!("unknown key; known here: {}", self.known.join(", ")),
            });
        }
    }

    fn values(&self) -> impl Iterator<Item = (&'t str, Value<'t>)> {
        let entries = self.entries.into_iter().flat_map(|entries| entries.iter());
        entries.map(|(key, value)| {
            let name: &'t str = key.get_ref();
            let value_at = if value.get_ref().is_table() { key.span() } else { value.span() };
            let at = Some(value_at.start);
            let path = self.path(name);
            (name, Value { report: self.report, key: path, at, value: value.get_ref() })
        })
    }

    fn path(&self, name: &str) -> String {
        let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_bare = !name.is_empty() && name.bytes().all(bare);
        let mut path = self.key.clone();
        if !path.is_empty() && !name.is_empty() {
            path.push('.');
        }
        path.push_str(&if is_bare || name.is_empty() { shortened(name) } else { quoted(name) });
        path
    }
}

/// The known key that somebody who typed `key` most likely meant.
fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |name: &str| strsim::damerau_levenshtein(key, name);
    // Long nonsense is not worth the quadratic comparison.
    let known = known.iter().filter(|name| key.len() <= 2 * name.len());
    let near = known.map(|name| (distance(name), *name)).min()?;
    (near.0 <= (near.1.len() / 3).max(1)).then_some(near.1)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", shortened(text))
}

fn shortened(text: &str) -> String {
    let mut out = String::new();
    for (n, char) in text.chars().enumerate() {
        if n == SHOWN_MAX {
            out.push_str("...");
            break;
        }
        // Escapes keep control characters off the reader's terminal.
        match char {
            '\'' | '"' => out.push(char),
            _ => write!(out, "{}", char.escape_debug()).unwrap_or_default(),
        }
    }
    out
}

/// Reads `v = TEXT` with `read`, for tests: the value, or the only message.
#[cfg(test)]
pub(super) fn read_one<T>(
    text: &str,
    read: impl FnOnce(&Value<'_>) -> Option<T>,
) -> Result<T, String> {
    let text = format!("v = {text}");
    let table = DeTable::parse(&text).unwrap();
    let report = Report::new(&text);
    let mut section = Section::root(&report, table.get_ref());
    let value = section.take("v").and_then(|value| read(&value));
    report.close("test.toml", value).map_err(|problems| {
        let messages: Vec<_> = problems.list.into_iter().map(|problem| problem.message).collect();
        messages.join("\n")
    })
}

/// Reads each text; the expected value prints with `{:?}`, and what is wrong is `-`.
#[cfg(test)]
pub(super) fn read_table<T: std::fmt::Debug>(
    read: impl Fn(&Value<'_>) -> Option<T>,
    rows: &[(&str, &str)],
) {
    for (text, expected) in rows {
        match read_one(text, &read) {
            Ok(value) => assert_eq!(format!("{value:?}"), *expected, "{text}"),
            Err(message) => {
                assert_eq!(*expected, "-", "{text}: {message}");
                assert!(message.contains("; write "), "no remedy: {message}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str, read: impl FnOnce(&mut Section<'_>)) -> Vec<(Option<usize>, String)> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let report = Report::new(text);
        errors.iter().for_each(|error| report.syntax(error));
        let mut section = Section::root(&report, table.get_ref());
        read(&mut section);
        section.finish();
        let problems = report.close::<()>("test.toml", None).unwrap_err();
        problems.list.into_iter().map(|p| (p.line, format!("{} {}", p.key, p.message))).collect()
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_or_all_known() {
        let found = problems("wieght = 1\n\nzebra = 2\n\"a\\u0007b\" = 3\n", |section| {
            section.take("weight");
            section.take("retries");
        });
        let expected = [
            (Some(1), "wieght unknown key; did you mean weight?".into()),
            (Some(3), "zebra unknown key; known here: weight, retries".into()),
            (Some(4), "\"a\\u{7}b\" unknown key; known here: weight, retries".into()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_absent_is_reported_only_where_the_syntax_is_right() {
        let read = |section: &mut Section<'_>| {
            section.required("address", "\"0.0.0.0:80\"", |_| Some(()));
        };
        let found = problems("", read);
        let message = "address is missing; write address = \"0.0.0.0:80\"";
        assert_eq!(found, [(None, message.into())]);
        let found = problems("\naddress = \"x\ny = 1", read);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [Some(2), Some(3)]);
    }

    #[test]
    fn elements_have_their_own_line() {
        let found = problems("list = [\n 1,\n \"a\",\n 3,\n]", |section| {
            let list = section.list("list", "numbers", |item| match item.whole() {
                Some(number) => Some(number),
                None => item.is_not("a number", "one"),
            });
            assert_eq!(list, None);
        });
        assert_eq!(found, [(Some(3), "list[1] \"a\" is not a number; write one".into())]);
    }
}
