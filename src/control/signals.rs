//! Signals: stop, reload, reopen logs.

use std::io;

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_local,
};

use super::{Shared, configs, terms::Terms, upgrade};
use crate::model::{Actor, command::Runtime};

/// How the process is to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stopping {
    /// Not yet.
    No,
    /// Running requests may finish.
    Drain,
    /// At once.
    Now,
}

/// Takes over SIGTERM and SIGINT (drain; a second one: at once), SIGHUP (reload), SIGUSR1 (reopen logs)
/// and SIGUSR2 (upgrade), and tells how the process is to end.
///
/// # Errors
///
/// If the signals cannot be had.
pub fn watch_signals(control: &Shared) -> io::Result<watch::Receiver<Stopping>> {
    let (tell, stopping) = watch::channel(Stopping::No);
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    spawn_local(async move {
        let mut next = Stopping::Drain;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tell.send_replace(next);
            next = Stopping::Now;
        }
    });
    spawn_local(reload_at(signal(SignalKind::hangup())?, control.clone()));
    spawn_local(reopen_at(signal(SignalKind::user_defined1())?, control.clone()));
    spawn_local(upgrade_at(signal(SignalKind::user_defined2())?, control.clone()));
    Ok(stopping)
}

async fn upgrade_at(mut signal: Signal, control: Shared) {
    while signal.recv().await.is_some() {
        let actor = Actor { name: "SIGUSR2".into(), uid: None, pid: None };
        let upgraded = upgrade::upgrade(&control, Terms::by(actor), upgrade::READY_WITHIN).await;
        if let Err(fault) = upgraded {
            tracing::error!("not upgraded: {}", fault.failure.error);
        }
    }
}

async fn reopen_at(mut signal: Signal, control: Shared) {
    while signal.recv().await.is_some() {
        control.borrow().logs().reopen();
    }
}

async fn reload_at(mut signal: Signal, control: Shared) {
    while signal.recv().await.is_some() {
        reload(&control).await;
    }
}

async fn reload(control: &Shared) {
    if control.borrow().is_gone() {
        // The next process has its own signals.
        return;
    }
    // Without systemd there is nobody to tell, and notifying does nothing.
    if let Ok(since) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, since]);
    }
    // The refusal is journaled and logged by `reload` itself.
    let actor = Actor { name: "SIGHUP".into(), uid: None, pid: None };
    let _ = configs::reload(control, Terms::by(actor), Runtime::Kept).await;
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}
