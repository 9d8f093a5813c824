//! What one process hands to the next.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    command::EndpointKey,
    guard::Watch,
    health::Health,
    rollout::Rollout,
    state::State,
    step::{Model, Resolution},
    units::{Moment, ServiceName},
};

/// What one process hands to the next: the state, and what else would have to be found out again.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Handed {
    /// The state in force.
    pub state: State,
    /// What is known of endpoints.
    pub health: Vec<(EndpointKey, Health)>,
    /// What name servers said.
    pub resolved: Vec<(Arc<str>, Resolution)>,
    /// Until when endpoints are fresh.
    pub warming: Vec<(EndpointKey, Moment)>,
    /// The guard's evidence.
    pub watches: Vec<(ServiceName, Watch)>,
}

impl Model {
    /// What the next process needs to go on.
    pub fn handed(&self) -> Handed {
        Handed {
            state: self.state.clone(),
            health: self.health.clone().into_iter().collect(),
            resolved: self.resolved.clone().into_iter().collect(),
            warming: self.warming.clone().into_iter().collect(),
            watches: self.watches.clone().into_iter().collect(),
        }
    }

    /// Goes on with what else the last process knew. What the config has no use for is forgotten.
    pub fn take_over(&mut self, handed: Handed) {
        let hosts = self.hosts();
        self.resolved = handed.resolved.into_iter().collect();
        self.resolved.retain(|host, _| hosts.contains(host));
        self.health = handed.health.into_iter().collect();
        self.forget_old_health();
        self.warming = handed.warming.into_iter().collect();
        for (name, watch) in handed.watches {
            if self.is_divided_as(&handed.state, &name) {
                self.watches.insert(name, watch);
            }
        }
        // A stage that is judged by the same evidence has not begun anew.
        let rollout = handed.state.rollout.as_ref();
        let kept = |r: &Rollout| r.services.iter().all(|s| self.is_divided_as(&handed.state, s));
        if rollout.map(|r| r.id) == self.state.rollout.as_ref().map(|r| r.id)
            && rollout.is_some_and(|rollout| kept(rollout))
        {
            self.state.rollout = handed.state.rollout;
        }
    }

    fn is_divided_as(&self, before: &State, name: &ServiceName) -> bool {
        let (now, before) = (self.state.services.get(name), before.services.get(name));
        now.zip(before).is_some_and(|(now, before)| {
            now.split == before.split && now.baseline == before.baseline
        })
    }

    /// What to do of `state`, which the next process decided, for requests that this one still has: all
    /// that its own config has a place for.
    pub fn followed(&self, state: State) -> State {
        let mut followed = State { services: self.state.services.clone(), ..state };
        for (name, own) in &mut followed.services {
            let next = state.services.get(name);
            if let Some(next) = next.filter(|next| next.split.has_pools_of(&own.split)) {
                *own = next.clone();
            }
        }
        followed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, Sight, health::Probed, state::Pause};

    fn model(text: &str) -> Model {
        let missing = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        Model::new(Arc::new(crate::config::check(text, &missing).unwrap()), None)
    }

    #[test]
    fn what_was_found_out_is_known_after_it() {
        let text = "[listener.a]\naddress = '127.0.0.1:0'\n[service.app.health]\npath = '/'\n\
                    [service.app.pool.blue]\nendpoints = ['127.0.0.1:1', 'a.example:2']\n";
        let mut old = model(text);
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        old.observe(Moment(1), Sight::Resolved("a.example".into(), Ok(addresses)));
        let keys: Vec<EndpointKey> = old.endpoints().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 2);
        old.observe(Moment(2), Sight::Probed(keys[0].clone(), Err("refused".into())));
        old.warming.insert(keys[1].clone(), Moment(9).after(Millis(1)));
        old.judge(Moment(3), &keys[0].service, &[], &[]);
        let text_of = |handed: &Handed| serde_json::to_string(handed).unwrap();
        let wire = text_of(&old.handed());
        let handed: Handed = serde_json::from_str(&wire).unwrap();
        assert_eq!(text_of(&handed), wire);
        let mut new = model(text);
        new.take_over(handed.clone());
        assert_eq!(text_of(&new.handed()), wire);
        assert_eq!(new.health(&keys[0]).probed, Probed::Down);

        let mut state = old.state.clone();
        state.revision = state.revision.next();
        state.service_mut(&keys[0].service).unwrap().pause =
            Some(Pause { since: Moment(3), max: Millis(4) });
        assert_eq!(new.followed(state.clone()), state);
        let mut other = model(&text.replace("blue", "green"));
        other.state.revision = state.revision.next();
        let services = new.state.services.clone();
        assert_eq!(new.followed(other.state.clone()), State { services, ..other.state });

        let mut smaller = model(&text.replace(", 'a.example:2'", ""));
        smaller.take_over(handed);
        assert_eq!((smaller.health.len(), smaller.resolved.len()), (1, 0));
    }
}
