//! Values that only the command line knows: secrets, networks, headers, intervals, limits.

use std::{fmt, io::Read, net::IpAddr, str::FromStr};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use ipnet::IpNet;
use serde::{Serialize, de::DeserializeOwned};

use crate::model::Millis;

/// The secret of a link through maintenance.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Shortest secret in characters, as the API has it.
const SECRET_MIN: usize = 8;

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if text.len() >= SECRET_MIN && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("use at least {SECRET_MIN} letters, digits, `-` and `_`"))
    }
}

impl Secret {
    /// A secret that nobody can guess: 128 bits from the operating system.
    ///
    /// # Errors
    ///
    /// If the operating system has none to give.
    pub fn random() -> std::io::Result<Self> {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        let mut bytes = [0; 16];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Self(BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }
}

/// Shortest time between two looks at the status.
const INTERVAL_MIN: Millis = Millis(100);

/// A time between two looks.
///
/// # Errors
///
/// What is wrong with it.
pub fn interval(text: &str) -> Result<Millis, String> {
    let span: Millis = text.parse().map_err(|e: crate::model::units::NotASpan| e.to_string())?;
    if span < INTERVAL_MIN { Err(format!("use at least {INTERVAL_MIN}")) } else { Ok(span) }
}

/// A network, or a single address as one.
///
/// # Errors
///
/// What is wrong with it.
pub fn network(text: &str) -> Result<IpNet, String> {
    let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let found = text.parse().ok().or_else(single);
    found.ok_or_else(|| format!("`{text}` is not a network; write 10.0.0.0/8 or 2001:db8::/32"))
}

/// A header's name and value.
///
/// # Errors
///
/// What is wrong with it.
pub fn header(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("`{text}` is not a header; write 'Name: value'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = http::HeaderName::from_str(name.trim()).map_err(|_| wrong())?;
    let value = http::HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name.to_string(), value.to_str().map_err(|_| wrong())?.to_owned()))
}

/// A limit, or that there is to be none. JSON has `null` for the latter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Limit<T> {
    /// The limit.
    At(T),
    /// `none`.
    None,
}

impl<T: FromStr<Err: fmt::Display>> FromStr for Limit<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            text => text.parse().map(Self::At).map_err(|error| format!("{error}, or none")),
        }
    }
}

/// Which rollout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RolloutId {
    /// The one that runs, or else ran last.
    #[default]
    Last,
    /// The one with this number.
    Number(u64),
}

impl FromStr for RolloutId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |_| format!("`{text}` is not the number of a rollout; write one, or last");
        if text == "last" { Ok(Self::Last) } else { text.parse().map(Self::Number).map_err(wrong) }
    }
}

impl fmt::Display for RolloutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Largest chance of a false alarm, as the config has it.
const CHANCE_MAX: f64 = 0.1;

/// A chance of a false alarm.
///
/// # Errors
///
/// What is wrong with it.
pub fn probability(text: &str) -> Result<f64, String> {
    let chance = text.parse().ok().filter(|chance| *chance > 0.0 && *chance <= CHANCE_MAX);
    let wrong = || format!("`{text}` is not a chance of a false alarm; write one as in 0.0001");
    chance.ok_or_else(wrong)
}

/// Reads one of these words, by which JSON knows the values of a type.
pub fn one_of<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: Clone + DeserializeOwned + Send + Sync + 'static,
{
    PossibleValuesParser::new(words)
        .try_map(|word| serde_json::from_value(serde_json::Value::String(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_secrets_are_long_good_and_different() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert!(one.0.len() >= 16 && one.0.parse::<Secret>().is_ok());
        assert_ne!(one, other);
    }

    #[test]
    fn a_single_address_is_a_network_too() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
    }
}
