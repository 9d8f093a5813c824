//! The table of operations.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::types::{
    CohortBody, CohortList, ConfigDiff, ConfigShown, EndpointBody, EndpointList, EndpointStateBody,
    EventList, ExplainBody, Explained, MaintenanceBody, MaintenanceView, ReloadBody, Reloaded,
    RollbackBody, SplitBody, Status, Version,
};
use crate::model::Changed;

/// Who may call an operation.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Anyone who can reach the socket or the admin address: health and metrics.
    Anyone,
    /// May read.
    Viewer,
    /// May change.
    Operator,
}

/// One operation of the admin API.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// What is in force and what is happening.
    Status,
    /// Give a pool a share.
    SetSplit,
    /// Give everything back to the baselines.
    Rollback,
    /// What maintenance is on.
    GetMaintenance,
    /// Begin or change maintenance.
    SetMaintenance,
    /// End maintenance.
    EndMaintenance,
    /// List a pool's endpoints.
    ListEndpoints,
    /// Add an endpoint.
    AddEndpoint,
    /// Change an endpoint's state.
    SetEndpoint,
    /// Remove an endpoint.
    RemoveEndpoint,
    /// List a pool's cohort.
    ListCohort,
    /// Add users to a cohort.
    AddToCohort,
    /// Remove users from a cohort.
    RemoveFromCohort,
    /// Say where a user would go, and why.
    Explain,
    /// The journal, or with `Accept: text/event-stream` what is added to it from now on.
    Events,
    /// The config in force.
    ShowConfig,
    /// Runtime against file.
    DiffConfig,
    /// Load the config file again.
    ReloadConfig,
    /// This document.
    OpenApi,
    /// Which release this is.
    Version,
    /// Metrics for Prometheus.
    Metrics,
    /// Whether the process lives.
    Healthz,
    /// Whether the process takes requests.
    Readyz,
}

/// A query parameter: its name and what it means.
pub type Param = (&'static str, &'static str);

/// How a type's JSON schema is made.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What an operation looks like on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The HTTP method.
    pub method: &'static str,
    /// The path; `{name}` stands for one segment.
    pub path: &'static str,
    /// Who may.
    pub role: Role,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its query parameters.
    pub query: &'static [Param],
    /// The request body, if it takes one.
    pub body: Option<SchemaOf>,
    /// The reply.
    pub reply: Reply,
}

/// The form of a reply.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// JSON of this schema.
    Json(SchemaOf),
    /// Text of this media type.
    Text(&'static str),
}

/// What every command takes besides its body.
const COMMAND: &[Param] =
    &[("dry_run", "true: check and answer, change nothing"), ("reason", "why, for the journal")];
const COMMAND_OF_SERVICES: &[Param] = &[
    ("dry_run", "true: check and answer, change nothing"),
    ("reason", "why, for the journal"),
    ("service", "only this service; may be given several times"),
];

impl Op {
    /// All operations, in the order of the document.
    pub const ALL: &[Self] = &[
        Self::Status,
        Self::SetSplit,
        Self::Rollback,
        Self::GetMaintenance,
        Self::SetMaintenance,
        Self::EndMaintenance,
        Self::ListEndpoints,
        Self::AddEndpoint,
        Self::SetEndpoint,
        Self::RemoveEndpoint,
        Self::ListCohort,
        Self::AddToCohort,
        Self::RemoveFromCohort,
        Self::Explain,
        Self::Events,
        Self::ShowConfig,
        Self::DiffConfig,
        Self::ReloadConfig,
        Self::OpenApi,
        Self::Version,
        Self::Metrics,
        Self::Healthz,
        Self::Readyz,
    ];

    /// What the operation looks like on the wire.
    pub const fn spec(self) -> Spec {
        use Role::{Anyone, Viewer};
        const EVENTS: &[Param] = &[
            ("since", "only events after this moment, in milliseconds since the Unix epoch"),
            ("limit", "at most so many, the latest"),
        ];
        const SERVICE: &[Param] = &[("service", "only this service; may be given several times")];
        match self {
            Self::Status => get::<Status>(
                "/v1/status",
                Viewer,
                "what is in force and what is happening",
                SERVICE,
            ),
            Self::SetSplit => change::<SplitBody>(
                "PUT",
                "/v1/split",
                "give a pool a share in every service that has it",
            ),
            Self::Rollback => change::<RollbackBody>(
                "POST",
                "/v1/rollback",
                "give all traffic back to the baselines",
            ),
            Self::GetMaintenance => get::<Vec<MaintenanceView>>(
                "/v1/maintenance",
                Viewer,
                "which maintenance is on",
                &[],
            ),
            Self::SetMaintenance => change::<MaintenanceBody>(
                "PUT",
                "/v1/maintenance",
                "begin maintenance or change its terms",
            ),
            Self::EndMaintenance => remove("/v1/maintenance", "end maintenance"),
            Self::ListEndpoints => get::<EndpointList>(
                "/v1/pools/{pool}/endpoints",
                Viewer,
                "list a pool's endpoints",
                SERVICE,
            ),
            Self::AddEndpoint => change::<EndpointBody>(
                "POST",
                "/v1/pools/{pool}/endpoints",
                "add an endpoint to a pool",
            ),
            Self::SetEndpoint => change::<EndpointStateBody>(
                "PUT",
                "/v1/pools/{pool}/endpoints/{address}",
                "drain an endpoint, take it out of use, or put it in use",
            ),
            Self::RemoveEndpoint => remove(
                "/v1/pools/{pool}/endpoints/{address}",
                "take an endpoint out of its pool for good",
            ),
            Self::ListCohort => {
                get::<CohortList>("/v1/cohorts/{pool}", Viewer, "list a pool's cohort", &[])
            }
            Self::AddToCohort => change::<CohortBody>(
                "POST",
                "/v1/cohorts/{pool}",
                "put users on a list of the pool",
            ),
            Self::RemoveFromCohort => change::<CohortBody>(
                "POST",
                "/v1/cohorts/{pool}/remove",
                "take users off a list of the pool",
            ),
            Self::Explain => Spec {
                method: "POST",
                role: Viewer,
                query: &[],
                reply: Reply::Json(SchemaGenerator::subschema_for::<Vec<Explained>>),
                ..change::<ExplainBody>("POST", "/v1/explain", "say where a user would go, and why")
            },
            Self::Events => get::<EventList>(
                "/v1/events",
                Viewer,
                "the journal; with `Accept: text/event-stream`, what is added to it from now on",
                EVENTS,
            ),
            Self::ShowConfig => {
                get::<ConfigShown>("/v1/config", Viewer, "the config in force", &[])
            }
            Self::DiffConfig => {
                get::<ConfigDiff>("/v1/config/diff", Viewer, "runtime against file", &[])
            }
            Self::ReloadConfig => Spec {
                reply: Reply::Json(SchemaGenerator::subschema_for::<Reloaded>),
                ..change::<ReloadBody>(
                    "POST",
                    "/v1/config/reload",
                    "load the config file again, all or nothing",
                )
            },
            Self::OpenApi => text("/v1/openapi.json", Viewer, "this document", "application/json"),
            Self::Version => get::<Version>("/v1/version", Viewer, "which release this is", &[]),
            Self::Metrics => {
                text("/metrics", Anyone, "metrics for Prometheus", "text/plain; version=0.0.4")
            }
            Self::Healthz => text("/healthz", Anyone, "200 while the process lives", "text/plain"),
            Self::Readyz => text(
                "/readyz",
                Anyone,
                "200 while the process takes requests, else 503",
                "text/plain",
            ),
        }
    }

    /// The operation for a method and path, with the values of the path's parameters (still
    /// percent-encoded).
    ///
    /// # Errors
    ///
    /// The methods that the path would take; none if there is no such path.
    pub fn find<'p>(
        method: &str,
        path: &'p str,
    ) -> Result<(Self, Vec<&'p str>), Vec<&'static str>> {
        let mut methods = Vec::new();
        for op in Self::ALL {
            let spec = op.spec();
            match segments(spec.path, path) {
                Some(values) if spec.method == method => return Ok((*op, values)),
                Some(_) => methods.push(spec.method),
                None => {}
            }
        }
        Err(methods)
    }
}

fn segments<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut values = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(values),
            (Some(w), Some(g)) if w.starts_with('{') && !g.is_empty() => values.push(g),
            (Some(w), Some(g)) if w == g => {}
            (Some(_) | None, Some(_) | None) => return None,
        }
    }
}

const fn get<R: JsonSchema>(
    path: &'static str,
    role: Role,
    summary: &'static str,
    query: &'static [Param],
) -> Spec {
    let reply = Reply::Json(SchemaGenerator::subschema_for::<R>);
    Spec { method: "GET", path, role, summary, query, body: None, reply }
}

const fn text(path: &'static str, role: Role, summary: &'static str, media: &'static str) -> Spec {
    Spec { method: "GET", path, role, summary, query: &[], body: None, reply: Reply::Text(media) }
}

const fn change<B: JsonSchema>(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
) -> Spec {
    let body: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<B>);
    let reply = Reply::Json(SchemaGenerator::subschema_for::<Changed>);
    Spec { method, path, role: Role::Operator, summary, query: COMMAND, body, reply }
}

const fn remove(path: &'static str, summary: &'static str) -> Spec {
    let reply = Reply::Json(SchemaGenerator::subschema_for::<Changed>);
    Spec {
        method: "DELETE",
        path,
        role: Role::Operator,
        summary,
        query: COMMAND_OF_SERVICES,
        body: None,
        reply,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_operations_share_a_method_and_path() {
        let places: BTreeSet<_> =
            Op::ALL.iter().map(|op| (op.spec().method, op.spec().path)).collect();
        assert_eq!(places.len(), Op::ALL.len());
    }

    #[test]
    fn every_operation_is_found_at_its_own_path() {
        for op in Op::ALL {
            let spec = op.spec();
            let path = spec.path.replace("{pool}", "green").replace("{address}", "a%3A80");
            let (found, values) = Op::find(spec.method, &path).unwrap();
            assert_eq!(found, *op);
            assert_eq!(values.len(), spec.path.matches('{').count());
        }
    }

    #[test]
    fn a_wrong_method_is_told_from_a_wrong_path() {
        assert_eq!(Op::find("PATCH", "/v1/split"), Err(vec!["PUT"]));
        assert_eq!(Op::find("GET", "/v1/nothing"), Err(vec![]));
        assert_eq!(Op::find("GET", "/v1/pools//endpoints"), Err(vec![]));
    }

    #[test]
    fn only_reading_is_open_to_viewers() {
        for op in Op::ALL {
            let spec = op.spec();
            let reads = spec.method == "GET" || *op == Op::Explain;
            assert_eq!(reads, spec.role < Role::Operator, "{op:?}");
        }
    }
}
