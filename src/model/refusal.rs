//! Why a command was refused. A refused command changed nothing.

use super::{
    address::Address,
    units::{PlanName, PoolName, Revision, ServiceName, Share},
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

    /// The guard took the pool back.
    #[error("pool `{pool}` of service `{service}` is locked out: {cause}")]
    LockedOut {
        /// The service.
        service: ServiceName,
        /// The pool.
        pool: PoolName,
        /// What the guard found.
        cause: String,
    },

    /// A rollout runs.
    #[error("rollout {id} of {pool} is {phase}")]
    RolloutRuns {
        /// Its number.
        id: u64,
        /// Its candidate.
        pool: PoolName,
        /// Its phase.
        phase: &'static str,
    },

    /// No rollout runs.
    #[error("no rollout is running")]
    NoRollout,

    /// The rollout that runs is in no phase for this.
    #[error("rollout {id} is {phase}: it cannot be {verb} now")]
    WrongPhase {
        /// Its number.
        id: u64,
        /// Its phase.
        phase: &'static str,
        /// What was asked for: `paused`, `resumed`, `promoted`.
        verb: &'static str,
    },

    /// The candidate is trusted already.
    #[error("`{pool}` is the baseline of service `{service}`: there is nothing to try")]
    CandidateIsBaseline {
        /// The service.
        service: ServiceName,
        /// The pool.
        pool: PoolName,
    },

    /// Nobody in the pool could serve.
    #[error("pool `{pool}` of service `{service}` has no usable endpoint")]
    NoUsableEndpoint {
        /// The service.
        service: ServiceName,
        /// The pool.
        pool: PoolName,
    },

    /// The pool did not pass its preflight.
    #[error("pool `{pool}` did not pass its checks: {problems}")]
    ChecksFailed {
        /// The pool.
        pool: PoolName,
        /// What was wrong.
        problems: String,
    },

    /// The config has no such plan.
    #[error("there is no rollout plan named `{0}`")]
    UnknownPlan(PlanName),

    /// The state could not be written, so the change was not made.
    #[error("the state could not be written, nothing was changed: {0}")]
    NotWritten(String),

    /// Another process takes over, and nothing is changed meanwhile.
    #[error("lbd is handing over to another process, nothing was changed")]
    HandingOver,

    /// A new config file was not accepted. The text lists every mistake.
    #[error("{0}")]
    BadConfig(String),
}

impl Refusal {
    /// All words that [`Refusal::code`] gives.
    pub const CODES: &[&str] = &[
        "unknown_pool",
        "unknown_service",
        "nowhere_else",
        "unknown_endpoint",
        "endpoint_exists",
        "ambiguous_service",
        "stale_revision",
        "locked_out",
        "rollout_runs",
        "no_rollout",
        "wrong_phase",
        "candidate_is_baseline",
        "no_usable_endpoint",
        "checks_failed",
        "unknown_plan",
        "senseless",
        "state_not_written",
        "bad_config",
        "handing_over",
    ];

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
            Self::LockedOut { .. } => "locked_out",
            Self::RolloutRuns { .. } => "rollout_runs",
            Self::NoRollout => "no_rollout",
            Self::WrongPhase { .. } => "wrong_phase",
            Self::CandidateIsBaseline { .. } => "candidate_is_baseline",
            Self::NoUsableEndpoint { .. } => "no_usable_endpoint",
            Self::ChecksFailed { .. } => "checks_failed",
            Self::UnknownPlan(_) => "unknown_plan",
            Self::Senseless { .. } => "senseless",
            Self::NotWritten(_) => "state_not_written",
            Self::HandingOver => "handing_over",
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
            Self::LockedOut { .. } => {
                "mend the release, then `lbctl rollout start POOL`, or `lbctl weight POOL PERCENT \
                 --force`"
            }
            Self::RolloutRuns { .. } => {
                "`lbctl rollout status` shows it; `lbctl rollout abort` ends it; `lbctl weight … \
                 --force` ends it and sets a weight"
            }
            Self::NoRollout => {
                "`lbctl rollout start POOL` starts one; `lbctl status` shows weights"
            }
            Self::WrongPhase { .. } => "`lbctl rollout status` shows where it stands",
            Self::CandidateIsBaseline { .. } => {
                "name the other pool; `lbctl status` shows the baselines"
            }
            Self::NoUsableEndpoint { .. } => {
                "`lbctl endpoint list POOL` shows why; start it, or wait for its health checks"
            }
            Self::ChecksFailed { .. } => {
                "`lbctl check POOL` repeats them; --skip-checks goes on without them"
            }
            Self::UnknownPlan(_) => "`lbctl config show` lists [rollout.PLAN] sections",
            Self::Senseless { hint, .. } => hint,
            Self::NotWritten(_) => {
                "free space or mend the permissions of admin.state_dir, then repeat"
            }
            Self::HandingOver => "ask again: another process answers in a moment",
            Self::BadConfig(_) => "mend the file and reload; what ran before still runs",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each.
    fn all() -> Vec<Refusal> {
        let pool: PoolName = "green".parse().unwrap();
        let service: ServiceName = "app".parse().unwrap();
        let address: Address = "a:80".parse().unwrap();
        let (text, hint, phase) = (String::new(), "do", "holding");
        let (asked, current) = (Revision(1), Revision(2));
        vec![
            Refusal::UnknownPool(pool.clone()),
            Refusal::UnknownService(service.clone()),
            Refusal::NoSuchPoolInService { service: service.clone(), pool: pool.clone() },
            Refusal::NowhereElse { pool: pool.clone(), rest: Share::WHOLE },
            Refusal::UnknownEndpoint { pool: pool.clone(), address: address.clone() },
            Refusal::EndpointExists { service: service.clone(), pool: pool.clone(), address },
            Refusal::AmbiguousService { pool: pool.clone(), services: text.clone() },
            Refusal::StaleRevision { asked, current },
            Refusal::Senseless { problem: text.clone(), hint },
            Refusal::LockedOut {
                service: service.clone(),
                pool: pool.clone(),
                cause: text.clone(),
            },
            Refusal::RolloutRuns { id: 1, pool: pool.clone(), phase },
            Refusal::NoRollout,
            Refusal::WrongPhase { id: 1, phase, verb: "paused" },
            Refusal::CandidateIsBaseline { service: service.clone(), pool: pool.clone() },
            Refusal::NoUsableEndpoint { service, pool: pool.clone() },
            Refusal::ChecksFailed { pool, problems: text.clone() },
            Refusal::UnknownPlan(PlanName::standard()),
            Refusal::NotWritten(text.clone()),
            Refusal::BadConfig(text),
            Refusal::HandingOver,
        ]
    }

    /// A variant that is new does not compile here before it is counted; then it must stand in `all`.
    const fn place(refusal: &Refusal) -> usize {
        match refusal {
            Refusal::UnknownPool(_) => 0,
            Refusal::UnknownService(_) => 1,
            Refusal::NoSuchPoolInService { .. } => 2,
            Refusal::NowhereElse { .. } => 3,
            Refusal::UnknownEndpoint { .. } => 4,
            Refusal::EndpointExists { .. } => 5,
            Refusal::AmbiguousService { .. } => 6,
            Refusal::StaleRevision { .. } => 7,
            Refusal::Senseless { .. } => 8,
            Refusal::LockedOut { .. } => 9,
            Refusal::RolloutRuns { .. } => 10,
            Refusal::NoRollout => 11,
            Refusal::WrongPhase { .. } => 12,
            Refusal::CandidateIsBaseline { .. } => 13,
            Refusal::NoUsableEndpoint { .. } => 14,
            Refusal::ChecksFailed { .. } => 15,
            Refusal::UnknownPlan(_) => 16,
            Refusal::NotWritten(_) => 17,
            Refusal::BadConfig(_) => 18,
            Refusal::HandingOver => 19,
        }
    }

    #[test]
    fn every_refusal_has_a_listed_code_and_every_code_a_refusal() {
        let places: Vec<usize> = all().iter().map(place).collect();
        assert_eq!(places, (0..20).collect::<Vec<_>>());
        let mut codes: Vec<&str> = all().iter().map(Refusal::code).collect();
        codes.sort_unstable();
        codes.dedup();
        let mut listed = Refusal::CODES.to_vec();
        listed.sort_unstable();
        assert_eq!(codes, listed);
        assert!(all().iter().all(|refusal| !refusal.hint().is_empty()));
    }
}
