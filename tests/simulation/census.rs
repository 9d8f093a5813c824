//! Who was accused in many healthy shifts.

use std::fmt::Write;

use super::{
    healthy::{Healthy, Users},
    rules::Act,
    table::in_parallel,
    trial::{NoGo, Outcome, Trial},
};

/// What the guard and its rivals did in healthy shifts.
#[derive(Debug)]
pub struct Census {
    shifts: Vec<Counted>,
}

/// What is kept of a healthy shift.
#[derive(Debug)]
struct Counted {
    users: Users,
    answered: u64,
    no_go: Option<NoGo>,
    go: Option<f64>,
    flagger: Option<Act>,
    argo: Option<Act>,
}

/// Lets shifts `0..count` happen.
pub fn census(count: usize, shift: impl Fn(usize) -> Healthy + Sync) -> Census {
    let happens = |n: usize| {
        let Healthy { users, seed, shift } = shift(n);
        let outcome = Trial::about_to_begin(&shift, seed).run();
        if let Some(no_go) = &outcome.no_go {
            let rate = shift.world.rate;
            println!("accused: shift {n}, seed {seed}, {users:?}, {rate:.1}/s: {no_go:?}");
        }
        Counted::of(users, outcome)
    };
    Census { shifts: in_parallel(count, happens) }
}

impl Counted {
    fn of(users: Users, outcome: Outcome) -> Self {
        let Outcome { no_go, go, answered, rules, .. } = outcome;
        Self { users, answered, no_go, go, flagger: rules.flagger, argo: rules.argo }
    }
}

impl Census {
    /// How many of the guard's verdicts were false.
    pub fn accused(&self) -> usize {
        self.shifts.iter().filter(|shift| shift.no_go.is_some()).count()
    }

    /// The counts as Markdown, a row for each kind of users.
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| users | healthy shifts | requests judged | lbd: false rollbacks | go | Flagger: false rollbacks in the first hour | by the end | Argo Rollouts: in the first hour | by the end | paused |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for users in Users::ALL {
            let _ = writeln!(table, "{}", self.row(users));
        }
        table
    }

    fn row(&self, users: Users) -> String {
        let shifts: Vec<&Counted> = self.shifts.iter().filter(|s| s.users == users).collect();
        let count = |is: &dyn Fn(&Counted) -> bool| shifts.iter().filter(|s| is(s)).count();
        let back = |act: Option<Act>, within: f64| {
            act.and_then(Act::rollback_secs).is_some_and(|secs| secs <= within)
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            users.as_str(),
            shifts.len(),
            shifts.iter().map(|s| s.answered).sum::<u64>(),
            count(&|s| s.no_go.is_some()),
            count(&|s| s.go.is_some()),
            count(&|s| back(s.flagger, 3600.0)),
            count(&|s| back(s.flagger, f64::MAX)),
            count(&|s| back(s.argo, 3600.0)),
            count(&|s| back(s.argo, f64::MAX)),
            count(&|s| matches!(s.argo, Some(Act::Pauses(_)))),
        )
    }
}

/// The number of false alarms among `count` that chance exceeds only with probability `risk`, if each
/// comes with probability `alpha`.
pub fn binomial_bound(count: usize, alpha: f64, risk: f64) -> usize {
    let (n, odds) = (count as f64, alpha / (1.0 - alpha));
    let mut exactly = (1.0 - alpha).powf(n);
    let mut at_most = exactly;
    let mut bound = 0;
    while 1.0 - at_most > risk {
        exactly *= odds * (n - bound as f64) / (bound as f64 + 1.0);
        at_most += exactly;
        bound += 1;
    }
    bound
}
