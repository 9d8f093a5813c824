//! A real ACME server: Pebble, with which Let's Encrypt tests its clients.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tempfile::TempDir;

use super::{Pki, ask, eventually, secured};

/// A running Pebble, with a name server for which every name is this machine. It trusts nobody but
/// what it sees itself: names are proved on the ports that it was told.
pub struct Pebble {
    folder: TempDir,
    pki: Pki,
    ports: Ports,
    children: Vec<Child>,
}

/// Ports of this machine that were free a moment ago.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// Where lbd is to listen without TLS, and with it.
    pub http: u16,
    pub tls: u16,
    acme: u16,
    management: u16,
    dns: u16,
}

impl Ports {
    pub fn free() -> Self {
        // All are held until all are known, so that none is given twice.
        let held = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, tls, acme, management, dns] =
            held.each_ref().map(|held| held.local_addr().unwrap().port());
        Self { http, tls, acme, management, dns }
    }
}

impl Pebble {
    /// Whether it is installed; prints a note if it is not.
    pub fn is_installed() -> bool {
        let is_there = |program: &str| {
            let mut command = Command::new(program);
            command.arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        let there = is_there("pebble") && is_there("pebble-challtestsrv");
        if !there {
            println!("note: pebble is not installed, this test is passed over");
        }
        there
    }

    /// One that does not run yet; `more` is put into its config.
    pub fn planned(more: &str) -> Self {
        let (folder, pki, ports) = (tempfile::tempdir().unwrap(), Pki::new(), Ports::free());
        pki.sign("pebble", &["localhost"], 2099);
        let (certificate, key) = (pki.path("pebble.pem"), pki.path("pebble.key"));
        let Ports { http, tls, acme, management, .. } = ports;
        let config = format!(
            "{{ \"pebble\": {{ \"listenAddress\": \"127.0.0.1:{acme}\",
             \"managementListenAddress\": \"127.0.0.1:{management}\",
             \"certificate\": {certificate:?}, \"privateKey\": {key:?},
             \"httpPort\": {http}, \"tlsPort\": {tls}, \"ocspResponderURL\": \"\" {more} }} }}"
        );
        fs::write(folder.path().join("pebble.json"), config).unwrap();
        Self { folder, pki, ports, children: Vec::new() }
    }

    /// One that runs.
    pub fn started(more: &str) -> Self {
        let mut pebble = Self::planned(more);
        pebble.start();
        pebble
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) {
        let Ports { acme, management, dns, .. } = self.ports;
        let dns = format!("127.0.0.1:{dns}");
        let log = || File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &dns, "-management", "127.0.0.1:0"]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(self.path("pebble.json")).args(["-dnsserver", &dns]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        pebble.env("PEBBLE_AUTHZREUSE", "0");
        self.children = [names, pebble]
            .map(|mut command| command.stdout(log()).stderr(log()).spawn().unwrap())
            .into();
        for port in [acme, management] {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            eventually("Pebble listens", || TcpStream::connect(address).ok());
        }
    }

    /// Ends it; it forgets everything.
    pub fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// `[acme]` for lbd, with more keys.
    pub fn config(&self, more: &str) -> String {
        let (port, ca) = (self.ports.acme, self.pki.path("ca.pem"));
        format!("[acme]\ndirectory = \"https://localhost:{port}/dir\"\nca = {ca:?}\n{more}\n")
    }

    /// A client that trusts what this server signs.
    pub fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let management = SocketAddr::from(([127, 0, 0, 1], self.ports.management));
        let trusting = Arc::new(self.pki.client(&["http/1.1"]));
        let mut stream = secured(&trusting, management, "localhost").unwrap();
        let answer = ask(&mut stream, "localhost", "/roots/0").unwrap();
        let root = CertificateDer::from_pem_slice(answer.as_bytes()).expect(&answer);
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::new(self.folder.path()).join(name)
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- Pebble said ---\n{}--- end ---", self.log());
        }
    }
}
