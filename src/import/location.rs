//! `location`: which paths, and what is done with their requests.

use super::{
    Names,
    closed::{Written, around},
    document::Section,
    guard::{self, guards},
    page,
    parser::Directive,
    path::{is_one_path, path_of, paths},
    patience,
    policy::{self, Door},
    rewrite::{self, Rule},
    scope::{Context, Scope},
    server::{Server, hosts, is_to_https, service_name},
    split,
    upstream::Manner,
    value,
};

/// What the services of all servers share.
pub struct Services<'c, 'a> {
    /// The context.
    pub context: &'c Context<'a>,
    /// Names in use.
    pub names: Names,
    /// Hosts and paths in use.
    pub claims: std::collections::BTreeSet<(String, String)>,
    /// The page of maintenance, with its place.
    pub page: Option<(String, String)>,
    /// The sections so far.
    pub sections: Vec<Section>,
    /// The services among them.
    pub written: Vec<Written<'a>>,
}

/// A place that becomes a service.
struct Site<'s, 'a> {
    server: &'s Server<'a>,
    hosts: &'s [String],
    directive: &'a Directive,
    scope: Scope<'a>,
    paths: Vec<String>,
    rules: Vec<Rule>,
}

/// What becomes of redirects to the same host with https.
const CIRCLE: &str = "lbd's services answer on all listeners, so that it would send requests in a \
                      circle; redirect_to_https of the listener does it";
/// How lbd refuses.
const REFUSED: &str = "lbd refuses with 403";

/// What is done with requests.
enum Action<'a> {
    /// They are forwarded to this.
    Forward(&'a Directive),
    /// They are sent elsewhere.
    Redirect(Rule),
    /// They are sent elsewhere by the block's own rules.
    Rewrite,
    /// They are refused.
    Refuse,
}

impl<'a> Services<'_, 'a> {
    /// Adds the services of a server.
    pub fn add(&mut self, server: &Server<'a>) {
        let context = self.context;
        let closes = page::maintenance(context, server.directive);
        if server.to_https.is_some() {
            server.scope.own("server_name").iter().for_each(|names| context.ledger.carry(names));
            return;
        }
        let hosts = hosts(context, server);
        if hosts.is_empty() && !server.default {
            let why = match server.refuses {
                true => "lbd answers 421 to hosts that no service has",
                false => "no host leads here that lbd could know",
            };
            let answer = server.scope.own("return").first().copied().filter(|_| server.refuses);
            match answer {
                Some(answer) => context.ledger.unneeded(answer, why),
                None => context.ledger.left(server.directive, why),
            }
            return;
        }
        let before = self.sections.len();
        let answer = server.scope.own("return").first().copied();
        if let Some(answer) = answer {
            // It answers everything, so that nothing else in the server counts.
            let action = match rewrite::redirect(context, answer, &server.names) {
                Some(rule) => Action::Redirect(rule),
                None => {
                    context.ledger.differs(answer, REFUSED);
                    Action::Refuse
                }
            };
            let (scope, paths) = (server.scope.clone(), Vec::new());
            let directive = server.directive;
            let site = Site { server, hosts: &hosts, directive, scope, paths, rules: Vec::new() };
            self.site(site, action, closes);
        } else {
            self.locations(server, &hosts, server.directive, &server.scope, closes);
            self.shut_regular(server, server.directive, &server.scope);
        }
        if self.sections.len() == before {
            let why = "nothing in it is forwarded or redirected; lbd answers 421 to its hosts";
            context.ledger.left(server.directive, why);
        }
    }

    fn locations(
        &mut self,
        server: &Server<'a>,
        hosts: &[String],
        block: &'a Directive,
        scope: &Scope<'a>,
        closes: bool,
    ) {
        let context = self.context;
        let mut locations: Vec<&Directive> = block.all("location").collect();
        // Where both mean the same path, nginx takes the regular expression.
        locations.sort_by_key(|location| !location.arg(0).starts_with('~'));
        for location in locations {
            if !context.may(scope.size() + hosts.len()) {
                context.ledger.left(location, "the file is too large to look at all of it");
                continue;
            }
            let inner = scope.inside(&[location.inside()]);
            let closes = page::maintenance(context, location) || closes;
            self.location(server, hosts, location, &inner, closes);
            // Account for those inside only if they were reached.
            if location.all("location").next().is_some() {
                context.ledger.carry(location);
                self.locations(server, hosts, location, &inner, closes);
            }
        }
    }

    /// Shuts what regular expressions guard, once all services of the server are there.
    fn shut_regular(&mut self, server: &Server<'a>, block: &'a Directive, scope: &Scope<'a>) {
        for location in block.all("location") {
            let inner = scope.inside(&[location.inside()]);
            let guards = guards(&inner);
            if location.arg(0).starts_with('~')
                && !guards.is_empty()
                && self.context.may(scope.size() + self.written.len())
            {
                self.shut_matched(server, location, &guards);
            }
            self.shut_regular(server, location, &inner);
        }
    }

    fn location(
        &mut self,
        server: &Server<'a>,
        hosts: &[String],
        location: &'a Directive,
        scope: &Scope<'a>,
        closes: bool,
    ) {
        let (guards, around) = (guards(scope), around(server, location));
        if is_one_path(location) && !around.is_subset(&guards) {
            let why = "it would be a prefix, and what is below it is more closed than it is";
            return self.context.ledger.left(location, why);
        }
        let action = self.action(server, location, scope);
        let carried = action.is_some_and(|(scope, action)| {
            self.carried(server, hosts, location, scope, action, closes)
        });
        if !carried && !location.arg(0).starts_with('@') && !guards.is_subset(&around) {
            let why = "what lbd cannot do here is refused, since nginx guards it";
            if self.carried(server, hosts, location, scope.clone(), Action::Refuse, closes) {
                self.context.ledger.differs(location, why);
                let asks = ["allow", "deny"].map(|name| scope.own(name));
                let why = "the service refuses everybody";
                asks.iter().flatten().for_each(|rule| self.context.ledger.unneeded(rule, why));
            } else if let Ok((paths, _)) = paths(location, &[]) {
                self.shut_taken(&paths, location, &guards);
            }
        }
    }

    /// Writes the service of a location, if there can be one.
    fn carried(
        &mut self,
        server: &Server<'a>,
        hosts: &[String],
        location: &'a Directive,
        scope: Scope<'a>,
        action: Action<'a>,
        closes: bool,
    ) -> bool {
        let context = self.context;
        let ledger = context.ledger;
        let twins: Vec<&str> = server.directive.all("location").map(path_of).collect();
        let paths = match paths(location, &twins) {
            Ok((paths, None)) => paths,
            Ok((paths, Some(difference))) => {
                ledger.differs(location, difference);
                paths
            }
            Err(why) => {
                let rest = "its requests go where those of the path above it go";
                ledger.left(location, format!("{why}; {rest}"));
                return false;
            }
        };
        let hosts_or_any = if hosts.is_empty() { vec!["*".to_owned()] } else { hosts.to_vec() };
        let claims = |path: &String| {
            hosts_or_any.iter().map(|h| (h.clone(), path.clone())).collect::<Vec<_>>()
        };
        if let Some(path) =
            paths.iter().find(|path| claims(path).iter().any(|c| self.claims.contains(c)))
        {
            let why = format!(
                "another server or location has {path} for the same hosts, and lbd's services answer \
                 on all listeners"
            );
            ledger.left(location, why);
            return false;
        }
        let claimed: Vec<_> = paths.iter().flat_map(claims).collect();
        let mut rules = rules(context, server, &server.scope);
        if location.id != server.directive.id {
            rules.extend(self::rules(context, server, &scope));
        }
        let site = Site { server, hosts, directive: location, scope, paths, rules };
        let done = self.site(site, action, closes);
        if done {
            ledger.carry(location);
            self.claims.extend(claimed);
        }
        done
    }

    /// What a location does; `None` if it is nothing that lbd does.
    fn action(
        &self,
        server: &Server<'a>,
        location: &'a Directive,
        scope: &Scope<'a>,
    ) -> Option<(Scope<'a>, Action<'a>)> {
        let context = self.context;
        if location.arg(0).starts_with('@') {
            return None;
        }
        if let Some(internal) = scope.own("internal").first() {
            context.ledger.differs(internal, REFUSED);
            return Some((scope.clone(), Action::Refuse));
        }
        if let Some(answer) = scope.own("return").first() {
            if guard::refuses(answer) {
                match answer.arg(0) {
                    "403" => context.ledger.carry(answer),
                    _ => context.ledger.differs(answer, REFUSED),
                }
                return Some((scope.clone(), Action::Refuse));
            }
            if server.has_tls_twin && is_to_https(answer, &server.names) {
                context.ledger.left(answer, CIRCLE);
                return None;
            }
            let rule = rewrite::redirect(context, answer, &server.names)?;
            return Some((scope.clone(), Action::Redirect(rule)));
        }
        let pass = |scope: &Scope<'a>| {
            scope.own("proxy_pass").first().or(scope.own("grpc_pass").first()).copied()
        };
        if let Some(pass) = pass(scope) {
            return Some((scope.clone(), Action::Forward(pass)));
        }
        if let Some(tried) = scope.own("try_files").first() {
            let name = tried.args.last().filter(|name| name.starts_with('@'))?;
            let named =
                server.directive.all("location").find(|location| location.arg(0) == name)?;
            let inner = server.scope.inside(&[location.inside(), named.inside()]);
            let pass = pass(&inner)?;
            context.ledger.carry(named);
            context.ledger.differs(tried, "lbd serves no files: every request is forwarded");
            return Some((inner, Action::Forward(pass)));
        }
        let denied = scope.own("deny").iter().any(|rule| rule.arg(0) == "all")
            && scope.own("allow").is_empty();
        if denied {
            scope.own("deny").iter().for_each(|rule| context.ledger.carry(rule));
            return Some((scope.clone(), Action::Refuse));
        }
        if scope.own("rewrite").iter().any(|rule| rewrite::sends_away(rule)) {
            context.ledger.differs(location, "what no rewrite matches gets 503, and no file");
            return Some((scope.clone(), Action::Rewrite));
        }
        None
    }

    /// Writes a service; `false` if nothing can be forwarded.
    fn site(&mut self, site: Site<'_, 'a>, action: Action<'a>, closes: bool) -> bool {
        let context = self.context;
        let mut rules = site.rules;
        let mut pass = None;
        let refuses = matches!(action, Action::Refuse);
        match action {
            Action::Forward(directive) => {
                let Some(found) = self.forward(&site.scope, directive) else {
                    return false;
                };
                pass = Some((directive, found));
            }
            Action::Redirect(rule) => rules.push(rule),
            Action::Rewrite | Action::Refuse => {}
        }
        let path = site.paths.first().map(|path| value::name(path)).filter(|name| name != "site");
        let base = service_name(site.server);
        let wished = path.map_or(base.clone(), |path| format!("{base}-{path}"));
        let name = self.names.free(&wished);

        let mut section = Section::table(&["service", &name]);
        section.comment(format!(
            "From {}: {}",
            site.directive.at,
            super::ledger::shown(site.directive)
        ));
        if site.server.default && site.hosts.is_empty() {
            section.comment("It takes every host.");
        } else if site.server.default {
            section.comment("\"*\": nginx gave this server the hosts that no other has.");
        }
        if !site.hosts.is_empty() {
            let hosts = site.hosts.iter().map(|host| host.as_str().into()).collect();
            section.set_because("hosts", toml::Value::Array(hosts), "");
        }
        if !site.paths.is_empty() && site.paths != ["/"] {
            let paths = site.paths.iter().map(|path| path.as_str().into()).collect();
            section.set_because("paths", toml::Value::Array(paths), "");
        }
        let shut = guard::shut(context, &site.scope, &mut section);
        let door = if refuses { Door::Shut } else { shut };
        let (mut pools, mut scheme) = (Vec::new(), "http");
        let mut host = None;
        if let Some((directive, found)) = &pass {
            let says_host = |header: &Directive| header.arg(0).eq_ignore_ascii_case("host");
            let told = site.scope.nearest_of(&["proxy_set_header", "grpc_set_header"]);
            if !told.iter().any(|header| says_host(header)) && found.own_host.is_none() {
                context.ledger.differs(
                    directive,
                    "nginx told endpoints the upstream's name as Host; lbd tells them the client's",
                );
            }
            host = found.own_host.as_deref().filter(|_| !told.iter().any(|h| says_host(h)));
            scheme = &found.scheme;
            found.comments.iter().for_each(|comment| section.comment(comment));
            if let Some(baseline) = &found.baseline {
                section.set_because("baseline", baseline.as_str(), "");
            }
            if let Some(id) = &found.user_id {
                section.set_because("user_id", toml::Value::Array(vec![id.as_str().into()]), "");
            }
            let manner = &found.manner;
            if let Some((word, at)) = &manner.balance {
                let why = at.as_ref().map_or_else(|| "nginx's default".into(), ToString::to_string);
                section.set_because("balance", *word, why);
            }
            if let Some((passive, at)) = &manner.passive {
                let health = super::document::table([("passive".to_owned(), passive.clone())]);
                section.set_because("health", health, at.to_string());
            }
            patience::patience(context, &site.scope, &mut section, manner.keepalive.as_ref());
            if let Some(uri) = &found.uri {
                let from = site.paths.first().map_or("/", String::as_str);
                let written = path_of(site.directive);
                let from = if written.starts_with('/') { written } else { from };
                rewrite::replace_path(from, uri, directive, &mut section, &mut rules);
            }
            pools.extend(&found.pools);
        }
        policy::apply(context, &site.scope, &mut section, door, host);
        let page = page::pages(context, site.server, &site.scope, &mut section);
        if let Some(page) = page.filter(|_| closes || self.page.is_none()) {
            self.page = Some((page, site.directive.at.to_string()));
        }
        if refuses {
            rules.clear();
        }
        self.written.push(Written {
            section: self.sections.len(),
            server: site.server.directive.id,
            location: site.directive,
            paths: site.paths,
            guards: guards(&site.scope),
            shut: door == Door::Shut,
        });
        self.sections.push(section);
        self.sections.extend(rules.iter().map(|rule| rule.section(&name)));
        if pools.is_empty() {
            let mut none = Section::table(&["service", &name, "pool", "none"]);
            none.comment("Nothing is forwarded.");
            none.set_because("endpoints", toml::Value::Array(Vec::new()), "");
            self.sections.push(none);
        }
        for pool in pools {
            self.sections.push(pool.section(&name, context, scheme, &site.scope));
        }
        true
    }

    fn forward(&self, scope: &Scope<'a>, pass: &'a Directive) -> Option<Forward> {
        let context = self.context;
        let typed = pass.arg(0);
        let (scheme, rest) = match typed.split_once("://") {
            Some((scheme @ ("http" | "https" | "grpc" | "grpcs"), rest)) => (scheme, rest),
            None if typed.starts_with('$') => ("http", typed),
            None if pass.name == "grpc_pass" => ("grpc", typed),
            _ => {
                context.ledger.left(pass, "lbd forwards to http, https, grpc and grpcs");
                return None;
            }
        };
        let (target, uri) = match rest.strip_prefix("unix:") {
            Some(socket) => {
                let (path, uri) =
                    socket.split_once(':').map_or((socket, None), |(p, u)| (p, Some(u)));
                (format!("unix:{path}"), uri.map(str::to_owned))
            }
            None => match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
                Some((target, uri)) => (target.to_owned(), Some(uri.to_owned())),
                None => (rest.to_owned(), None),
            },
        };
        let port = if matches!(scheme, "https" | "grpcs") { 443 } else { 80 };
        let choice = match value::variable(&target) {
            Some(variable) => split::choice(context, scope, &variable),
            None if target.contains('$') => {
                let target = split::substituted(context, scope, &target);
                target.map(|target| split::fixed(context, &target))
            }
            None => Some(split::fixed(context, &target)),
        };
        let uri = uri.filter(|uri| !matches!(uri.as_str(), "$request_uri" | "$uri"));
        let known = choice.filter(|_| uri.as_deref().is_none_or(|uri| !uri.contains(['$', '?'])));
        let Some(choice) = known else {
            context.ledger.left(pass, "lbd cannot know what the variables in it are");
            return None;
        };
        let scheme = match choice.options.first().and_then(|(target, _)| target.split_once("://")) {
            Some((scheme, _)) => scheme,
            None => scheme,
        };
        let Some(divided) = split::pools(context, &choice, port, pass) else {
            context.ledger.left(pass, "it is no upstream and no address that lbd can connect to");
            return None;
        };
        context.ledger.carry(pass);
        let outside = context.upstream(&target).is_none()
            && !target.contains(['$'])
            && !target.starts_with("unix:")
            && target.split(':').next().is_some_and(|host| {
                host.contains('.') && host.parse::<std::net::Ipv4Addr>().is_err()
            });
        Some(Forward {
            scheme: scheme.to_owned(),
            uri,
            pools: divided.pools,
            baseline: divided.baseline,
            user_id: choice.user_id,
            comments: choice.comments,
            manner: divided.manner,
            own_host: outside.then_some(target),
        })
    }
}

/// Where and how requests are forwarded.
struct Forward {
    scheme: String,
    uri: Option<String>,
    pools: Vec<super::upstream::Pool>,
    baseline: Option<String>,
    user_id: Option<String>,
    comments: Vec<String>,
    manner: Manner,
    own_host: Option<String>,
}

/// The rules that a block itself has.
fn rules(context: &Context<'_>, server: &Server<'_>, scope: &Scope<'_>) -> Vec<Rule> {
    let own = scope.own("rewrite").into_iter();
    let circles = |directive: &Directive| {
        let circles = server.has_tls_twin && is_to_https(directive, &server.names);
        if circles {
            context.ledger.left(directive, CIRCLE);
        }
        circles
    };
    own.filter(|directive| !circles(directive))
        .filter_map(|directive| rewrite::rewrite(context, directive, &server.names))
        .collect()
}
