//! What nginx does with requests and answers besides forwarding: who may come, how much, what is
//! changed and logged.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use toml::Value;

use super::{
    document::{Section, table},
    parser::Directive,
    scope::{Context, Scope},
    value,
};
use crate::model::{
    address::is_host_name,
    policy::{
        headers::{Message, changeable},
        template::Template,
    },
};

/// How many limits of requests are looked at.
const LIMITS_MAX: usize = 100;
/// How many rules about networks a place may have.
const RULES_MAX: usize = 1000;
/// Every address there is.
const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Whether the clients are let in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Door {
    /// As `allow` and `deny` say.
    AsTold,
    /// To nobody: nginx refuses, or asks somebody whom lbd cannot ask.
    Shut,
}

/// Writes the policy of a place. `host` is what endpoints are told, if not what clients say.
pub fn apply(
    context: &Context<'_>,
    scope: &Scope<'_>,
    section: &mut Section,
    door: Door,
    host: Option<&str>,
) {
    body(context, scope, section);
    match door {
        Door::AsTold => access(context, scope, section),
        Door::Shut => shut(section),
    }
    authentication(context, scope, section);
    rate(context, scope, section);
    request_headers(context, scope, section, host);
    response_headers(context, scope, section);
    compression(context, scope, section);
    access_log(context, scope, section);
}

/// Lets nobody in.
pub fn shut(section: &mut Section) {
    section.unset("allow");
    section.unset("deny");
    section.set_because("deny", list(EVERYBODY), "");
}

fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

fn body(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let Some(limit) = scope.one("client_max_body_size") else { return };
    match value::size(limit.arg(0)) {
        Some(0) => context.ledger.unneeded(limit, "lbd has no limit unless told"),
        Some(bytes) => {
            context.ledger.carry(limit);
            section.set("max_body_bytes", value::shown_size(bytes), &limit.at);
        }
        None => context.ledger.left(limit, "it is no size"),
    }
}

/// A network as nginx writes it, or one address.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .map(|net| net.trunc())
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// For nginx the first rule that fits decides; for lbd `allow` comes before `deny`.
fn access(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let ledger = context.ledger;
    let rules = scope.nearest_of(&["allow", "deny"]);
    let Some(first) = rules.first() else { return };
    if rules.len() > RULES_MAX {
        let why = format!("more than {RULES_MAX} rules, so that this service refuses everybody");
        ledger.left(first, why);
        return section.set("deny", list(EVERYBODY), &first.at);
    }
    let (mut allow, mut deny): (Vec<IpNet>, Vec<IpNet>) = (Vec::new(), Vec::new());
    let mut shut = false;
    for rule in &rules {
        let allows = rule.name == "allow";
        if rule.arg(0) == "all" {
            ledger.carry(rule);
            shut = !allows;
            break;
        }
        let Some(network) = network(rule.arg(0)) else {
            ledger.left(rule, "lbd knows clients by IP addresses and networks");
            continue;
        };
        let overlap = |net: &&IpNet| net.contains(&network) || network.contains(*net);
        match allows {
            true if deny.iter().any(|net| overlap(&net)) => ledger.left(
                rule,
                "an earlier deny takes a part out of it, and for lbd allow comes first; write the \
                 networks that are left",
            ),
            true => {
                ledger.carry(rule);
                allow.push(network);
            }
            false => {
                ledger.carry(rule);
                deny.push(network);
            }
        }
    }
    let texts = |nets: &[IpNet]| Value::Array(nets.iter().map(|n| n.to_string().into()).collect());
    if !allow.is_empty() && (shut || !deny.is_empty()) {
        section.set("allow", texts(&allow), &first.at);
    }
    if shut {
        section.set("deny", list(EVERYBODY), &first.at);
    } else if !deny.is_empty() {
        section.set("deny", texts(&deny), &first.at);
    }
}

fn authentication(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let ledger = context.ledger;
    let Some(realm) = scope.one("auth_basic") else { return };
    if realm.arg(0) == "off" {
        ledger.carry(realm);
        return;
    }
    // The guard says so where there is none, and shuts the service.
    let known = |file: &&Directive| !file.arg(0).contains('$') && !file.arg(0).is_empty();
    let Some(file) = scope.one("auth_basic_user_file").filter(known) else { return };
    ledger.carry(realm);
    ledger.differs(file, "only its bcrypt and argon2 hashes count: `htpasswd -B` makes them");
    let keys = [("file", context.path(file.arg(0))), ("realm", realm.arg(0).to_owned())];
    let keys = keys.map(|(key, text)| (key.to_owned(), text));
    section.set("basic_auth", table(keys), &realm.at);
}

fn rate(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let ledger = context.ledger;
    let mut done = false;
    for limit in scope.nearest("limit_req").into_iter().take(LIMITS_MAX) {
        let word = |key: &str| limit.args.iter().find_map(|arg| arg.strip_prefix(key));
        let zones = context.http.own("limit_req_zone");
        let name = format!("zone={}:", word("zone=").unwrap_or_default());
        let zone = zones.iter().find(|zone| zone.args.iter().any(|arg| arg.starts_with(&name)));
        let rate =
            zone.and_then(|zone| Some((zone, rate_of(zone)?, value::variable(zone.arg(0))?)));
        let Some((zone, (requests, per), key)) = rate.filter(|_| !done) else {
            ledger.left(limit, "lbd has one limit for each service, by client address");
            continue;
        };
        if !matches!(key.as_str(), "binary_remote_addr" | "remote_addr") {
            ledger.left(limit, format!("lbd counts by client address or user id, not by ${key}"));
            continue;
        }
        done = true;
        ledger.carry(zone);
        let nodelay = limit.args.iter().any(|arg| arg == "nodelay");
        let waits = !nodelay && word("burst=").is_some();
        match waits {
            true => ledger
                .differs(limit, "nginx makes what is above the rate wait; lbd lets it through"),
            false => ledger.carry(limit),
        }
        // nginx counts those above the rate only.
        let burst = word("burst=").and_then(|number| number.parse::<i64>().ok()).unwrap_or(0);
        let keys = [
            ("requests", Value::Integer(requests)),
            ("per", per.into()),
            ("burst", Value::Integer(burst.saturating_add(1).clamp(1, 1_000_000))),
            ("by", "client-ip".into()),
        ];
        let keys = keys.map(|(key, value)| (key.to_owned(), value));
        section.set("rate_limit", table(keys), &limit.at);
    }
}

fn rate_of(zone: &Directive) -> Option<(i64, &'static str)> {
    let rate = zone.args.iter().find_map(|arg| arg.strip_prefix("rate="))?;
    let (number, per) = rate.split_once("r/")?;
    let per = match per {
        "s" => "1s",
        "m" => "1m",
        _ => return None,
    };
    Some((number.parse().ok().filter(|number| *number > 0)?, per))
}

fn request_headers(
    context: &Context<'_>,
    scope: &Scope<'_>,
    section: &mut Section,
    host: Option<&str>,
) {
    let ledger = context.ledger;
    let mut set: BTreeMap<String, Value> = BTreeMap::new();
    let mut remove: Vec<Value> = Vec::new();
    let mut places: Vec<String> = Vec::new();
    if let Some(host) = host {
        set.insert("Host".into(), host.into());
    }
    let is_authority = |text: &str| {
        text.parse::<http::uri::Authority>().is_ok_and(|a| {
            !text.contains('@')
                && (is_host_name(a.host())
                    || a.host().trim_matches(['[', ']']).parse::<IpAddr>().is_ok())
        })
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for header in scope.nearest_of(&["proxy_set_header", "grpc_set_header"]) {
        let (name, text) = (header.arg(0), header.arg(1));
        if let Some(why) = done_anyway(name, text) {
            ledger.unneeded(header, why);
            continue;
        }
        if let Some(why) = fixed(name, Message::Request) {
            ledger.left(header, why);
        } else if !seen.insert(name.to_ascii_lowercase()) {
            ledger.left(header, "lbd sets a header of one name once");
        } else if name.eq_ignore_ascii_case("host") && !is_authority(text) {
            ledger
                .left(header, "lbd tells endpoints the client's Host, or one that is written out");
        } else if text.is_empty() {
            ledger.carry(header);
            remove.push(name.into());
            places.push(header.at.to_string());
        } else {
            match value::header_text(text).and_then(plain) {
                Ok(text) => {
                    ledger.carry(header);
                    set.insert(name.into(), text.into());
                    places.push(header.at.to_string());
                }
                Err(why) => {
                    let why = format!("{why}; what clients say in its place is taken out");
                    ledger.left(header, why);
                    remove.push(name.into());
                    places.push(header.at.to_string());
                }
            }
        }
    }
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    if !set.is_empty() {
        keys.insert("set".into(), table(set));
    }
    if !remove.is_empty() {
        keys.insert("remove".into(), Value::Array(remove));
    }
    if !keys.is_empty() {
        section.set_because("request_headers", table(keys), places.join(", "));
    }
}

/// Why a config may not change a header.
fn fixed(name: &str, message: Message) -> Option<String> {
    let Ok(name) = name.parse::<http::HeaderName>() else {
        return Some("it is no name of a header".into());
    };
    changeable(name.as_str(), message).err().map(|why| format!("{name} {why}"))
}

/// A value, if it is one for lbd.
fn plain(text: String) -> Result<String, String> {
    match text.parse::<Template>() {
        Ok(_) => Ok(text),
        Err(why) => Err(why.to_string()),
    }
}

/// Why lbd need not be told to set a header.
fn done_anyway(name: &str, text: &str) -> Option<&'static str> {
    let variable = value::variable(text);
    let is = |names: &[&str]| variable.as_deref().is_some_and(|name| names.contains(&name));
    match name.to_ascii_lowercase().as_str() {
        "host" if is(&["host", "http_host"]) || text == "$host:$server_port" => {
            Some("endpoints get the client's Host")
        }
        "x-forwarded-for" if is(&["proxy_add_x_forwarded_for", "remote_addr"]) => {
            Some("lbd sets it, and believes trusted_proxies only")
        }
        "x-forwarded-proto" if is(&["scheme", "http_x_forwarded_proto"]) => Some("lbd sets it"),
        "x-forwarded-host" if is(&["host", "http_host"]) => Some("lbd sets it"),
        "x-request-id" if is(&["request_id", "http_x_request_id"]) => Some("lbd sets it"),
        "upgrade" if is(&["http_upgrade"]) => Some("upgrades pass through lbd"),
        "connection" => Some("connections to endpoints are lbd's own affair; upgrades pass"),
        "accept-encoding" if text.is_empty() => None,
        _ => None,
    }
}

fn response_headers(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let ledger = context.ledger;
    let mut add: BTreeMap<String, Value> = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut remove: Vec<Value> = Vec::new();
    let mut places: Vec<String> = Vec::new();
    for header in scope.nearest("add_header") {
        let (name, text) = (header.arg(0), header.arg(1));
        if let Some(why) = fixed(name, Message::Response) {
            ledger.left(header, why);
            continue;
        }
        if !seen.insert(name.to_ascii_lowercase()) {
            ledger.left(header, "lbd adds a header of one name once");
            continue;
        }
        match value::header_text(text).and_then(plain) {
            Ok(text) if text.is_empty() => ledger.unneeded(header, "it adds nothing"),
            Ok(text) => {
                match header.arg(2) {
                    "always" => ledger.carry(header),
                    _ => ledger.differs(header, "nginx left it out of errors; lbd always adds it"),
                }
                add.insert(name.into(), text.into());
                places.push(header.at.to_string());
            }
            Err(why) => ledger.left(header, why),
        }
    }
    for header in scope.nearest("proxy_hide_header") {
        if let Some(why) = fixed(header.arg(0), Message::Response) {
            ledger.left(header, why);
            continue;
        }
        ledger.carry(header);
        remove.push(header.arg(0).into());
        places.push(header.at.to_string());
    }
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    if !add.is_empty() {
        keys.insert("add".into(), table(add));
    }
    if !remove.is_empty() {
        keys.insert("remove".into(), Value::Array(remove));
    }
    if !keys.is_empty() {
        section.set_because("response_headers", table(keys), places.join(", "));
    }
}

fn compression(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let ledger = context.ledger;
    let mut algorithms: Vec<&str> = Vec::new();
    let mut types: Vec<String> = Vec::new();
    let mut smallest = None;
    let mut at = None;
    for (name, algorithm) in [("zstd", "zstd"), ("brotli", "br"), ("gzip", "gzip")] {
        let Some(switch) = scope.one(name) else { continue };
        ledger.carry(switch);
        if switch.arg(0) != "on" {
            continue;
        }
        at = Some(&switch.at);
        algorithms.push(algorithm);
        if let Some(typed) = scope.one(&format!("{name}_types")) {
            match typed.args.iter().any(|name| name == "*") {
                true => ledger.differs(typed, "lbd takes the types that it has without a list"),
                false => ledger.carry(typed),
            }
            types.extend(typed.args.iter().cloned());
        }
        if let Some(length) = scope.one(&format!("{name}_min_length")) {
            ledger.carry(length);
            smallest = value::size(length.arg(0));
        }
    }
    let Some(at) = at else { return };
    // nginx always means HTML.
    types.insert(0, "text/html".into());
    let all = types.iter().any(|name| name == "*");
    let good = |name: &String| {
        let parts = name.split_once('/');
        let token = |text: &str| text.parse::<http::HeaderName>().is_ok();
        parts.is_some_and(|(kind, sub)| token(kind) && token(sub) && !kind.contains('*'))
    };
    let mut once: Vec<String> =
        types.into_iter().map(|name| name.to_ascii_lowercase()).filter(good).collect();
    let mut seen = BTreeSet::new();
    once.retain(|name| seen.insert(name.clone()));
    let mut keys = vec![("algorithms".to_owned(), list(algorithms))];
    // Without a list lbd takes all types that are worth it.
    if !all {
        keys.push(("types".to_owned(), list(once.iter().map(String::as_str))));
    }
    keys.extend(smallest.map(|bytes| ("min_bytes".to_owned(), value::shown_size(bytes).into())));
    section.set("compression", table(keys), at);
}

fn access_log(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let ledger = context.ledger;
    let mut done = false;
    for log in scope.nearest("access_log") {
        let path = log.arg(0);
        if path == "off" {
            ledger.carry(log);
            section.set("access_log", "off", &log.at);
            return;
        }
        let target = if path == "/dev/stdout" { "stdout" } else { path };
        let usable = target == "stdout" || target.starts_with('/');
        if done || !usable || path.contains('$') || path.ends_with('/') {
            ledger.left(
                log,
                "lbd writes one log for each service, to standard output or an absolute path",
            );
            continue;
        }
        done = true;
        if log.args.iter().any(|arg| arg.starts_with("if=")) {
            ledger.differs(log, "lbd logs every request");
        }
        match log.arg(1) {
            "" | "combined" | "main" => ledger.carry(log),
            format if format.contains('=') => ledger.carry(log),
            format => {
                ledger.differs(log, format!("lbd's format is combined (or json), not {format}"))
            }
        }
        let keys = [("target", target), ("format", "combined")];
        section.set("access_log", table(keys.map(|(key, text)| (key.to_owned(), text))), &log.at);
    }
}
