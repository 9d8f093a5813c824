use std::{
    collections::BTreeSet,
    io::{Error, ErrorKind, Write as _},
    path::Path,
    sync::LazyLock,
};

use proptest::prelude::*;

use super::*;
use crate::model::{Millis, spans::Tracing};

const MINIMAL: &str = include_str!("../../conf/minimal.toml");
const FULL: &str = include_str!("../../conf/lbd.toml");

fn no_files(_: &Path) -> std::io::Result<String> {
    Err(Error::from(ErrorKind::NotFound))
}

/// What the full file names: pages, certificates and their keys, passwords.
fn every_file(path: &Path) -> std::io::Result<String> {
    static MADE: LazyLock<(String, String)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["app.internal".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    let ada = "ada:$2y$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(match name {
        "htpasswd" => ada.to_owned(),
        _ if name.ends_with("key.pem") => MADE.1.clone(),
        _ if name.ends_with(".pem") => MADE.0.clone(),
        _ => "<h1>{{ message }}</h1>".to_owned(),
    })
}

fn good(text: &str) -> Settings {
    check(text, &no_files).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The problems as `LINE KEY MESSAGE`.
fn wrong(text: &str) -> Vec<String> {
    let problems = check(text, &no_files).unwrap_err();
    let line = |p: &Problem| p.line.map_or_else(|| "-".into(), |line| line.to_string());
    problems.list.iter().map(|p| format!("{} {} {}", line(p), p.key, p.message)).collect()
}

fn assert_wrong(text: &str, expected: &[&str]) {
    let found = wrong(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\nis not: {expected}");
    }
}

/// conf/lbd.toml with every key that stands behind a `#`.
fn every_key() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            key.to_owned()
        }
        _ => line.to_owned(),
    };
    FULL.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_minimal_file_means_what_it_says() {
    let settings = good(MINIMAL);
    let app = settings.service.values().next().unwrap();
    assert_eq!(app.baseline.as_str(), "blue");
    let shares: Vec<_> = app.pool.values().map(|pool| pool.weight.to_string()).collect();
    assert_eq!(shares, ["100%", "0%"]);
    assert!(app.split().is_some());
    assert_eq!(settings.admin.socket_mode, 0o660);
    assert_eq!(&*settings.bucketing.salt, "lbd");
    assert_eq!(needs_restart(&settings, &good(MINIMAL)), Vec::<String>::new());
}

/// What the full file says of `web` and the top sections is what they have without it.
#[test]
fn the_full_file_shows_the_defaults() {
    let (full, minimal) = (good(FULL), good(MINIMAL));
    let (web, app) =
        (full.service.values().nth(1).unwrap(), minimal.service.values().next().unwrap());
    assert_eq!((web.anonymous, web.balance), (app.anonymous, app.balance));
    assert_eq!((web.failover, web.retries), (app.failover, app.retries));
    assert_eq!((web.timeouts, web.health.passive), (app.timeouts, app.health.passive));
    let short = FULL.split("# A second service").next().unwrap();
    let keep = |line: &&str| {
        !["interval =", "timeout =", "rise =", "fall =", "expect ="]
            .iter()
            .any(|k| line.starts_with(k))
    };
    let short = good(&short.lines().filter(keep).collect::<Vec<_>>().join("\n"));
    assert_eq!(short.service.values().next(), Some(web));
    let listeners =
        |s: &Settings| s.listener.values().map(|l| (l.max_header_bytes, l.timeouts)).next();
    assert_eq!(listeners(&full), listeners(&minimal));
    assert_eq!((&full.runtime, &full.bucketing), (&minimal.runtime, &minimal.bucketing));
    assert_eq!(full.maintenance.message, minimal.maintenance.message);
    assert_eq!(full.maintenance.retry_after, minimal.maintenance.retry_after);
    assert_eq!((&full.guard, &full.rollout), (&minimal.guard, &minimal.rollout));
    assert_eq!((&web.guard, &web.check, &full.notify), (&app.guard, &app.check, &minimal.notify));
    let (full, minimal) = (&full.admin, &minimal.admin);
    assert_eq!((&full.socket, full.socket_mode), (&minimal.socket, minimal.socket_mode));
    assert_eq!(full.state_dir, minimal.state_dir);
}

/// The same of sections that stand behind a `#`, each given without the keys that have a default.
#[test]
fn what_is_optional_shows_its_defaults() {
    let web =
        |text: &str| check(text, &every_file).unwrap().service.values().nth(1).cloned().unwrap();
    let without = |key: &str| {
        let text = every_key();
        let begins = format!("{key} = ");
        let lines = text.lines().filter(|line| !line.starts_with(&begins));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(web(&without("method")).check, web(&every_key()).check);
    assert_eq!(web(&without("expect")).check, web(&every_key()).check);
    assert_eq!(web(&every_key()).check.len(), 1);
    let notify = |text: &str| check(text, &every_file).unwrap().notify;
    let shown = notify(&every_key());
    assert_eq!(notify(&without("severity"))[0], shown[0]);
    assert_eq!(shown.len(), 4);
    let bare = every_key().replace("url = \"https://events.pagerduty.com/v2/enqueue\"", "");
    assert_eq!(notify(&bare), shown);
    let tracing = check(&every_key(), &every_file).unwrap().tracing.unwrap();
    let usual = Tracing::default();
    let endpoint = usual.endpoint.clone();
    let bare = Tracing { headers: BTreeMap::new(), ca: None, endpoint, ..(*tracing).clone() };
    assert_eq!(bare, usual);
}

/// Asks every section for the keys it knows by giving it one that it does not.
#[test]
fn the_full_file_shows_every_key() {
    let mut probe = String::new();
    for line in every_key().lines() {
        let line = ["address", "errors", "share"].iter().fold(line.to_owned(), |line, key| {
            line.replace(&format!("{{ {key}"), &format!("{{ zzzzzzzz = 1, {key}"))
        });
        let header = line.starts_with('[');
        probe = format!("{probe}{line}\n{}", if header { "zzzzzzzz = 1\n" } else { "" });
    }
    let problems = check(&format!("zzzzzzzz = 1\n{probe}"), &every_file).unwrap_err();
    let mut known = BTreeSet::new();
    for problem in &problems.list {
        let keys = problem.message.strip_prefix("unknown key; known here: ");
        let keys = keys.unwrap_or_else(|| panic!("{problems}"));
        let section = problem.key.strip_suffix("zzzzzzzz").unwrap();
        known.extend(keys.split(", ").map(|key| general(&format!("{section}{key}"))));
    }
    let mut present = BTreeSet::new();
    walk("", &toml::Value::Table(every_key().parse().unwrap()), &mut present);
    let missing: Vec<_> = known.difference(&present).collect();
    assert!(missing.is_empty() && known.len() > 100, "{missing:?} of {}", known.len());
}

/// `service.web.pool.blue.weight` as `service.*.pool.*.weight`, without places in lists. A
/// service's guard is explained where `[guard]` is.
fn general(key: &str) -> String {
    let key = key.find(".guard.").and_then(|at| key.get(at + 1..)).unwrap_or(key);
    let parts: Vec<_> = key.split('.').map(|part| part.split('[').next().unwrap()).collect();
    let is_name = |n: usize| {
        (n == 1 && ["listener", "rollout", "service"].contains(&parts[0]))
            || (n == 3 && parts[2] == "pool")
    };
    let parts = parts.iter().enumerate().map(|(n, part)| if is_name(n) { "*" } else { *part });
    parts.collect::<Vec<_>>().join(".")
}

fn walk(key: &str, value: &toml::Value, keys: &mut BTreeSet<String>) {
    keys.insert(general(key));
    let dot = if key.is_empty() { "" } else { "." };
    match value {
        toml::Value::Table(table) => {
            table.iter().for_each(|(name, value)| walk(&format!("{key}{dot}{name}"), value, keys));
        }
        toml::Value::Array(items) => items.iter().for_each(|item| walk(key, item, keys)),
        _ => {}
    }
}

#[test]
fn settings_print_as_a_config_file() {
    let more = "[service.api.health]\npassive = false\n[service.c]\nbaseline = 'x'\nhosts = ['c']\n\
                access_log = '/var/log/c.log'\n[service.c.health]\npath = '/h'\nbody = 'ok'\n\
                [service.c.pool]\nx = { endpoints = [] }\ny = { endpoints = ['unix:/y'] }\n\
                z = { endpoints = ['[::1]:1'] }\n";
    for text in [MINIMAL, FULL, &format!("{FULL}\n{more}")] {
        let settings = good(text);
        let printed = toml::to_string(&settings).unwrap();
        assert_eq!(good(&printed), settings, "{printed}");
    }
    let limited = FULL.replace("#p50", "p50").replace("#error_rate", "error_rate");
    let guards = "[service.api.guard]\nerror_rate = 'none'\np99 = '3s'\nalpha = 1e-7\n\
                  tolerance = { latency = 7 }\n[[service.api.check]]\npath = '/a'\n\
                  headers = { 'X.Y' = \"it's \\\"1\\\"\" }\n[[service.api.check]]\npath = '/b'\n\
                  method = 'POST'\ndata = \"a\\nb\"\nbody = 'c'\nmax_latency = '1s'\n\
                  [rollout.x]\nstages = [{ share = 1, hold = '2h', min_requests = 7 }, '100%']\n\
                  require = []\n";
    let settings = good(&format!("{limited}\n{guards}"));
    let guards: Vec<_> = settings.service.values().map(|service| service.guard.clone()).collect();
    assert_eq!((guards[0].error_rate, guards[0].p50), (None, Some(Millis(100))));
    assert_eq!(guards[1], settings.guard);
    let printed = toml::to_string(&settings).unwrap();
    assert_eq!(good(&printed), settings, "{printed}");
}

/// The secrets are put back in place of the stars, in the order in which they are printed.
#[test]
fn everything_prints_as_a_config_file() {
    let settings = check(&every_key(), &every_file).unwrap();
    let mut printed = toml::to_string(&settings).unwrap();
    let stars = printed.matches("***").count();
    let slack = "https://hooks.slack.com/services/change-me";
    printed = printed.replacen("***", slack, 1).replace("***", "change-me-please");
    assert_eq!(check(&printed, &every_file).unwrap(), settings, "{printed}");
    assert_eq!(stars, 8);
}

#[test]
fn a_secret_prints_as_stars() {
    let text = format!("{MINIMAL}[service.app.pin]\nname = 'pin'\nsecret = 'hunter2hunter2'\n");
    let settings = good(&text);
    let printed = toml::to_string(&settings).unwrap() + &format!("{settings:?}");
    assert!(printed.contains("***") && !printed.contains("hunter"), "{printed}");
}

#[test]
fn all_mistakes_are_reported_with_their_lines() {
    let text = "\
[runtime]
worker = 4
max_connections = 0

[listener.http]
address = \":80\"
timeouts = { header = 10, keepalive = \"2h\" }

[service.app]
hosts = [
  \"ok.example.com\",
  \"http://example.com\",
]
tls = true
user_id = \"cookie:uid\"

[service.app.pool.blue]
endpoints = [\"127.0.0.1\", 80]
weight = \"101\"

[service.\"a b\"]
retries = 11
";
    assert_wrong(
        text,
        &[
            "2 runtime.worker unknown key; did you mean workers?",
            "3 runtime.max_connections 0 is out of range; write a number from 1 to 10000000",
            "6 listener.http.address \":80\" is not an address to listen on; write IP:PORT",
            "7 listener.http.timeouts.header 10 is not a duration; write a number with a unit",
            "7 listener.http.timeouts.keepalive \"2h\" is too long; write 10ms to 1h",
            "12 service.app.hosts[1] \"http://example.com\" is not a host; write",
            "14 service.app.tls unknown key; known here: hosts, paths,",
            "15 service.app.user_id \"cookie:uid\" is not a list; write",
            "18 service.app.pool.blue.endpoints[0] \"127.0.0.1\" is not an endpoint address; write",
            "18 service.app.pool.blue.endpoints[1] 80 is not an endpoint address; write",
            "19 service.app.pool.blue.weight \"101\" is not a percentage; write",
            "21 service.\"a b\" \"a b\" is not a name; write",
            "21 service.\"a b\".pool is missing",
            "22 service.\"a b\".retries 11 is out of range; write a number from 0 to 10",
        ],
    );
}

#[test]
fn mistakes_of_releases_are_reported_with_their_lines() {
    let text = format!(
        "{MINIMAL}[guard]
window = \"1h\"
tolerance = {{ error = \"1%\" }}

[service.app.guard]
window = \"20m\"
p95 = \"off\"

[[service.app.check]]
path = \"/ok\"

[[service.app.check]]
method = \"get\"
headers = {{ \"a b\" = \"x\" }}

[rollout.default]
stages = [
  \"10%\",
  {{ share = \"5%\", hold = \"0s\" }},
  \"50%\",
]
max_hold = \"1m\"

[rollout.\"a b\"]
advance = \"auto\"

[[notify]]
name = \"ops\"
kind = \"slack\"
server = \"x\"

[[notify]]
name = \"ops\"
kind = \"email\"
severity = \"error\"
from = \"me\"
"
    );
    assert_wrong(
        &text,
        &[
            "11 guard.window \"1h\" is too long: the guard keeps 15 minutes; write 1s to 15m",
            "12 guard.tolerance.error unknown key; did you mean errors?",
            "15 service.app.guard.window \"20m\" is too long: the guard keeps 15 minutes; write",
            "16 service.app.guard.p95 \"off\" is not a duration; write",
            "21 service.app.check[1].path is missing; write path = \"/healthz\"",
            "22 service.app.check[1].method \"get\" is not a method for a path; write",
            "23 service.app.check[1].headers.\"a b\" is not the name of a header; write",
            "28 rollout.default.stages[1].hold \"0s\" is too short; write 1ms to 7days",
            "28 rollout.default.stages[1] 5% does not rise above the 10% before it; write",
            "29 rollout.default.stages[2] 50% is not all the traffic; end with \"100%\"",
            "31 rollout.default.max_hold \"1m\" is shorter than the hold of 5m; write",
            "33 rollout.\"a b\" \"a b\" is not a name; write",
            "34 rollout.\"a b\".advance \"auto\" is not known here; write",
            "36 notify[0].url is missing; write url =",
            "39 notify[0].server unknown key for kind \"slack\"; it takes url",
            "41 notify[1].server is missing; write server =",
            "41 notify[1].to is missing; write to =",
            "42 notify[1].name \"ops\" is the name of another receiver; write another",
            "44 notify[1].severity \"error\" is not known here; write",
            "45 notify[1].from \"me\" is not a mail address; write",
        ],
    );
    assert_wrong(
        &format!("{MINIMAL}[notify]\nname = 'a'\n[service.app.check]\npath = '/'\n"),
        &[
            "10 notify is not a list; write each receiver as a section [[notify]]",
            "12 service.app.check a table is not a list; write each as a section [[service",
        ],
    );
    assert_wrong(
        &format!("guard = 1\nrollout = 2\nnotify = 'https://secret'\n{MINIMAL}"),
        &[
            "1 guard 1 is not a table; write it as a section [guard]",
            "2 rollout 2 is not a table; write it as a section [rollout]",
            "3 notify is not a list; write each receiver as a section [[notify]]",
        ],
    );
}

#[test]
fn a_service_inherits_the_guard_wherever_it_stands() {
    let text = format!(
        "{MINIMAL}[service.app.guard]\np99 = 'none'\ntolerance.errors = '2%'\n\
         [guard]\nwindow = '1m'\np95 = '1s'\np99 = '2s'\ntolerance.latency = '30%'\n"
    );
    let settings = good(&text);
    let guard = &settings.service.values().next().unwrap().guard;
    assert_eq!(guard.window, Millis::from_secs(60));
    assert_eq!((guard.p50, guard.p95, guard.p99), (None, Some(Millis(1000)), None));
    let tolerance = (guard.tolerance.errors.to_string(), guard.tolerance.latency.to_string());
    assert_eq!(tolerance, ("2%".to_owned(), "30%".to_owned()));
    assert_eq!(settings.guard.p99, Some(Millis(2000)));
}

#[test]
fn an_empty_file_says_what_it_lacks() {
    assert_wrong("", &["- listener is missing; write", "- service is missing; write"]);
    assert_wrong(
        "listener = 1\nservice = []",
        &["1 listener 1 is not a table; write", "2 service an array is not a table; write"],
    );
}

#[test]
fn syntax_errors_stand_beside_other_mistakes() {
    let text =
        format!("{MINIMAL}[runtime]\nworkers = ten\nupgrade_drain = 30\n[admin]\nhttp = 1\n");
    assert_wrong(
        &text,
        &[
            "11 syntax ",
            "12 runtime.upgrade_drain 30 is not a duration",
            "14 admin.http 1 is not an address",
        ],
    );
    let twice = format!("{MINIMAL}weight = 1\n[runtime]\nworkers = 0\n");
    assert_wrong(&twice, &["10 syntax duplicate key", "12 runtime.workers 0 is out of range"]);
}

const LISTENER: &str = "[listener.http]\naddress = '0.0.0.0:80'\n";

#[test]
fn weights_must_sum_to_the_whole() {
    let service = |weights: &[&str]| {
        let pool = |(n, w): (usize, &&str)| format!("pool.p{n} = {{ endpoints = [], {w} }}\n");
        let pools: String = weights.iter().enumerate().map(pool).collect();
        format!("{LISTENER}[service.app]\n{pools}")
    };
    let sum = "3 service.app the weights sum to 90.50%, not to 100%; write weights that do";
    assert_wrong(&service(&["weight = 50", "weight = '40.5%'"]), &[sum]);
    let none = "3 service.app.baseline is missing, and more than one pool has weight; write \
                baseline = \"p0\" or \"p1\"";
    assert_wrong(&service(&["", ""]), &[none]);
    assert!(good(&service(&[""])).service.values().all(|app| app.baseline.as_str() == "p0"));
    let text = service(&["weight = 20", "", ""]) + "baseline = 'p3'";
    let unknown = "7 service.app.baseline \"p3\" is not a pool of this service; write \"p0\" or";
    assert_wrong(&text, &[unknown]);
}

#[test]
fn a_place_has_one_owner() {
    let pool = "pool.blue.endpoints = []\n";
    let text = format!(
        "{LISTENER}[listener.b]\naddress = '0.0.0.0:80'\n[listener.c]\naddress = '0.0.0.0:0'\n\
         [listener.d]\naddress = '0.0.0.0:0'\n\
         [service.x]\nhosts = ['a', 'A']\n{pool}[service.y]\nhosts = ['a']\n{pool}"
    );
    assert_wrong(
        &text,
        &[
            "3 listener.b has the address 0.0.0.0:80 of listener.http; write another",
            "9 service.x lists host a with path / twice; write it once",
            "12 service.y claims host a with path /, which service x has; write other hosts",
        ],
    );
    let admin = format!("[admin]\nhttp = '0.0.0.0:80'\n{MINIMAL}").replace("8080", "80");
    assert_wrong(&admin, &["3 listener.http has the address 0.0.0.0:80 of admin.http"]);
}

#[test]
fn the_maintenance_page_is_read_and_checked() {
    let text = format!("{MINIMAL}[maintenance]\npage = 'p.html'\n");
    assert_wrong(&text, &["11 maintenance.page \"p.html\" cannot be read: "]);
    let page = |_: &Path| Ok("<p>{{ message }}</p>".to_owned());
    let settings = check(&text, &page).unwrap();
    assert_eq!(settings.maintenance.template.as_deref(), Some("<p>{{ message }}</p>"));
    let broken = check(&text, &|_| Ok("a\n{% if %}".into())).unwrap_err().to_string();
    assert!(
        broken.contains("\"p.html\" is not a template: ") && broken.contains("line 2"),
        "{broken}"
    );
}

#[test]
fn files_are_loaded_with_their_page_and_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    let missing = load(&path).unwrap_err().to_string();
    assert!(
        missing.contains("my.toml: 1 problem") && missing.contains("cannot be read: "),
        "{missing}"
    );
    let text = format!("{MINIMAL}[maintenance]\npage = 'p.html'\n");
    std::fs::write(&path, &text).unwrap();
    assert!(load(&path).unwrap_err().file.ends_with("my.toml"));
    std::fs::write(folder.path().join("p.html"), "page").unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.settings.maintenance.template.as_deref(), Some("page"));
    assert_eq!(loaded.text, text);
    std::fs::File::create(&path).unwrap().write_all(b"a = 1\n\xff").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("line 2 is not UTF-8"));
    assert!(load(folder.path()).is_err());
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("{}a = {}1{}", "[".repeat(5000), "[".repeat(5000), "]".repeat(5000));
    assert!(check(&deep, &no_files).is_err());
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    assert!(check(&dotted, &no_files).is_err());
}

/// conf/lbd.toml with some lines left out, doubled, moved or cut.
fn mutated() -> impl Strategy<Value = String> {
    let change = (0usize..600, 0usize..600, 0u8..5, 0usize..60);
    prop::collection::vec(change, 1..12).prop_map(|changes| {
        let text = every_key();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (from, to, kind, cut) in changes {
            let (from, to) = (from % lines.len(), to % lines.len());
            match kind {
                0 => _ = lines.remove(from),
                1 => lines.insert(to, lines[from].clone()),
                2 => lines.swap(from, to),
                3 => lines[from] = lines[from].chars().take(cut).collect(),
                _ => lines[from] = lines[from].chars().skip(cut).collect(),
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = check(&text, &no_files).map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_toml_like_text_makes_it_panic(
        text in "([a-c.\"'=\\[\\]{},#0-9 \n]|service|pool|true){0,60}"
    ) {
        let _ = check(&text, &no_files).map_err(|problems| problems.to_string());
    }

    #[test]
    fn no_changed_file_makes_it_panic(text in mutated()) {
        let lines = text.lines().count() + 1;
        match check(&text, &no_files) {
            Ok(settings) => prop_assert!(settings.service.values().all(|s| s.split().is_some())),
            Err(problems) => {
                prop_assert!(!problems.list.is_empty());
                let inside = |n| (1..=lines).contains(&n);
                prop_assert!(problems.list.iter().all(|p| p.line.is_none_or(inside)));
                prop_assert!(problems.to_string().lines().count() == problems.list.len() + 1);
            }
        }
    }
}

#[test]
fn tls_names_everything_that_is_wrong_with_it() {
    let listener = |lines: &str| {
        format!(
            "[listener.a]\naddress = '0.0.0.0:443'\n{lines}\n[service.app.pool.blue]\nendpoints = []\n"
        )
    };
    let problems = |lines: &str| match check(&listener(lines), &every_file) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    let pair = "{ cert = 'fullchain.pem', key = 'key.pem' }";
    assert_eq!(problems(&format!("tls = {{ certificates = [{pair}], min_version = '1.3' }}")), "");
    let plain = "[listener.b]\naddress = '0.0.0.0:80'";
    assert_eq!(problems(&format!("tls = {{ acme = ['a.example'] }}\n{plain}")), "");
    let by_tls = "[acme]\nchallenge = 'tls-alpn-01'";
    assert_eq!(problems(&format!("tls = {{ acme = ['a.example'] }}\n{by_tls}")), "");
    for (lines, why) in [
        ("tls = {}", "certificates"),
        ("tls = { certificates = [] }", "is empty"),
        ("tls = { acme = [] }", "is empty"),
        ("tls = { acme = ['*.a.example'] }", "DNS"),
        ("tls = { acme = ['a.example'] }", "no listener is without tls"),
        ("tls = { certificates = [{ cert = 'page', key = 'key.pem' }] }", "holds no certificate"),
        ("tls = { certificates = [{ cert = 'fullchain.pem', key = 'page' }] }", "no private key"),
        ("tls = { certificates = [{ cert = 'fullchain.pem' }] }", "key"),
        (&format!("tls = {{ certificates = [{pair}], min_version = '1.1' }}"), "min_version"),
        (&format!("tls = {{ certificates = [{pair}], min_life = '366d' }}"), "min_life"),
        (&format!("tls = {{ certificates = [{pair}], client_ca = 'page' }}"), "client_ca"),
        (&format!("redirect_to_https = true\ntls = {{ certificates = [{pair}] }}"), "in a circle"),
        ("hsts = '1d'", "hsts but no tls"),
        ("proxy_protocol = true", "trusted_proxies"),
    ] {
        let said = problems(lines);
        assert!(said.contains(why), "{lines}: {said}");
    }
}
