//! `rewrite` and `return`: changed paths and redirects.

use super::{
    document::Section,
    parser::Directive,
    scope::Context,
    server::is_redirect,
    value::{self, Part},
};
use crate::model::address::is_host_name;

/// A rule of the new file.
pub struct Rule {
    /// The regular expression.
    pub pattern: String,
    /// What comes in its place.
    pub to: String,
    /// The status of a redirect; none if only the path changes.
    pub status: Option<i64>,
    /// Where it comes from.
    pub from: String,
}

impl Rule {
    /// Its section.
    pub fn section(&self, service: &str) -> Section {
        let kind = if self.status.is_some() { "redirect" } else { "rewrite" };
        let mut section = Section::item(&["service", service, kind]);
        section.comment(format!("From {}", self.from));
        section.set_because("match", self.pattern.as_str(), "");
        section.set_because("to", self.to.as_str(), "");
        if let Some(status) = self.status {
            section.set_because("status", status, "");
        }
        section
    }
}

/// Reads a `rewrite`.
pub fn rewrite(context: &Context<'_>, directive: &Directive, names: &[&str]) -> Option<Rule> {
    let ledger = context.ledger;
    let (flag, status) = (directive.arg(2), status(directive));
    let rule = whole(directive.arg(0)).and_then(|pattern| rule(pattern, directive.arg(1), names));
    match rule {
        Ok((pattern, to)) => {
            match status {
                None if flag != "break" => ledger.differs(
                    directive,
                    "the service is chosen by the path as the client sent it, not by the new one",
                ),
                _ if drops_query(directive.arg(1)) => ledger.differs(directive, KEEPS_QUERY),
                _ => ledger.carry(directive),
            }
            Some(Rule { pattern, to, status, from: directive.at.to_string() })
        }
        Err(why) => {
            ledger.left(directive, why);
            None
        }
    }
}

/// Whether a `rewrite` sends clients to another address.
pub fn sends_away(directive: &Directive) -> bool {
    status(directive).is_some()
}

/// The status of a `rewrite` that sends clients to another address.
fn status(directive: &Directive) -> Option<i64> {
    let away = ["http://", "https://", "$scheme"];
    match directive.arg(2) {
        "permanent" => Some(301),
        "redirect" => Some(302),
        _ if away.iter().any(|start| directive.arg(1).starts_with(start)) => Some(302),
        _ => None,
    }
}

/// Reads a `return` with a redirect.
pub fn redirect(context: &Context<'_>, directive: &Directive, names: &[&str]) -> Option<Rule> {
    if !is_redirect(directive) {
        return None;
    }
    let (status, target) = match directive.args.as_slice() {
        [target] => (302, target.as_str()),
        [status, target] => (status.parse().ok()?, target.as_str()),
        _ => return None,
    };
    match rule("^(.*)$".into(), target, names) {
        Ok((pattern, to)) => {
            match drops_query(target) || !target.contains('$') {
                true => context.ledger.differs(directive, KEEPS_QUERY),
                false => context.ledger.carry(directive),
            }
            Some(Rule { pattern, to, status: Some(status), from: directive.at.to_string() })
        }
        Err(why) => {
            context.ledger.left(directive, why);
            None
        }
    }
}

const KEEPS_QUERY: &str = "nginx dropped the query here; lbd keeps it";

/// Whether a target ends in nginx's word for leaving the query out, and has none of its own.
fn drops_query(target: &str) -> bool {
    target.ends_with('?') && !target.contains("$request_uri")
}

/// Writes what `proxy_pass` with a path does to the path of its location.
pub fn replace_path(
    from: &str,
    uri: &str,
    pass: &Directive,
    section: &mut Section,
    rules: &mut Vec<Rule>,
) {
    let bare = from.strip_suffix('/').unwrap_or(from);
    match uri {
        _ if from == uri => {}
        "/" if rules.is_empty() && bare.len() < from.len() => {
            section.set("strip_prefix", bare, &pass.at)
        }
        uri => rules.push(replaced(from, uri, pass.at.to_string())),
    }
}

/// A rule for the path that `proxy_pass` puts in the place of a location's.
pub fn replaced(from: &str, uri: &str, at: String) -> Rule {
    let to = format!("{}${{1}}", uri.replace('$', "$$"));
    Rule { pattern: format!("^{}(.*)$", regex_syntax::escape(from)), to, status: None, from: at }
}

/// A pattern that takes the whole path, since nginx replaces all of it.
fn whole(pattern: &str) -> Result<String, String> {
    if regex_syntax::parse(pattern).is_err() {
        return Err("lbd's regular expressions have no look-around and no back-references".into());
    }
    let inner = if pattern.contains('|') { format!("(?:{pattern})") } else { pattern.to_owned() };
    let start = if pattern.starts_with('^') { "" } else { "^.*?" };
    let end = if pattern.ends_with('$') && !pattern.ends_with("\\$") { "" } else { ".*$" };
    let whole = format!("{start}{inner}{end}");
    match regex_syntax::parse(&whole) {
        Ok(_) => Ok(whole),
        Err(_) => Err("lbd cannot read the regular expression".into()),
    }
}

/// The pattern and the text that comes in its place, as lbd writes them.
fn rule(pattern: String, target: &str, names: &[&str]) -> Result<(String, String), String> {
    // The query is kept anyway; a ? at the end is nginx's word for leaving it out.
    let tails = ["$is_args$args", "?$args", "?$query_string", "$is_args$query_string", "?"];
    let target = tails.iter().find_map(|tail| target.strip_suffix(tail)).unwrap_or(target);
    if target.is_empty() || target.contains('?') {
        return Err("lbd keeps the query as it is".into());
    }
    let pattern = if pattern == "^.*$" { "^(.*)$".to_owned() } else { pattern };
    let mut to = String::new();
    let mut path = false;
    for part in value::parts(target) {
        match part {
            Part::Text(text) => to.push_str(&text.replace('$', "$$")),
            // What is captured is the whole path here.
            Part::Variable(name)
                if name == "1" && pattern == "^(.*)$" && target.contains("://") =>
            {
                path = true;
                to.push_str(if to.ends_with('/') { "${1}" } else { "/${1}" });
            }
            Part::Variable(name) if name.bytes().all(|byte| byte.is_ascii_digit()) => {
                to.push_str(&format!("${{{name}}}"));
            }
            Part::Variable(name) => match (name.as_str(), names) {
                ("request_uri" | "uri" | "document_uri", _) => {
                    path = true;
                    // Behind its slash, so that the path cannot become a part of the host.
                    to.push_str("/${1}");
                }
                ("server_name", [only, ..]) if is_host_name(only) => to.push_str(only),
                // With one plain name there is no other host.
                ("host" | "http_host", [only]) if !only.contains(['*', '~', '_']) => {
                    to.push_str(only)
                }
                _ => return Err(format!("lbd has no variable for ${name} here")),
            },
        }
    }
    let groups = pattern.matches('(').count();
    match path {
        true if pattern == "^(.*)$" => Ok(("^/(.*)$".into(), to)),
        true if groups > 0 => Err("lbd has no variable for the whole path beside groups".into()),
        true => {
            let inner = pattern.trim_start_matches('^').trim_end_matches('$');
            match inner.strip_prefix('/') {
                Some(inner) => Ok((format!("^/({inner})$"), to)),
                None => Err("lbd has no variable for the whole path here".into()),
            }
        }
        false => Ok((pattern, to)),
    }
}
