//! How the guard's findings read.

use crate::model::units::Moment;

/// A part as a percentage: `0.5%`.
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let text = if percent < 9.95 { format!("{percent:.2}") } else { format!("{percent:.0}") };
    match text.split_once('.') {
        Some(("0", "00")) => "0%".into(),
        Some(_) => format!("{}%", text.trim_end_matches('0').trim_end_matches('.')),
        None => format!("{text}%"),
    }
}

/// Milliseconds: `812ms`, `1.2s`.
pub fn ms(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0}ms") } else { format!("{:.1}s", ms / 1000.0) }
}

/// The time of day in UTC: `14:02:11`.
pub fn clock(at: Moment) -> String {
    let day = at.0 / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", day / 3600, day / 60 % 60, day % 60)
}
