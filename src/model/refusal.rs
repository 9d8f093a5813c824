//! Why a command was refused. A refused command changed nothing.

use super::{
    address::Address,
    units::{PoolName, Revision, ServiceName, Share},
};

/// Why a command was refused. Each variant says what is wrong; [`Refusal::hint`] says what to do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No service has such a pool, or none of those named.
    #[error("no service has a pool named `{0}`")]
    UnknownPool(PoolName),

    /// A service was named that the config does not have.
    #[error("there is no service named `{0}`")]
    UnknownService(ServiceName),

    /// The named service exists but lacks the pool.
    #[error("service `{service}` has no pool named `{pool}`")]
    NoSuchPoolInService {
        /// The service that was named.
        service: ServiceName,
        /// The pool that it lacks.
        pool: PoolName,
    },

    /// It is not clear which pool would take the rest of the traffic.
    #[error("it is not clear which pool takes the remaining {rest} when `{pool}` gives it up")]
    NowhereElse {
        /// The pool whose share was to be set.
        pool: PoolName,
        /// What would be left for the others.
        rest: Share,
    },

    /// The pool has no such endpoint.
    #[error("pool `{pool}` has no endpoint {address}")]
    UnknownEndpoint {
        /// The pool that was named.
        pool: PoolName,
        /// The address it lacks.
        address: Address,
    },

    /// The pool has that endpoint already.
    #[error("pool `{pool}` of service `{service}` has the endpoint {address} already")]
    EndpointExists {
        /// The service that has it.
        service: ServiceName,
        /// Its pool.
        pool: PoolName,
        /// The address it has.
        address: Address,
    },

    /// Several services have the pool, so that the place of a new endpoint is not clear.
    #[error("several services have a pool `{pool}`: {services}")]
    AmbiguousService {
        /// The pool that was named.
        pool: PoolName,
        /// The services that have it, comma separated.
        services: String,
    },

    /// Somebody else changed the state since it was read.
    #[error("the command is based on revision {asked}, but {current} is in force")]
    StaleRevision {
        /// The revision the command named.
        asked: Revision,
        /// The revision in force.
        current: Revision,
    },

    /// A value that reads well but makes no sense here.
    #[error("{problem}")]
    Senseless {
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: &'static str,
    },

    /// The state could not be written, so the change was not made.
    #[error("the state could not be written, nothing was changed: {0}")]
    NotWritten(String),

    /// A new config file was not accepted. The text lists every mistake.
    #[error("{0}")]
    BadConfig(String),
}

impl Refusal {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownPool(_) | Self::NoSuchPoolInService { .. } => "unknown_pool",
            Self::UnknownService(_) => "unknown_service",
            Self::NowhereElse { .. } => "nowhere_else",
            Self::UnknownEndpoint { .. } => "unknown_endpoint",
            Self::EndpointExists { .. } => "endpoint_exists",
            Self::AmbiguousService { .. } => "ambiguous_service",
            Self::StaleRevision { .. } => "stale_revision",
            Self::Senseless { .. } => "senseless",
            Self::NotWritten(_) => "state_not_written",
            Self::BadConfig(_) => "bad_config",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::UnknownPool(_) | Self::UnknownService(_) | Self::NoSuchPoolInService { .. } => {
                "`lbctl status` lists the services and their pools"
            }
            Self::NowhereElse { .. } => "set the weight of the pool that should take it instead",
            Self::UnknownEndpoint { .. } => "`lbctl endpoint list POOL` lists its endpoints",
            Self::EndpointExists { .. } => "`lbctl endpoint ready POOL ADDRESS` puts it in use",
            Self::AmbiguousService { .. } => "name one with --service",
            Self::StaleRevision { .. } => "read `lbctl status` and decide again",
            Self::Senseless { hint, .. } => hint,
            Self::NotWritten(_) => {
                "free space or mend the permissions of admin.state_dir, then repeat"
            }
            Self::BadConfig(_) => "mend the file and reload; what ran before still runs",
        }
    }
}
