//! The units: shares in basis points, spans and moments in milliseconds, names, revisions.
//!
//! Integers throughout, so that values are `Eq`, hashable and exact.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An exact part of the traffic in basis points, `0..=10_000`. What people type is a percentage.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Share(u16);

impl Share {
    /// No traffic.
    pub const NONE: Self = Self(0);
    /// All traffic.
    pub const WHOLE: Self = Self(10_000);

    /// A share of `points` basis points; more than the whole is the whole.
    pub const fn from_basis_points(points: u16) -> Self {
        if points > Self::WHOLE.0 { Self::WHOLE } else { Self(points) }
    }

    /// Basis points, `0..=10_000`.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// The part of the whole, `0.0..=1.0`, for metrics.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE.0)
    }

    /// What is left of the whole.
    pub const fn rest(self) -> Self {
        Self(Self::WHOLE.0 - self.0)
    }

    /// The sum, at most the whole.
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::from_basis_points(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole}%"),
            _ if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            _ => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// A text that is not a percentage between 0 and 100 with at most two decimals.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a percentage; write a number from 0 to 100 with at most two decimals, as in 25% or 0.5%"
)]
pub struct NotAShare(pub String);

impl FromStr for Share {
    type Err = NotAShare;

    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let refuse = || NotAShare(text.to_owned());
        let number = text.trim().trim_end_matches('%').trim_end();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |s: &str| s.len() <= 3 && s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(refuse());
        }
        let whole: u32 = whole.parse().map_err(|_| refuse())?;
        let part: u32 = if part.is_empty() {
            0
        } else {
            format!("{part:0<2}").parse().map_err(|_| refuse())?
        };
        let points = u16::try_from(whole * 100 + part).map_err(|_| refuse())?;
        if points > Self::WHOLE.0 { Err(refuse()) } else { Ok(Self(points)) }
    }
}

/// A span of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

impl Millis {
    /// A span of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The same span for tokio and std.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Seconds, rounded up, as HTTP headers want them.
    pub const fn secs_ceil(self) -> u64 {
        self.0.div_ceil(1000)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.duration()).to_string().replace(' ', ""))
    }
}

/// A text that is not a span such as `250ms`, `30s`, `5m` or `2h`.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a duration; write a number with a unit, as in 250ms, 30s, 5m or 2h")]
pub struct NotASpan(pub String);

impl FromStr for Millis {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let span = humantime::parse_duration(text.trim()).map_err(|_| NotASpan(text.to_owned()))?;
        // A hundred years: beyond it sums with a moment could overflow, and nobody means it.
        u64::try_from(span.as_millis())
            .ok()
            .filter(|ms| *ms <= 100 * 366 * 86_400_000)
            .map(Self)
            .ok_or_else(|| NotASpan(text.to_owned()))
    }
}

/// A moment: milliseconds since the Unix epoch, by the wall clock.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(transparent)]
pub struct Moment(pub u64);

impl Moment {
    /// The moment `span` later.
    pub const fn after(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to here; none if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// The number of the state in force. Every change makes a new one.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Deserialize,
    Eq,
    Hash,
    JsonSchema,
    Ord,
    PartialEq,
    PartialOrd,
    Serialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision that the next change makes.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that cannot name a service, pool or listener.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a name; use up to 63 letters, digits, `-` and `_`, beginning with a letter or digit"
)]
pub struct NotAName(pub String);

/// What [`ServiceName`], [`PoolName`] and their like match, as a regular expression.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";

fn checked_name(text: &str) -> Result<Arc<str>, NotAName> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let begins_well = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if begins_well && text.len() <= 63 && text.bytes().all(allowed) {
        Ok(text.into())
    } else {
        Err(NotAName(text.to_owned()))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                checked_name(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        as_text!($name, "a name: letters, digits, `-` and `_`", NAME_PATTERN);
    };
}

/// Serializes a type by its `Display` and reads it by its `FromStr`; a schema shows its description and,
/// where there is one, the regular expression that its texts match.
macro_rules! as_text {
    ($type:ident, $description:literal $(, $pattern:expr)?) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    $("pattern": $pattern,)?
                })
            }
        }
    };
}
pub(crate) use as_text;

name! {
    /// The name of a service.
    ServiceName
}
name! {
    /// The name of a pool; the same in every service that has it.
    PoolName
}
name! {
    /// The name of a rollout plan.
    PlanName
}
impl PlanName {
    /// The plan that is followed where none is named: `default`.
    pub fn standard() -> Self {
        Self("default".into())
    }
}
name! {
    /// The name of a receiver of notices.
    ReceiverName
}
name! {
    /// The name of a listener.
    ListenerName
}
as_text!(
    Share,
    "a percentage from 0 to 100 with at most two decimals, as in 25% or 0.5%",
    r"^(100(\.0{0,2})?|0?[0-9]{1,2}(\.[0-9]{0,2})?) ?%?$"
);
as_text!(
    Millis,
    "a duration, as in 250ms, 30s, 5m or 2h",
    "^([0-9]{1,9}m?s|[0-9]{1,6}m|[0-9]{1,5}h|[0-9]{1,4}d|[0-9]{1,2}(years?|months?|days?))+$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_and_print_as_percentages() {
        for (text, points, printed) in [
            ("0", 0, "0%"),
            ("25", 2500, "25%"),
            ("25%", 2500, "25%"),
            ("0.1%", 10, "0.1%"),
            ("12.34 %", 1234, "12.34%"),
            ("0.05", 5, "0.05%"),
            ("100%", 10_000, "100%"),
        ] {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.basis_points(), points, "{text}");
            assert_eq!(share.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_percentage_is_refused() {
        for text in [
            "",
            "%",
            "101",
            "100.01",
            "655.36",
            "656",
            "700",
            "999",
            "-1",
            "1,5%",
            "abc",
            "0.123",
            "1e2",
            ".5",
            "99999999999",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_read_and_print() {
        assert_eq!("250ms".parse(), Ok(Millis(250)));
        assert_eq!("2h".parse(), Ok(Millis(7_200_000)));
        assert_eq!(Millis(90_000).to_string(), "1m30s");
        assert!("30".parse::<Millis>().is_err());
        assert!("9999999y".parse::<Millis>().is_err());
    }

    /// What a schema says of its texts.
    fn described<T: JsonSchema>(text: &str) -> bool {
        let schema = T::json_schema(&mut SchemaGenerator::default());
        let pattern = schema.get("pattern").and_then(|p| p.as_str()).unwrap();
        regex::Regex::new(pattern).unwrap().is_match(text)
    }

    #[test]
    fn schemas_describe_what_is_read_and_printed() {
        for text in ["0", "25%", "12.34 %", "100.00%", "0.5"] {
            assert!(described::<Share>(text) && text.parse::<Share>().is_ok(), "{text}");
        }
        for text in ["", "%", "101", "0.123", "-1"] {
            assert!(!described::<Share>(text), "{text}");
        }
        for span in [0, 1, 250, 90_000, 7_200_000, 86_400_000, 40 * 86_400_000, 900 * 86_400_000] {
            assert!(described::<Millis>(&Millis(span).to_string()), "{}", Millis(span));
        }
        assert!(
            described::<Millis>("86400s") && !described::<Millis>("") && !described::<Millis>("30")
        );
        for (name, is_one) in [("green-2", true), ("", false), ("-green", false), ("a.b", false)] {
            assert_eq!(described::<PoolName>(name), is_one, "{name}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!("green-2".parse::<PoolName>().is_ok());
        for bad in ["", "-green", "gr een", "grün", &"x".repeat(64), "a/b", "a.b"] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad}");
        }
    }
}
