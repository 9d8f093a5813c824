//! Which path an endpoint is asked for, and where a client is sent instead.

use http::Uri;
use serde::Serialize;

use super::pattern::{Pattern, Replacement, push_path};

/// A path that endpoints know by another name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rewrite {
    /// Which paths.
    #[serde(rename = "match")]
    pub pattern: Pattern,
    /// The path that takes their place.
    pub to: Replacement,
}

/// A path that has moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Redirect {
    /// Which paths.
    #[serde(rename = "match")]
    pub pattern: Pattern,
    /// Where they are now: a path, or an `http://` or `https://` address.
    pub to: Replacement,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// The path without the prefix, of which only whole segments count: `/api` is cut off `/api/x` and
/// `/api`, and leaves `/apix` as it is.
pub fn stripped<'p>(path: &'p str, prefix: &str) -> &'p str {
    let prefix = prefix.trim_end_matches('/');
    match path.strip_prefix(prefix) {
        Some("") => "/",
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) | None => path,
    }
}

/// The path that an endpoint is asked for: first without `prefix`, then as the first rule says that
/// matches the rest. `None` if it is as the client sent it.
pub fn rewritten(path: &str, prefix: Option<&str>, rules: &[Rewrite]) -> Option<String> {
    let rest = prefix.map_or(path, |prefix| stripped(path, prefix));
    let rule = rules.iter().find_map(|rule| Some((rule, rule.pattern.captures(rest)?)));
    match rule {
        Some((rule, captures)) => Some(rooted(rule.to.expand(&captures))),
        None if rest != path => {
            let mut sound = String::with_capacity(rest.len());
            push_path(&mut sound, rest);
            Some(sound)
        }
        None => None,
    }
}

/// A path from the root: what is captured may have taken its first slash along.
fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

impl Redirect {
    /// Where a client that asks for `path` with `query` is sent, if this rule says so. The query goes
    /// along unless the rule has one of its own.
    pub fn location(&self, path: &str, query: &str) -> Option<String> {
        let captures = self.pattern.captures(path)?;
        let mut location = self.to.expand(&captures);
        if !self.is_absolute() {
            // Two slashes would begin the name of another host.
            location = format!("/{}", location.trim_start_matches('/'));
        }
        if !query.is_empty() && !location.contains('?') {
            location.push('?');
            // A further question mark is nothing special in a query.
            query.split('?').enumerate().for_each(|(n, part)| {
                location.push_str(if n == 0 { "" } else { "?" });
                push_path(&mut location, part);
            });
        }
        location.parse::<Uri>().is_ok().then_some(location)
    }

    fn is_absolute(&self) -> bool {
        let to = self.to.beginning();
        to.starts_with("http://") || to.starts_with("https://")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, to: &str) -> Rewrite {
        let pattern = Pattern::new(pattern).unwrap();
        let to = Replacement::new(to, &pattern).unwrap();
        Rewrite { pattern, to }
    }

    fn location(pattern: &str, to: &str, path: &str, query: &str) -> Option<String> {
        let Rewrite { pattern, to } = rule(pattern, to);
        Redirect { pattern, to, status: 301 }.location(path, query)
    }

    #[test]
    fn a_prefix_is_cut_off_by_whole_segments() {
        for (path, rest) in
            [("/api", "/"), ("/api/", "/"), ("/api/x", "/x"), ("/apix", "/apix"), ("/", "/")]
        {
            assert_eq!(stripped(path, "/api"), rest);
            assert_eq!(stripped(path, "/api/"), rest);
        }
        assert_eq!(stripped("/x", "/"), "/x");
    }

    #[test]
    fn the_first_rule_wins_over_what_the_prefix_leaves() {
        let rules =
            [rule("^/old/(.*)$", "/new/$1"), rule("^/old", "/never"), rule("^/b(.*)", "$1")];
        let path = |path| rewritten(path, Some("/api"), &rules);
        assert_eq!(path("/api/old/a").as_deref(), Some("/new/a"));
        assert_eq!(path("/old/a").as_deref(), Some("/new/a"));
        assert_eq!(path("/api/x").as_deref(), Some("/x"));
        assert_eq!(path("/bare").as_deref(), Some("/are"), "a path begins with a slash");
        assert_eq!(path("/x"), None);
    }

    #[test]
    fn a_redirect_keeps_the_query_unless_it_has_its_own() {
        assert_eq!(
            location("^/a/(.*)$", "https://x.test/b/$1", "/a/1", "q=1").as_deref(),
            Some("https://x.test/b/1?q=1")
        );
        assert_eq!(location("^/a$", "/b?c=1", "/a", "q=1").as_deref(), Some("/b?c=1"));
        assert_eq!(location("^/a$", "/b", "/x", ""), None);
    }

    #[test]
    fn a_path_cannot_send_clients_to_another_host() {
        assert_eq!(
            location("^/go(.*)$", "/$1", "/go//evil.test", "").as_deref(),
            Some("/evil.test")
        );
        assert_eq!(
            location("^/go(.*)$", "$1", "/go/\\evil.test", "").as_deref(),
            Some("/%5Cevil.test")
        );
        assert_eq!(
            location("(?s)^/(.*)$", "/$1", "/a\r\nb", "c\r\nd#e ?f").as_deref(),
            Some("/a%0D%0Ab?c%0D%0Ad%23e%20?f")
        );
    }
}
