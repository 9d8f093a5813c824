//! Patterns over paths, and what takes the place of what they match.

use std::{fmt, ops::Deref};

use regex::{Captures, Regex, RegexBuilder};
use serde::{Serialize, Serializer};

/// How much memory a compiled pattern may take, in bytes.
const PATTERN_BYTES: usize = 1 << 20;

/// A regular expression. It takes time linear in what it is matched with.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `text`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text).size_limit(PATTERN_BYTES).build().map(Self)
    }
}

impl Deref for Pattern {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// What a pattern matched, in a text of its own: `$1`, `${1}`, `$name` and `${name}` are its groups,
/// `$$` is a dollar sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replacement(Vec<Piece>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    Text(Box<str>),
    /// A group by number, and how it was written.
    Group(usize, Box<str>),
}

/// A text that is no replacement for a pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAReplacement {
    /// A group that the pattern does not have.
    #[error("names the group ${{{0}}}, which `match` does not have")]
    NoGroup(String),
    /// A dollar sign that names no group.
    #[error("has a dollar sign that names no group; one that is meant as such is written twice")]
    Dollar,
    /// A character that cannot stand in an address.
    #[error("has a space, or another character that cannot stand in an address")]
    Character,
}

impl Replacement {
    /// Reads `text`, whose groups are those of `pattern`.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(text: &str, pattern: &Pattern) -> Result<Self, NotAReplacement> {
        if !text.bytes().all(|byte| may_stand(byte) || matches!(byte, b'?' | b'{' | b'}')) {
            return Err(NotAReplacement::Character);
        }
        let (mut pieces, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('$') {
            literal.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                literal.push('$');
                rest = after;
                continue;
            }
            let (name, after) = match after.strip_prefix('{') {
                Some(inner) => inner.split_once('}').ok_or(NotAReplacement::Dollar)?,
                None => {
                    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    after.split_at(after.find(|c| !is_name(c)).unwrap_or(after.len()))
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal).into()));
            }
            pieces.push(Piece::Group(group(name, pattern)?, name.into()));
            rest = after;
        }
        literal.push_str(rest);
        if literal.contains(['{', '}']) {
            return Err(NotAReplacement::Character);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal.into()));
        }
        Ok(Self(pieces))
    }

    /// The text before its first group.
    pub fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Group(..)) | None => "",
        }
    }

    /// Whether it has no group.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// The text with what was captured. What cannot stand in a path is percent-encoded, so that nothing
    /// captured ends a line, begins a query or a fragment, or breaks a request in two.
    pub fn expand(&self, captures: &Captures<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Group(number, _) => {
                    let captured = captures.get(*number).map_or("", |found| found.as_str());
                    push_path(&mut text, captured);
                }
            }
        }
        text
    }
}

fn group(name: &str, pattern: &Pattern) -> Result<usize, NotAReplacement> {
    if name.is_empty() {
        return Err(NotAReplacement::Dollar);
    }
    let by_number = name.parse().ok().filter(|number| *number < pattern.captures_len());
    let by_name = || pattern.capture_names().position(|known| known == Some(name));
    by_number.or_else(by_name).ok_or_else(|| NotAReplacement::NoGroup(name.to_owned()))
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(&text.replace('$', "$$")),
            Piece::Group(_, name) => write!(f, "${{{name}}}"),
        })
    }
}

impl Serialize for Replacement {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Whether a byte may stand in a path as it is (RFC 3986, section 3.3). `%` may: what is captured was
/// encoded by the client.
fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

/// Appends a part of a path; what cannot stand there is percent-encoded.
pub(super) fn push_path(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if may_stand(byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, to: &str, text: &str) -> Option<String> {
        let pattern = Pattern::new(pattern).unwrap();
        let to = Replacement::new(to, &pattern).unwrap();
        pattern.captures(text).map(|captures| to.expand(&captures))
    }

    #[test]
    fn groups_are_named_or_numbered() {
        let both = |to| replaced("^/(?<year>[0-9]+)/(.*)$", to, "/2026/a/b").unwrap();
        assert_eq!(both("/$2/$1"), "/a/b/2026");
        assert_eq!(both("/${year}th/$year/$$1"), "/2026th/2026/$1");
        assert_eq!(replaced("^/(a)|(b)$", "/$2", "/a").unwrap(), "/");
        assert_eq!(replaced("^/x$", "/y", "/z"), None);
    }

    #[test]
    fn what_is_captured_stays_a_part_of_the_path() {
        let hostile = "/a b\r\nX: y#z?q=1\\\"<>\u{e9}%20";
        assert_eq!(
            replaced("(?s)^/(.*)$", "/$1", hostile).unwrap(),
            "/a%20b%0D%0AX:%20y%23z%3Fq=1%5C%22%3C%3E%C3%A9%20"
        );
    }

    #[test]
    fn what_is_no_replacement_is_told() {
        let pattern = Pattern::new("^/(?<name>.*)$").unwrap();
        let wrong = |to: &str| Replacement::new(to, &pattern).unwrap_err();
        assert_eq!(wrong("/$2"), NotAReplacement::NoGroup("2".into()));
        assert_eq!(wrong("/$1a"), NotAReplacement::NoGroup("1a".into()));
        assert_eq!(
            [wrong("/$"), wrong("/${1"), wrong("/$/")],
            [(); 3].map(|()| NotAReplacement::Dollar)
        );
        for to in ["/a b", "/#a", "/\r\n", "/{a}", "/\u{e9}"] {
            assert_eq!(wrong(to), NotAReplacement::Character, "{to}");
        }
        assert!(Pattern::new("a{1000}{1000}{1000}").is_err(), "too large");
        let to = Replacement::new("/${name}/$$", &pattern).unwrap();
        assert_eq!(Replacement::new(&to.to_string(), &pattern).unwrap(), to);
    }
}
