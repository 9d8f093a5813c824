//! `make demo`: real traffic moves from blue to green and back, before your eyes.
//!
//! Starts lbd with two small origins, sends steady traffic from 1,000 users over keep-alive
//! connections, and types what an operator would type. Every answer is held against the pool that
//! the user's bucket predicts. Ends with a tally, leaves nothing running, and succeeds only if no
//! request failed and every user was where they belong.
//!
//! - `lab` starts and ends lbd, and types at `lbctl`.
//! - `origin` is what lbd forwards to; `load` is who asks.
//! - `ledger` judges and counts the answers; `steps` is the script and what it must do to the users.
//! - `picture` shows it.

#![allow(
    clippy::disallowed_methods,
    reason = "a demo happens in real time and in this environment"
)]

use std::{cell::RefCell, process::ExitCode, rc::Rc, time::Duration};

use anyhow::bail;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

mod lab;
mod ledger;
mod load;
mod origin;
mod picture;
mod steps;

use lab::Lab;
use ledger::Ledger;
use load::Load;
use picture::Picture;

/// How long the runtime may wait for an `lbctl` that is still running when the demo ends.
const LAST_CALL: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let result = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = result.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = LocalSet::new().block_on(&runtime, until_interrupted());
        runtime.shutdown_timeout(LAST_CALL);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; a signal ends it early, and lbd with it.
async fn until_interrupted() -> anyhow::Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let interrupted = std::future::poll_fn(|cx| {
        let any = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if any { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    });
    tokio::select! {
        result = demo() => result,
        () = interrupted => bail!("interrupted; lbd was stopped"),
    }
}

async fn demo() -> anyhow::Result<()> {
    let mut picture = Picture::new();
    let origins = origin::start()?;
    let lab = Lab::start(&origins).await?;
    picture.title(lab.address());

    let ledger = Rc::new(RefCell::new(Ledger::new(steps::sides_at(0))));
    let load = Load::start(lab.address(), &ledger);
    let outcomes = steps::play(&lab, &ledger, &mut picture).await?;
    load.end().await?;

    let stopped = lab.stop().await?;
    picture.tally(&outcomes, &ledger.borrow(), &stopped);
    if !outcomes.iter().all(steps::Outcome::is_right) || ledger.borrow().failures() > 0 {
        bail!("not everything went as it must; see the tally above");
    }
    Ok(())
}
