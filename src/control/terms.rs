//! What an admin request says besides its body: the query's parameters, and on what terms a command
//! is given.

use std::collections::BTreeMap;

use http::{Request, header};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::{Rehearse, fault::Fault};
use crate::{
    api::Op,
    model::{Actor, Revision, ServiceName},
};

/// On what terms a command is given.
pub struct Terms {
    /// Who gives it.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// Only on this revision.
    pub if_revision: Option<Revision>,
    /// Whether it is only a rehearsal.
    pub rehearse: Rehearse,
}

impl Terms {
    /// The terms of somebody who gives none.
    pub const fn by(actor: Actor) -> Self {
        Self { actor, reason: None, if_revision: None, rehearse: Rehearse::No }
    }

    /// Reads the terms from query and headers.
    pub fn of(request: &Request<Incoming>, query: &Query, actor: &Actor) -> Result<Self, Fault> {
        let if_revision = match request.headers().get(header::IF_MATCH) {
            None => None,
            Some(value) => {
                let revision = value.to_str().ok().and_then(revision);
                Some(revision.ok_or_else(|| {
                    Fault::bad("If-Match takes a revision, a number, in quotes or without")
                })?)
            }
        };
        let rehearse = match query.first("dry_run") {
            None | Some("false" | "0") => Rehearse::No,
            Some("true" | "1") => Rehearse::Yes,
            Some(_) => return Err(Fault::bad("dry_run takes true or false")),
        };
        let reason = query.first("reason").map(|r| r.chars().take(1000).collect());
        Ok(Self { actor: actor.clone(), reason, if_revision, rehearse })
    }
}

/// A revision as [`openapi`](crate::api::openapi) says that it is written.
fn revision(text: &str) -> Option<Revision> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let is_number = bare.len() <= 19 && bare.bytes().all(|byte| byte.is_ascii_digit());
    bare.parse().ok().filter(|_| is_number).map(Revision)
}

/// The query's parameters.
pub struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    /// Reads the parameters; one that the operation does not know is a mistake, not an ornament.
    pub fn of(text: &str, op: Op) -> Result<Self, Fault> {
        let known = op.spec().query;
        let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| {
                let spaced = text.replace('+', " ");
                percent_decode_str(&spaced).decode_utf8().map(|t| t.into_owned())
            };
            let (Ok(name), Ok(value)) = (decode(name), decode(value)) else {
                return Err(Fault::bad("the query is not UTF-8"));
            };
            if !known.iter().any(|(k, _)| *k == name) {
                let names: Vec<_> = known.iter().map(|(k, _)| *k).collect();
                let takes =
                    if names.is_empty() { "no parameters".into() } else { names.join(", ") };
                return Err(Fault::bad(format!(
                    "there is no parameter `{name}` here; it takes {takes}"
                )));
            }
            parameters.entry(name).or_default().push(value);
        }
        Ok(Self(parameters))
    }

    /// The first value of a parameter.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// The value of a parameter that is a number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Fault> {
        let parse =
            |text: &str| text.parse().map_err(|_| Fault::bad(format!("{name} takes a number")));
        self.first(name).map(parse).transpose()
    }

    /// The services that are named.
    pub fn services(&self) -> Result<Vec<ServiceName>, Fault> {
        let names = self.0.get("service").map(Vec::as_slice).unwrap_or_default();
        let parse = |name: &String| {
            name.parse().map_err(|e: crate::model::units::NotAName| Fault::bad(e.to_string()))
        };
        names.iter().map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_number_in_quotes_or_without() {
        for text in ["0", "7", "007", "\"7\"", "9999999999999999999"] {
            let number = text.trim_matches('"').parse().unwrap();
            assert_eq!(revision(text), Some(Revision(number)), "{text}");
        }
        for text in
            ["", "\"", "\"\"", "\"7", "7\"", "\"\"7\"\"", "+7", "-7", "7.0", "W/\"7\"", "*", "7, 8"]
        {
            assert_eq!(revision(text), None, "{text}");
        }
    }
}
