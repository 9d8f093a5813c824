//! An admin request that was not carried out.

use http::{HeaderValue, StatusCode};

use crate::{api::types::Failure, model::Refusal};

/// An admin request that was not carried out.
#[derive(Debug)]
pub struct Fault {
    /// The HTTP status.
    pub status: StatusCode,
    /// What the client is told.
    pub failure: Failure,
    /// The methods that the path takes, where the one used is none of them.
    pub allow: Option<HeaderValue>,
}

impl Fault {
    /// A fault with its status and code, what is wrong, and what to do.
    pub fn new(
        status: StatusCode,
        code: &str,
        error: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let failure = Failure { error: error.into(), code: code.into(), hint: hint.into() };
        Self { status, failure, allow: None }
    }

    /// A request that is not what it should be.
    pub fn bad(error: impl Into<String>) -> Self {
        let hint = "GET /v1/openapi.json describes every request";
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error, hint)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::UnknownPool(_)
            | Refusal::UnknownService(_)
            | Refusal::NoSuchPoolInService { .. }
            | Refusal::UnknownEndpoint { .. }
            | Refusal::UnknownPlan(_) => StatusCode::NOT_FOUND,
            Refusal::StaleRevision { .. } => StatusCode::PRECONDITION_FAILED,
            Refusal::EndpointExists { .. }
            | Refusal::AmbiguousService { .. }
            | Refusal::NowhereElse { .. }
            | Refusal::LockedOut { .. }
            | Refusal::RolloutRuns { .. }
            | Refusal::NoRollout
            | Refusal::WrongPhase { .. }
            | Refusal::CandidateIsBaseline { .. }
            | Refusal::NoUsableEndpoint { .. }
            | Refusal::ChecksFailed { .. } => StatusCode::CONFLICT,
            Refusal::Senseless { .. } | Refusal::BadConfig(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::HandingOver => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::NotWritten(_) => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self::new(status, refusal.code(), refusal.to_string(), refusal.hint())
    }
}
