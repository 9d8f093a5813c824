//! Lists of users who always go to a pool, or never.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::PoolName;

/// Which of a pool's two lists.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum List {
    /// Its users always go to the pool.
    Allow,
    /// Its users never go to the pool; they go to the baseline.
    Deny,
}

/// The users listed for one pool.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cohort {
    /// Users who always go to the pool.
    #[serde(default)]
    pub allow: BTreeSet<Arc<str>>,
    /// Users who never go to the pool.
    #[serde(default)]
    pub deny: BTreeSet<Arc<str>>,
}

impl Cohort {
    /// One of the two lists.
    pub fn list(&self, list: List) -> &BTreeSet<Arc<str>> {
        match list {
            List::Allow => &self.allow,
            List::Deny => &self.deny,
        }
    }

    /// One of the two lists, to change.
    pub fn list_mut(&mut self, list: List) -> &mut BTreeSet<Arc<str>> {
        match list {
            List::Allow => &mut self.allow,
            List::Deny => &mut self.deny,
        }
    }

    fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// The cohorts of all pools. A pool of the same name has the same cohort in every service, so that a
/// user who is green for the frontend is green for the API.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Cohorts(BTreeMap<PoolName, Arc<Cohort>>);

impl Cohorts {
    /// The pool's cohort, if anyone is listed.
    pub fn of(&self, pool: &PoolName) -> Option<&Arc<Cohort>> {
        self.0.get(pool)
    }

    /// The pools that have a cohort.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.0.keys()
    }

    /// Changes the pool's cohort with `change`. Pools without users are forgotten.
    pub fn change<R>(&mut self, pool: &PoolName, change: impl FnOnce(&mut Cohort) -> R) -> R {
        let cohort = self.0.entry(pool.clone()).or_default();
        let result = change(Arc::make_mut(cohort));
        if cohort.is_empty() {
            self.0.remove(pool);
        }
        result
    }
}
