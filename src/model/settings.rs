//! The checked config: what a config file says once every mistake is out of it.
//!
//! Serialized it is a config file again, with every default spelled out and secrets as stars.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, str::FromStr, sync::Arc};

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{
    acme::Acme,
    address::Address,
    guard::Terms,
    health::Thresholds,
    limit::Limit,
    link::Link,
    listener::Listener,
    notify::Receiver,
    policy::Policy,
    preflight::Check,
    rollout::Plan,
    spans::Tracing,
    split::Split,
    units::{ListenerName, Millis, PlanName, PoolName, ServiceName, Share},
};

/// A whole checked config file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// `[admin]`.
    pub admin: Admin,
    /// `[runtime]`.
    pub runtime: Runtime,
    /// `[bucketing]`.
    pub bucketing: Bucketing,
    /// `[maintenance]`.
    pub maintenance: MaintenanceDefaults,
    /// `[guard]`: what services have that do not say otherwise.
    #[serde(serialize_with = "Terms::spelled_out")]
    pub guard: Terms,
    /// `[rollout.PLAN]`; `default` is always there.
    pub rollout: BTreeMap<PlanName, Plan>,
    /// `[[notify]]`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Receiver>,
    /// `[tracing]`, if spans are exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Arc<Tracing>>,
    /// `[acme]`.
    pub acme: Acme,
    /// `[listener.NAME]`, at least one.
    pub listener: BTreeMap<ListenerName, Arc<Listener>>,
    /// `[service.NAME]`, at least one.
    pub service: BTreeMap<ServiceName, Arc<Service>>,
}

/// How operators reach lbd, and where it keeps its state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Admin {
    /// The Unix socket that `lbctl` talks to.
    pub socket: PathBuf,
    /// Its permission bits, as in `"0660"`.
    #[serde(serialize_with = "octal")]
    pub socket_mode: u32,
    /// The group that owns it; the process's own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<String>,
    /// Where state and journal live.
    pub state_dir: PathBuf,
    /// Where `/metrics`, `/healthz` and `/readyz` are served over TCP, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Who may read through the socket, besides operators.
    pub viewers: Vec<Principal>,
    /// Who may change things through the socket, besides root and lbd's own user.
    pub operators: Vec<Principal>,
}

/// A user, or with `@` in front a group, of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Principal {
    /// A user by name.
    User(String),
    /// A group by name; written with `@`.
    Group(String),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => name.fmt(f),
            Self::Group(name) => write!(f, "@{name}"),
        }
    }
}

impl From<&str> for Principal {
    fn from(text: &str) -> Self {
        match text.strip_prefix('@') {
            Some(group) => Self::Group(group.to_owned()),
            None => Self::User(text.to_owned()),
        }
    }
}

impl Serialize for Principal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// How the process runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Runtime {
    /// Worker threads; each has its own sockets and connection pools.
    pub workers: usize,
    /// How long a stopping process waits for running requests.
    pub upgrade_drain: Millis,
    /// Client connections at most, over all listeners.
    pub max_connections: usize,
    /// Whether plain HTTP/1.1 requests take the lean path.
    pub fast_path: bool,
}

/// How users are divided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bucketing {
    /// One salt for all services.
    pub salt: Arc<str>,
}

/// What `maintenance on` answers where the command does not say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MaintenanceDefaults {
    /// A template file for the HTML page; a plain page if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<PathBuf>,
    /// The template's text, read with the config.
    #[serde(skip)]
    pub template: Option<Arc<str>>,
    /// What the page says.
    pub message: Arc<str>,
    /// `Retry-After` where no end is known.
    pub retry_after: Millis,
    /// Clients who always pass.
    pub allow: Vec<IpNet>,
}

/// A named application.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Service {
    /// Hosts, exact or `*.example.com`; empty: any.
    pub hosts: Vec<String>,
    /// Path prefixes; empty: all.
    pub paths: Vec<String>,
    /// The pool that is trusted.
    pub baseline: PoolName,
    /// Where the user id is read, in order.
    pub user_id: Vec<IdSource>,
    /// What happens to a request without user id.
    pub anonymous: Anonymous,
    /// How testers choose a pool, if they can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// How an endpoint is chosen inside a pool.
    pub balance: Balance,
    /// Which pools step in for one without usable endpoint.
    pub failover: Failover,
    /// Further attempts after a failed one.
    pub retries: u32,
    /// Time limits towards endpoints.
    pub timeouts: ServiceTimeouts,
    /// How long a tunnel goes on whose users belong elsewhere by now; `None`: for ever.
    #[serde(serialize_with = "span_or_none")]
    pub tunnel_drain: Option<Millis>,
    /// Active and passive checks.
    pub health: HealthChecks,
    /// Where requests are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_log: Option<AccessLog>,
    /// What its candidates are judged by.
    #[serde(serialize_with = "Terms::spelled_out")]
    pub guard: Terms,
    /// What its candidates must pass before they get traffic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<Check>,
    /// What it lets in, and what it changes.
    #[serde(flatten)]
    pub policy: Policy,
    /// The pools, in name order.
    pub pool: BTreeMap<PoolName, Pool>,
}

impl Service {
    /// The split that the file asks for.
    ///
    /// `None` if the weights do not sum to the whole, which the config check rules out.
    pub fn split(&self) -> Option<Split> {
        self.pool
            .iter()
            .map(|(name, pool)| (name.clone(), pool.weight))
            .collect::<Vec<_>>()
            .try_into()
            .ok()
    }
}

/// A pool of equal endpoints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pool {
    /// The pool's share by the file.
    pub weight: Share,
    /// The endpoints by the file.
    pub endpoints: Vec<EndpointSpec>,
    /// How they are spoken to.
    #[serde(flatten)]
    pub link: Arc<Link>,
    /// How many requests it is given at a time, if that is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// An endpoint as the file lists it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct EndpointSpec {
    /// Its identity.
    pub address: Address,
    /// Its weight inside the pool, `1..=1000`.
    pub weight: u16,
}

/// Where a user id is read: `header:X-User-Id`, `cookie:uid`, `query:uid`, `jwt:sub` or `client-ip`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IdSource {
    /// A request header, lower case.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// A query parameter.
    Query(Box<str>),
    /// A claim of the bearer token, which is not verified.
    Jwt(Box<str>),
    /// The client's address.
    ClientIp,
}

/// A text that is no source of user ids.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "`{0}` is not a source of user ids; write header:NAME, cookie:NAME, query:NAME, jwt:CLAIM or client-ip"
)]
pub struct NotAnIdSource(pub String);

impl FromStr for IdSource {
    type Err = NotAnIdSource;

    fn from_str(text: &str) -> Result<Self, NotAnIdSource> {
        if text == "client-ip" {
            return Ok(Self::ClientIp);
        }
        let refuse = || NotAnIdSource(text.to_owned());
        let (kind, name) = text.split_once(':').ok_or_else(refuse)?;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && !b"=;,&".contains(&b)) {
            return Err(refuse());
        }
        match kind {
            "header" if name.parse::<http::HeaderName>().is_ok() => {
                Ok(Self::Header(name.to_ascii_lowercase().into()))
            }
            "cookie" => Ok(Self::Cookie(name.into())),
            "query" => Ok(Self::Query(name.into())),
            "jwt" => Ok(Self::Jwt(name.into())),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Jwt(name) => write!(f, "jwt:{name}"),
            Self::ClientIp => f.write_str("client-ip"),
        }
    }
}

impl Serialize for IdSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What happens to a request without user id.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anonymous {
    /// A draw for each request.
    #[default]
    Random,
    /// The response sets a cookie with a new id, which is the user id from then on.
    Cookie,
    /// The baseline.
    Baseline,
}

/// How testers choose a pool: a header or cookie `name` with the value `POOL:SECRET`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pin {
    /// Name of the header and of the cookie.
    pub name: Box<str>,
    /// What proves that the request may choose.
    pub secret: Secret,
}

/// A text that prints as stars.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(pub Arc<str>);

impl Secret {
    /// Whether `other` is the same text, in time that does not depend on where they differ.
    pub fn matches(&self, other: &str) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("***")
    }
}

/// How an endpoint is chosen inside a pool.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Of two random ones, that with fewer running requests for its weight (Mitzenmacher, "The power
    /// of two choices in randomized load balancing", 2001).
    #[default]
    LeastRequests,
    /// One after the other, as often as its weight says.
    RoundRobin,
}

/// Which pools step in for one without usable endpoint.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failover {
    /// The baseline, then any other.
    #[default]
    Any,
    /// Only pools that have a share.
    Weighted,
    /// None: the request is answered with 503.
    Off,
}

/// Time limits towards endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServiceTimeouts {
    /// For a connection to be made.
    pub connect: Millis,
    /// From the end of the request to the first byte of the response.
    pub first_byte: Millis,
    /// Between two reads of a response.
    pub idle: Millis,
    /// For the whole request, if limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Millis>,
    /// How long an unused connection is kept. Below the endpoint's own limit, or requests are lost.
    pub keepalive: Millis,
    /// How long a tunnel may be silent, as that of a WebSocket.
    pub tunnel: Millis,
}

/// Active and passive checks of a service's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HealthChecks {
    /// The active check, if there is one.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The passive check, if there is one; written `false` if not, since absent means the default.
    #[serde(serialize_with = "passive_or_false")]
    pub passive: Option<Passive>,
}

/// An active check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// What to GET.
    pub path: Box<str>,
    /// How often, give or take a tenth.
    pub interval: Millis,
    /// How long an answer may take.
    pub timeout: Millis,
    /// When the state changes.
    #[serde(flatten)]
    pub thresholds: Thresholds,
    /// Which statuses pass.
    pub expect: Expect,
    /// What the body must contain, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<str>>,
    /// The Host header, if not the endpoint's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Box<str>>,
}

/// Statuses and ranges of statuses, as in `["200-299", "302"]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expect(pub Vec<(u16, u16)>);

impl Expect {
    /// Whether `status` is among them.
    pub fn accepts(&self, status: u16) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (from, to)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            if from == to { write!(f, "{comma}{from}")? } else { write!(f, "{comma}{from}-{to}")? }
        }
        Ok(())
    }
}

impl Serialize for Expect {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|range| Expect(vec![*range]).to_string()))
    }
}

/// A passive check: traffic that fails takes its endpoint out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Passive {
    /// Failures in a row.
    pub failures: u32,
    /// For how long the endpoint is out.
    #[serde(rename = "for")]
    pub span: Millis,
}

/// Where and how requests are logged.
#[derive(Clone, Debug, Eq, Hash, PartialEq, Serialize)]
pub struct AccessLog {
    /// `stdout`, or a file.
    pub target: Box<str>,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of an access log line.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

fn octal<S: Serializer>(mode: &u32, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{mode:04o}"))
}

fn span_or_none<S: Serializer>(span: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => span.serialize(to),
        None => to.serialize_str("none"),
    }
}

fn passive_or_false<S: Serializer>(passive: &Option<Passive>, to: S) -> Result<S::Ok, S::Error> {
    match passive {
        Some(passive) => passive.serialize(to),
        None => to.serialize_bool(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_sources_read_and_print() {
        for text in ["header:x-user-id", "cookie:uid", "query:uid", "jwt:sub", "client-ip"] {
            assert_eq!(text.parse::<IdSource>().unwrap().to_string(), text);
        }
        for text in ["", "header", "header:", "header:a b", "ip", "cookie:a=b", "body:x"] {
            assert!(text.parse::<IdSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_print_as_stars() {
        let secret = Secret("hunter2".into());
        assert_eq!(format!("{secret:?}"), "***");
        assert!(secret.matches("hunter2") && !secret.matches("hunter3") && !secret.matches(""));
    }
}
