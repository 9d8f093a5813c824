//! What differs between two states, in words: for the journal, whatever made the change.

use std::collections::BTreeSet;

use super::{
    cohort::List,
    health::AdminState,
    maintenance::Maintenance,
    split::Split,
    state::{EndpointState, ServiceState, State},
    units::{PoolName, ServiceName},
};

/// One thing that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Difference {
    /// The service it belongs to; `None`: all.
    pub service: Option<ServiceName>,
    /// What it was; empty: it was not there.
    pub before: String,
    /// What it is; empty: it is gone.
    pub after: String,
}

/// Everything that differs between two states.
pub fn differences(old: &State, new: &State) -> Vec<Difference> {
    let mut list = Vec::new();
    let mut compare = |service: Option<&ServiceName>, before: String, after: String| {
        if before != after {
            list.push(Difference { service: service.cloned(), before, after });
        }
    };
    compare(None, maintenance(old.maintenance.as_deref()), maintenance(new.maintenance.as_deref()));
    for pool in pools(old).union(&pools(new)) {
        compare(None, cohort(old, pool), cohort(new, pool));
    }
    let names: BTreeSet<_> = old.services.keys().chain(new.services.keys()).collect();
    for name in names {
        let before = old.services.get(name).map_or_else(Vec::new, |s| facets(s));
        let after = new.services.get(name).map_or_else(Vec::new, |s| facets(s));
        let keys: BTreeSet<_> = before.iter().chain(&after).map(|(key, _)| key.clone()).collect();
        for key in keys {
            let of = |facets: &[(String, String)]| {
                facets
                    .iter()
                    .find(|(k, _)| *k == key)
                    .map(|(_, text)| text.clone())
                    .unwrap_or_default()
            };
            compare(Some(name), of(&before), of(&after));
        }
    }
    list
}

/// Before and after as one line each.
pub fn lines(differences: &[Difference]) -> (String, String) {
    let of = |text: fn(&Difference) -> &String| {
        let told = differences.iter().filter(|d| !text(d).is_empty());
        let told = told.map(|d| match &d.service {
            Some(service) => format!("{service}: {}", text(d)),
            None => text(d).clone(),
        });
        told.collect::<Vec<_>>().join("; ")
    };
    (of(|d| &d.before), of(|d| &d.after))
}

/// A pool's endpoints in words.
pub fn listed(endpoints: &[EndpointState]) -> String {
    let text = |e: &EndpointState| {
        let weight = if e.weight == 1 { String::new() } else { format!(" weight {}", e.weight) };
        let state = match e.admin {
            AdminState::Ready => String::new(),
            AdminState::Drain | AdminState::Maint => format!(" {}", e.admin.as_str()),
        };
        format!("{}{weight}{state}", e.address)
    };
    endpoints.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn facets(service: &ServiceState) -> Vec<(String, String)> {
    let mut list = vec![
        ("0 split".to_owned(), split(&service.split)),
        ("1 baseline".to_owned(), format!("baseline {}", service.baseline)),
        ("4 maintenance".to_owned(), maintenance(service.maintenance.as_deref())),
    ];
    if let Some(ramp) = &service.ramp {
        list.push((
            "2 ramp".to_owned(),
            format!("on the way to {} over {}", service.baseline, ramp.span),
        ));
    }
    if let Some(revert) = &service.revert {
        list.push(("3 return".to_owned(), format!("returning to {}", split(&revert.split))));
    }
    for (pool, endpoints) in &service.endpoints {
        list.push((format!("5 {pool}"), format!("{pool} endpoints {}", listed(endpoints))));
    }
    list
}

fn split(split: &Split) -> String {
    let mut shares: Vec<_> = split.iter().collect();
    shares.sort();
    shares.iter().map(|(pool, share)| format!("{pool} {share}")).collect::<Vec<_>>().join(", ")
}

fn maintenance(maintenance: Option<&Maintenance>) -> String {
    match maintenance {
        None => "maintenance off".to_owned(),
        Some(m) => match m.until {
            Some(until) => format!("maintenance for {}", until.since(m.since)),
            None => "maintenance on".to_owned(),
        },
    }
}

fn pools(state: &State) -> BTreeSet<PoolName> {
    state.cohorts.pools().cloned().collect()
}

fn cohort(state: &State, pool: &PoolName) -> String {
    let count = |list| state.cohorts.of(pool).map_or(0, |cohort| cohort.list(list).len());
    format!("{pool} cohort: {} allowed, {} denied", count(List::Allow), count(List::Deny))
}
