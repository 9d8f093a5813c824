//! `cohort add|remove`.

use std::sync::Arc;

use crate::model::{
    Commit, Model, Moment, Order, Refusal, Step,
    cohort::List,
    command::{CohortAction, CohortChange},
    facts::USER_ID_MAX,
};

impl Model {
    /// Puts users on a pool's list or takes them off it, for every service that has the pool.
    pub(in crate::model) fn change_cohort(
        &self,
        now: Moment,
        order: &Order,
        change: &CohortChange,
    ) -> Result<Step, Refusal> {
        let CohortChange { pool, list, users, action } = change;
        let services = self.services_with(pool, &[])?;
        users_are_sound(users)?;
        let mut state = self.state.clone();
        let count = state.cohorts.change(pool, |cohort| {
            let set = cohort.list_mut(*list);
            let changed = users.iter().filter(|user| match action {
                CohortAction::Add => set.insert(Arc::clone(user)),
                CohortAction::Remove => set.remove(*user),
            });
            changed.count()
        });
        let list = match list {
            List::Allow => "allow",
            List::Deny => "deny",
        };
        let verb = match action {
            CohortAction::Add => "added to",
            CohortAction::Remove => "removed from",
        };
        let mut step = self.step(now, state, &order.actor, order.reason.clone());
        if let Some(event) = step.events.first_mut() {
            event.services = services;
        }
        let users = if count == 1 { "user" } else { "users" };
        Ok(step.described(
            "cohort",
            format!("{count} {users} {verb} the {list} list of {pool}"),
            Commit::DurableFirst,
        ))
    }
}

fn users_are_sound(users: &[Arc<str>]) -> Result<(), Refusal> {
    let problem = if users.is_empty() {
        "no user was named".to_owned()
    } else if let Some(bad) = users.iter().find(|u| u.is_empty() || u.len() > USER_ID_MAX) {
        format!("`{}` cannot be a user id", bad.chars().take(40).collect::<String>())
    } else {
        return Ok(());
    };
    Err(Refusal::Senseless {
        problem,
        hint: "give ids as the applications send them, 1 to 512 bytes each",
    })
}
