//! Texts as receivers can take them: on one line, not too long, of plain characters.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::model::event::Severity;

/// How many digits of a digest are enough to tell texts apart.
const DIGEST_DIGITS: usize = 16;

/// At most `chars_max` characters of a text; one that was cut ends in an ellipsis.
pub fn clipped(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The same, with a space for every control character: nobody who writes a reason starts a line of
/// our log or a header of our mail.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clipped(&plain, chars_max)
}

/// The word for a severity.
pub const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A short stand-in for a text.
pub fn digest(text: &str) -> String {
    let mut digits = hex(&Sha256::digest(text.as_bytes()));
    digits.truncate(DIGEST_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!((clipped("äöü", 3), clipped("äöüß", 3)), ("äöü".into(), "äö…".into()));
        assert_eq!(one_line("a\r\nb\tc", 9), "a  b c");
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
