//! Coming from nginx: `lbctl config import-nginx`.

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use crate::support::{Client, Lab, Origin, Outcome, Request, eventually, installed};
use lbd::{
    config,
    import::{Files, Imported, import},
};

/// nginx files with the config and the notes that come of them, in `tests/import`. To write them anew,
/// run with `IMPORT_WRITE=1` and read the difference.
const SAMPLES: [&str; 6] =
    ["plain", "r1-maintenance", "r2-dashboard", "r3-weights", "r4/nginx", "r5-canary"];

/// Files of this project.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        glob::glob(pattern.to_str().unwrap()).unwrap().map(Result::unwrap).collect()
    }
}

fn sample(name: &str) -> Imported {
    let path = format!("tests/import/{name}.conf");
    import(Path::new(&path), Path::new("/etc/nginx"), &Disk).unwrap()
}

/// What the samples name: pages, passwords, certificates and their keys.
fn read(path: &Path) -> std::io::Result<String> {
    static MADE: LazyLock<(String, String)> = LazyLock::new(|| {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    });
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok(match name {
        _ if name.contains("key") => MADE.1.clone(),
        _ if name.ends_with("pem") || name.ends_with("crt") => MADE.0.clone(),
        _ if name.contains("passwd") => {
            "ada:$2y$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned()
        }
        _ => "<p>page</p>".to_owned(),
    })
}

fn checked(text: &str) -> lbd::model::Settings {
    config::check(text, &read).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Method: config and notes are compared with files that people have read.
#[test]
#[expect(clippy::disallowed_methods, reason = "how a person asks for the files anew")]
fn samples_become_what_people_have_read() {
    let mut different = Vec::new();
    for name in SAMPLES {
        let imported = sample(name);
        let notes: String = imported.notes.iter().map(|note| format!("{note}\n")).collect();
        for (kind, text) in [("toml", &imported.config), ("notes", &notes)] {
            let path = format!("tests/import/{name}.{kind}");
            if std::env::var_os("IMPORT_WRITE").is_some() {
                fs::write(&path, text).unwrap();
            }
            if fs::read_to_string(&path).unwrap_or_default() != *text {
                different.push(format!("{path} would be:\n{text}"));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// Method: the checker reads every sample's config; where the sample is ahead of it, what is left.
#[test]
fn what_is_written_is_a_config() {
    for name in SAMPLES {
        checked(&sample(name).config);
    }
}

fn lbctl(words: &[&str], folder: &Path) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
    command.args(["config", "import-nginx"]).args(words).current_dir(folder);
    Outcome::of(&mut command, folder)
}

/// Method: what `include` names is written beside the file and one folder above, where `sites-enabled`
/// has it.
#[test]
fn the_config_goes_to_standard_output_and_the_list_to_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("sites-enabled")).unwrap();
    fs::create_dir_all(path.join("snippets")).unwrap();
    fs::write(path.join("snippets/limits.conf"), "proxy_read_timeout 7s;\nproxy_cache one;\n")
        .unwrap();
    let site = "server {\n listen 8080;\n location / {\n  include snippets/*.conf;\n  \
                proxy_pass http://127.0.0.1:9000;\n }\n}\n";
    fs::write(path.join("sites-enabled/shop"), site).unwrap();

    let outcome = lbctl(&["sites-enabled/shop"], path);
    let told = outcome.stderr.clone();
    let text = outcome.succeeds();
    assert_eq!(checked(&text).service.len(), 1);
    assert!(text.contains("first_byte = \"7s\""), "{text}");
    assert!(
        told.contains(
            "snippets/limits.conf:2: proxy_cache one: not carried over: lbd does not cache"
        ),
        "{told}"
    );
    assert!(told.lines().last().unwrap().starts_with("lbctl: sites-enabled/shop: "), "{told}");

    let outcome = lbctl(&["sites-enabled/shop", "--output", "lbd.toml"], path);
    assert_eq!((outcome.stdout.as_str(), outcome.code), ("", 0));
    assert_eq!(fs::read_to_string(path.join("lbd.toml")).unwrap(), text);

    let json = lbctl(&["sites-enabled/shop", "--json"], path).json();
    assert_eq!(json["config"], text.as_str());
    let left: Vec<_> =
        json["notes"].as_array().unwrap().iter().filter(|note| note["kind"] == "left").collect();
    assert_eq!((left.len(), &left[0]["line"]), (1, &2.into()));

    let quiet = lbctl(&["sites-enabled/shop", "--quiet"], path);
    assert_eq!((quiet.stdout, quiet.stderr), (text, String::new()));
}

#[test]
fn what_is_no_nginx_file_is_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.conf"), "http {\n include b.conf;\n}\n").unwrap();
    fs::write(folder.path().join("b.conf"), "server {\n listen 80\n}\n").unwrap();
    let said = lbctl(&["a.conf"], folder.path()).fails_with(2);
    assert!(said.contains("b.conf:3: unexpected }; listen has no ; at its end"), "{said}");
    let outcome = lbctl(&["a.conf", "--json"], folder.path());
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&json["file"], &json["line"]), (&"b.conf".into(), &3.into()));

    fs::write(folder.path().join("b.conf"), "include a.conf;\n").unwrap();
    let said = lbctl(&["a.conf"], folder.path()).fails_with(2);
    assert!(said.contains("b.conf:1: a.conf includes itself"), "{said}");
    assert!(
        lbctl(&["none.conf"], folder.path()).fails_with(2).contains("none.conf:1: cannot be read")
    );
}

/// A real nginx with a config. It is killed at the end of the test.
struct Nginx(Child);

impl Nginx {
    fn start(config: &Path, folder: &Path) -> Self {
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(config).args(["-e", "stderr", "-g"]);
        command.arg(format!("daemon off; pid {}/nginx.pid;", folder.display()));
        let log = fs::File::create(folder.join("nginx.log")).unwrap();
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along.
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The status of an answer, who gave it, and what the endpoint was told of the request.
fn seen(address: std::net::SocketAddr, host: &str, path: &str) -> (u16, String, String) {
    let answer = Client::tcp(address).unwrap().call(&Request::get(path).host(host));
    let told = || {
        let echo = answer.json();
        let headers = echo["headers"].as_array().unwrap().iter();
        let host = headers.filter(|pair| pair[0] == "host").map(|pair| pair[1].as_str().unwrap());
        format!("{} {}", host.collect::<String>(), echo["target"].as_str().unwrap())
    };
    let told = if path.starts_with("/echo") { told() } else { String::new() };
    (answer.status, answer.origin().to_owned(), told)
}

/// Requests get from lbd what they got from nginx.
///
/// Method: three applications, and a config of nginx's with a default server, wildcard hosts, prefixes
/// and a server that is down. If nginx is installed, it runs and is asked first; the list of answers is
/// checked either way.
#[test]
fn lbd_serves_as_nginx_did() {
    let [web, api, wild] = ["web", "api", "wild"].map(Origin::answering);
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let text = fs::read_to_string("tests/import/serving.conf.in").unwrap();
    let fill =
        [("@PORT@", port.to_string()), ("@WEB@", web.to_string()), ("@API@", api.to_string())];
    let fill = fill.into_iter().chain([("@WILD@", wild.to_string())]);
    let text = fill.fold(text, |text, (name, value)| text.replace(name, &value));
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text).unwrap();

    let config = lbctl(&["nginx.conf"], folder.path()).succeeds();
    let config = config.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    let mut lab = Lab::new().pool("blue", &web).start();
    lab.stop();
    let at = folder.path().display();
    let admin = lab.folder().display();
    lab.write_config(&format!(
        "[admin]\nsocket = \"{admin}/admin.sock\"\nstate_dir = \"{admin}/state2\"\n{config}"
    ));
    lab.launch();

    let asked = [
        ("app.test", "/", (200, "web", "")),
        ("app.test", "/echo", (200, "web", "app.test /echo")),
        ("app.test", "/echo?x=1", (200, "web", "app.test /echo?x=1")),
        ("app.test", "/api/users", (200, "api", "")),
        ("app.test", "/apix", (200, "web", "")),
        ("unknown.test", "/echo", (200, "web", "unknown.test /echo")),
        ("wild.test", "/", (200, "web", "")),
        ("a.wild.test", "/", (200, "wild", "")),
        ("a.b.wild.test", "/api/", (200, "wild", "")),
        ("app.test", "/404", (404, "web", "")),
    ];
    let expected: Vec<_> =
        asked.iter().map(|(.., (s, o, e))| (*s, (*o).into(), (*e).into())).collect();
    let answers = |address| -> Vec<(u16, String, String)> {
        asked.iter().map(|(host, path, _)| seen(address, host, path)).collect()
    };
    if installed("nginx") {
        let _nginx = Nginx::start(&file, folder.path());
        let address = ([127, 0, 0, 1], port).into();
        eventually(&format!("nginx listens; see {at}"), || Client::tcp(address).ok());
        assert_eq!(answers(address), expected, "nginx");
    }
    assert_eq!(answers(lab.address()), expected, "lbd");
}
