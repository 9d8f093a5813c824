//! Which changes of a config file a reload cannot make.

use std::collections::BTreeSet;

use crate::model::Settings;

/// The keys that differ between `old` and `new` and take effect only at a restart, in the order of
/// the file. Everything else applies to a running process.
pub fn needs_restart(old: &Settings, new: &Settings) -> Vec<String> {
    let (a, b) = (&old.admin, &new.admin);
    let fixed = [
        ("admin.socket", a.socket != b.socket),
        ("admin.socket_mode", a.socket_mode != b.socket_mode),
        ("admin.socket_group", a.socket_group != b.socket_group),
        ("admin.state_dir", a.state_dir != b.state_dir),
        ("admin.http", a.http != b.http),
        ("runtime.workers", old.runtime.workers != new.runtime.workers),
    ];
    let fixed = fixed.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned());
    let names: BTreeSet<_> = old.listener.keys().chain(new.listener.keys()).collect();
    let listeners = names.into_iter().filter_map(|name| {
        match (old.listener.get(name), new.listener.get(name)) {
            (Some(a), Some(b)) if a.address == b.address => None,
            (Some(_), Some(_)) => Some(format!("listener.{name}.address")),
            _ => Some(format!("listener.{name}")),
        }
    });
    fixed.chain(listeners).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::check, *};

    fn settings(text: &str) -> Settings {
        let service = "[service.app.pool.blue]\nendpoints = []\n";
        check(&format!("{text}\n{service}"), &|_| unreachable!()).unwrap()
    }

    #[test]
    fn sockets_workers_and_listeners_need_a_restart() {
        let old =
            settings("[listener.a]\naddress = '0.0.0.0:80'\n[listener.b]\naddress = '0.0.0.0:81'");
        let new = settings(
            "[admin]\nsocket = '/s'\nsocket_mode = '0600'\nsocket_group = 'g'\nstate_dir = '/d'\n\
             http = '127.0.0.1:1'\n[runtime]\nworkers = 999\n\
             [listener.a]\naddress = '0.0.0.0:8080'\n[listener.c]\naddress = '0.0.0.0:81'",
        );
        let expected = [
            "admin.socket",
            "admin.socket_mode",
            "admin.socket_group",
            "admin.state_dir",
            "admin.http",
            "runtime.workers",
            "listener.a.address",
            "listener.b",
            "listener.c",
        ];
        assert_eq!(needs_restart(&old, &new), expected);
    }

    #[test]
    fn everything_else_applies_live() {
        let old = settings("[listener.a]\naddress = '0.0.0.0:80'");
        let new = settings(
            "[admin]\nviewers = ['x']\n[runtime]\nmax_connections = 1\n[bucketing]\nsalt = 's'\n\
             [listener.a]\naddress = '0.0.0.0:80'\nmax_header_bytes = 2048\n\
             [guard]\nshield = false\n[rollout.default]\nhold = '1s'\n\
             [[notify]]\nname = 'a'\nkind = 'slack'\nurl = 'https://a'\n\
             [service.app.guard]\nwindow = '1m'\n[[service.app.check]]\npath = '/'\n\
             [service.b.pool.c]\nendpoints = []\n[service.b]\nhosts = ['b']",
        );
        assert_eq!(needs_restart(&old, &new), Vec::<String>::new());
        assert_eq!(needs_restart(&old, &old), Vec::<String>::new());
    }
}
