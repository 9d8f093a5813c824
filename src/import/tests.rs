//! What directives become, each in the smallest file that has it; and that no file is too strange.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use toml::{Table, Value};

use super::*;

/// Files that are only there in the test.
#[derive(Default)]
pub struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    fn of(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(path, bytes)| ((*path).into(), bytes.to_vec())).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let pattern = glob::Pattern::new(&pattern.to_string_lossy()).unwrap();
        self.0.keys().filter(|path| pattern.matches_path(path)).cloned().collect()
    }
}

fn imported(text: &str) -> Imported {
    let files = Memory::of(&[("/n/x.conf", text.as_bytes())]);
    import(Path::new("/n/x.conf"), Path::new("/n"), &files).unwrap()
}

fn parsed(imported: &Imported) -> Table {
    imported.config.parse().unwrap_or_else(|error| panic!("{error}\n{}", imported.config))
}

/// The values at a path of keys, as text; `-` if there is none.
fn at(table: &Table, path: &str) -> String {
    let mut value = Value::Table(table.clone());
    for key in path.split('/') {
        match value.get(key) {
            Some(inner) => value = inner.clone(),
            None => return "-".into(),
        }
    }
    value.to_string()
}

/// Imports one server with one location that forwards, and directives in it.
fn service(lines: &str) -> (Table, Imported) {
    let imported = imported(&format!(
        "limit_req_zone $binary_remote_addr zone=one:1m rate=5r/m;\n\
         server {{ location / {{ proxy_pass http://10.0.0.1; {lines} }} }}"
    ));
    let table = parsed(&imported)["service"]["web"].as_table().unwrap().clone();
    (table, imported)
}

#[test]
fn directives_become_keys() {
    for (lines, key, expected) in [
        ("client_max_body_size 8k;", "max_body_bytes", "\"8KiB\""),
        ("client_max_body_size 0;", "max_body_bytes", "-"),
        ("proxy_connect_timeout 1m;", "timeouts/connect", "\"1m\""),
        ("proxy_read_timeout 500ms;", "timeouts/idle", "\"500ms\""),
        ("proxy_read_timeout 7d;", "timeouts/first_byte", "\"1day\""),
        ("proxy_next_upstream off;", "retries", "0"),
        ("allow 10.0.0.0/8; deny all;", "allow", "[\"10.0.0.0/8\"]"),
        ("allow 10.0.0.0/8; deny all;", "deny", "[\"0.0.0.0/0\", \"::/0\"]"),
        ("deny 10.1.2.3/8; allow all;", "deny", "[\"10.0.0.0/8\"]"),
        // Without a deny everybody may come.
        ("allow 10.0.0.0/8;", "allow", "-"),
        // Where a part of what is allowed was denied before, it is not allowed.
        (
            "deny 10.0.0.9; allow 10.0.0.0/8; allow 11.0.0.0/8; deny all;",
            "allow",
            "[\"11.0.0.0/8\"]",
        ),
        ("auth_basic A; auth_basic_user_file f;", "basic_auth/file", "\"/n/f\""),
        ("auth_basic off; auth_basic_user_file f;", "basic_auth", "-"),
        ("limit_req zone=one burst=3 nodelay;", "rate_limit/per", "\"1m\""),
        ("limit_req zone=one burst=3 nodelay;", "rate_limit/requests", "5"),
        ("proxy_set_header X-A 'a \"b\" $host';", "request_headers/set/X-A", "'a \"b\" {host}'"),
        ("proxy_set_header X-A '';", "request_headers/remove", "[\"X-A\"]"),
        ("proxy_set_header Host $host;", "request_headers", "-"),
        ("add_header X-B b;", "response_headers/add/X-B", "\"b\""),
        ("proxy_hide_header X-C;", "response_headers/remove", "[\"X-C\"]"),
        ("gzip on; gzip_min_length 1000;", "compression/min_bytes", "\"1000B\""),
        ("gzip off;", "compression", "-"),
        ("access_log /var/log/a.log main;", "access_log/target", "\"/var/log/a.log\""),
        ("access_log off;", "access_log", "\"off\""),
        (
            "rewrite ^/a/(.*) /b/$1 break;",
            "rewrite",
            "[{ match = \"^/a/(.*).*$\", to = \"/b/${1}\" }]",
        ),
        (
            "rewrite ^/a https://x.com$request_uri? permanent;",
            "redirect",
            "[{ match = \"^/(a.*)$\", status = 301, to = \"https://x.com/${1}\" }]",
        ),
        ("rewrite ^/(?!a) /b break;", "rewrite", "-"),
        (
            "rewrite ^(.*)$ https://b.com$1 permanent;",
            "redirect",
            "[{ match = \"^/(.*)$\", status = 301, to = \"https://b.com/${1}\" }]",
        ),
        (
            "rewrite ^ https://b.com$request_uri? permanent;",
            "redirect",
            "[{ match = \"^/(.*)$\", status = 301, to = \"https://b.com/${1}\" }]",
        ),
        // The check has to take all of these.
        ("proxy_set_header X-Forwarded-For a;", "request_headers", "-"),
        ("proxy_set_header Transfer-Encoding a;", "request_headers", "-"),
        ("proxy_set_header Host $proxy_host;", "request_headers", "-"),
        ("proxy_set_header Host a.b:80;", "request_headers/set/Host", "\"a.b:80\""),
        ("proxy_set_header X-A é;", "request_headers/remove", "[\"X-A\"]"),
        (
            "proxy_set_header X-A 1; proxy_set_header x-a 2;",
            "request_headers/set",
            "{ X-A = \"1\" }",
        ),
        ("add_header X-A 1; add_header x-a 2;", "response_headers/add", "{ X-A = \"1\" }"),
        ("add_header Content-Length 1;", "response_headers", "-"),
        ("proxy_hide_header Connection;", "response_headers", "-"),
        ("gzip on; gzip_types *;", "compression", "{ algorithms = [\"gzip\"] }"),
        ("gzip on; gzip_types a b/c;", "compression/types", "[\"text/html\", \"b/c\"]"),
        ("limit_req zone=one burst=20 nodelay;", "rate_limit/burst", "21"),
        (
            "proxy_set_header Upgrade $http_upgrade; proxy_read_timeout 9s;",
            "timeouts/tunnel",
            "\"9s\"",
        ),
        ("proxy_read_timeout 9s;", "timeouts/tunnel", "-"),
    ] {
        let (table, imported) = service(lines);
        assert_config(&imported);
        assert_eq!(at(&table, key), expected, "{lines}");
    }
}

#[test]
fn addresses_become_pools() {
    for (pass, path, expected) in [
        ("http://10.0.0.1", "pool/blue/endpoints", "[\"10.0.0.1:80\"]"),
        ("https://10.0.0.1", "pool/blue/protocol", "\"https\""),
        ("https://10.0.0.1", "pool/blue/endpoints", "[\"10.0.0.1:443\"]"),
        ("http://[::1]:8080", "pool/blue/endpoints", "[\"[::1]:8080\"]"),
        ("http://unix:/run/a.sock:/x/", "pool/blue/endpoints", "[\"unix:/run/a.sock\"]"),
        ("http://u", "pool/blue/endpoints", "[{ address = \"a:1\", weight = 3 }, \"b:80\"]"),
        ("http://u", "pool/backup/weight", "\"0%\""),
        ("http://u", "balance", "\"round-robin\""),
        ("http://u/", "strip_prefix", "\"/p\""),
        ("http://u", "strip_prefix", "-"),
        ("http://u/q/", "rewrite", "[{ match = \"^/p/(.*)$\", to = \"/q/${1}\" }]"),
        ("http://shop_blue", "pool/green/weight", "\"0%\""),
        ("http://$split", "user_id", "[\"header:x-user\"]"),
        ("http://$split", "pool/v2/weight", "\"0.5%\""),
        ("http://$split", "baseline", "\"v1\""),
    ] {
        let imported = imported(&format!(
            "upstream u {{ server a:1 weight=3; server b; server c backup; server d down; }}
             upstream v1 {{ server e; }} upstream v2 {{ server f; }}
             upstream shop_blue {{ server g; }} upstream shop_green {{ server h; }}
             split_clients $http_x_user $split {{ 0.5% v2; * v1; }}
             server {{ listen 80; location /p/ {{ proxy_pass {pass}; }} }}"
        ));
        // The check asks for the name in the certificate of an address, which nginx does not know.
        if !pass.starts_with("https") {
            assert_config(&imported);
        }
        assert_eq!(at(&parsed(&imported), &format!("service/web-p/{path}")), expected, "{pass}");
    }
}

#[test]
fn listens_become_listeners() {
    let imported = imported(
        "server { listen 443 ssl; listen [::]:443 ssl; http2 on; ssl_protocols TLSv1.3;
           ssl_certificate a.pem; ssl_certificate_key /k/a.key; location / { proxy_pass http://a; } }
         server { listen 443 ssl default_server; server_name b.com; ssl_certificate b.pem;
           ssl_certificate_key b.key; location / { proxy_pass http://a; }
           ssl_client_certificate ca.pem; ssl_verify_client on; }
         server { listen 80; return 301 https://$host$request_uri; }
         server { listen localhost:81 proxy_protocol; server_name c.com; keepalive_timeout 5;
           location / { proxy_pass http://a; } }",
    );
    assert_config(&imported);
    let table = parsed(&imported);
    for (key, expected) in [
        ("listener/https/address", "\"[::]:443\""),
        ("listener/https/http2", "true"),
        ("listener/https/tls/client_ca", "\"/n/ca.pem\""),
        ("listener/https/tls/min_version", "\"1.3\""),
        (
            "listener/https/tls/certificates",
            "[{ cert = \"/n/b.pem\", key = \"/n/b.key\" }, { cert = \"/n/a.pem\", key = \"/k/a.key\" }]",
        ),
        ("listener/http/redirect_to_https", "true"),
        ("listener/http-81/address", "\"127.0.0.1:81\""),
        ("listener/http-81/proxy_protocol", "true"),
        ("listener/http-81/timeouts/keepalive", "\"5s\""),
        ("service/b-com/hosts", "[\"b.com\", \"*\"]"),
        ("service/c-com/hosts", "[\"c.com\"]"),
    ] {
        assert_eq!(at(&table, key), expected, "{key}\n{}", imported.config);
    }
}

/// What the config names: pages, passwords, certificates and their keys.
fn named(path: &Path) -> io::Result<String> {
    static MADE: LazyLock<(String, String)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    Ok(match path.extension().and_then(|end| end.to_str()) {
        Some("key") => MADE.1.clone(),
        Some("pem") => MADE.0.clone(),
        Some("html") => "<p>page</p>".to_owned(),
        _ => "ada:$2y$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
    })
}

/// lbd's own check takes the file.
fn assert_config(imported: &Imported) {
    let checked = crate::config::check(&imported.config, &named);
    assert!(checked.is_ok(), "{}\n{}", checked.unwrap_err(), imported.config);
}

const SHUT: &str = "[\"0.0.0.0/0\", \"::/0\"]";

/// The services that refuse everybody, and the others.
fn doors(imported: &Imported) -> (Vec<String>, Vec<String>) {
    let table = parsed(imported);
    let services = table.get("service").and_then(Value::as_table).cloned().unwrap_or_default();
    let names = services.keys().cloned();
    names.partition(|name| {
        at(&table, &format!("service/{name}/deny")) == SHUT
            && at(&table, &format!("service/{name}/allow")) == "-"
    })
}

/// What lbd cannot do must not open what nginx kept shut.
///
/// Method: each row is a location beside an open `/`, with the services that must refuse everybody, and
/// those that stay open.
#[test]
fn what_was_shut_stays_shut() {
    let own: [(&str, &[&str], &[&str]); 33] = [
        ("location /p { deny all; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { auth_request /auth; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { return 403; }", &["web-p"], &["web"]),
        ("location = /p { return 404; }", &["web-p"], &["web"]),
        ("location /p { return 503; }", &["web-p"], &["web"]),
        ("location /p { deny all; }", &["web-p"], &["web"]),
        ("location /p { internal; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location = /p { internal; root /x; }", &["web-p"], &["web"]),
        ("location /p { auth_basic A; proxy_pass http://a; }", &["web-p"], &["web"]),
        (
            "location /p { auth_basic A; auth_basic_user_file $f; proxy_pass http://a; }",
            &["web-p"],
            &["web"],
        ),
        (
            "location /p { auth_basic $who; auth_basic_user_file f; proxy_pass http://a; }",
            &["web-p"],
            &["web"],
        ),
        ("location /p { if ($a) { return 403; } proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { if ($a) { return 503; } proxy_pass http://a; }", &["web-p"], &["web"]),
        (
            "location /p { if ($cookie_a = '') { return 302 /login; } proxy_pass http://a; }",
            &["web-p"],
            &["web"],
        ),
        ("location /p { if (-f /x) { return 503; } proxy_pass http://a; }", &[], &["web", "web-p"]),
        ("if ($bad) { return 444; }", &["web"], &[]),
        (
            "location /p { limit_except GET { deny all; } proxy_pass http://a; }",
            &["web-p"],
            &["web"],
        ),
        ("location /p { valid_referers none; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { secure_link $arg_m; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { auth_digest A; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { access_by_lua_block { x() } proxy_pass http://a; }", &["web-p"], &["web"]),
        ("location /p { access_by_lua_file x; proxy_pass http://a; }", &["web-p"], &["web"]),
        ("ssl_crl crl.pem;", &["web"], &[]),
        // Paths that lbd cannot tell from others.
        ("location ~ \\.git { deny all; }", &["web"], &[]),
        ("location ~ \\.git { auth_basic A; auth_basic_user_file f; root /x; }", &["web"], &[]),
        ("location ~* ^/p/ { deny all; }", &["web", "web-p"], &[]),
        ("location ~ ^/p/ { deny all; }", &["web-p"], &["web"]),
        (
            "location ^~ /q { proxy_pass http://b; } location ~ \\.git { deny all; }",
            &["web"],
            &["web-q"],
        ),
        (
            "location /p/q { proxy_pass http://b; } location ~ ^/p/ { deny all; }",
            &["web-p", "web-p-q"],
            &["web"],
        ),
        // nginx takes the regular expression.
        (
            "location /p { proxy_pass http://b; } location ~ ^/p/ { return 403; }",
            &["web-p"],
            &["web"],
        ),
        // It would be a prefix.
        (
            "location /p { deny all; } location = /p/login { proxy_pass http://b; }",
            &["web-p"],
            &["web"],
        ),
        // lbd has no word for what they do, but for who may come.
        ("location /p { fastcgi_pass b; allow 10.0.0.0/8; deny all; }", &["web-p"], &["web"]),
        ("location /p { root /x; auth_basic A; auth_basic_user_file f; }", &["web-p"], &["web"]),
    ];
    let server =
        |lines: &str| format!("server {{ location / {{ proxy_pass http://a; }} {lines} }}");
    assert_doors(own.map(|(lines, shut, open)| (server(lines), shut, open)));
}

fn assert_doors<'r>(rows: impl IntoIterator<Item = (String, &'r [&'r str], &'r [&'r str])>) {
    let mut wrong = Vec::new();
    for (text, shut, open) in rows {
        let imported = imported(&text);
        assert_config(&imported);
        let [shut, open] = [shut, open]
            .map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>());
        let found = doors(&imported);
        if found != (shut, open) {
            wrong.push(format!("{text}\n{found:?}\n{}", imported.config));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Method: as above, with whole servers: all of lbd's services answer on all listeners.
#[test]
fn what_was_shut_for_a_host_or_an_address_stays_shut() {
    let pass = "location / { proxy_pass http://a; }";
    let tls = "listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;";
    let asks = "ssl_verify_client on; ssl_client_certificate";
    let rows: [(String, &[&str], &[&str]); 9] = [
        // Every request is refused, whatever the locations say.
        (format!("server {{ server_name a.com; {pass} return 403 \"no\"; }}"), &["a-com"], &[]),
        (format!("server {{ server_name a.com; return 503; {pass} }}"), &["a-com"], &[]),
        // A host that is refused, beside one that takes every host.
        (
            format!("server {{ {pass} }} server {{ server_name bad.com; return 403; }}"),
            &["bad-com"],
            &["web"],
        ),
        // Two authorities on one address; the last wins.
        (
            format!(
                "server {{ {tls} server_name a.com; {asks} a.pem; {pass} }}
                 server {{ {tls} server_name b.com; {asks} b.pem; {pass} }}"
            ),
            &["a-com"],
            &["b-com"],
        ),
        // The section of the listener reads the default server first.
        (
            format!(
                "server {{ {tls} server_name b.com; {asks} b.pem; {pass} }}
                 server {{ {tls} listen 443 ssl default_server; server_name a.com; {asks} a.pem; {pass} }}"
            )
            .replace("listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key; listen", "ssl_certificate a.pem; ssl_certificate_key a.key; listen"),
            &["a-com"],
            &["b-com"],
        ),
        // Certificates are asked for on one address, and not on the other.
        (
            format!(
                "server {{ {tls} server_name a.com; {asks} a.pem; {pass} }}
                 server {{ listen 81; server_name b.com; {pass} }}"
            ),
            &["a-com"],
            &["b-com"],
        ),
        (
            format!(
                "server {{ {tls} server_name a.com; {asks} a.pem; {pass} }}
                 server {{ listen 80; return 301 https://$host$request_uri; }}"
            ),
            &[],
            &["a-com"],
        ),
        // Inside only, beside an address for everybody.
        (
            format!(
                "server {{ listen 127.0.0.1:81; server_name a.com; {pass} }}
                 server {{ listen 80; server_name b.com; {pass} }}"
            ),
            &["a-com"],
            &["b-com"],
        ),
        (format!("server {{ listen 127.0.0.1:81; server_name a.com; {pass} }}"), &[], &["a-com"]),
    ];
    assert_doors(rows);
    // Where nginx refuses unknown hosts, no service takes them.
    let imported = imported(&format!(
        "server {{ listen 80 default_server; return 444; }} server {{ listen 80; server_name a.com; {pass} }}
         server {{ listen 81 default_server; server_name b.com; {pass} }}"
    ));
    let table = parsed(&imported);
    assert_eq!(at(&table, "service/a-com/hosts"), "[\"a.com\"]");
    assert_eq!(at(&table, "service/b-com/hosts"), "[\"b.com\"]");
}

/// What lbd would refuse is not written.
///
/// Method: whole files, with a key and its value.
#[test]
fn what_is_written_passes_the_check() {
    let pass = "location / { proxy_pass http://a; }";
    let tls = "listen 443 ssl; ssl_certificate a.pem; ssl_certificate_key a.key;";
    for (text, key, expected) in [
        (format!("server {{ {pass} location /p {{ return 204; }} }}"), "service/web-p", "-"),
        (
            format!("server {{ root /r; error_page 404 500 /a.html; {pass} }}"),
            "service/web/error_pages",
            "{ 500 = \"/r/a.html\" }",
        ),
        (
            format!("server {{ root /r; error_page 404 /a.html; {pass} }}"),
            "service/web/error_pages",
            "-",
        ),
        (
            "upstream u { server a fail_timeout=0; } server { location / { proxy_pass http://u; } }"
                .to_owned(),
            "service/web/health/passive/for",
            "\"100ms\"",
        ),
        (
            split("server b;", "server c max_fails=3 fail_timeout=30s;"),
            "service/web/health/passive",
            "{ failures = 3, for = \"30s\" }",
        ),
        (
            format!("server {{ {pass} location /p {{ rewrite ^/p/(.*)$ /q/$1 permanent; }} }}"),
            "service/web-p/paths",
            "[\"/p\"]",
        ),
        (
            format!("server {{ {pass} location /p {{ rewrite ^/p/(.*)$ /q/$1 last; }} }}"),
            "service/web-p",
            "-",
        ),
        (
            "server { server_name *.a.com; return 301 http://$server_name$request_uri; }".to_owned(),
            "service/a-com/redirect",
            "-",
        ),
        // A circle is not written.
        (
            format!(
                "server {{ listen 80; server_name a.com; location /x {{ proxy_pass http://b; }}
                   location / {{ return 301 https://$host$request_uri; }} }}
                 server {{ {tls} server_name a.com; {pass} }}"
            ),
            "service/a-com/pool/blue/endpoints",
            "[\"a:80\"]",
        ),
        (
            "server { listen 80 proxy_protocol; location / { proxy_pass http://a; } }".to_owned(),
            "listener/http/proxy_protocol",
            "true",
        ),
        (
            format!("set_real_ip_from 10.0.0.0/8; real_ip_header X-Real-IP; server {{ {pass} }}"),
            "listener/http/trusted_proxies",
            "-",
        ),
        (
            format!("set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; server {{ {pass} }}"),
            "listener/http/trusted_proxies",
            "[\"10.0.0.0/8\"]",
        ),
        (format!("server {{ {tls} {pass} }}"), "listener/https/http2", "-"),
        (format!("server {{ {tls} http2 off; {pass} }}"), "listener/https/http2", "false"),
    ] {
        let imported = imported(&text);
        assert_config(&imported);
        assert_eq!(at(&parsed(&imported), key), expected, "{text}\n{}", imported.config);
    }
}

/// A client must not send by itself what nginx set from something that lbd does not know.
#[test]
fn headers_that_lbd_cannot_set_are_taken_from_clients() {
    let (table, _) = service("proxy_set_header X-User $ssl_client_s_dn;");
    assert_eq!(at(&table, "request_headers/remove"), "[\"X-User\"]");
}

/// A service that is divided between two upstreams with these servers.
fn split(blue: &str, green: &str) -> String {
    format!(
        "split_clients $remote_addr $v {{ 10% green; * blue; }} upstream blue {{ {blue} }}
         upstream green {{ {green} }} server {{ location / {{ proxy_pass http://$v; }} }}"
    )
}

#[test]
fn what_pools_of_a_service_cannot_have_each_is_told() {
    let told = |blue: &str, green: &str| {
        let notes = imported(&split(blue, green)).notes.into_iter();
        let told = notes.filter(|note| note.why.starts_with("lbd has one "));
        told.map(|note| note.why).collect::<Vec<_>>()
    };
    let fails = "server a max_fails=3;";
    assert_eq!(told(fails, fails), Vec::<String>::new());
    for (blue, green, what) in [
        (fails, "server b;", "max_fails and fail_timeout"),
        ("server b;", fails, "max_fails and fail_timeout"),
        ("server a; keepalive_timeout 5s;", "server b;", "keepalive_timeout"),
        ("server a; server b; least_conn;", "server c; server d;", "balance"),
    ] {
        let begins = format!("lbd has one {what} for all pools of a service: that of ");
        let told = told(blue, green);
        assert!(told.len() == 1 && told[0].starts_with(&begins), "{told:?}");
    }
}

/// Method: every directive that the parser finds is counted, noted, or inside one that is not needed.
#[test]
fn no_directive_is_dropped_without_a_word() {
    let text = "worker_processes 4; strange on; events { use epoll; }
        http { types { a b; } odd { odder 1; }
          upstream u { server a; odd_balance; }
          server { listen 80; odd_server 1; location / { proxy_pass http://u; odd_location 2; }
            location /f { root /x; odd_file 3; if ($a) { odd_if 4; } } } }";
    let imported = imported(text);
    let left: Vec<&str> = imported
        .notes
        .iter()
        .filter(|n| n.kind == Kind::Left)
        .map(|n| n.directive.as_str())
        .collect();
    for directive in [
        "strange on",
        "odd",
        "odder 1",
        "odd_balance",
        "odd_server 1",
        "odd_location 2",
        "location /f",
        "root /x",
        "odd_file 3",
        "if ($a)",
        "odd_if 4",
    ] {
        assert!(left.contains(&directive), "{directive} is not in {left:?}");
    }
    assert_eq!(left.len(), 11, "{left:?}");
    // http, upstream, its server, server, listen, location, proxy_pass
    assert_eq!(imported.carried, 7);
    // worker_processes, events, types
    assert_eq!(imported.count(Kind::Unneeded), 3, "{:?}", imported.notes);
}

#[test]
fn includes_are_bounded() {
    let circle = Memory::of(&[("/n/a", b"include b;"), ("/n/b", b"x { include a; }")]);
    let broken = import(Path::new("/n/a"), Path::new("/n"), &circle).unwrap_err();
    assert_eq!(broken.to_string(), "/n/b:1: /n/a includes itself");
    // Every file includes the next twice: without a bound a million files would be read.
    let names: Vec<String> = (0..15).map(|n| format!("/n/{n}")).collect();
    let texts: Vec<String> = (1..=15).map(|n| format!("include {n};\ninclude {n};")).collect();
    let mut files: Vec<_> =
        names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_bytes())).collect();
    files.push(("/n/15", b"a;"));
    let broken = import(Path::new("/n/0"), Path::new("/n"), &Memory::of(&files)).unwrap_err();
    assert!(broken.why.contains("more than 1000 files"), "{broken}");
}

/// Many of everything that is looked up takes a moment, not minutes.
#[test]
fn a_long_file_is_soon_read() {
    let mut text = String::from("upstream u {");
    (0..2000).for_each(|n| text += &format!("server 10.0.{}.{}:80;", n / 256, n % 256));
    text += "}";
    for n in 0..300 {
        text += &format!("server {{ server_name h{n}.com;");
        (0..20).for_each(|m| text += &format!("location /l{m} {{ proxy_pass http://u; }}"));
        text += "}";
    }
    let begun = Instant::now();
    let imported = imported(&text);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(imported.config.len() < 16 << 20, "{}", imported.config.len());
}

/// Words that lead far into the import, and some that lead astray.
const WORDS: [&str; 48] = [
    "http",
    "server",
    "location",
    "upstream",
    "split_clients",
    "map",
    "if",
    "listen",
    "server_name",
    "proxy_pass",
    "return",
    "rewrite",
    "set",
    "include",
    "/n/x.conf",
    "*",
    "80",
    "443",
    "ssl",
    "_",
    "http://u",
    "http://$v",
    "$v",
    "u",
    "default",
    "5%",
    "/",
    "/a/",
    "=",
    "~",
    "^/(a|b)/",
    "301",
    "https://$host$request_uri",
    "error_page",
    "503",
    "@m",
    "allow",
    "all",
    "deny",
    "10.0.0.0/8",
    "gzip",
    "on",
    "limit_req",
    "zone=a",
    "proxy_set_header",
    "a.com",
    "\"\u{7f}\\\"",
    "é",
];

fn strange() -> impl Strategy<Value = String> {
    let word = prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
    let sign = prop::sample::select(&[";", "; ", " {", "}", " ", "\n"][..]).prop_map(str::to_owned);
    prop::collection::vec(prop_oneof![3 => word.prop_map(|word| word + " "), 2 => sign], 0..120)
        .prop_map(|pieces| pieces.concat())
}

/// A tree that parses, of the same words.
fn tree() -> impl Strategy<Value = String> {
    let word = || prop::sample::select(&WORDS[..]).prop_filter("no quote", |w| !w.contains('"'));
    let line = move || prop::collection::vec(word(), 1..5).prop_map(|words| words.join(" "));
    let leaf = line().prop_map(|line| line + ";\n");
    leaf.prop_recursive(4, 60, 8, move |inner| {
        (line(), prop::collection::vec(inner, 0..8))
            .prop_map(|(line, inner)| format!("{line} {{\n{}}}\n", inner.concat()))
    })
}

fn survives(bytes: &[u8]) -> Result<(), TestCaseError> {
    let files = Memory::of(&[("/n/x.conf", bytes)]);
    match import(Path::new("/n/x.conf"), Path::new("/n"), &files) {
        Ok(imported) => {
            prop_assert!(imported.config.parse::<Table>().is_ok(), "{}", imported.config);
            prop_assert!(imported.notes.iter().all(|note| note.line > 0 && !note.why.is_empty()));
        }
        Err(broken) => prop_assert!(!broken.why.is_empty()),
    }
    Ok(())
}

proptest! {
    /// Any bytes become a TOML file or a reason.
    #[test]
    fn any_bytes_are_a_file_or_a_reason(bytes: Vec<u8>) {
        survives(&bytes)?;
    }

    #[test]
    fn any_words_are_a_file_or_a_reason(text in strange()) {
        survives(text.as_bytes())?;
    }

    #[test]
    fn any_tree_is_a_file(text in prop::collection::vec(tree(), 0..8)) {
        survives(text.concat().as_bytes())?;
    }
}
