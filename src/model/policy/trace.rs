//! W3C Trace Context: what ties the log lines of one request together over many programs.

use std::fmt::Write;

/// Whether a `traceparent` is sound (Trace Context, section 3.2). Of versions that do not exist yet, what
/// they must begin with is judged.
pub fn is_traceparent(value: &[u8]) -> bool {
    let Some((head, rest)) = value.split_at_checked(55) else { return false };
    let lower_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = head.split(|byte| *byte == b'-');
    let mut next = |length: usize| {
        parts.next().filter(|part| part.len() == length && lower_hex(part)).unwrap_or_default()
    };
    let (version, trace, span, flags) = (next(2), next(32), next(16), next(2));
    let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    let is_whole = !version.is_empty() && !flags.is_empty() && parts.next().is_none();
    // An all-zero id is none; so is a missing part, which is empty here.
    if !is_whole || version == b"ff" || is_zero(trace) || is_zero(span) {
        return false;
    }
    rest.is_empty() || (version != b"00" && rest.starts_with(b"-"))
}

/// A new `traceparent` from random numbers. It says that the trace is wanted, as no `traceparent` would
/// for most applications: to leave out some is their decision.
pub fn new_traceparent(trace: u128, span: u64) -> String {
    let mut text = String::with_capacity(55);
    // Zero stands for none. Writing to a String cannot fail.
    let _ = write!(text, "00-{:032x}-{:016x}-01", trace.max(1), span.max(1));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_sound_is_known() {
        assert!(is_traceparent(SOUND.as_bytes()));
        assert!(is_traceparent(new_traceparent(0, 0).as_bytes()));
        assert!(is_traceparent(new_traceparent(u128::MAX, u64::MAX).as_bytes()));
        let future = SOUND.replacen("00", "cc", 1);
        assert!(is_traceparent(future.as_bytes()));
        assert!(is_traceparent(format!("{future}-what-will-be").as_bytes()));
        for wrong in [
            String::new(),
            SOUND[..54].into(),
            format!("{SOUND}-more"),
            format!("{future}x"),
            SOUND.to_uppercase(),
            SOUND.replacen("00", "ff", 1),
            SOUND.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            SOUND.replace("b7ad6b7169203331", &"0".repeat(16)),
            SOUND.replacen('-', "0", 1),
            SOUND.replace("b7ad", "b-ad"),
            SOUND.replace("-01", "-0g"),
        ] {
            assert!(!is_traceparent(wrong.as_bytes()), "{wrong}");
        }
    }
}
