//! `upstream` and addresses of `proxy_pass`: pools with endpoints.

use std::{collections::BTreeMap, rc::Rc};

use toml::Value;

use super::{
    document::{Section, table},
    parser::{Directive, Place},
    scope::{Context, Scope, span_within},
    value,
};
use crate::model::{Address, Millis};

/// The largest weight of an endpoint.
const WEIGHT_MAX: u64 = 1000;
/// The longest time limit of a service, in seconds.
const SECONDS_MAX: u64 = 24 * 3600;

/// The shortest time that lbd leaves an endpoint out.
const OUT_MIN: Millis = Millis(100);

/// Endpoints with their weights, each once.
type Endpoints = Vec<(String, u64)>;

/// What a pool of nginx's is made of.
#[derive(Default)]
pub struct Group {
    /// The endpoints.
    pub main: Endpoints,
    /// Those that step in for them.
    pub backup: Endpoints,
    /// How one is chosen.
    pub balance: Option<(&'static str, Option<Place>)>,
    /// When one is out.
    pub passive: Option<(Value, Place)>,
    /// How long an unused connection is kept.
    pub keepalive: Option<(String, Place)>,
    /// Where it comes from.
    pub from: String,
    /// What should be known about it.
    pub comments: Vec<String>,
}

/// How endpoints are chosen, left out and kept: lbd has one manner for all pools of a service.
#[derive(Default)]
pub struct Manner {
    /// How one is chosen.
    pub balance: Option<(&'static str, Option<Place>)>,
    /// When one is out.
    pub passive: Option<(Value, Place)>,
    /// How long an unused connection is kept.
    pub keepalive: Option<(String, Place)>,
}

impl Manner {
    /// What the first of these says that says anything; where others do not, it is told at `by`.
    pub fn of(context: &Context<'_>, groups: &[Rc<Group>], by: &Directive) -> Self {
        // What a file says comes before what nginx does where it says nothing.
        let balances = || groups.iter().filter_map(|group| group.balance.clone());
        let manner = Self {
            balance: balances().min_by_key(|(_, at)| at.is_none()),
            passive: groups.iter().find_map(|group| group.passive.clone()),
            keepalive: groups.iter().find_map(|group| group.keepalive.clone()),
        };
        let tell = |what: &str, at: &Place| {
            let why = format!("lbd has one {what} for all pools of a service: that of {at}");
            context.ledger.differs(by, why);
        };
        // One endpoint is chosen in no manner.
        if let Some((word, Some(at))) = &manner.balance
            && balances().any(|(other, _)| other != *word)
        {
            tell("balance", at);
        }
        if let Some((passive, at)) = &manner.passive
            && groups.iter().any(|g| g.passive.as_ref().is_none_or(|(other, _)| other != passive))
        {
            tell("max_fails and fail_timeout", at);
        }
        if let Some((span, at)) = &manner.keepalive
            && groups.iter().any(|g| g.keepalive.as_ref().is_none_or(|(other, _)| other != span))
        {
            tell("keepalive_timeout", at);
        }
        manner
    }
}

/// Reads what `target` means: the name of an upstream, or an address. `None` if it is neither.
pub fn group(context: &Context<'_>, target: &str, port: u16, by: &Directive) -> Option<Rc<Group>> {
    if let Some(upstream) = context.upstream(target) {
        context.ledger.carry(upstream);
        return Some(context.group(upstream, || of_upstream(context, upstream)));
    }
    let address = address(target, port)?;
    let from = format!("{}: {target}", by.at);
    Some(Rc::new(Group { main: vec![(address, 1)], from, ..Group::default() }))
}

/// An address as lbd has it; `port` where it names none.
pub fn address(text: &str, port: u16) -> Option<String> {
    let good = |text: String| text.parse::<Address>().ok().map(|address| address.to_string());
    if text.starts_with("unix:") {
        return good(text.into());
    }
    good(text.into()).or_else(|| good(format!("{text}:{port}")))
}

fn of_upstream(context: &Context<'_>, upstream: &Directive) -> Group {
    let ledger = context.ledger;
    let mut group = Group {
        from: format!("{}: upstream {}", upstream.at, upstream.arg(0)),
        ..Group::default()
    };
    let mut passives: Vec<(&Directive, Value)> = Vec::new();
    for directive in upstream.inside() {
        match directive.name.as_str() {
            "server" => server(context, directive, &mut group, &mut passives),
            "least_conn" | "random" => {
                ledger.carry(directive);
                group.balance = Some(("least-requests", Some(directive.at.clone())));
            }
            "ip_hash" | "hash" | "sticky" => ledger.left(
                directive,
                "lbd keeps users to a pool, and not to one endpoint in it; see user_id",
            ),
            "keepalive_timeout" => match span_within(directive.arg(0), SECONDS_MAX) {
                Some((span, _)) => {
                    ledger.carry(directive);
                    group.keepalive = Some((span, directive.at.clone()));
                }
                None => ledger.left(directive, "it is no span of time"),
            },
            _ => {}
        }
    }
    group.main = once(std::mem::take(&mut group.main));
    group.backup = once(std::mem::take(&mut group.backup));
    if group.balance.is_none() && group.main.len() > 1 {
        group.balance = Some(("round-robin", None));
    }
    if let Some((first, value)) = passives.first() {
        for (other, _) in passives.iter().filter(|(_, other)| other != value) {
            ledger.differs(other, format!("lbd has one for all: that of {}", first.at));
        }
        group.passive = Some((value.clone(), first.at.clone()));
    }
    group
}

fn server<'a>(
    context: &Context<'_>,
    directive: &'a Directive,
    group: &mut Group,
    passives: &mut Vec<(&'a Directive, Value)>,
) {
    let ledger = context.ledger;
    let Some(address) = address(directive.arg(0), 80) else {
        ledger.left(directive, "it is no address that lbd can connect to");
        return;
    };
    ledger.carry(directive);
    let mut weight = 1;
    let (mut fails, mut out, mut backup, mut down) = (None, None, false, false);
    for arg in directive.args.iter().skip(1) {
        match arg.split_once('=').unwrap_or((arg, "")) {
            ("weight", number) => weight = number.parse().unwrap_or(1),
            ("max_fails", number) => fails = number.parse::<u32>().ok(),
            ("fail_timeout", span) => {
                let typed = value::span(span);
                let within = typed.map(|span| span.clamp(OUT_MIN, Millis::from_secs(SECONDS_MAX)));
                if typed != within {
                    ledger.differs(directive, "lbd takes the nearest fail_timeout that it has");
                }
                out = within.map(|span| span.to_string());
            }
            ("backup", _) => backup = true,
            ("down", _) => down = true,
            // Names are resolved again and again anyway.
            ("resolve", _) => {}
            (name, _) => ledger.differs(directive, format!("lbd has nothing like {name}")),
        }
    }
    let weight_here = weight.clamp(1, WEIGHT_MAX);
    if weight_here != weight {
        ledger.differs(directive, format!("lbd takes the weight {weight_here}"));
    }
    if let Some(passive) = passive(fails, out) {
        passives.push((directive, passive));
    }
    if down {
        group.comments.push(format!("{}: {address} is down and left out.", directive.at));
        let why = "left out of the pool while it is down; `lbctl endpoint add` brings it back";
        ledger.differs(directive, why);
        return;
    }
    let list = if backup { &mut group.backup } else { &mut group.main };
    list.push((address, weight_here));
}

/// Each endpoint once, with all its weight.
fn once(endpoints: Endpoints) -> Endpoints {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut once: Endpoints = Vec::new();
    for (address, weight) in endpoints {
        let place = *places.entry(address.clone()).or_insert(once.len());
        match once.get_mut(place) {
            Some((_, sum)) => *sum = sum.saturating_add(weight).min(WEIGHT_MAX),
            None => once.push((address, weight)),
        }
    }
    once
}

fn passive(fails: Option<u32>, out: Option<String>) -> Option<Value> {
    match (fails, out) {
        (None, None) => None,
        (Some(0), _) => Some(false.into()),
        (fails, out) => {
            let failures = Value::Integer(i64::from(fails.unwrap_or(1).min(1000)));
            let out = Value::String(out.unwrap_or_else(|| "10s".into()));
            Some(table([("failures".to_owned(), failures), ("for".to_owned(), out)]))
        }
    }
}

/// A pool of the new file.
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Endpoints,
    /// Its percentage, if it is said.
    pub weight: Option<String>,
    /// Comments above it.
    pub comments: Vec<String>,
}

impl Pool {
    /// Its section. `scope` says how it is spoken to.
    pub fn section(
        &self,
        service: &str,
        context: &Context<'_>,
        scheme: &str,
        scope: &Scope<'_>,
    ) -> Section {
        let mut section = Section::table(&["service", service, "pool", &self.name]);
        self.comments.iter().for_each(|comment| section.comment(comment));
        let endpoints = self.endpoints.iter().map(|(address, weight)| match weight {
            1 => Value::from(address.as_str()),
            weight => {
                let weight = Value::Integer(i64::try_from(*weight).unwrap_or(1));
                table([("address".to_owned(), address.as_str().into()), ("weight".into(), weight)])
            }
        });
        section.set_because("endpoints", Value::Array(endpoints.collect()), "");
        if let Some(weight) = &self.weight {
            section.set_because("weight", weight.as_str(), "");
        }
        let protocol = match scheme {
            "https" => Some("https"),
            "grpc" => Some("h2c"),
            "grpcs" => Some("https-h2"),
            _ => None,
        };
        if let Some(protocol) = protocol {
            section.set_because("protocol", protocol, "");
        }
        if matches!(scheme, "https" | "grpcs") {
            tls(context, scope, &mut section);
        }
        section
    }
}

fn tls(context: &Context<'_>, scope: &Scope<'_>, section: &mut Section) {
    let names = [
        ("proxy_ssl_trusted_certificate", "ca"),
        ("proxy_ssl_certificate", "client_cert"),
        ("proxy_ssl_certificate_key", "client_key"),
        ("proxy_ssl_name", "server_name"),
    ];
    let mut keys: BTreeMap<String, Value> = BTreeMap::new();
    for (name, key) in names {
        let Some(directive) = scope.one(name) else { continue };
        if directive.arg(0).contains('$') {
            context.ledger.left(directive, "lbd takes no variables here");
            continue;
        }
        context.ledger.carry(directive);
        let path = key != "server_name";
        let text = if path { context.path(directive.arg(0)) } else { directive.arg(0).into() };
        keys.insert(key.into(), text.into());
    }
    match scope.one("proxy_ssl_verify") {
        Some(verify) if verify.arg(0) == "on" => context.ledger.carry(verify),
        Some(verify) => context.ledger.left(verify, "lbd always checks an endpoint's certificate"),
        None => section.comment("nginx did not check the endpoint's certificate; lbd does."),
    }
    if !keys.is_empty() {
        section.set_because("tls", table(keys), "");
    }
}

/// Names for the pools of these targets: `blue` and the like where they say so.
pub fn pool_names(targets: &[String]) -> Vec<String> {
    let mut names = super::Names::default();
    let colour = |target: &String| {
        let lower = target.to_ascii_lowercase();
        let mut found =
            ["blue", "green", "canary", "stable"].into_iter().filter(|w| lower.contains(w));
        found.next().filter(|_| found.next().is_none())
    };
    let wished = targets.iter().map(|target| match colour(target) {
        Some(colour) => colour.to_owned(),
        None => value::name(target),
    });
    wished.map(|name| names.free(&name)).collect()
}
