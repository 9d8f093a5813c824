//! Spans and moments as people write and read them.

use std::str::FromStr;

use jiff::{
    Timestamp, ToSpan, Zoned,
    civil::{DateTime, Time},
    tz::TimeZone,
};

use crate::model::{Millis, Moment};

/// The clock on this machine.
pub fn now() -> Zoned {
    Zoned::now()
}

/// The moment of a clock reading.
pub fn moment(at: &Zoned) -> Moment {
    Moment(u64::try_from(at.timestamp().as_millisecond()).unwrap_or(0))
}

/// A span in its two largest units: `3d 4h`, `4m 12s`, `9s`.
pub fn span(span: Millis) -> String {
    let secs = span.0 / 1000;
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let mut parts = Vec::new();
    let mut rest = secs;
    for (name, size) in units {
        if rest >= size || !parts.is_empty() {
            parts.push((rest / size, name));
            rest %= size;
        }
    }
    let shown = parts.iter().take(2).filter(|(number, _)| *number > 0);
    let text: Vec<String> = shown.map(|(number, name)| format!("{number}{name}")).collect();
    if text.is_empty() { "0s".into() } else { text.join(" ") }
}

/// The moment on a clock in `zone`; with the date where that is not today's.
pub fn local(at: Moment, now: Moment, zone: &TimeZone) -> String {
    let zoned = |m: Moment| {
        let stamp = i64::try_from(m.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        stamp.unwrap_or_default().to_zoned(zone.clone())
    };
    let (at, today) = (zoned(at), zoned(now).date());
    let form = if at.date() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    at.strftime(form).to_string()
}

/// How moments are shown to somebody.
#[derive(Clone, Debug)]
pub struct Clock {
    /// What their clock shows.
    pub now: Moment,
    /// Where they are.
    pub zone: TimeZone,
}

impl Clock {
    /// `12:30:00`; with the date where that is not today's.
    pub fn at(&self, at: Moment) -> String {
        local(at, self.now, &self.zone)
    }

    /// `12:30:00 (in 4m 12s)`.
    pub fn coming(&self, at: Moment) -> String {
        format!("{} (in {})", self.at(at), span(at.since(self.now)))
    }

    /// `12:30:00 (4m 12s ago)`.
    pub fn past(&self, at: Moment) -> String {
        format!("{} ({} ago)", self.at(at), span(self.now.since(at)))
    }
}

/// An end, as `--until` takes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Until {
    /// `2026-11-22T04:00:00Z`: the same everywhere.
    Instant(Timestamp),
    /// `2026-11-22 04:00`: by the clock here.
    Local(DateTime),
    /// `04:00`: the next time the clock here shows it.
    Clock(Time),
}

/// A text that is not a moment.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a moment; write \"HH:MM\", \"YYYY-MM-DD HH:MM\" or 2026-11-22T04:00:00Z")]
pub struct NotAMoment(String);

impl FromStr for Until {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let typed = text.trim();
        if let Ok(instant) = typed.parse::<Timestamp>() {
            return Ok(Self::Instant(instant));
        }
        if typed.contains([' ', 'T']) {
            let forms =
                ["%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
            let local = forms.iter().find_map(|form| DateTime::strptime(form, typed).ok());
            return local.map(Self::Local).ok_or_else(|| NotAMoment(text.into()));
        }
        Time::strptime("%H:%M", typed).map(Self::Clock).map_err(|_| NotAMoment(text.into()))
    }
}

impl Until {
    /// The moment it means to someone whose clock shows `now`.
    ///
    /// # Errors
    ///
    /// If there is no such moment.
    pub fn resolve(&self, now: &Zoned) -> Result<Moment, jiff::Error> {
        let zone = now.time_zone().clone();
        let at = match self {
            Self::Instant(instant) => instant.to_zoned(zone),
            Self::Local(local) => local.to_zoned(zone)?,
            Self::Clock(time) => {
                let today = now.date().to_datetime(*time).to_zoned(zone.clone())?;
                match today > *now {
                    true => today,
                    false => now.date().checked_add(1.day())?.to_datetime(*time).to_zoned(zone)?,
                }
            }
        };
        Ok(moment(&at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn spans_show_two_units() {
        for (ms, text) in [
            (0, "0s"),
            (999, "0s"),
            (9_000, "9s"),
            (252_000, "4m 12s"),
            (7_200_000, "2h"),
            (7_201_000, "2h"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(span(Millis(ms)), text);
        }
    }

    #[test]
    fn ends_are_read_in_three_forms() {
        let now = at("2026-11-21T22:30:00+01:00[Europe/Zurich]");
        for (typed, meant) in [
            ("2026-11-22T04:00:00Z", "2026-11-22T05:00:00+01:00[Europe/Zurich]"),
            ("2026-11-22T04:00:00+02:00", "2026-11-22T03:00:00+01:00[Europe/Zurich]"),
            ("2026-12-24 18:00", "2026-12-24T18:00:00+01:00[Europe/Zurich]"),
            ("2026-12-24T18:00", "2026-12-24T18:00:00+01:00[Europe/Zurich]"),
            ("23:00", "2026-11-21T23:00:00+01:00[Europe/Zurich]"),
            ("22:30", "2026-11-22T22:30:00+01:00[Europe/Zurich]"),
            ("04:00", "2026-11-22T04:00:00+01:00[Europe/Zurich]"),
        ] {
            let until: Until = typed.parse().unwrap();
            assert_eq!(until.resolve(&now).unwrap(), moment(&at(meant)), "{typed}");
        }
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for text in ["", "tomorrow", "25:00", "2026-13-01 10:00", "10", "2026-11-22"] {
            assert!(text.parse::<Until>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_of_another_day_has_its_date() {
        let now = moment(&at("2026-11-21T22:30:00Z[UTC]"));
        let later = now.after(Millis::from_secs(3_600));
        assert_eq!(local(later, now, &TimeZone::UTC), "23:30:00");
        let later = later.after(Millis::from_secs(3_600));
        assert_eq!(local(later, now, &TimeZone::UTC), "2026-11-22 00:30:00");
    }
}
