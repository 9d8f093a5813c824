//! What each operation looks like on the wire: the one table.

use schemars::{JsonSchema, SchemaGenerator};

use super::{
    certificate::CertificateList,
    operation::{Op, Param, Reply, Role, SchemaOf, Spec},
    release::{
        CheckBody, CheckReport, GuardBody, GuardList, NoBody, NotifyTest, PauseBody, PlanOutlook,
        PromoteBody, ReceiverList, RolloutBody, RolloutList, RolloutStatus, SelfTestStatus,
        SimulateBody, Simulated,
    },
    types::{
        CohortBody, CohortList, ConfigDiff, ConfigShown, EndpointBody, EndpointList,
        EndpointStateBody, EventList, ExplainBody, Explained, MaintenanceBody, MaintenanceView,
        ReloadBody, Reloaded, RollbackBody, SplitBody, Status, Version,
    },
    upgrade::{UpgradeBody, UpgradeStatus, Upgraded},
};
use crate::model::{Changed, rollout::Record};

/// What every command takes besides its body.
const COMMAND: &[Param] =
    &[("dry_run", "true: check and answer, change nothing"), ("reason", "why, for the journal")];
const COMMAND_OF_SERVICES: &[Param] = &[
    ("dry_run", "true: check and answer, change nothing"),
    ("reason", "why, for the journal"),
    ("service", "only this service; may be given several times"),
];

impl Op {
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
            Self::StartRollout => {
                change::<RolloutBody>("POST", "/v1/rollouts", "start a rollout to a candidate")
            }
            Self::ListRollouts => {
                get::<RolloutList>("/v1/rollouts", Viewer, "all rollouts, latest first", &[])
            }
            Self::PlanRollout => ask::<RolloutBody, PlanOutlook>(
                "/v1/rollouts/plan",
                "what each stage of a plan can notice, from live rates",
            ),
            Self::CurrentRollout => get::<RolloutStatus>(
                "/v1/rollouts/current",
                Viewer,
                "the rollout that runs, or the last one",
                &[],
            ),
            Self::GetRollout => get::<Record>(
                "/v1/rollouts/{id}",
                Viewer,
                "everything that is kept of a rollout; `last` is one",
                &[],
            ),
            Self::ReportRollout => Spec {
                query: &[("format", "md, json or html; md where it is absent")],
                ..text(
                    "/v1/rollouts/{id}/report",
                    Viewer,
                    "a rollout's report; `last` is one",
                    "text/plain",
                )
            },
            Self::SimulateRollout => ask::<SimulateBody, Vec<Simulated>>(
                "/v1/rollouts/{id}/simulate",
                "judge a rollout's stored evidence by other terms",
            ),
            Self::PauseRollout => change::<NoBody>(
                "POST",
                "/v1/rollouts/current/pause",
                "hold the rollout where it is; the guard goes on",
            ),
            Self::ResumeRollout => {
                change::<NoBody>("POST", "/v1/rollouts/current/resume", "let the rollout go on")
            }
            Self::PromoteRollout => change::<PromoteBody>(
                "POST",
                "/v1/rollouts/current/promote",
                "go on to the next stage; while baking, make the candidate the baseline",
            ),
            Self::AbortRollout => change::<NoBody>(
                "POST",
                "/v1/rollouts/current/abort",
                "end the rollout and give everything back",
            ),
            Self::Check => Spec {
                query: &[],
                reply: Reply::Json(SchemaGenerator::subschema_for::<CheckReport>),
                ..change::<CheckBody>("POST", "/v1/checks", "run a pool's preflight")
            },
            Self::GetGuard => get::<GuardList>(
                "/v1/guard",
                Viewer,
                "what the guard judges by and what it finds",
                SERVICE,
            ),
            Self::SetGuard => change::<GuardBody>(
                "PUT",
                "/v1/guard",
                "change what the guard judges by, until the file says something else",
            ),
            Self::SelfTest => get::<Vec<SelfTestStatus>>(
                "/v1/guard/selftest",
                Viewer,
                "how often the guard accuses one half of a baseline against the other",
                SERVICE,
            ),
            Self::Pause => {
                change::<PauseBody>("POST", "/v1/pause", "hold new requests for a while")
            }
            Self::Resume => remove("/v1/pause", "let held requests go on"),
            Self::ListReceivers => {
                get::<ReceiverList>("/v1/notify", Viewer, "the receivers of notices", &[])
            }
            Self::TestReceiver => Spec {
                query: &[],
                reply: Reply::Json(SchemaGenerator::subschema_for::<NotifyTest>),
                ..change::<NoBody>("POST", "/v1/notify/{name}/test", "send a test notice")
            },
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
            Self::Explain => ask::<ExplainBody, Vec<Explained>>(
                "/v1/explain",
                "say where a user would go, and why",
            ),
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
            Self::Upgrade => Spec {
                reply: Reply::Json(SchemaGenerator::subschema_for::<Upgraded>),
                ..change::<UpgradeBody>(
                    "POST",
                    "/v1/upgrade",
                    "hand over to the binary on the disk, without a gap",
                )
            },
            Self::GetUpgrade => get::<UpgradeStatus>(
                "/v1/upgrade",
                Viewer,
                "which process serves, and the one before it while that is still there",
                &[],
            ),
            Self::ListCertificates => get::<CertificateList>(
                "/v1/certificates",
                Viewer,
                "the listeners' certificates",
                &[],
            ),
            Self::ReloadCertificates => change::<NoBody>(
                "POST",
                "/v1/certificates/reload",
                "load the certificates' files again, all or nothing; order at once what could not be had",
            ),
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

/// A question that needs a body.
const fn ask<B: JsonSchema, R: JsonSchema>(path: &'static str, summary: &'static str) -> Spec {
    let body: Option<SchemaOf> = Some(SchemaGenerator::subschema_for::<B>);
    let reply = Reply::Json(SchemaGenerator::subschema_for::<R>);
    Spec { method: "POST", path, role: Role::Viewer, summary, query: &[], body, reply }
}
