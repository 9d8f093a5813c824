//! What a message of HTTP/1 says of the length of its body, judged strictly (RFC 9112, section 6).
//!
//! The same for requests and for endpoints' answers: a length that is said twice, or in a way that
//! others may read differently, is no length.

/// What the headers say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Chunks, which say themselves where they end.
    Chunked,
}

/// Why the headers do not say it clearly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unclear {
    /// There are several lengths, or codings, or both.
    Twice,
    /// The coding is another than chunks, or the version knows none.
    Coding,
    /// The length is not a number.
    Number,
}

/// Judges the values of `Content-Length` and of `Transfer-Encoding`. HTTP/1.0 knows no codings.
///
/// # Errors
///
/// [`Unclear`]: the message must not be passed on.
pub fn said<'v>(
    mut lengths: impl Iterator<Item = &'v [u8]>,
    mut codings: impl Iterator<Item = &'v [u8]>,
    knows_codings: bool,
) -> Result<Said, Unclear> {
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() || codings.next().is_some() {
        return Err(Unclear::Twice);
    }
    match (length, coding) {
        (Some(_), Some(_)) => Err(Unclear::Twice),
        (None, Some(coding)) if knows_codings && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Said::Chunked)
        }
        (None, Some(_)) => Err(Unclear::Coding),
        (Some(length), None) => decimal(length).map(Said::Length).ok_or(Unclear::Number),
        (None, None) => Ok(Said::Nothing),
    }
}

/// Digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lengths: &[&str], codings: &[&str]) -> Result<Said, Unclear> {
        let (lengths, codings) = (lengths.iter(), codings.iter());
        said(lengths.map(|v| v.as_bytes()), codings.map(|v| v.as_bytes()), true)
    }

    #[test]
    fn one_length_is_a_length() {
        assert_eq!(of(&[], &[]), Ok(Said::Nothing));
        assert_eq!(of(&["12"], &[]), Ok(Said::Length(12)));
        assert_eq!(of(&[], &["Chunked"]), Ok(Said::Chunked));
    }

    #[test]
    fn what_others_may_read_differently_is_none() {
        for (lengths, codings) in
            [(&["1", "1"][..], &[][..]), (&["1"], &["chunked"]), (&[], &["chunked", "chunked"])]
        {
            assert_eq!(of(lengths, codings), Err(Unclear::Twice), "{lengths:?} {codings:?}");
        }
        for length in ["1, 1", "+1", "-1", "0x1", "", " 1", "1 ", "99999999999999999999"] {
            assert_eq!(of(&[length], &[]), Err(Unclear::Number), "{length:?}");
        }
        for coding in ["gzip, chunked", "chunked, gzip", "identity", "", " chunked", "chunked;a"] {
            assert_eq!(of(&[], &[coding]), Err(Unclear::Coding), "{coding:?}");
        }
        let chunked = [&b"chunked"[..]];
        let old = said([].into_iter(), chunked.into_iter(), false);
        assert_eq!(old, Err(Unclear::Coding), "HTTP/1.0 knows no chunks");
    }
}
