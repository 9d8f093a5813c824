//! Signals: stop, reload, reopen logs.

use std::io;

use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_local,
};

use super::{Rehearse, Shared};
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

/// Takes over SIGTERM and SIGINT (drain; a second one: at once), SIGHUP (reload) and SIGUSR1 (reopen
/// logs), and tells how the process is to end.
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
    on(signal(SignalKind::hangup())?, control, reload);
    on(signal(SignalKind::user_defined1())?, control, |control| control.borrow().logs().reopen());
    Ok(stopping)
}

fn on(mut signal: Signal, control: &Shared, act: fn(&Shared)) {
    let control = control.clone();
    spawn_local(async move {
        while signal.recv().await.is_some() {
            act(&control);
        }
    });
}

fn reload(control: &Shared) {
    // Without systemd there is nobody to tell, and notifying does nothing.
    if let Ok(since) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, since]);
    }
    // The refusal is journaled and logged by `reload` itself.
    let actor = Actor { name: "SIGHUP".into(), uid: None, pid: None };
    let _ = control.borrow_mut().reload(actor, None, Runtime::Kept, Rehearse::No);
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}
