//! Which service a request is for: the most specific host, then the longest path prefix.

use std::{borrow::Cow, collections::HashMap};

use percent_encoding::percent_decode_str;

/// Why no service takes a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unrouted {
    /// No service has the host.
    Host,
    /// Services have the host, but none the path.
    Path,
}

/// Hosts and path prefixes of all services, by service index.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    exact: HashMap<Box<str>, Paths>,
    /// By the part behind `*.`.
    wildcard: HashMap<Box<str>, Paths>,
    any: Option<Paths>,
}

/// Path prefixes, longest first, with the service they lead to.
#[derive(Clone, Debug, Default)]
struct Paths(Vec<(Box<str>, usize)>);

/// A host and path that two services claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Conflict {
    /// The host; `*` for any.
    pub host: String,
    /// The path prefix.
    pub path: String,
    /// Index of the service that had it first.
    pub first: usize,
}

impl Routes {
    /// Adds a service with index `service`. No hosts: any host; no paths: all paths.
    ///
    /// # Errors
    ///
    /// Each host and path that another service has already; those are not added.
    pub fn add(
        &mut self,
        service: usize,
        hosts: &[String],
        paths: &[String],
    ) -> Result<(), Vec<Conflict>> {
        let any_host = [String::from("*")];
        let hosts = if hosts.is_empty() { &any_host[..] } else { hosts };
        let all_paths = [String::from("/")];
        let paths = if paths.is_empty() { &all_paths[..] } else { paths };
        let mut conflicts = Vec::new();
        for host in hosts {
            let table = self.table(host);
            for path in paths {
                if let Err(first) = table.add(path, service) {
                    conflicts.push(Conflict { host: host.clone(), path: path.clone(), first });
                }
            }
        }
        if conflicts.is_empty() { Ok(()) } else { Err(conflicts) }
    }

    fn table(&mut self, host: &str) -> &mut Paths {
        if host == "*" {
            return self.any.get_or_insert_default();
        }
        let host = host.to_ascii_lowercase();
        match host.strip_prefix("*.") {
            Some(parent) => self.wildcard.entry(parent.into()).or_default(),
            None => self.exact.entry(host.into()).or_default(),
        }
    }

    /// The index of the service for `host` (without port, any case) and `path`.
    ///
    /// # Errors
    ///
    /// Says whether the host or only the path is unknown.
    pub fn find(&self, host: &str, path: &str) -> Result<usize, Unrouted> {
        let host = host.strip_suffix('.').unwrap_or(host);
        let paths = if host.bytes().any(|b| b.is_ascii_uppercase()) {
            self.host(&host.to_ascii_lowercase())
        } else {
            self.host(host)
        };
        let paths = paths.ok_or(Unrouted::Host)?;
        let found = paths.find(&normal(path));
        let is_ambiguous = read_otherwise(path).iter().any(|other| paths.find(other) != found);
        if is_ambiguous { Err(Unrouted::Path) } else { found.ok_or(Unrouted::Path) }
    }

    fn host(&self, host: &str) -> Option<&Paths> {
        let parents = || std::iter::successors(parent(host), |h| parent(h));
        let wildcard = || match self.wildcard.is_empty() {
            true => None,
            false => parents().find_map(|p| self.wildcard.get(p)),
        };
        let exact = || if self.exact.is_empty() { None } else { self.exact.get(host) };
        exact().or_else(wildcard).or(self.any.as_ref())
    }
}

/// The path as other endpoints understand it: `%2F` and the backslash are slashes to them, or what follows
/// a `;` in a segment is no part of its name, or an empty segment is one to go back over. Where any of it
/// would lead to another service, none can tell what is meant.
fn read_otherwise(path: &str) -> Vec<String> {
    let is_odd = path.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\'));
    if !is_odd && !path.contains("//") {
        return Vec::new();
    }
    let (slashes, names) = (with_slashes(path), without_parameters(path));
    let both = [without_parameters(&slashes), with_slashes(&names)];
    let spellings = [path.to_owned(), slashes, names].into_iter().chain(both);
    let readings = |spelling: String| [resolved(&spelling, true), resolved(&spelling, false)];
    spellings.flat_map(readings).collect()
}

/// The path with everything for a slash that may be taken for one.
fn with_slashes(path: &str) -> String {
    let slashes = ["%2F", "%2f", "%5C", "%5c", "\\"];
    slashes.iter().fold(path.to_owned(), |path, slash| path.replace(slash, "/"))
}

/// The path without what follows a `;` in its segments.
fn without_parameters(path: &str) -> String {
    let name = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

/// The path that an endpoint will most likely understand: escapes decoded but for `%2F`, dot segments
/// resolved, slashes merged. So nobody gets around a prefix by spelling it otherwise.
fn normal(path: &str) -> Cow<'_, str> {
    let plain = !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if plain { path.into() } else { resolved(path, true).into() }
}

/// The same; `merges`: slashes are merged before dot segments are resolved, not after.
fn resolved(path: &str, merges: bool) -> String {
    let escaped_slash = path.replace("%2F", "%252F").replace("%2f", "%252F");
    let decoded = percent_decode_str(&escaped_slash).decode_utf8_lossy();
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/').skip(1).filter(|s| !merges || !s.is_empty()) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    let ends_open = decoded.ends_with('/') || decoded.ends_with("/.") || decoded.ends_with("/..");
    let end = if ends_open && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn parent(host: &str) -> Option<&str> {
    host.split_once('.').map(|(_, parent)| parent)
}

impl Paths {
    fn add(&mut self, prefix: &str, service: usize) -> Result<(), usize> {
        if let Some((_, first)) = self.0.iter().find(|(p, _)| **p == *prefix) {
            return Err(*first);
        }
        let at = self.0.partition_point(|(p, _)| p.len() >= prefix.len());
        self.0.insert(at, (prefix.into(), service));
        Ok(())
    }

    /// A prefix covers whole segments: `/api` covers `/api`, `/api/x` and `/api;v=1`, not `/apix`.
    fn find(&self, path: &str) -> Option<usize> {
        let covers = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| {
                rest.is_empty() || prefix.ends_with('/') || rest.starts_with(['/', ';'])
            })
        };
        self.0.iter().find(|(prefix, _)| covers(prefix)).map(|(_, service)| *service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(services: &[(&[&str], &[&str])]) -> Routes {
        let mut routes = Routes::default();
        for (n, (hosts, paths)) in services.iter().enumerate() {
            let owned = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
            routes.add(n, &owned(hosts), &owned(paths)).unwrap();
        }
        routes
    }

    #[test]
    fn the_most_specific_host_wins() {
        let r = routes(&[
            (&[], &[]),
            (&["*.example.com"], &[]),
            (&["www.example.com"], &[]),
            (&["*.a.example.com"], &[]),
        ]);
        assert_eq!(r.find("www.example.com", "/"), Ok(2));
        assert_eq!(r.find("WWW.Example.COM.", "/"), Ok(2));
        assert_eq!(r.find("x.example.com", "/"), Ok(1));
        assert_eq!(r.find("x.y.example.com", "/"), Ok(1));
        assert_eq!(r.find("x.a.example.com", "/"), Ok(3));
        assert_eq!(r.find("example.com", "/"), Ok(0));
        assert_eq!(r.find("", "/"), Ok(0));
    }

    #[test]
    fn the_longest_prefix_wins_and_covers_whole_segments() {
        let r =
            routes(&[(&["a"], &["/"]), (&["a"], &["/api", "/static/"]), (&["a"], &["/api/v2"])]);
        for (path, service) in [
            ("/", 0),
            ("/apix", 0),
            ("/api", 1),
            ("/api/", 1),
            ("/api/v1", 1),
            ("/api/v2", 2),
            ("/api/v2/x", 2),
            ("/api/v22", 1),
            ("/static/x", 1),
            ("/static", 0),
        ] {
            assert_eq!(r.find("a", path), Ok(service), "{path}");
        }
    }

    #[test]
    fn a_prefix_cannot_be_got_around_by_spelling() {
        let r = routes(&[(&["a"], &["/"]), (&["a"], &["/admin"])]);
        for path in
            ["/x/../admin", "//admin", "/%61dmin", "/x/%2e%2e/admin/", "/./admin", "/admin/x/.."]
        {
            assert_eq!(r.find("a", path), Ok(1), "{path}");
        }
        for path in
            ["/admin;v=1", "/admin;v=1/x", "/admin/x;y", "/admin%3Bx/../admin", "/admin/a%2Fb"]
        {
            assert_eq!(r.find("a", path), Ok(1), "{path}");
        }
        for path in ["/admin/..", "/x%2Fadmin", "/../x", "/%", "/..", "//", "/x;/admin", "/;"] {
            assert_eq!(r.find("a", path), Ok(0), "{path}");
        }
    }

    #[test]
    fn what_endpoints_read_differently_leads_nowhere() {
        let r = routes(&[(&["a"], &["/"]), (&["a"], &["/admin"])]);
        for path in [
            "/admin%2Fx",
            "/admin%2fx",
            "/x%2F..%2Fadmin",
            "/x/..%2fadmin",
            "/admin/..%2Fx",
            "/..;/admin",
            "/x/..;v=1/admin",
            "/admin/..;/x",
            "/;/admin",
            "/%2Fadmin",
            "/x;%2F..%2F..%2Fadmin",
            "/x%2Fy/..;/admin",
            "/x/..\\admin",
            "/x/..%5Cadmin",
            "/admin//../x",
            "/admin%2F/../x",
        ] {
            assert_eq!(r.find("a", path), Err(Unrouted::Path), "{path}");
        }
    }

    #[test]
    fn an_unknown_host_and_an_unknown_path_are_told_apart() {
        let r = routes(&[(&["a"], &["/api"])]);
        assert_eq!(r.find("b", "/api"), Err(Unrouted::Host));
        assert_eq!(r.find("a", "/"), Err(Unrouted::Path));
    }

    #[test]
    fn two_services_cannot_have_the_same_place() {
        let mut r = routes(&[(&["a"], &["/"])]);
        let conflicts = r.add(1, &["A".into()], &[]).unwrap_err();
        assert_eq!(conflicts, [Conflict { host: "A".into(), path: "/".into(), first: 0 }]);
    }
}
