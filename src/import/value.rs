//! nginx's spans of time, sizes, and texts with variables.

use crate::model::Millis;

/// A span as nginx writes it: `30s`, `1h30m`, `500ms`; seconds without a unit.
pub fn span(text: &str) -> Option<Millis> {
    let mut total = 0_u64;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let (unit, after) = unit(after);
        total = total.checked_add(number.checked_mul(unit?)?)?;
        rest = after.trim_start();
    }
    Some(Millis(total))
}

fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

/// Milliseconds of a unit.
fn unit(text: &str) -> (Option<u64>, &str) {
    const DAY: u64 = 86_400_000;
    const UNITS: [(&str, u64); 9] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", DAY),
        ("w", 7 * DAY),
        ("M", 30 * DAY),
        ("y", 365 * DAY),
        ("", 1000),
    ];
    let found = UNITS.iter().find_map(|(name, unit)| Some((*unit, text.strip_prefix(name)?)));
    found.map_or((None, text), |(unit, rest)| (Some(unit), rest))
}

/// A size as nginx writes it, `64k` or `10m`, in bytes.
pub fn size(text: &str) -> Option<u64> {
    let (number, unit) = number(text.trim())?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A size as lbd writes it.
pub fn shown_size(bytes: u64) -> String {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// A piece of a text with variables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// Means itself.
    Text(String),
    /// The name of a variable, or the number of a group.
    Variable(String),
}

/// Takes a text with variables apart.
pub fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        plain.push_str(before);
        let after = from.strip_prefix('$').unwrap_or(from);
        let (name, end) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => {
                let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                let mut length = after.find(word).unwrap_or(after.len());
                if after.starts_with(|c: char| c.is_ascii_digit()) {
                    length = 1;
                }
                after.split_at_checked(length).unwrap_or((after, ""))
            }
        };
        if name.is_empty() {
            plain.push('$');
        } else {
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Variable(name.to_owned()));
        }
        rest = end;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    parts
}

/// The name of the variable that a text is, if it is one and nothing else.
pub fn variable(text: &str) -> Option<String> {
    match parts(text).as_slice() {
        [Part::Variable(name)] => Some(name.clone()),
        _ => None,
    }
}

/// A header's value with lbd's variables in place of nginx's.
///
/// # Errors
///
/// What lbd has no word for.
pub fn header_text(text: &str) -> Result<String, String> {
    let mut new = String::new();
    for part in parts(text) {
        match part {
            Part::Text(plain) if plain.contains(['{', '}']) => {
                return Err("braces are lbd's own sign for variables".into());
            }
            Part::Text(plain) => new.push_str(&plain),
            Part::Variable(name) => new.push_str(match name.as_str() {
                "remote_addr" | "realip_remote_addr" => "{client_ip}",
                "host" | "http_host" => "{host}",
                "scheme" => "{scheme}",
                "uri" | "document_uri" => "{path}",
                "request_id" => "{request_id}",
                _ => return Err(format!("lbd has no variable for ${name}")),
            }),
        }
    }
    Ok(new)
}

/// Where lbd reads the user id that a variable holds.
pub fn id_source(name: &str) -> Option<String> {
    let (kind, rest) = match name {
        "remote_addr" | "binary_remote_addr" => return Some("client-ip".into()),
        _ => [("cookie", "cookie_"), ("query", "arg_"), ("header", "http_")]
            .iter()
            .find_map(|(kind, prefix)| Some((*kind, name.strip_prefix(prefix)?)))?,
    };
    let rest = if kind == "header" { rest.replace('_', "-") } else { rest.to_owned() };
    (!rest.is_empty()).then(|| format!("{kind}:{rest}"))
}

/// A name for a service, pool or listener, made of any text.
pub fn name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            '_' if !name.is_empty() => name.push('_'),
            _ if !name.is_empty() && !name.ends_with(['-', '_']) => name.push('-'),
            _ => {}
        }
        if name.len() >= 50 {
            break;
        }
    }
    let name = name.trim_end_matches(['-', '_']);
    if name.is_empty() { "site".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes() {
        for (text, millis) in [
            ("30", 30_000),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("1d", 86_400_000),
        ] {
            assert_eq!(span(text), Some(Millis(millis)), "{text}");
        }
        for text in ["", "s", "1x", "99999999999999999999", "9999999999999999999y"] {
            assert_eq!(span(text), None, "{text}");
        }
        assert_eq!((size("10m"), size("8k"), size("1x")), (Some(10 << 20), Some(8 << 10), None));
        assert_eq!(shown_size(10 << 20) + &shown_size(1500), "10MiB1500B");
    }

    #[test]
    fn texts_with_variables() {
        let text = |t: &str| Part::Text(t.into());
        let variable = |t: &str| Part::Variable(t.into());
        assert_eq!(
            parts("a$b/${c}d$"),
            [text("a"), variable("b"), text("/"), variable("c"), text("d$")]
        );
        assert_eq!(parts("/$1x"), [text("/"), variable("1"), text("x")]);
        assert_eq!(header_text("$scheme://$host"), Ok("{scheme}://{host}".into()));
        assert!(header_text("$ssl_cipher").is_err() && header_text("{}").is_err());
        assert_eq!(id_source("http_x_user_id").as_deref(), Some("header:x-user-id"));
    }

    #[test]
    fn names_are_names() {
        for (text, expected) in [
            ("App.Example.com", "app-example-com"),
            ("/api/v1/", "api-v1"),
            ("_", "site"),
            ("é", "site"),
        ] {
            assert_eq!(name(text), expected);
        }
    }
}
