//! The scales of plots: where a value stands between 0 and 1, and where the ticks are.

use jiff::tz::TimeZone;

use super::words::{millis, percent, zoned};
use crate::model::{Millis, Moment};

/// A tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where it stands between 0 and 1.
    pub place: f64,
    /// What it says.
    pub text: String,
}

/// A stretch of time.
#[derive(Clone, Debug)]
pub struct Times {
    from: Moment,
    to: Moment,
    zone: TimeZone,
}

/// At most so many ticks are on the axis of time, with one more at its end.
const TICKS_MAX: u64 = 8;
const DAY_S: u64 = 86_400;
/// How far apart ticks may be, in seconds: what people count time in.
const STEPS_S: [u64; 18] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    2 * 60,
    5 * 60,
    10 * 60,
    15 * 60,
    30 * 60,
    3600,
    2 * 3600,
    3 * 3600,
    6 * 3600,
    12 * 3600,
    DAY_S,
];

impl Times {
    /// From one moment to another, at least a second.
    pub fn new(from: Moment, to: Moment, zone: &TimeZone) -> Self {
        Self { from, to: to.max(from.after(Millis(1000))), zone: zone.clone() }
    }

    /// Whether it has the moment.
    pub fn has(&self, at: Moment) -> bool {
        self.from <= at && at <= self.to
    }

    /// Where the moment stands.
    pub fn place(&self, at: Moment) -> f64 {
        at.since(self.from).0 as f64 / self.to.since(self.from).0 as f64
    }

    /// What the axis is called.
    pub fn name(&self) -> String {
        zoned(self.from, &self.zone).strftime("Time (%Z)").to_string()
    }

    /// Ticks at round times of the clock.
    pub fn ticks(&self) -> Vec<Tick> {
        let step = self.step_s();
        let form = self.form(step);
        // Rounded on the local clock, so that a tick of six hours is at 06:00 in every zone.
        let offset = i64::from(zoned(self.from, &self.zone).offset().seconds());
        let local = i64::try_from(self.from.0.div_ceil(1000)).unwrap_or(0).saturating_add(offset);
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let late = local.rem_euclid(step);
        let first = if late == 0 { local } else { local.saturating_add(step - late) };
        let ticks = (0..=TICKS_MAX.cast_signed()).map(|n| {
            let second = first.saturating_add(step.saturating_mul(n)).saturating_sub(offset);
            Moment(u64::try_from(second).unwrap_or(0).saturating_mul(1000))
        });
        let tick = |at| Tick {
            place: self.place(at),
            text: zoned(at, &self.zone).strftime(form).to_string(),
        };
        ticks.filter(|at| self.has(*at)).map(tick).collect()
    }

    fn span_s(&self) -> u64 {
        self.to.since(self.from).0 / 1000
    }

    fn step_s(&self) -> u64 {
        let span = self.span_s();
        let fits = |step: &u64| span / step <= TICKS_MAX;
        let days = || span.div_ceil(TICKS_MAX * DAY_S).max(1).saturating_mul(DAY_S);
        STEPS_S.into_iter().find(fits).unwrap_or_else(days)
    }

    fn form(&self, step_s: u64) -> &'static str {
        match step_s {
            days if days >= DAY_S => "%m-%d",
            seconds if seconds < 60 => "%H:%M:%S",
            _ if self.span_s() > DAY_S => "%m-%d %H:%M",
            _ => "%H:%M",
        }
    }
}

/// What a vertical axis measures.
#[derive(Clone, Copy, Debug)]
pub enum Scale {
    /// From 0.
    Linear {
        /// The value at the top.
        top: f64,
        /// From tick to tick.
        step: f64,
        /// How a value reads.
        words: fn(f64) -> String,
    },
    /// Each tenfold takes the same room: where the largest value would press the others to the
    /// ground.
    Log {
        /// The power of ten at the bottom.
        bottom: i32,
        /// The power of ten at the top.
        top: i32,
    },
}

/// From here on a response time is so far from the usual ones that a linear scale would hide those.
const FAR: f64 = 25.0;
/// Shorter response times are drawn as this long on a logarithmic scale.
const MS_MIN: f64 = 0.1;

impl Scale {
    /// For shares: always the whole.
    pub const SHARE: Self = Self::Linear { top: 1.0, step: 0.25, words: percent };

    /// For error rates; at least up to 1 %, so that a single failure does not look like an outage.
    pub fn of_rates(rates: impl Iterator<Item = f64>) -> Self {
        let most = rates.fold(0.01, f64::max);
        if most > 0.8 { Self::SHARE } else { Self::linear(most, percent) }
    }

    /// For response times in milliseconds.
    pub fn of_millis(times: impl Iterator<Item = f64>) -> Self {
        let mut times: Vec<f64> = times.filter(|t| t.is_finite()).collect();
        times.sort_by(f64::total_cmp);
        let most = times.last().copied().unwrap_or(1.0).max(1.0);
        let usual = times.get(times.len() / 2).copied().unwrap_or(most).max(MS_MIN);
        if most < usual * FAR {
            return Self::linear(most, millis);
        }
        let least = times.first().copied().unwrap_or(1.0).max(MS_MIN);
        Self::Log { bottom: least.log10().floor() as i32, top: most.log10().ceil() as i32 }
    }

    fn linear(most: f64, words: fn(f64) -> String) -> Self {
        let rough = most / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let fits = |step: &f64| *step * 1.000_001 >= rough;
        let steps = [1.0, 2.0, 2.5, 5.0].map(|n| n * power);
        let step = steps.into_iter().find(fits).unwrap_or(power * 10.0);
        Self::Linear { top: (most / step - 1e-6).ceil() * step, step, words }
    }

    /// Where the value stands.
    pub fn place(&self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { top, .. } => value / top,
            Self::Log { bottom, top } => {
                let bottom = f64::from(*bottom);
                (value.max(MS_MIN).log10() - bottom) / (f64::from(*top) - bottom).max(1.0)
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// Ticks at round values.
    pub fn ticks(&self) -> Vec<Tick> {
        let tick = |value: f64, words: fn(f64) -> String| Tick {
            place: self.place(value),
            text: words(value),
        };
        match *self {
            Self::Linear { top, step, words } => {
                let steps = (top / step).round() as u32;
                (0..=steps).map(|n| tick(f64::from(n) * step, words)).collect()
            }
            Self::Log { bottom, top } => {
                (bottom..=top).map(|power| tick(10_f64.powi(power), millis)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|t| t.text.as_str()).collect()
    }

    #[test]
    fn ticks_of_time_are_round_on_the_local_clock() {
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        let from = Moment(1_790_000_000_000);
        let hours = Times::new(from, from.after(Millis::from_secs(30 * 3600)), &zone).ticks();
        assert!(
            hours.iter().all(|t| t.text.ends_with("6:00")
                || t.text.ends_with("0:00")
                || t.text.ends_with("2:00")
                || t.text.ends_with("8:00")),
            "{hours:?}"
        );
        let minutes = Times::new(from, from.after(Millis::from_secs(600)), &zone);
        let minutes = minutes.ticks();
        assert!((4..=9).contains(&minutes.len()), "{minutes:?}");
        assert!(minutes.iter().all(|t| (0.0..=1.0).contains(&t.place)));
    }

    #[test]
    fn any_stretch_has_few_ticks_and_at_least_one() {
        for span in [0, 1, 999, 1_000, 61_000, 3_600_000, 86_400_000, 900 * 86_400_000, 1 << 62] {
            let from = Moment(1_790_000_000_123);
            let times = Times::new(from, from.after(Millis(span)), &TimeZone::UTC);
            let ticks = times.ticks().len();
            assert!((1..=9).contains(&ticks), "{span}: {ticks}");
        }
        assert!(!Times::new(Moment(0), Moment(0), &TimeZone::UTC).ticks().is_empty());
    }

    #[test]
    fn ticks_of_values_are_round() {
        let rates = Scale::of_rates([0.0, 0.03].into_iter());
        assert_eq!(texts(&rates.ticks()), ["0%", "1%", "2%", "3%"]);
        let none = Scale::of_rates(std::iter::empty());
        assert_eq!(texts(&none.ticks()), ["0%", "0.2%", "0.4%", "0.6%", "0.8%", "1%"]);
        let times = Scale::of_millis([12.0, 40.0, 110.0].into_iter());
        assert_eq!(texts(&times.ticks()), ["0 ms", "25 ms", "50 ms", "75 ms", "100 ms", "125 ms"]);
    }

    #[test]
    fn far_values_make_the_scale_logarithmic() {
        let times = Scale::of_millis([8.0, 12.0, 13.0, 10_000.0].into_iter());
        assert_eq!(texts(&times.ticks()), ["1 ms", "10 ms", "100 ms", "1 s", "10 s"]);
        assert_eq!((times.place(1.0), times.place(100.0), times.place(0.0)), (0.0, 0.5, 0.0));
    }

    #[test]
    fn strange_values_have_a_place_all_the_same() {
        for value in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            let scale = Scale::of_millis([value].into_iter());
            assert!(!scale.ticks().is_empty(), "{value}");
            assert!((0.0..=1.0).contains(&scale.place(5.0)));
        }
    }
}
