//! What goes over the wire, as JSON.

use std::collections::BTreeMap;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::release::RolloutStatus;
use crate::model::{
    Address, Changed, Event, Millis, Moment, PoolName, Revision, Rule, ServiceName, Share,
    cohort::List,
    guard::Finding,
    health::{AdminState, Standing},
    state::{Alarm, Bake, Lockout},
    units::ListenerName,
};

/// Why a call was refused or failed.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Failure {
    /// What is wrong.
    pub error: String,
    /// A stable word for programs.
    pub code: String,
    /// What to do.
    pub hint: String,
}

/// `POST /v1/config/reload`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadBody {
    /// Return weights, baselines and endpoints to what the file says.
    #[serde(default)]
    pub reset_runtime: bool,
}

/// `PUT /v1/split`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SplitBody {
    /// The pool.
    pub pool: PoolName,
    /// Its share, as in `"25%"`.
    pub share: Share,
    /// Only these services; empty: every one that has the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// Return to the split before after this time, as in `"10m"`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<Millis>,
    /// A cutover: journaled as `switch`. The share must be the whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub switch: bool,
    /// Even where the pool is locked out, or a rollout runs, which this ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// A cutover without the candidate's preflight.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_checks: bool,
}

/// `POST /v1/rollback`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackBody {
    /// Only these services; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// Go down in steps over this time, as in `"30s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Millis>,
}

/// `PUT /v1/maintenance`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceBody {
    /// Only these services; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// When it ends, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// How long it lasts, as in `"2h"`. Not together with `until`.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub span: Option<Millis>,
    /// What the page says, if not the configured message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Client networks that pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// The secret of the link that lets its bearer pass: at least 8 letters, digits, `-`, `_`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]{8,128}$"))]
    pub secret: Option<String>,
}

/// A maintenance that is on.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct MaintenanceView {
    /// The service; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: Moment,
    /// Until when, if an end is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Moment>,
    /// What the page says.
    pub message: String,
    /// Client networks that pass.
    #[schemars(with = "Vec<String>")]
    pub allow: Vec<IpNet>,
    /// The path of the secret link; only operators see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// `POST /v1/pools/{pool}/endpoints`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointBody {
    /// The address.
    pub address: Address,
    /// Its weight inside the pool, 1 to 1000; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The service; may be absent where only one has the pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
}

/// `PUT /v1/pools/{pool}/endpoints/{address}`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointStateBody {
    /// What is wanted of it.
    pub state: AdminState,
    /// Only in these services; empty: every one whose pool has it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
}

/// The endpoints of a pool, by service.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct EndpointList {
    /// The revision in force.
    pub revision: Revision,
    /// The services that have the pool.
    pub services: Vec<PoolEndpoints>,
}

/// The endpoints of one service's pool.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct PoolEndpoints {
    /// The service.
    pub service: ServiceName,
    /// The endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// `POST /v1/cohorts/{pool}` and `…/remove`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CohortBody {
    /// Which list.
    pub list: List,
    /// The users' ids.
    pub users: Vec<String>,
}

/// A pool's cohort.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
pub struct CohortList {
    /// Users who always go to the pool.
    pub allow: Vec<String>,
    /// Users who never go to the pool.
    pub deny: Vec<String>,
}

/// `POST /v1/explain`: a user, or a request to read the user from.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainBody {
    /// The user's id. Without it, it is read from the request below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only these services; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// Request headers, name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Path and query of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "ip_address")]
    pub client: Option<std::net::IpAddr>,
}

/// An IP address of either family, or none.
fn ip_address(_schemas: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "format": "ipv4" },
            { "type": "string", "format": "ipv6" },
            { "type": "null" },
        ],
    })
}

/// Where a user goes in one service, and why.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Explained {
    /// The service.
    pub service: ServiceName,
    /// The user id that was used; absent for an anonymous request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The salt.
    pub salt: String,
    /// The user's bucket, `0..10_000`; absent where none is looked at or it is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
    /// The pool; absent if every request is drawn anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// That pool's share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
    /// The rule that decided.
    pub rule: Rule,
    /// For every other pool: the smallest share at which the bucket belongs to it, the rest being
    /// the baseline's. Absent where the bucket does not decide.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
}

/// At which share a user moves to a pool.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Move {
    /// The pool.
    pub pool: PoolName,
    /// The smallest share of the pool that includes the user.
    pub at: Share,
}

/// `GET /v1/events`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct EventList {
    /// Oldest first.
    pub events: Vec<Event>,
}

/// `GET /v1/config`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ConfigShown {
    /// The file that was loaded.
    pub file: String,
    /// The config in force with every default, as TOML; secrets are stars.
    pub effective: String,
}

/// `GET /v1/config/diff`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct ConfigDiff {
    /// Where runtime differs from the file, by key.
    pub differences: Vec<Difference>,
}

/// A key whose runtime value is not the file's.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Difference {
    /// The config key.
    pub key: String,
    /// What the file says.
    pub file: String,
    /// What is in force.
    pub runtime: String,
}

/// `POST /v1/config/reload`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Reloaded {
    /// What changed.
    #[serde(flatten)]
    pub changed: Changed,
    /// Keys whose new value needs a restart.
    pub needs_restart: Vec<String>,
}

/// `GET /v1/version`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
pub struct Version {
    /// The daemon's release.
    pub version: String,
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Status {
    /// The daemon's release.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The revision in force.
    pub revision: Revision,
    /// When the process started, in milliseconds since the Unix epoch.
    pub started: Moment,
    /// When this was read, in milliseconds since the Unix epoch.
    pub now: Moment,
    /// Rates and percentiles are over this span before `now`.
    pub window: Millis,
    /// The rollout that runs, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Listeners.
    pub listeners: Vec<ListenerStatus>,
    /// Services.
    pub services: Vec<ServiceStatus>,
}

/// A listener.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: ListenerName,
    /// Where it listens.
    pub address: String,
    /// Open client connections.
    pub connections: u64,
}

/// A service.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// The pool that is trusted.
    pub baseline: PoolName,
    /// Its maintenance, if on (its own, or that of all).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceView>,
    /// When a weight set for a time returns, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returns_at: Option<Moment>,
    /// When a rollback in steps will be done, in milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp_until: Option<Moment>,
    /// Since when new requests are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Moment>,
    /// Requests that are held now.
    #[serde(default)]
    pub held: u64,
    /// A candidate that was given everything by hand, and when it becomes the baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Bake>,
    /// What the guard finds of the candidates that are on trial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What the guard objects to and does not act on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Alarm>,
    /// Pools that the guard took back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lockouts: BTreeMap<PoolName, Lockout>,
    /// Its pools.
    pub pools: Vec<PoolStatus>,
}

/// A pool.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: PoolName,
    /// The share that was set.
    pub share: Share,
    /// The part of the window's requests that it served, `0..=1`; absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<f64>,
    /// Requests per second over the window.
    pub rps: f64,
    /// Failures in the window, by blame.
    pub failures: BTreeMap<String, u64>,
    /// The part of the window's requests that failed by the pool's fault, `0..=1`.
    pub error_ratio: f64,
    /// Median duration over the window, in milliseconds; absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// 95th percentile, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<f64>,
    /// 99th percentile, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    /// Requests running now.
    pub in_flight: u64,
    /// Requests since the process started.
    pub requests: u64,
    /// Of these, requests that were meant for another pool which had no usable endpoint.
    pub failovers: u64,
    /// Requests whose failed first attempt on this pool was replayed on the baseline.
    #[serde(default)]
    pub shielded: u64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// An endpoint, or one address of an endpoint that is a host name.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct EndpointStatus {
    /// Its identity.
    pub address: Address,
    /// Where it leads; absent while its name does not resolve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its weight inside the pool.
    pub weight: u16,
    /// What the operator wants of it.
    pub state: AdminState,
    /// How fit it is.
    pub standing: Standing,
    /// Why it is not fit, if known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Requests running now.
    pub in_flight: u64,
    /// Requests since the process started.
    pub requests: u64,
}
