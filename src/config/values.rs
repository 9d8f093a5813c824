//! Reads single values: durations, sizes, percentages, statuses, words.
//!
//! Each reader answers `None` after it has reported what is wrong and what to write instead.

use std::{ops::RangeInclusive, str::FromStr};

use super::reader::Value;
use crate::model::{
    Millis, Share,
    settings::{Expect, IdSource, Principal},
};

/// Shortest and longest admissible duration.
pub(super) type Limits = (Millis, Millis);

/// A duration within `limits`, as in `"30s"`.
pub(super) fn span((min, max): Limits) -> impl Fn(&Value<'_>) -> Option<Millis> {
    move |value| {
        let write = "a number with a unit in quotes, as in \"250ms\", \"30s\", \"5m\" or \"2h\"";
        let Some(span) = value.text().and_then(|text| text.parse::<Millis>().ok()) else {
            return value.is_not("a duration", write);
        };
        let wrong = match span {
            span if span < min => "short",
            span if span > max => "long",
            span => return Some(span),
        };
        value.problem(format!("{} is too {wrong}; write {min} to {max}", value.shown()))
    }
}

/// A whole number within `range`.
pub(super) fn whole<N>(range: RangeInclusive<N>) -> impl Fn(&Value<'_>) -> Option<N>
where
    N: Copy + TryFrom<i64> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let write = format!("one from {} to {}, without quotes", range.start(), range.end());
        let Some(number) = value.whole() else {
            return value.is_not("a whole number that fits", &write);
        };
        match N::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => value.problem(format!(
                "{} is out of range; write a number from {} to {}",
                value.shown(),
                range.start(),
                range.end()
            )),
        }
    }
}

/// A number of bytes within `range`, as in `"64KiB"` or `65536`.
pub(super) fn size(range: RangeInclusive<usize>) -> impl Fn(&Value<'_>) -> Option<usize> {
    move |value| {
        let typed = match value.text() {
            Some(text) => bytes(text),
            None => value.whole().and_then(|number| usize::try_from(number).ok()),
        };
        let Some(size) = typed else {
            let write = "a number of bytes or one with a unit, as in 65536, \"64KiB\" or \"1MiB\"";
            return value.is_not("a size", write);
        };
        if range.contains(&size) {
            return Some(size);
        }
        value.problem(format!(
            "{} is out of range; write a size from {} to {}",
            value.shown(),
            printed_size(*range.start()),
            printed_size(*range.end())
        ))
    }
}

fn bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

fn printed_size(bytes: usize) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes} bytes"),
    }
}

/// A percentage: `"25%"`, `"0.5%"`, `25` or `0.5`.
pub(super) fn share(value: &Value<'_>) -> Option<Share> {
    let typed = match (value.text(), value.whole()) {
        (Some(text), _) => text.parse().ok(),
        (None, Some(number)) => number.to_string().parse().ok(),
        (None, None) => value.decimal().and_then(|number| number.parse::<Share>().ok()),
    };
    let write = "a number from 0 to 100 with at most two decimals, as in 25 or \"0.5%\"";
    typed.or_else(|| value.is_not("a percentage", write))
}

/// `true` or `false`.
pub(super) fn truth(value: &Value<'_>) -> Option<bool> {
    value.boolean().or_else(|| value.is_not("true or false", "one of them, without quotes"))
}

/// What `read` reads, or `"none"`.
pub(super) fn or_none<T>(
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> impl Fn(&Value<'_>) -> Option<Option<T>> {
    move |value| if value.text() == Some("none") { Some(None) } else { read(value).map(Some) }
}

/// Permission bits in octal, as in `"0660"`.
pub(super) fn mode(value: &Value<'_>) -> Option<u32> {
    let octal = |text: &&str| {
        (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
    };
    let typed = value.text().filter(octal).and_then(|text| u32::from_str_radix(text, 8).ok());
    typed
        .filter(|mode| *mode <= 0o777)
        .or_else(|| value.is_not("a file mode", "three octal digits in quotes, as in \"0660\""))
}

/// A text that is not empty and at most `max` bytes long.
pub(super) fn text(max: usize) -> impl Fn(&Value<'_>) -> Option<String> {
    move |value| match value.text() {
        None => value.is_not("a text", "it in quotes"),
        Some("") => value.problem("is empty; write a text, or leave the key out"),
        Some(text) if text.len() > max => {
            value.problem(format!("is {} bytes long; write at most {max}", text.len()))
        }
        Some(text) => Some(text.to_owned()),
    }
}

/// One of a few words.
pub(super) fn word<'w, T: Copy>(
    words: &'w [(&'w str, T)],
) -> impl Fn(&Value<'_>) -> Option<T> + use<'w, T> {
    move |value| {
        let typed = words.iter().find(|(word, _)| value.text() == Some(*word));
        typed.map(|(_, meaning)| *meaning).or_else(|| {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            value.is_not("known here", &all.join(" or "))
        })
    }
}

/// A user, or with `@` in front a group.
pub(super) fn principal(value: &Value<'_>) -> Option<Principal> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == ':')
    };
    let typed = value.text().filter(|text| is_name(text.strip_prefix('@').unwrap_or(text)));
    typed
        .map(Principal::from)
        .or_else(|| value.is_not("a user or group", "a name, as in \"deploy\" or \"@ops\""))
}

/// A source of user ids, as in `"header:X-User-Id"`.
pub(super) fn id_source(value: &Value<'_>) -> Option<IdSource> {
    let write = "\"header:NAME\", \"cookie:NAME\", \"query:NAME\", \"jwt:CLAIM\" or \"client-ip\"";
    parsed(value, "a source of user ids", write)
}

/// Statuses: `200`, `"200"`, `"200-299"`, or an array of these.
pub(super) fn expect(value: &Value<'_>) -> Option<Expect> {
    let ranges: Vec<_> = match value.items() {
        Some(items) => items.iter().map(statuses).collect(),
        None => vec![statuses(value)],
    };
    let ranges: Vec<_> = ranges.into_iter().collect::<Option<_>>()?;
    match ranges.is_empty() {
        true => value.problem("is empty; write the statuses that pass, as in [\"200-399\"]"),
        false => Some(Expect(ranges)),
    }
}

fn statuses(value: &Value<'_>) -> Option<(u16, u16)> {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let typed = match (value.text(), value.whole()) {
        (Some(text), _) => match text.split_once('-') {
            Some((from, to)) => number(from).zip(number(to)),
            None => number(text).map(|status| (status, status)),
        },
        (None, Some(status)) => u16::try_from(status).ok().map(|status| (status, status)),
        (None, None) => None,
    };
    let write = "one from 100 to 599 or a range, as in 200, \"204\" or \"200-299\"";
    typed
        .filter(|(from, to)| from <= to && *from >= 100 && *to <= 599)
        .or_else(|| value.is_not("an HTTP status", write))
}

/// A text that `T` can read.
pub(super) fn parsed<T: FromStr>(value: &Value<'_>, what: &str, write: &str) -> Option<T> {
    let typed = value.text().and_then(|text| text.parse().ok());
    typed.or_else(|| value.is_not(what, write))
}

#[cfg(test)]
mod tests {
    use super::{
        super::reader::{read_one, read_table as table},
        *,
    };

    #[test]
    fn durations() {
        let limits = (Millis(10), Millis::from_secs(3600));
        table(
            span(limits),
            &[
                ("'10ms'", "Millis(10)"),
                ("'1h'", "Millis(3600000)"),
                ("'1m 30s'", "Millis(90000)"),
                ("'9ms'", "-"),
                ("'1h 1ms'", "-"),
                ("30", "-"),
                ("'30'", "-"),
                ("true", "-"),
                ("''", "-"),
            ],
        );
        let message = read_one("'5ms'", span(limits)).unwrap_err();
        assert_eq!(message, "\"5ms\" is too short; write 10ms to 1h");
    }

    #[test]
    fn whole_numbers() {
        table(
            whole(1..=1000u16),
            &[
                ("1", "1"),
                ("0x10", "16"),
                ("1_000", "1000"),
                ("0", "-"),
                ("-1", "-"),
                ("70000", "-"),
                ("99999999999999999999", "-"),
                ("'1'", "-"),
                ("1.0", "-"),
            ],
        );
    }

    #[test]
    fn sizes() {
        table(
            size(1024..=1 << 20),
            &[
                ("1024", "1024"),
                ("'1024'", "1024"),
                ("'1KiB'", "1024"),
                ("'64 KiB'", "65536"),
                ("'1MiB'", "1048576"),
                ("'2MiB'", "-"),
                ("'1023B'", "-"),
                ("'99999999999999999999GiB'", "-"),
                ("'9999999999999GiB'", "-"),
                ("'32k'", "-"),
                ("'KiB'", "-"),
                ("'é'", "-"),
                ("-1", "-"),
                ("1.5", "-"),
            ],
        );
        let message = read_one("1", size(1024..=1 << 20)).unwrap_err();
        assert_eq!(message, "1 is out of range; write a size from 1KiB to 1MiB");
    }

    #[test]
    fn percentages() {
        table(
            share,
            &[
                ("'25%'", "Share(2500)"),
                ("'0.5%'", "Share(50)"),
                ("25", "Share(2500)"),
                ("0", "Share(0)"),
                ("12.34", "Share(1234)"),
                ("0.1", "Share(10)"),
                ("100.0", "Share(10000)"),
                ("12.345", "-"),
                ("101", "-"),
                ("-1", "-"),
                ("-0.5", "-"),
                ("1e1", "-"),
                ("nan", "-"),
                ("inf", "-"),
                ("'1,5%'", "-"),
                ("[]", "-"),
            ],
        );
        let message = read_one("'101'", share).unwrap_err();
        assert!(message.starts_with("\"101\" is not a percentage; write "), "{message}");
    }

    #[test]
    fn truths_and_nothing() {
        table(truth, &[("true", "true"), ("false", "false"), ("'true'", "-"), ("1", "-")]);
        let rows = [("'none'", "None"), ("1", "Some(Share(100))"), ("''", "-"), ("'None'", "-")];
        table(or_none(share), &rows);
    }

    #[test]
    fn modes() {
        table(
            mode,
            &[
                ("'0660'", "432"),
                ("'600'", "384"),
                ("'0999'", "-"),
                ("'7777'", "-"),
                ("'66'", "-"),
                ("'+660'", "-"),
                ("660", "-"),
            ],
        );
    }

    #[test]
    fn texts_and_words() {
        table(text(3), &[("'abc'", "\"abc\""), ("1", "-"), ("'abcd'", "-"), ("''", "-")]);
        table(word(&[("a", 1), ("b", 2)]), &[("'b'", "2"), ("'c'", "-"), ("1", "-")]);
        table(id_source, &[("'cookie:uid'", "Cookie(\"uid\")"), ("'uid'", "-"), ("1", "-")]);
        table(
            principal,
            &[
                ("'deploy'", "User(\"deploy\")"),
                ("'@ops'", "Group(\"ops\")"),
                ("'@'", "-"),
                ("'a b'", "-"),
            ],
        );
    }

    #[test]
    fn statuses_and_ranges() {
        table(
            expect,
            &[
                ("200", "Expect([(200, 200)])"),
                ("'204'", "Expect([(204, 204)])"),
                ("'200-299'", "Expect([(200, 299)])"),
                ("[200, '300-399']", "Expect([(200, 200), (300, 399)])"),
                ("[]", "-"),
                ("'299-200'", "-"),
                ("600", "-"),
                ("99", "-"),
                ("-1", "-"),
                ("'2xx'", "-"),
                ("[[200]]", "-"),
            ],
        );
    }
}
