//! `endpoint add|remove|drain|maint|ready`.

use crate::model::{
    Commit, Model, Moment, Order, PoolName, Refusal, ServiceName, Step,
    command::{EndpointAction, EndpointChange},
    health::AdminState,
    state::{EndpointState, ServiceState},
};

impl Model {
    /// Changes an endpoint in every service whose pool has it; a new one goes into one service.
    pub(in crate::model) fn change_endpoint(
        &self,
        now: Moment,
        order: &Order,
        change: &EndpointChange,
    ) -> Result<Step, Refusal> {
        let EndpointChange { pool, address, services, action } = change;
        let having = self.services_with(pool, services)?;
        let has = |name: &ServiceName| {
            let endpoints = self.state.services.get(name).and_then(|s| s.endpoints.get(pool));
            endpoints.is_some_and(|e| e.iter().any(|e| e.address == *address))
        };
        let concerned: Vec<ServiceName> = match action {
            EndpointAction::Add { weight } => {
                weight_is_sound(*weight)?;
                vec![only(pool, &having)?]
            }
            EndpointAction::Remove | EndpointAction::Set(_) => {
                having.into_iter().filter(&has).collect()
            }
        };
        if concerned.is_empty() {
            return Err(Refusal::UnknownEndpoint { pool: pool.clone(), address: address.clone() });
        }
        let mut state = self.state.clone();
        for name in &concerned {
            if matches!(action, EndpointAction::Add { .. }) && has(name) {
                let (service, pool, address) = (name.clone(), pool.clone(), address.clone());
                return Err(Refusal::EndpointExists { service, pool, address });
            }
            if let Some(service) = state.service_mut(name) {
                apply(service, pool, address, *action);
            }
        }
        let verb = match (action, state == self.state) {
            (EndpointAction::Set(wanted), true) => format!("was {} already", wanted.as_str()),
            (EndpointAction::Set(wanted), false) => format!("is {} now", wanted.as_str()),
            (EndpointAction::Add { .. }, _) => "added".to_owned(),
            (EndpointAction::Remove, _) => "removed".to_owned(),
        };
        let step = self.step(now, state, &order.actor, order.reason.clone());
        let mut step = step.described(
            "endpoint",
            format!("{pool} endpoint {address} {verb}"),
            Commit::DurableFirst,
        );
        step.reply.warnings = self.emptied(&step, &concerned, pool);
        Ok(step)
    }

    fn emptied(&self, step: &Step, services: &[ServiceName], pool: &PoolName) -> Vec<String> {
        let ready = |s: &ServiceState| {
            s.endpoints.get(pool).is_some_and(|e| e.iter().any(|e| e.admin == AdminState::Ready))
        };
        let states =
            services.iter().filter_map(|name| Some((name, step.state.services.get(name)?)));
        states
            .filter(|(_, s)| !ready(s))
            .map(|(name, s)| {
                let share = s.split.share(pool);
                format!(
                    "pool {pool} of {name} has no endpoint in use any more; its share is {share}"
                )
            })
            .collect()
    }
}

fn apply(
    service: &mut ServiceState,
    pool: &PoolName,
    address: &crate::model::Address,
    action: EndpointAction,
) {
    let endpoints = service.endpoints.entry(pool.clone()).or_default();
    match action {
        EndpointAction::Add { weight } => {
            endpoints.push(EndpointState {
                address: address.clone(),
                weight,
                admin: AdminState::Ready,
            });
        }
        EndpointAction::Remove => endpoints.retain(|e| e.address != *address),
        EndpointAction::Set(admin) => {
            for endpoint in endpoints.iter_mut().filter(|e| e.address == *address) {
                endpoint.admin = admin;
            }
        }
    }
}

fn only(pool: &PoolName, services: &[ServiceName]) -> Result<ServiceName, Refusal> {
    match services {
        [only] => Ok(only.clone()),
        several => Err(Refusal::AmbiguousService {
            pool: pool.clone(),
            services: several.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn weight_is_sound(weight: u16) -> Result<(), Refusal> {
    if (1..=1000).contains(&weight) {
        return Ok(());
    }
    Err(Refusal::Senseless {
        problem: format!("{weight} is no weight for an endpoint"),
        hint: "give a weight from 1 to 1000; `drain` and `maint` take an endpoint out of use",
    })
}
