//! Header values with variables, parsed once and filled in for each request.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A text with variables in braces, as in `"{client_ip} at {host}"`. Braces of its own are written twice.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

/// What a template can name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Variable {
    /// The client's address, after trusted proxies.
    ClientIp,
    /// The host that the client asked for, without port.
    Host,
    /// `http` or `https`: how the client asked.
    Scheme,
    /// The path that the client asked for, without query.
    Path,
    /// The request's id.
    RequestId,
    /// The user's id; empty if there is none.
    UserId,
    /// The pool that serves the request.
    Pool,
    /// The service.
    Service,
}

impl Variable {
    /// Every variable with its name.
    pub const ALL: [(&'static str, Self); 8] = [
        ("client_ip", Self::ClientIp),
        ("host", Self::Host),
        ("scheme", Self::Scheme),
        ("path", Self::Path),
        ("request_id", Self::RequestId),
        ("user_id", Self::UserId),
        ("pool", Self::Pool),
        ("service", Self::Service),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, variable)| *variable == self).map_or("", |(name, _)| name)
    }
}

/// A text that is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotATemplate {
    /// A variable that does not exist.
    #[error("has the unknown variable {{{0}}}")]
    Unknown(String),
    /// A brace without its other half.
    #[error("has a single brace; braces that are meant as such are written twice")]
    Brace,
    /// A character that a header cannot carry.
    #[error("has a control character, or one that is not ASCII")]
    Character,
}

impl FromStr for Template {
    type Err = NotATemplate;

    fn from_str(text: &str) -> Result<Self, NotATemplate> {
        if !text.bytes().all(is_plain) {
            return Err(NotATemplate::Character);
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                literal.push('}');
                rest = after;
            } else {
                let inner = from.strip_prefix('{').ok_or(NotATemplate::Brace)?;
                let (name, after) = inner.split_once('}').ok_or(NotATemplate::Brace)?;
                let known = Variable::ALL.iter().find(|(known, _)| *known == name);
                let (_, variable) = known.ok_or_else(|| NotATemplate::Unknown(name.to_owned()))?;
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Variable(*variable));
                rest = after;
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self(parts))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Variable(variable) => write!(f, "{{{}}}", variable.name()),
        })
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Template {
    /// The text if it has no variable.
    pub fn literal(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The value with its variables as `look` tells them. What a header cannot carry is percent-encoded,
    /// so that no value ends its line; what is around it is cut off, as HTTP does.
    pub fn fill<'v>(&self, look: impl Fn(Variable) -> Cow<'v, str>) -> String {
        let mut value = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::Variable(variable) => push_plain(&mut value, &look(*variable)),
            }
        }
        value.trim().to_owned()
    }
}

/// Whether a byte can stand in a header's value (RFC 9110, section 5.5, without tabs and obsolete text).
fn is_plain(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
}

fn push_plain(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_plain(byte) {
            to.push(char::from(byte));
        } else {
            to.push_str(percent_encoding::percent_encode_byte(byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(template: &str, value: &str) -> String {
        template.parse::<Template>().unwrap().fill(|_| value.to_owned().into())
    }

    #[test]
    fn variables_are_filled_in_and_braces_written_twice() {
        assert_eq!(filled("{client_ip} at {host}!", "x"), "x at x!");
        assert_eq!(filled("{{\"a\": \"{path}\"}}", "/"), "{\"a\": \"/\"}");
        assert_eq!(filled("", "x"), "");
        let template: Template = "a{pool}b{{c}}".parse().unwrap();
        assert_eq!(template.to_string(), "a{pool}b{{c}}");
        assert_eq!(template.literal(), None);
        assert_eq!("{{a}}".parse::<Template>().unwrap().literal(), Some("{a}"));
    }

    #[test]
    fn what_is_no_template_is_told() {
        let wrong = |text: &str| text.parse::<Template>().unwrap_err();
        assert_eq!(wrong("{clientip}"), NotATemplate::Unknown("clientip".into()));
        assert_eq!(wrong("{}"), NotATemplate::Unknown(String::new()));
        assert_eq!(
            [wrong("a}b"), wrong("{host"), wrong("{")],
            [(); 3].map(|()| NotATemplate::Brace)
        );
        assert_eq!([wrong("a\r\nb"), wrong("ä")], [(); 2].map(|()| NotATemplate::Character));
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        assert_eq!(
            filled("{user_id}", "a\r\nSet-Cookie: b\0\u{e9}"),
            "a%0D%0ASet-Cookie: b%00%C3%A9"
        );
        assert_eq!(filled("{user_id}", " a "), "a");
    }

    proptest! {
        #[test]
        fn whatever_is_filled_in_is_a_header_value(text: String, value: String) {
            if let Ok(template) = text.parse::<Template>() {
                let filled = template.fill(|_| value.as_str().into());
                prop_assert!(http::HeaderValue::from_str(&filled).is_ok());
                prop_assert_eq!(template.to_string().parse::<Template>().unwrap(), template);
            }
        }
    }
}
