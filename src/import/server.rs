//! `server`: which hosts it has, what it is for.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    listener::{Listen, listens},
    parser::Directive,
    scope::{Context, Scope},
    value,
};
use crate::model::address::is_host_name;

/// A server block.
pub struct Server<'a> {
    /// It.
    pub directive: &'a Directive,
    /// Its directives.
    pub scope: Scope<'a>,
    /// Where it listens.
    pub listens: Vec<Listen<'a>>,
    /// The host names, as nginx has them.
    pub names: Vec<&'a str>,
    /// Whether hosts that no server names come here.
    pub default: bool,
    /// What sends its clients to the same host with https, if it is there for that.
    pub to_https: Option<&'a Directive>,
    /// Whether it does nothing but send its clients to another host.
    pub is_elsewhere: bool,
    /// Whether it does nothing but refuse.
    pub refuses: bool,
    /// Whether another server has one of its hosts with TLS, and this one has it without.
    pub has_tls_twin: bool,
}

impl Server<'_> {
    /// Writes down that its clients are sent to https by the listener.
    pub fn carry_redirect(&self, context: &Context<'_>) {
        let Some(redirect) = self.to_https else { return };
        context.ledger.carry(redirect);
        for around in self.directive.inside() {
            if around.inside().iter().any(|inner| inner.id == redirect.id) {
                context.ledger.carry(around);
            } else if to_https(around, &self.names).is_some() {
                context.ledger.carry(around);
                around.all("return").for_each(|answer| context.ledger.carry(answer));
            } else if around.name == "return" && around.id != redirect.id {
                context.ledger.unneeded(around, "all requests of the listener are sent to https");
            }
        }
    }
}

/// Reads all servers.
pub fn servers<'a>(context: &Context<'a>) -> Vec<Server<'a>> {
    let blocks = context.http.own("server").into_iter().filter(|server| server.block.is_some());
    let mut servers: Vec<Server<'a>> = blocks.map(|directive| read(context, directive)).collect();
    let has_tls = |server: &Server<'_>| server.listens.iter().any(|listen| listen.tls);
    let encrypted: BTreeSet<&str> = servers
        .iter()
        .filter(|server| has_tls(server))
        .flat_map(|server| {
            server.names.iter().copied().chain(server.names.is_empty().then_some("_"))
        })
        .collect();
    for server in servers.iter_mut().filter(|server| !has_tls(server)) {
        server.has_tls_twin = match server.names.as_slice() {
            [] => !encrypted.is_empty(),
            names => names.iter().any(|name| encrypted.contains(name)),
        };
    }
    // By its own word, or for being the first of an address that no server has claimed so.
    let mut seen: BTreeSet<SocketAddr> = servers
        .iter()
        .flat_map(|server| server.listens.iter().filter(|listen| listen.default))
        .map(|listen| listen.address)
        .collect();
    let mut chosen: Vec<(bool, usize)> = Vec::new();
    // Names that lbd does not know may be those of anybody.
    let mut refused = servers.iter().any(|server| {
        server.refuses
            && server.names.iter().any(|name| name.starts_with('~') || name.ends_with('*'))
    });
    for (index, server) in servers.iter().enumerate() {
        let told = server.listens.iter().any(|listen| listen.default);
        let mut first = false;
        server.listens.iter().for_each(|listen| first |= seen.insert(listen.address));
        refused |= (told || first) && server.refuses;
        if (told || first) && server.to_https.is_none() && !server.refuses {
            chosen.push((!told, index));
        }
    }
    if refused {
        // It is where nginx refuses unknown hosts, and lbd's services answer on all listeners.
        chosen.clear();
    }
    chosen.sort_unstable();
    for (rank, (_, index)) in chosen.iter().enumerate() {
        let Some(server) = servers.get_mut(*index) else { continue };
        server.default = rank == 0;
        if rank > 0 {
            let why = "it was where its address sent unknown hosts; lbd's services answer on all \
                       listeners, and another takes them";
            context.ledger.differs(server.directive, why);
        }
    }
    servers
}

fn read<'a>(context: &Context<'a>, directive: &'a Directive) -> Server<'a> {
    context.ledger.carry(directive);
    let scope = context.http.inside(&[directive.inside()]);
    let listens = listens(context, &scope);
    let names: Vec<&str> = scope
        .own("server_name")
        .iter()
        .flat_map(|names| names.args.iter().map(String::as_str))
        .collect();
    let forwards = has(directive, &["proxy_pass", "grpc_pass"]);
    let to_https = to_https(directive, &names).filter(|_| {
        let encrypted = listens.iter().any(|listen| listen.tls);
        !encrypted && !forwards
    });
    let own = directive.all("return").next().filter(|_| to_https.is_none());
    let is_elsewhere = own.is_some_and(is_redirect);
    let refuses = own.is_some_and(|own| !is_redirect(own));
    Server {
        directive,
        scope,
        listens,
        names,
        default: false,
        to_https,
        is_elsewhere,
        refuses,
        has_tls_twin: false,
    }
}

fn has(directive: &Directive, names: &[&str]) -> bool {
    directive.inside().iter().any(|inner| names.contains(&inner.name.as_str()) || has(inner, names))
}

/// Whether a `return` sends clients elsewhere.
pub fn is_redirect(answer: &Directive) -> bool {
    match answer.args.as_slice() {
        [target] => ["http://", "https://", "$scheme"].iter().any(|s| target.starts_with(s)),
        [status, _] => matches!(status.as_str(), "301" | "302" | "303" | "307" | "308"),
        _ => false,
    }
}

/// The `return` or `rewrite` that sends to the same host with https.
fn to_https<'a>(directive: &'a Directive, names: &[&str]) -> Option<&'a Directive> {
    // Behind an answer to everything nothing counts, and no location before it.
    let end = directive.inside().iter().position(|inner| inner.name == "return");
    let counts = directive.inside().iter().take(end.map_or(usize::MAX, |end| end + 1));
    let mut counts = counts.filter(|inner| end.is_none() || inner.name != "location");
    counts.find_map(|inner| match inner.name.as_str() {
        "location" | "if" => to_https(inner, names),
        _ => is_to_https(inner, names).then_some(inner),
    })
}

/// Whether a `return` or `rewrite` sends to the same host with https.
pub fn is_to_https(directive: &Directive, names: &[&str]) -> bool {
    let target = match directive.name.as_str() {
        "return" if directive.args.len() == 1 => directive.arg(0),
        "return" | "rewrite" => directive.arg(1),
        _ => "",
    };
    let Some(rest) = target.strip_prefix("https://") else { return false };
    let host = rest
        .find('/')
        .or(rest.find("$request_uri"))
        .map_or(rest, |at| rest.get(..at).unwrap_or(rest));
    let host = host.trim_end_matches("$1").trim_end_matches("$uri");
    matches!(host, "$host" | "$http_host" | "$server_name" | "${host}") || names.contains(&host)
}

/// The hosts of a server for lbd; empty means any.
pub fn hosts(context: &Context<'_>, server: &Server<'_>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for directive in server.scope.own("server_name") {
        context.ledger.carry(directive);
        for name in &directive.args {
            let name = name.to_ascii_lowercase();
            let plain = name.strip_prefix("*.").or(name.strip_prefix('.')).unwrap_or(&name);
            if name.is_empty() || name == "_" {
                continue;
            }
            if !is_host_name(plain) && plain.parse::<std::net::Ipv4Addr>().is_err() {
                let why =
                    "lbd knows names and *.names, no regular expressions or other wildcards: ";
                context.ledger.left(directive, format!("{why}{name}"));
                continue;
            }
            if name.starts_with('.') {
                hosts.push(plain.to_owned());
                hosts.push(format!("*.{plain}"));
            } else {
                hosts.push(name);
            }
        }
    }
    hosts.sort_by_key(|host| host.starts_with('*'));
    let mut seen = BTreeSet::new();
    hosts.retain(|host| seen.insert(host.clone()));
    let mut once = hosts;
    if server.default && !once.is_empty() {
        once.push("*".into());
    }
    once
}

/// A name for the server's services.
pub fn service_name(server: &Server<'_>) -> String {
    let named =
        server.names.iter().find(|name| !name.is_empty() && !matches!(**name, "_" | "localhost"));
    named.map_or_else(|| "web".into(), |name| value::name(name))
}
