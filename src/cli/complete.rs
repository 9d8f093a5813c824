//! Completion in the shell, with the names that the running daemon knows.

use std::{collections::BTreeSet, ffi::OsString, io::Write, path::PathBuf};

use clap_complete::{
    ArgValueCandidates, CompleteEnv, CompletionCandidate,
    env::{Bash, EnvCompleter, Fish, Zsh},
};

use serde::de::DeserializeOwned;

use super::{
    call::Call,
    client::Client,
    exit::Trouble,
    grammar::{SOCKET, SOCKET_VARIABLE, Shell},
    help,
    values::RolloutId,
};
use crate::{
    api::{
        Op,
        release::{ReceiverList, RolloutList},
        types::{ConfigShown, Status},
    },
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
    candidates(Op::Status, |status: Status| texts(status.services.iter().map(|s| &s.name)))
}

/// The pools.
pub fn pool_names() -> ArgValueCandidates {
    candidates(Op::Status, |status: Status| {
        texts(status.services.iter().flat_map(|s| &s.pools).map(|p| &p.name))
    })
}

/// The endpoints.
pub fn endpoint_names() -> ArgValueCandidates {
    candidates(Op::Status, |status: Status| {
        let pools = status.services.iter().flat_map(|s| &s.pools);
        texts(pools.flat_map(|p| &p.endpoints).map(|e| &e.address))
    })
}

/// The rollouts' numbers, and `last`.
pub fn rollout_ids() -> ArgValueCandidates {
    candidates(Op::ListRollouts, |list: RolloutList| {
        let mut ids = texts(list.rollouts.iter().map(|rollout| rollout.id));
        ids.insert(RolloutId::Last.to_string());
        ids
    })
}

/// The receivers of notices.
pub fn receiver_names() -> ArgValueCandidates {
    candidates(Op::ListReceivers, |list: ReceiverList| {
        texts(list.receivers.iter().map(|r| &r.name))
    })
}

/// The rollout plans of the config in force.
pub fn plan_names() -> ArgValueCandidates {
    candidates(Op::ShowConfig, |shown: ConfigShown| plans(&shown.effective))
}

fn plans(config: &str) -> BTreeSet<String> {
    let config: toml::Table = toml::from_str(config).unwrap_or_default();
    let plans = config.get("rollout").and_then(toml::Value::as_table);
    plans.map(|plans| plans.keys().cloned().collect()).unwrap_or_default()
}

fn texts<T: ToString>(names: impl Iterator<Item = T>) -> BTreeSet<String> {
    names.map(|name| name.to_string()).collect()
}

/// The names that the daemon's reply to `op` has.
fn candidates<T: DeserializeOwned + 'static>(
    op: Op,
    names: fn(T) -> BTreeSet<String>,
) -> ArgValueCandidates {
    ArgValueCandidates::new(move || {
        // Without the daemon there is nothing to offer, and a prompt is no place for errors.
        let typed: Vec<OsString> = std::env::args_os().collect();
        let socket = socket(&typed, std::env::var_os(SOCKET_VARIABLE));
        let names = asked(socket, op).map(names).unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

fn asked<T: DeserializeOwned>(socket: PathBuf, op: Op) -> Option<T> {
    let client = Client::new(socket, LIMIT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(client.call(&Call::new(op))).ok()?.read().ok()
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
        assert!(asked::<Status>("/nowhere/admin.sock".into(), Op::Status).is_none());
    }

    #[test]
    fn plans_are_read_from_the_config_in_force() {
        let config = "[rollout.default]\nhold = '5m'\n[rollout.careful]\n[listener.http]\n";
        assert_eq!(plans(config), ["careful", "default"].map(String::from).into());
        assert!(plans("").is_empty() && plans("no TOML").is_empty());
    }
}
