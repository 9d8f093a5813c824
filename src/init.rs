//! What a container's first process must do besides: hand signals on, and take in who is left behind.
//!
//! The first process of a container cannot hand over, since the container ends with it. So it only
//! starts lbd as another process, and stays. It ends when no lbd is left, as the last of them did.

use std::{
    io,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitCode, ExitStatus},
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, getpgid},
};
use tokio::signal::unix::{SignalKind, signal};

/// What is handed on.
const SIGNALS: [Signal; 5] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs lbd as another process, as this one was told to, until no lbd is left.
pub fn run() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(stay())) {
        Ok(status) => code(status),
        Err(error) => {
            eprintln!("lbd: the first process of the container cannot start it: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As a shell has it: 128 and the number of the signal that ended it.
fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

async fn stay() -> io::Result<ExitStatus> {
    // Listened to before there is anybody who could be missed.
    let mut ended = signal(SignalKind::child())?;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for one in SIGNALS {
        let mut coming = signal(SignalKind::from_raw(one as i32))?;
        let tell = tell.clone();
        tokio::spawn(
            async move { while coming.recv().await.is_some() && tell.send(one).is_ok() {} },
        );
    }
    // A group of their own: those that come later belong to it too, wherever they hang.
    let program = std::env::current_exe()?;
    let mut words = std::env::args_os();
    let named = words.next().unwrap_or_default();
    let child = Command::new(program).arg0(named).args(words).process_group(0).spawn()?;
    let family = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut last = ExitStatus::default();
    loop {
        tokio::select! {
            _ = ended.recv() => {
                if take_in(family, &mut last)? {
                    return Ok(last);
                }
            }
            Some(one) = told.recv() => {
                // It may have ended just now.
                let _ = killpg(family, one);
            }
        }
    }
}

/// Takes in all that have ended, and says whether the family has died out.
fn take_in(family: Pid, last: &mut ExitStatus) -> io::Result<bool> {
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        let pid = match waitid(Id::All, ended) {
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => break,
            Ok(status) => status.pid(),
            Err(error) => return Err(error.into()),
        };
        let Some(pid) = pid else { break };
        let is_family = getpgid(Some(pid)) == Ok(family);
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) if is_family => *last = ExitStatus::from_raw(code << 8),
            Ok(WaitStatus::Signaled(_, signal, _)) if is_family => {
                *last = ExitStatus::from_raw(signal as i32);
            }
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let any = WaitPidFlag::WNOHANG | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::PGid(family), any) == Err(nix::errno::Errno::ECHILD))
}
