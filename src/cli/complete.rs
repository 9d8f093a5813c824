//! Completion in the shell, with the names that the running daemon knows.

use std::{collections::BTreeSet, ffi::OsString, io::Write, path::PathBuf};

use clap_complete::{
    ArgValueCandidates, CompleteEnv, CompletionCandidate,
    env::{Bash, EnvCompleter, Fish, Zsh},
};

use super::{
    call::Call,
    client::Client,
    exit::Trouble,
    grammar::{SOCKET, SOCKET_VARIABLE, Shell},
    help,
};
use crate::{
    api::{Op, types::Status},
    model::Millis,
};

/// The variable by which the script asks for completions.
const VARIABLE: &str = "COMPLETE";
/// How long a person who pressed the tabulator key waits for the daemon.
const LIMIT: Millis = Millis(300);

/// Answers the shell and ends the process, if it was the shell that started it.
pub fn answer() {
    CompleteEnv::with_factory(help::command).var(VARIABLE).bin("lbctl").complete();
}

/// The script that registers the completion in a shell.
///
/// # Errors
///
/// None in practice: it is written to memory.
pub fn script(shell: Shell) -> Result<String, Trouble> {
    let completer: &dyn EnvCompleter = match shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "lbctl", "lbctl", "lbctl", &mut script)?;
    script.flush()?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// The services.
pub fn service_names() -> ArgValueCandidates {
    candidates(|status| status.services.iter().map(|s| s.name.to_string()).collect())
}

/// The pools.
pub fn pool_names() -> ArgValueCandidates {
    candidates(|status| {
        status.services.iter().flat_map(|s| &s.pools).map(|p| p.name.to_string()).collect()
    })
}

/// The endpoints.
pub fn endpoint_names() -> ArgValueCandidates {
    candidates(|status| {
        let pools = status.services.iter().flat_map(|s| &s.pools);
        pools.flat_map(|p| &p.endpoints).map(|e| e.address.to_string()).collect()
    })
}

fn candidates(names: fn(&Status) -> BTreeSet<String>) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        // Without the daemon there is nothing to offer, and a prompt is no place for errors.
        let typed: Vec<OsString> = std::env::args_os().collect();
        let socket = socket(&typed, std::env::var_os(SOCKET_VARIABLE));
        let names = status(socket).map(|status| names(&status)).unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

fn status(socket: PathBuf) -> Option<Status> {
    let client = Client::new(socket, LIMIT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(client.call(&Call::new(Op::Status))).ok()?.read().ok()
}

/// The socket that the line being typed would use.
fn socket(typed: &[OsString], variable: Option<OsString>) -> PathBuf {
    let mut words = typed.iter();
    while let Some(word) = words.next() {
        if word == "--socket"
            && let Some(path) = words.next()
        {
            return path.into();
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--socket=")) {
            return path.into();
        }
    }
    variable.unwrap_or_else(|| SOCKET.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_call_lbctl_for_completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell).unwrap();
            assert!(script.contains("lbctl") && script.contains("COMPLETE"), "{script}");
        }
    }

    #[test]
    fn the_socket_is_the_one_of_the_line() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let typed = words("lbctl -- lbctl --socket /a status");
        assert_eq!(socket(&typed, Some("/b".into())), PathBuf::from("/a"));
        assert_eq!(socket(&words("lbctl --socket=/c"), None), PathBuf::from("/c"));
        assert_eq!(socket(&words("lbctl"), Some("/b".into())), PathBuf::from("/b"));
        assert_eq!(socket(&words("lbctl"), None), PathBuf::from(SOCKET));
    }

    #[test]
    fn without_daemon_there_are_no_names() {
        assert!(status("/nowhere/admin.sock".into()).is_none());
    }
}
