//! How numbers read: parts, rates, latencies, counts, odds.

use super::moment::span;
use crate::model::{Millis, guard::Measure};

/// A part of the whole: `0.42%`, `38.2%`.
pub fn percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    match percent {
        p if p <= 0.0 => "0%".into(),
        p if p < 0.01 => "<0.01%".into(),
        p if p < 10.0 => format!("{p:.2}%"),
        p => format!("{p:.1}%"),
    }
}

/// A part of a count; `-` of none.
pub fn part(of: u64, all: u64) -> String {
    if all == 0 { "-".into() } else { percent(of as f64 / all as f64) }
}

/// A number of things in a second.
pub fn rate(rps: f64) -> String {
    if rps > 0.0 && rps < 100.0 { format!("{rps:.1}") } else { format!("{rps:.0}") }
}

/// A response time; `-` where there was none.
pub fn latency(ms: Option<f64>) -> String {
    match ms {
        None => "-".into(),
        Some(ms) if ms < 10.0 => format!("{ms:.1}ms"),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{:.1}s", ms / 1_000.0),
    }
}

/// A value of a measure: a part for failures, a response time for the others.
pub fn measured(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Errors => percent(value),
        Measure::P50 | Measure::P95 | Measure::P99 => latency(Some(value)),
    }
}

/// A span that was computed, in seconds.
pub fn seconds(secs: f64) -> String {
    match secs {
        none if none.is_nan() => "-".into(),
        short if short < 1.0 => "<1s".into(),
        // More than a year is as good as never, and too long for the units below.
        long if long > 365.0 * 86_400.0 => "over a year".into(),
        secs => span(Millis((secs * 1000.0) as u64)),
    }
}

/// A count with its noun: `1 request`, `2 requests`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A number that is given as its natural logarithm: `0.4`, `45`, `80,000`, `10^12`.
pub fn from_ln(ln: f64) -> String {
    let number = ln.exp();
    match number {
        small if small < 0.05 => "0".into(),
        small if small < 10.0 => format!("{small:.1}"),
        whole if whole < 1e6 => thousands(whole.round() as u64),
        _ => format!("10^{:.0}", (ln / std::f64::consts::LN_10).floor()),
    }
}

fn thousands(number: u64) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{thousands},{rest:03}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_sense_when_small_or_large() {
        let percents = [0.0, 0.00001, 0.0042, 0.5, 1.0].map(percent);
        assert_eq!(percents, ["0%", "<0.01%", "0.42%", "50.0%", "100.0%"]);
        assert_eq!([0.0, 3.44, 1240.4].map(rate), ["0", "3.4", "1240"]);
        let latencies = [None, Some(4.21), Some(88.8), Some(1204.0)].map(latency);
        assert_eq!(latencies, ["-", "4.2ms", "89ms", "1.2s"]);
        assert_eq!([part(1, 0), part(19, 50)], ["-", "38.0%"]);
        let spans = [f64::NAN, 0.2, 42.0, 252.4, 1e12, f64::INFINITY].map(seconds);
        assert_eq!(spans, ["-", "<1s", "42s", "4m 12s", "over a year", "over a year"]);
    }

    #[test]
    fn odds_are_readable_at_any_size() {
        let odds = [f64::NEG_INFINITY, -5.0, 0.0, 3.8, 11.29, 13.0, 713.0, 5000.0].map(from_ln);
        assert_eq!(odds, ["0", "0", "1.0", "45", "80,017", "442,413", "10^309", "10^2171"]);
    }
}
