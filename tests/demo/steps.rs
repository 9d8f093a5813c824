//! The script: what is typed, and what it must do to the users.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use anyhow::ensure;
use lbd::model::{Bucket, Share};
use tokio::time::sleep;

use crate::{
    lab::{Lab, SALT},
    ledger::{Due, Ledger, Side},
    load::USERS,
    picture::{Frame, Picture},
};

/// How often the picture is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// How long a step may last until every user was seen, on a very slow machine.
const STEP_MAX: Duration = Duration::from_secs(30);

/// One command, and what follows from it.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// What is typed behind `lbctl`; nothing: the traffic is only watched.
    typed: &'static [&'static str],
    becomes: Becomes,
    /// How long it is watched, at least.
    lasts: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Becomes {
    /// So many percent of the users are green's.
    Green(u16),
    /// Everybody gets the page.
    Page,
}

const fn step(typed: &'static [&'static str], becomes: Becomes, secs: u64) -> Step {
    Step { typed, becomes, lasts: Duration::from_secs(secs) }
}

const SCRIPT: [Step; 8] = [
    step(&[], Becomes::Green(0), 3),
    step(&["weight", "green", "5"], Becomes::Green(5), 5),
    step(&["weight", "green", "25"], Becomes::Green(25), 5),
    step(&["weight", "green", "100"], Becomes::Green(100), 5),
    step(&["maintenance", "on", "--for", "10m"], Becomes::Page, 3),
    step(&["maintenance", "off"], Becomes::Green(100), 3),
    step(&["weight", "green", "25"], Becomes::Green(25), 4),
    step(&["rollback"], Becomes::Green(0), 4),
];

/// What became of a step.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was typed.
    pub typed: String,
    /// How long `lbctl` took, process start included.
    pub took: Duration,
    /// Users that changed sides, by what they saw.
    pub moved: usize,
    /// Users that had to.
    pub expected: usize,
    /// Users that ended on another side than predicted, or were not seen in time.
    pub astray: usize,
    /// Requests in this step.
    pub requests: u64,
    /// Those without the answer that was due.
    pub failures: u64,
}

impl Outcome {
    /// Whether everything went as predicted.
    pub fn is_right(&self) -> bool {
        self.moved == self.expected && self.astray == 0 && self.failures == 0
    }
}

/// Where each user belongs when green has so many percent.
pub fn sides_at(percent: u16) -> Vec<Side> {
    let share = Share::from_basis_points(percent * 100);
    let side = |user| match Bucket::of(SALT, &format!("user-{user}")).below(share) {
        true => Side::Green,
        false => Side::Blue,
    };
    (0..USERS).map(side).collect()
}

/// Plays the script.
pub async fn play(
    lab: &Lab,
    ledger: &RefCell<Ledger>,
    picture: &mut Picture,
) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    // Where users are by prediction, and where they were seen last.
    let (mut predicted, mut seen) = (sides_at(0), sides_at(0));
    for step in SCRIPT {
        let before = ledger.borrow().counts();
        let due = match step.becomes {
            Becomes::Green(percent) => sides_at(percent),
            Becomes::Page => predicted.clone(),
        };
        let took = command(step, &due, lab, ledger, picture).await?;
        let set = shares(lab, step.becomes).await?;
        watch(step, ledger, |ledger| picture.draw(&Frame::of(ledger, set))).await;

        let now = ledger.borrow();
        let place = |(seen, last): (&Option<Side>, &Side)| seen.unwrap_or(*last);
        let places: Vec<Side> = now.seen().iter().zip(&seen).map(place).collect();
        let after = now.counts();
        let failures = after.failures.iter().sum::<u64>() - before.failures.iter().sum::<u64>();
        outcomes.push(Outcome {
            typed: step.typed.join(" "),
            took,
            moved: differing(&places, &seen),
            expected: differing(&due, &predicted),
            astray: differing(&places, &due) + unseen(step, &now),
            requests: after.requests - before.requests,
            failures,
        });
        (predicted, seen) = (due, places);
    }
    Ok(outcomes)
}

async fn command(
    step: Step,
    due: &[Side],
    lab: &Lab,
    ledger: &RefCell<Ledger>,
    picture: &mut Picture,
) -> anyhow::Result<Duration> {
    if step.typed.is_empty() {
        return Ok(Duration::ZERO);
    }
    ledger.borrow_mut().expect(match step.becomes {
        Becomes::Green(_) => Due::Sides(due.to_vec()),
        Becomes::Page => Due::Page,
    });
    let said = lab.lbctl(step.typed).await?;
    ledger.borrow_mut().answered(said.at);
    picture.typed(step.typed, &said.text);
    if let Becomes::Green(percent) = step.becomes {
        let green = due.iter().filter(|side| **side == Side::Green).count();
        picture.note(&format!("of {USERS} users {green} have a bucket below {percent} %: green's"));
    }
    Ok(said.took)
}

/// What lbd says that blue and green have, which must be what was set.
async fn shares(lab: &Lab, becomes: Becomes) -> anyhow::Result<[Share; 2]> {
    let status = lab.status().await?;
    let pools = status.services.iter().flat_map(|service| &service.pools);
    let of = |side: Side| {
        let mut named = pools.clone().filter(|pool| pool.name.as_str() == side.name());
        named.next().map_or(Share::NONE, |pool| pool.share)
    };
    let shares = Side::ALL.map(of);
    if let Becomes::Green(percent) = becomes {
        let green = Share::from_basis_points(percent * 100);
        ensure!(shares == [green.rest(), green], "lbd has other shares than were set: {shares:?}");
    }
    Ok(shares)
}

/// Lets the traffic run for the step's time, and until every user was seen.
async fn watch(step: Step, ledger: &RefCell<Ledger>, mut draw: impl FnMut(&mut Ledger)) {
    let began = Instant::now();
    loop {
        draw(&mut ledger.borrow_mut());
        let enough = began.elapsed() >= step.lasts && unseen(step, &ledger.borrow()) == 0;
        if enough || began.elapsed() >= STEP_MAX {
            return;
        }
        sleep(FRAME).await;
    }
}

fn unseen(step: Step, ledger: &Ledger) -> usize {
    match step.becomes {
        Becomes::Green(_) => ledger.seen().iter().filter(|side| side.is_none()).count(),
        Becomes::Page => 0,
    }
}

fn differing(one: &[Side], other: &[Side]) -> usize {
    one.iter().zip(other).filter(|(a, b)| a != b).count()
}
