//! Shuts services that would be more open than nginx was: where a regular expression refuses paths that
//! lbd cannot tell apart, and where nginx kept a server from a listener.

use super::{
    guard::Guards,
    listener,
    location::Services,
    parser::Directive,
    path::{self, path_of},
    policy,
    scope::Context,
    server::Server,
};

/// A service that has been written.
pub struct Written<'a> {
    /// The place of its section.
    pub section: usize,
    /// Its server.
    pub server: usize,
    /// Its location.
    pub location: &'a Directive,
    /// Its paths.
    pub paths: Vec<String>,
    /// What guards it.
    pub guards: Guards,
    /// Whether it refuses everybody anyway.
    pub shut: bool,
}

impl<'a> Services<'_, 'a> {
    /// Shuts what a guarded regular expression of the server may mean, but lbd cannot.
    pub fn shut_matched(&mut self, server: &Server<'_>, pattern: &Directive, guards: &Guards) {
        let exact = path::exact(pattern);
        let start = path::literal_start(pattern);
        let meant = |path: &str| match &exact {
            // Its own service has what is not below it.
            Some(exact) => exact.iter().any(|own| below(path, own)),
            None => {
                let path = path.to_ascii_lowercase();
                path.starts_with(&*start) || start.starts_with(&*path)
            }
        };
        let found: Vec<usize> = (0..self.written.len())
            .filter(|index| {
                self.written.get(*index).is_some_and(|written| {
                    written.server == server.directive.id
                        && written.location.id != pattern.id
                        // nginx does not look at regular expressions for these.
                        && !matches!(written.location.arg(0), "=" | "^~")
                        && !written.shut
                        && !guards.is_subset(&written.guards)
                        && (written.paths.is_empty() || written.paths.iter().any(|p| meant(p)))
                })
            })
            .collect();
        for index in found {
            let why = format!(
                "lbd knows paths by their beginning only, so that the service of {} refuses \
                 everybody: take its `deny` away if the application refuses by itself",
                self.place(index)
            );
            self.context.ledger.left(pattern, why);
            self.shut(index, &format!("{} guards paths that lbd cannot tell apart", pattern.at));
        }
    }

    /// Shuts a service that took the paths of a place with more guards.
    pub fn shut_taken(&mut self, paths: &[String], location: &'a Directive, guards: &Guards) {
        let taken = |written: &Written<'_>| {
            let same = |path: &String| path == "/" && written.paths.is_empty();
            !written.shut
                && !guards.is_subset(&written.guards)
                && paths.iter().any(|path| written.paths.contains(path) || same(path))
        };
        for index in 0..self.written.len() {
            if self.written.get(index).is_some_and(taken) {
                let why = format!(
                    "it guards the same paths as {}, whose service refuses everybody now",
                    self.place(index)
                );
                self.context.ledger.left(location, why);
                self.shut(index, &format!("{} guards the same paths", location.at));
            }
        }
    }

    /// Shuts the services of servers that nginx did not show to everybody who reaches lbd.
    pub fn shut_unreached(&mut self, servers: &[Server<'a>]) {
        let context = self.context;
        for server in servers {
            let Some((directive, why)) = unreached(context, server, servers) else { continue };
            let of = |written: &Written<'_>| written.server == server.directive.id;
            for index in 0..self.written.len() {
                if self.written.get(index).is_some_and(of) {
                    let told = format!("{why}, so that its services refuse everybody");
                    context.ledger.left(directive, told);
                    self.shut(index, &format!("{}: {why}", directive.at));
                }
            }
        }
    }

    fn place(&self, index: usize) -> String {
        self.written.get(index).map(|w| w.location.at.to_string()).unwrap_or_default()
    }

    fn shut(&mut self, index: usize, why: &str) {
        let Some(written) = self.written.get_mut(index) else { return };
        written.shut = true;
        if let Some(section) = self.sections.get_mut(written.section) {
            section.comment(format!("{why}. Closed, until you change `deny`."));
            policy::shut(section);
        }
    }
}

/// Whether a path is inside another.
fn below(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

/// Why lbd would show a server to more clients than nginx did, and which directive says so.
fn unreached<'a>(
    context: &Context<'_>,
    server: &Server<'a>,
    servers: &[Server<'a>],
) -> Option<(&'a Directive, String)> {
    let open: Vec<_> = listener::by_address(servers)
        .into_iter()
        .filter(|(_, users)| !listener::only_redirects(users))
        .collect();
    if let Some((verify, wanted)) = listener::client_ca(context, server) {
        let other = open.iter().find(|(_, users)| {
            // In the order in which the listener's section reads them: the last wins.
            let mut asked: Vec<_> = users.iter().filter(|(_, listen)| listen.tls).collect();
            asked.sort_by_key(|(_, listen)| !listen.default);
            let asked = asked.into_iter();
            let asked = asked.filter_map(|(server, _)| listener::client_ca(context, server));
            wanted.is_empty() || asked.last().is_none_or(|(_, ca)| ca != wanted)
        });
        if let Some((address, _)) = other {
            let why = "lbd's services answer on all listeners, and does not ask for this \
                       certificate";
            let why = why.replace("and does", &format!("and {address} does"));
            return Some((verify, why));
        }
    }
    let hidden = server.listens.iter().all(|listen| is_private(listen.address));
    let public = open.iter().find(|(address, _)| !is_private(*address));
    let (address, _) = public.filter(|_| hidden)?;
    let why = format!("nginx showed it inside only, and lbd's services answer on {address} too");
    Some((server.listens.first().and_then(|l| l.directive).unwrap_or(server.directive), why))
}

fn is_private(address: std::net::SocketAddr) -> bool {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

/// The guards of what nginx would have asked for a location's requests, were it not there.
pub fn around(server: &Server<'_>, location: &Directive) -> Guards {
    let path = path_of(location);
    let prefix = |other: &&Directive| {
        !matches!(other.arg(0), "=" | "~" | "~*")
            && other.id != location.id
            && path.starts_with(path_of(other))
            && path_of(other).starts_with('/')
    };
    let cover = server.directive.all("location").filter(prefix).max_by_key(|l| path_of(l).len());
    cover.map_or_else(Guards::new, |cover| {
        super::guard::guards(&server.scope.inside(&[cover.inside()]))
    })
}
