//! The tasks that run beside the admin API on control's thread.

use std::time::Duration;

use tokio::{
    task::spawn_local,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{Shared, acme, clock, configs, preflight, probe, resolve, upgrade::Course};
use crate::model::rollout::Phase;

/// How long failures are gathered before they are looked at: a storm must not keep control busy.
const GATHER: Duration = Duration::from_millis(10);
/// How long the timer sleeps at most, so that a wall clock that is set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Starts them all.
pub fn start(control: &Shared) {
    spawn_local(keep_time(control.clone()));
    spawn_local(read_every_second(control.clone()));
    spawn_local(look_after_traffic(control.clone()));
    spawn_local(probe::keep_probing(control.clone()));
    spawn_local(check_candidates(control.clone()));
    spawn_local(resolve::keep_resolving(control.clone()));
    spawn_local(configs::watch(control.clone()));
    spawn_local(acme::keep_certificates(control.clone()));
}

/// Lets time act whenever the model says that it will.
async fn keep_time(control: Shared) {
    let mut changes = control.borrow().changes();
    loop {
        let now = clock::now();
        let due = control.borrow().deadline(now);
        let pause = due.map_or(SLEEP_MAX, |due| due.since(now).duration().min(SLEEP_MAX));
        tokio::select! {
            () = sleep(pause) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
        if due.is_some_and(|due| due <= clock::now()) {
            control.borrow_mut().tick();
        }
    }
}

/// Runs the preflight of every rollout that begins with one, or began with one before a restart.
async fn check_candidates(control: Shared) {
    let mut changes = control.borrow().changes();
    let mut last = None;
    loop {
        let checking = {
            let control = control.borrow();
            let running = control.model.state.running();
            running
                .filter(|rollout| rollout.phase == Phase::Checking && last != Some(rollout.id))
                .map(|r| (r.id, r.candidate.clone(), r.services.clone(), r.plan.require.clone()))
        };
        if let Some((id, pool, services, required)) = checking {
            last = Some(id);
            let control = control.clone();
            spawn_local(async move {
                let result = match preflight::preflight(&control, &pool, &services).await {
                    Ok(mut report) => {
                        report.rows.retain(|row| preflight::is_required(row, &required));
                        preflight::problems(&report).map_or(Ok(()), Err)
                    }
                    Err(refusal) => Err(refusal.to_string()),
                };
                // While it is not known whose the rollout is, nothing can come of it.
                let mut course = control.borrow().course();
                let _ = course.wait_for(|course| *course != Course::Frozen).await;
                control.borrow_mut().checked(id, result);
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn read_every_second(control: Shared) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        control.borrow_mut().every_second();
    }
}

/// Lets the guard hear what workers tell: steadily, and at once when something failed.
async fn look_after_traffic(control: Shared) {
    let failures = control.borrow().place.failures.clone();
    let mut pace = GATHER;
    loop {
        let failed = timeout(pace, failures.notified()).await.is_ok();
        pace = control.borrow_mut().guard().duration();
        if failed {
            control.borrow_mut().look_for_failing();
            sleep(GATHER).await;
        }
    }
}
