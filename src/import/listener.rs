//! `listen` and what belongs to it: certificates, protocols, time limits towards clients.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use toml::Value;

use super::{
    document::{Section, table},
    parser::Directive,
    scope::{Context, Scope, span_within},
    server::Server,
    value,
};

/// The largest head that a listener may allow, in bytes, and the smallest.
const HEADER_BYTES: (u64, u64) = (1 << 10, 256 << 10);
/// The longest time limit of a listener, in seconds.
const SECONDS_MAX: u64 = 3600;

/// A `listen` of a server.
pub struct Listen<'a> {
    /// Where.
    pub address: SocketAddr,
    /// Whether with TLS.
    pub tls: bool,
    /// Whether the server takes the hosts that no other has, by its own word.
    pub default: bool,
    /// Whether with HTTP/2.
    http2: Option<bool>,
    /// Whether connections begin with the PROXY protocol.
    proxy_protocol: bool,
    /// The directive; none if nginx listens without one.
    pub directive: Option<&'a Directive>,
}

/// Reads the listens of a server.
pub fn listens<'a>(context: &Context<'a>, scope: &Scope<'a>) -> Vec<Listen<'a>> {
    let directives = scope.own("listen");
    if directives.is_empty() {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        return vec![Listen {
            address,
            tls: false,
            default: false,
            http2: None,
            proxy_protocol: false,
            directive: None,
        }];
    }
    directives.into_iter().filter_map(|directive| listen(context, scope, directive)).collect()
}

fn listen<'a>(
    context: &Context<'a>,
    scope: &Scope<'a>,
    directive: &'a Directive,
) -> Option<Listen<'a>> {
    let ledger = context.ledger;
    let Some(address) = address(directive.arg(0)) else {
        ledger.left(directive, "lbd listens on IP addresses; write one in [listener.NAME]");
        return None;
    };
    let flag = |name: &str| directive.args.iter().any(|arg| arg == name);
    if flag("quic") {
        ledger.left(directive, "lbd does not speak HTTP/3");
        return None;
    }
    ledger.carry(directive);
    let on = |name: &str| {
        scope
            .one(name)
            .filter(|switch| switch.arg(0) == "on")
            .inspect(|d| ledger.carry(d))
            .is_some()
    };
    for name in ["http2", "ssl"] {
        scope.one(name).filter(|switch| switch.arg(0) == "off").inspect(|d| ledger.carry(d));
    }
    Some(Listen {
        address,
        tls: flag("ssl") || on("ssl"),
        default: flag("default_server") || flag("default"),
        http2: match flag("http2") || on("http2") {
            true => Some(true),
            false => scope.one("http2").map(|_| false),
        },
        proxy_protocol: flag("proxy_protocol"),
        directive: Some(directive),
    })
}

fn address(text: &str) -> Option<SocketAddr> {
    let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    if let Ok(port) = text.parse() {
        return Some((any, port).into());
    }
    if let Some(port) = text.strip_prefix("*:") {
        return Some((any, port.parse().ok()?).into());
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into());
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip = |text: &str| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::from((ip, 80)));
    match text {
        "*" => Some((any, 80).into()),
        "localhost" => Some((Ipv4Addr::LOCALHOST, 80).into()),
        text => text.parse().ok().or_else(|| ip(bare.unwrap_or(text))),
    }
}

/// Who listens on an address.
type Users<'s, 'a> = Vec<(&'s Server<'a>, &'s Listen<'a>)>;

/// Writes a section for each address that a server listens on.
pub fn sections(context: &Context<'_>, servers: &[Server<'_>]) -> Vec<Section> {
    let mut names = super::Names::default();
    let drafts = by_address(servers).into_iter().filter(|(_, users)| !users.is_empty());
    drafts.map(|(address, users)| section(context, address, &users, &mut names)).collect()
}

/// The addresses of the new file, with who listens there.
pub fn by_address<'s, 'a>(servers: &'s [Server<'a>]) -> BTreeMap<SocketAddr, Users<'s, 'a>> {
    let mut by_address: BTreeMap<SocketAddr, Users<'s, 'a>> = BTreeMap::new();
    for server in servers {
        for listen in &server.listens {
            by_address.entry(listen.address).or_default().push((server, listen));
        }
    }
    // lbd's [::] takes IPv4 too, so that the two cannot stand side by side.
    let both: Vec<SocketAddr> = by_address.keys().copied().filter(is_any_v6).collect();
    for v6 in both {
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, v6.port()));
        if let Some(mut users) = by_address.remove(&v4) {
            users.append(&mut by_address.remove(&v6).unwrap_or_default());
            by_address.insert(v6, users);
        }
    }
    by_address
}

/// Whether a listener sends everybody to https.
pub fn only_redirects(users: &[(&Server<'_>, &Listen<'_>)]) -> bool {
    !users.iter().any(|(_, listen)| listen.tls)
        && users.iter().any(|(server, _)| server.to_https.is_some())
        && users.iter().all(|(server, _)| server.to_https.is_some() || server.is_elsewhere)
}

/// The authority whose certificates a server's clients must have, with what says so.
pub fn client_ca<'a>(
    context: &Context<'_>,
    server: &Server<'a>,
) -> Option<(&'a Directive, String)> {
    let verify = server.scope.one("ssl_verify_client").filter(|verify| verify.arg(0) == "on")?;
    let ca = server.scope.one("ssl_client_certificate");
    Some((verify, ca.map(|ca| context.path(ca.arg(0))).unwrap_or_default()))
}

fn is_any_v6(address: &SocketAddr) -> bool {
    address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED)
}

fn section(
    context: &Context<'_>,
    address: SocketAddr,
    users: &[(&Server<'_>, &Listen<'_>)],
    names: &mut super::Names,
) -> Section {
    let tls = users.iter().any(|(_, listen)| listen.tls);
    let name = match (tls, address.port()) {
        (true, 443) => "https".to_owned(),
        (false, 80) => "http".to_owned(),
        (true, port) => format!("https-{port}"),
        (false, port) => format!("http-{port}"),
    };
    let mut section = Section::table(&["listener", &names.free(&name)]);
    let mut told: Vec<String> = users
        .iter()
        .map(|(server, listen)| listen.directive.unwrap_or(server.directive).at.to_string())
        .collect();
    told.dedup();
    section.comment(format!("From {}", told.join(", ")));
    section.set_because("address", address.to_string(), "");
    if tls {
        certificates(context, users, &mut section);
    }
    if let Some(http2) =
        users.iter().filter_map(|(_, listen)| listen.http2).max().filter(|on| *on || tls)
    {
        section.set_because("http2", http2, "");
    }
    let announced = users.iter().any(|(_, listen)| listen.proxy_protocol);
    if announced {
        section.set_because("proxy_protocol", true, "");
    }
    redirect(context, tls, users, &mut section);
    // nginx too takes what concerns the connection from the default server.
    let serves = |server: &Server<'_>| !server.refuses && server.to_https.is_none();
    let first = users
        .iter()
        .find(|(server, listen)| listen.default && serves(server))
        .or_else(|| users.iter().find(|(server, _)| serves(server)))
        .or(users.first());
    if let Some((server, _)) = first {
        let trusts = connection(context, &server.scope, &mut section);
        if announced && !trusts {
            for directive in users.iter().filter_map(|(_, listen)| listen.directive) {
                let why = "nginx believes anybody who announces clients; lbd lets proxies in that \
                           trusted_proxies names: write yours in place of all private networks";
                if directive.args.iter().any(|arg| arg == "proxy_protocol") {
                    context.ledger.left(directive, why);
                }
            }
            let why = "nginx believes anybody; write the proxies in front";
            let private: Vec<Value> = PRIVATE.iter().map(|network| (*network).into()).collect();
            section.set_because("trusted_proxies", Value::Array(private), why);
        }
    }
    section
}

/// Where proxies in front stand that nobody named.
const PRIVATE: [&str; 5] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

fn certificates(
    context: &Context<'_>,
    users: &[(&Server<'_>, &Listen<'_>)],
    section: &mut Section,
) {
    let ledger = context.ledger;
    let mut pairs: Vec<Value> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut oldest: Option<(&str, &Directive)> = None;
    let mut keys: Vec<(String, Value)> = Vec::new();
    let mut sorted: Vec<_> = users.iter().filter(|(_, listen)| listen.tls).collect();
    sorted.sort_by_key(|(_, listen)| !listen.default);
    for (server, _) in sorted {
        let files = |name: &str| server.scope.nearest(name);
        let (certs, private) = (files("ssl_certificate"), files("ssl_certificate_key"));
        for (cert, key) in certs.iter().zip(&private) {
            if cert.arg(0).contains('$') || key.arg(0).contains('$') {
                ledger.left(cert, "lbd picks certificates by the names in them; list each file");
                continue;
            }
            ledger.carry(cert);
            ledger.carry(key);
            let paths = [("cert", cert), ("key", key)];
            if seen.insert(paths.map(|(_, file)| file.arg(0))) {
                let pair = paths.map(|(key, file)| (key.to_owned(), context.path(file.arg(0))));
                pairs.push(table(pair));
            }
        }
        if let Some(protocols) = server.scope.one("ssl_protocols") {
            let has = |version: &str| protocols.args.iter().any(|arg| arg == version);
            match (has("TLSv1") || has("TLSv1.1"), has("TLSv1.2")) {
                (true, _) => ledger.differs(protocols, "lbd speaks TLS 1.2 and 1.3 only"),
                _ => ledger.carry(protocols),
            }
            let version = if !has("TLSv1.2") && has("TLSv1.3") { "1.3" } else { "1.2" };
            oldest = match oldest {
                Some(("1.2", first)) => Some(("1.2", first)),
                _ => Some((version, protocols)),
            };
        }
        client_certificates(context, server, &mut keys);
    }
    if pairs.is_empty() {
        section.comment("nginx has no certificate here that could be carried over: add it to tls.");
    }
    keys.push(("certificates".into(), Value::Array(pairs)));
    if let Some((version, _)) = oldest {
        keys.push(("min_version".into(), version.into()));
    }
    section.set_because("tls", table(keys), "");
}

fn client_certificates(
    context: &Context<'_>,
    server: &Server<'_>,
    keys: &mut Vec<(String, Value)>,
) {
    let Some(ca) = server.scope.one("ssl_client_certificate") else { return };
    let Some(verify) = server.scope.one("ssl_verify_client") else { return };
    if verify.arg(0) == "on" {
        context.ledger.carry(ca);
        context.ledger.carry(verify);
        keys.retain(|(key, _)| key != "client_ca");
        keys.push(("client_ca".into(), context.path(ca.arg(0)).into()));
    } else if verify.arg(0) != "off" {
        context
            .ledger
            .left(verify, "lbd asks every client of a listener for a certificate, or none");
    } else {
        context.ledger.unneeded(verify, "it is lbd's default");
    }
}

fn redirect(
    context: &Context<'_>,
    tls: bool,
    users: &[(&Server<'_>, &Listen<'_>)],
    section: &mut Section,
) {
    let redirects: Vec<&Directive> =
        users.iter().filter_map(|(server, _)| server.to_https).collect();
    let Some(first) = redirects.first().filter(|_| !tls) else { return };
    if only_redirects(users) {
        users.iter().for_each(|(server, _)| server.carry_redirect(context));
        section.set("redirect_to_https", true, &first.at);
        return;
    }
    for redirect in redirects {
        let why = "other servers of this address answer without TLS, and lbd redirects all hosts of \
                   a listener or none";
        context.ledger.left(redirect, why);
    }
}

/// What concerns the connection with the client. Returns whether proxies are named.
fn connection(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) -> bool {
    let ledger = context.ledger;
    let trusts = trusted(context, scope, section);
    if let Some(buffers) = scope.one("large_client_header_buffers") {
        let size = buffers.arg(0).parse::<u64>().ok().zip(value::size(buffers.arg(1)));
        if let Some(bytes) = size.and_then(|(number, size)| number.checked_mul(size)) {
            let bytes = bytes.clamp(HEADER_BYTES.0, HEADER_BYTES.1);
            ledger.carry(buffers);
            section.set("max_header_bytes", value::shown_size(bytes), &buffers.at);
        }
    }
    let by_address = |zone: &Directive| {
        let arg = zone.args.iter().any(|arg| arg.contains("remote_addr"));
        zone.name == "limit_conn_zone" && arg
    };
    for limit in scope.nearest("limit_conn").into_iter().take(100) {
        let zones = context.http.own("limit_conn_zone");
        let suffix = format!("zone={}:", limit.arg(0));
        let zone = zones.iter().find(|zone| zone.args.iter().any(|arg| arg.starts_with(&suffix)));
        match (zone.filter(|zone| by_address(zone)), limit.arg(1).parse::<u32>()) {
            (Some(zone), Ok(number)) if number > 0 => {
                ledger.carry(zone);
                ledger.differs(limit, "lbd counts a client's connections, not its requests");
                section.set("max_connections_per_client", i64::from(number), &limit.at);
                break;
            }
            _ => ledger.left(limit, "lbd limits the connections of each client address only"),
        }
    }
    let names = [
        ("client_header_timeout", "header"),
        ("keepalive_timeout", "keepalive"),
        ("client_body_timeout", "body"),
        ("send_timeout", "write"),
    ];
    let mut limits: Vec<(String, String)> = Vec::new();
    let mut places: Vec<String> = Vec::new();
    for (name, key) in names {
        let Some(directive) = scope.one(name) else { continue };
        match span_within(directive.arg(0), SECONDS_MAX) {
            Some((span, as_it_is)) => {
                match as_it_is {
                    true => ledger.carry(directive),
                    false => ledger.differs(directive, format!("lbd takes {span}, its limit")),
                }
                limits.push((key.into(), span));
                places.push(directive.at.to_string());
            }
            None => ledger.left(directive, "it is no span of time"),
        }
    }
    if !limits.is_empty() {
        section.set_because("timeouts", table(limits), places.join(", "));
    }
    trusts
}

fn trusted(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) -> bool {
    let ledger = context.ledger;
    let header = scope.one("real_ip_header");
    let read = |name: &str| header.is_some_and(|header| header.arg(0).eq_ignore_ascii_case(name));
    if !read("X-Forwarded-For") && !read("proxy_protocol") {
        // Whoever is trusted there may not pass X-Forwarded-For on as its own word.
        let why = "lbd reads the client's address in X-Forwarded-For: name the proxies in \
                   trusted_proxies once they write it";
        let told = header.filter(|_| !scope.nearest("set_real_ip_from").is_empty());
        told.into_iter().chain(scope.nearest("set_real_ip_from")).for_each(|d| ledger.left(d, why));
        return false;
    }
    let mut networks: Vec<Value> = Vec::new();
    let proxies = scope.nearest("set_real_ip_from");
    for proxy in &proxies {
        match super::policy::network(proxy.arg(0)) {
            Some(network) => {
                ledger.carry(proxy);
                networks.push(network.to_string().into());
            }
            None => ledger.left(proxy, "lbd trusts IP addresses and networks"),
        }
    }
    let Some(first) = proxies.first() else { return false };
    header.into_iter().for_each(|header| ledger.carry(header));
    let trusts = !networks.is_empty();
    if !networks.is_empty() {
        section.set("trusted_proxies", Value::Array(networks), &first.at);
    }
    trusts
}
