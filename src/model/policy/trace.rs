//! W3C Trace Context: what ties the log lines and spans of one request together over many programs.

use std::fmt;

use crate::model::Share;

/// Flags that are known: the trace is recorded (Trace Context, level 1), its id is random (level 2).
const KNOWN_FLAGS: u8 = 0x03;
const SAMPLED: u8 = 0x01;

/// What a `traceparent` says: the trace that a request belongs to, and whose part of it sent it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Context {
    /// The trace.
    pub trace: u128,
    /// The span that the request was sent from.
    pub span: u64,
    /// What else is known of the trace.
    pub flags: u8,
}

impl Context {
    /// The beginning of a trace from random numbers.
    pub fn new(trace: u128, span: u64, is_sampled: bool) -> Self {
        // Zero stands for none.
        Self { trace: trace.max(1), span: span.max(1), flags: u8::from(is_sampled) }
    }

    /// Reads a `traceparent`; `None` if it is not sound (Trace Context, section 3.2). Of versions that do
    /// not exist yet, what they must begin with is judged.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (head, rest) = value.split_at_checked(55)?;
        let mut parts = std::str::from_utf8(head).ok()?.split('-');
        let is_lower_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let mut next =
            |length| parts.next().filter(|p| p.len() == length && p.bytes().all(is_lower_hex));
        let (version, trace, span, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let is_whole = rest.is_empty() || (version != "00" && rest.starts_with(b"-"));
        if parts.next().is_some() || version == "ff" || !is_whole {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS;
        Some(Self { trace, span, flags })
    }

    /// The same trace, of which is said that it is recorded.
    pub fn sampled(self) -> Self {
        Self { flags: self.flags | SAMPLED, ..self }
    }

    /// Whether whoever sent it may have recorded the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Whether a trace is recorded that `said` tells of, or that begins here with this id. Whoever is
/// trusted decides for theirs; else a client could have all of its own recorded.
pub fn is_recorded(said: Option<Context>, id: u128, is_trusted: bool, sample: Share) -> bool {
    match said {
        Some(said) if is_trusted => said.is_sampled(),
        Some(said) => is_sampled(said.trace, sample),
        None => is_sampled(id, sample),
    }
}

/// Whether a trace that begins here is among the `sample`. The same everywhere for the same trace, as
/// OpenTelemetry's `TraceIdRatioBased` has it: a trace that a small sample takes, a larger one takes too.
pub fn is_sampled(trace: u128, sample: Share) -> bool {
    const RANDOM_BITS: u32 = 63;
    let random = (trace & u128::from(u64::MAX)) >> 1;
    let whole = u128::from(Share::WHOLE.basis_points());
    random < (u128::from(sample.basis_points()) << RANDOM_BITS) / whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SOUND: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_sound_is_known() {
        let read = |text: &str| Context::read(text.as_bytes());
        let sound = read(SOUND).unwrap();
        assert!(sound.is_sampled());
        assert_eq!(sound.to_string(), SOUND);
        assert_eq!(
            (sound.trace, sound.span),
            (0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, 0xb7ad_6b71_6920_3331)
        );
        let future = SOUND.replacen("00", "cc", 1);
        assert_eq!(read(&future), Some(sound));
        assert_eq!(read(&format!("{future}-what-will-be")), Some(sound));
        assert!(!read(&SOUND.replace("-01", "-00")).unwrap().is_sampled());
        assert_eq!(read(&SOUND.replace("-01", "-fe")).unwrap().flags, 0x02);
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
            SOUND.replace("b7ad", "+7ad"),
            SOUND.replace("-01", "-0g"),
        ] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace: u128, span: u64, sampled: bool) {
            let context = Context::new(trace, span, sampled);
            prop_assert_eq!(Context::read(context.to_string().as_bytes()), Some(context));
            prop_assert_eq!(context.is_sampled(), sampled);
        }

        #[test]
        fn a_larger_sample_keeps_the_traces_of_a_smaller_one(trace: u128, a in 0u16..=10_000, b in 0u16..=10_000) {
            let (small, large) = (Share::from_basis_points(a.min(b)), Share::from_basis_points(a.max(b)));
            prop_assert!(!is_sampled(trace, small) || is_sampled(trace, large));
            prop_assert!(is_sampled(trace, Share::WHOLE) && !is_sampled(trace, Share::NONE));
        }
    }

    #[test]
    fn a_sample_is_as_large_as_it_says() {
        let one_percent = Share::from_basis_points(100);
        let step = u128::from(u64::MAX) / 10_000;
        let spread = |n: u128| (n * step + step / 2) | (7 << 100);
        assert_eq!((0..10_000).filter(|n| is_sampled(spread(*n), one_percent)).count(), 100);
        // Only the lower half of the id counts, as elsewhere.
        assert!(is_sampled(u128::MAX << 64, one_percent));
    }
}
