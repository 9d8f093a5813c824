//! The operations of the admin API.

use schemars::{Schema, SchemaGenerator};

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
    /// Start a rollout.
    StartRollout,
    /// All rollouts.
    ListRollouts,
    /// What a plan can notice.
    PlanRollout,
    /// The rollout that runs, or the last one.
    CurrentRollout,
    /// Everything that is kept of a rollout.
    GetRollout,
    /// A rollout's report.
    ReportRollout,
    /// Judge a rollout's evidence by other terms.
    SimulateRollout,
    /// Hold the rollout.
    PauseRollout,
    /// Let the rollout go on.
    ResumeRollout,
    /// Go on to the next stage.
    PromoteRollout,
    /// End the rollout.
    AbortRollout,
    /// Run a pool's preflight.
    Check,
    /// What the guard judges by and finds.
    GetGuard,
    /// Change what the guard judges by.
    SetGuard,
    /// The guard's test against itself.
    SelfTest,
    /// Hold new requests.
    Pause,
    /// Let held requests go on.
    Resume,
    /// Receivers of notices.
    ListReceivers,
    /// Send a test notice.
    TestReceiver,
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
    /// Hand over to the binary on the disk.
    Upgrade,
    /// Which process serves, and whether the one before it is still there.
    GetUpgrade,
    /// The listeners' certificates.
    ListCertificates,
    /// Load the certificates' files again.
    ReloadCertificates,
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

impl Op {
    /// All operations, in the order of the document.
    pub const ALL: &[Self] = &[
        Self::Status,
        Self::SetSplit,
        Self::Rollback,
        Self::StartRollout,
        Self::ListRollouts,
        Self::PlanRollout,
        Self::CurrentRollout,
        Self::GetRollout,
        Self::ReportRollout,
        Self::SimulateRollout,
        Self::PauseRollout,
        Self::ResumeRollout,
        Self::PromoteRollout,
        Self::AbortRollout,
        Self::Check,
        Self::GetGuard,
        Self::SetGuard,
        Self::SelfTest,
        Self::Pause,
        Self::Resume,
        Self::ListReceivers,
        Self::TestReceiver,
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
        Self::Upgrade,
        Self::GetUpgrade,
        Self::ListCertificates,
        Self::ReloadCertificates,
        Self::OpenApi,
        Self::Version,
        Self::Metrics,
        Self::Healthz,
        Self::Readyz,
    ];

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
            let path = path.replace("{id}", "7").replace("{name}", "ops");
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
            let reads = spec.method == "GET"
                || [Op::Explain, Op::PlanRollout, Op::SimulateRollout].contains(op);
            assert_eq!(reads, spec.role < Role::Operator, "{op:?}");
        }
    }
}
