//! How numbers, spans and moments read.

use jiff::{Timestamp, Zoned, tz::TimeZone};

use crate::model::{Millis, Moment, event::Actor};

/// What stands where there is nothing to say.
pub const NONE: &str = "–";

/// With commas: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of the whole as a percentage, in about three digits.
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let decimals = match percent {
        high if high >= 10.0 => 1,
        middle if middle >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{percent:.decimals$}");
    match trimmed(&text) {
        "0" if part > 0.0 => "<0.001%".into(),
        shown => format!("{shown}%"),
    }
}

/// Milliseconds, in about three digits: `4.2 ms`, `842 ms`, `1.23 s`, `12.3 s`.
pub fn millis(ms: f64) -> String {
    let (number, unit) = if ms >= 1_000.0 { (ms / 1000.0, "s") } else { (ms, "ms") };
    let decimals = match (unit, number) {
        ("s", short) if short < 10.0 => 2,
        ("ms", long) if long >= 10.0 => 0,
        _ => 1,
    };
    let text = format!("{number:.decimals$}");
    let shown = if decimals > 0 { trimmed(&text) } else { &text };
    format!("{shown} {unit}")
}

/// A number with decimals, without those that say nothing.
fn trimmed(decimal: &str) -> &str {
    decimal.trim_end_matches('0').trim_end_matches('.')
}

/// A number of things in a second.
pub fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        format!("{per_second:.0}")
    } else {
        trimmed(&format!("{per_second:.1}")).into()
    }
}

/// The text of a number that may be unknown.
pub fn known(number: Option<f64>, words: fn(f64) -> String) -> String {
    number.map_or_else(|| NONE.into(), words)
}

/// A span in its two largest units, as `lbctl` has it: `3d 4h`, `4m 12s`, `250ms`.
pub fn span(span: Millis) -> String {
    let secs = span.0 / 1000;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let sized = units.into_iter().skip_while(|(size, _)| secs < *size).take(2);
    let mut rest = secs;
    let mut parts = Vec::new();
    for (size, name) in sized {
        if rest >= size {
            parts.push(format!("{}{name}", rest / size));
        }
        rest %= size;
    }
    if parts.is_empty() { span.to_string() } else { parts.join(" ") }
}

/// The moment on a calendar in `zone`.
pub fn zoned(at: Moment, zone: &TimeZone) -> Zoned {
    let stamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    stamp.unwrap_or_default().to_zoned(zone.clone())
}

/// Date, time and zone.
pub fn date(at: Moment, zone: &TimeZone) -> String {
    zoned(at, zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The time; with the date where that is not the one of `day`.
pub fn clock(at: Moment, day: Moment, zone: &TimeZone) -> String {
    let (at, day) = (zoned(at, zone), zoned(day, zone).date());
    let form = if at.date() == day { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    at.strftime(form).to_string()
}

/// Who did something.
pub fn actor(by: &Actor) -> String {
    match by.uid {
        Some(uid) => format!("{} (uid {uid})", by.name),
        None => by.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (part, text) in [
            (0.0, "0%"),
            (1.0, "100%"),
            (0.382, "38.2%"),
            (0.01234, "1.23%"),
            (0.000_12, "0.012%"),
            (0.000_000_1, "<0.001%"),
        ] {
            assert_eq!(percent(part), text);
        }
        for (ms, text) in [
            (4.23, "4.2 ms"),
            (5.0, "5 ms"),
            (842.4, "842 ms"),
            (100.0, "100 ms"),
            (1_230.0, "1.23 s"),
            (12_340.0, "12.3 s"),
            (0.0, "0 ms"),
        ] {
            assert_eq!(millis(ms), text);
        }
        assert_eq!((rate(312.4), rate(3.17)), ("312".into(), "3.2".into()));
    }

    #[test]
    fn spans_read_as_lbctl_prints_them() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (9_400, "9s"),
            (252_000, "4m 12s"),
            (7_201_000, "2h"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(span(Millis(ms)), text);
        }
    }

    #[test]
    fn a_moment_that_no_calendar_has_is_no_panic() {
        assert!(date(Moment(u64::MAX), &TimeZone::UTC).starts_with("1970"));
    }
}
