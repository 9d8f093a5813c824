//! TLS towards clients: who gets which certificate, what changes without a restart, who is let in.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use crate::support::{
    Lab, Origin, Outcome, Pki, Request, Secured, ask, eventually, installed, secured,
};
use rustls::{HandshakeKind, ProtocolVersion, pki_types::CertificateDer};

fn lab(blue: &Origin, pki: &Pki, files: &[&str], more: &str) -> Lab {
    let tls = format!("tls = {{ {}{more} }}", pki.certificates(files));
    Lab::new().listener(&tls).pool("blue", blue).start()
}

fn connect(lab: &Lab, pki: &Pki, name: &str) -> Secured {
    secured(&Arc::new(pki.client(&["http/1.1"])), lab.address(), name).unwrap()
}

/// What certificate the client was shown.
fn shown(stream: &Secured) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn requests_come_through_tls_and_the_endpoint_is_told() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let lab = lab(&blue, &pki, &["a"], "");
    let mut stream = connect(&lab, &pki, "a.example");
    for _ in 0..3 {
        let answer = ask(&mut stream, "a.example", "/echo").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let told = answer.to_ascii_lowercase().replace(['"', ' '], "");
        assert!(told.contains("[x-forwarded-proto,https]"), "{answer}");
    }
    let large = ask(&mut stream, "a.example", "/bytes/3000000").unwrap();
    assert!(large.len() > 3_000_000);
    assert_eq!(blue.connections(), 1);
    assert!(lab.ctl("check blue").succeeds().contains("days left"));
}

#[test]
fn the_name_that_the_client_asks_for_picks_the_certificate() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099).sign("b", &["*.b.example", "b.example"], 2099);
    let lab = lab(&blue, &pki, &["a", "b"], "");
    let a = shown(&connect(&lab, &pki, "a.example"));
    let b = shown(&connect(&lab, &pki, "x.b.example"));
    assert_ne!(a, b);
    assert_eq!(b, shown(&connect(&lab, &pki, "b.example")));
    // Who asks for another name gets the first, and does not take it.
    let config = Arc::new(pki.client(&[]));
    assert!(secured(&config, lab.address(), "c.example").is_err());
}

#[test]
fn sessions_are_taken_up_again_without_asking_who_served_before() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let lab = lab(&blue, &pki, &["a"], "");
    let config = Arc::new(pki.client(&["http/1.1"]));
    let mut first = secured(&config, lab.address(), "a.example").unwrap();
    ask(&mut first, "a.example", "/").unwrap();
    assert_eq!(first.conn.handshake_kind(), Some(HandshakeKind::Full));
    // Workers share the keys of tickets: whichever accepts, it knows the client.
    for _ in 0..6 {
        let mut next = secured(&config, lab.address(), "a.example").unwrap();
        ask(&mut next, "a.example", "/").unwrap();
        assert_eq!(next.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[test]
fn old_versions_are_spoken_only_where_they_may_be() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let old = |lab: &Lab| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let pem = fs::read(pki.path("ca.pem")).unwrap();
        use rustls::pki_types::pem::PemObject;
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        secured(&Arc::new(config), lab.address(), "a.example")
    };
    let usual = lab(&blue, &pki, &["a"], "");
    assert_eq!(old(&usual).unwrap().conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    let strict = lab(&blue, &pki, &["a"], ", min_version = \"1.3\"");
    assert!(old(&strict).is_err());
    assert!(secured(&Arc::new(pki.client(&[])), strict.address(), "a.example").is_ok());
}

#[test]
fn clients_can_be_asked_for_a_certificate() {
    let (blue, pki, stranger) = (Origin::answering("blue"), Pki::new(), Pki::new());
    pki.sign("a", &["a.example"], 2099).sign("client", &["client"], 2099);
    stranger.sign("client", &["client"], 2099);
    fs::copy(stranger.path("client.pem"), pki.path("other.pem")).unwrap();
    fs::copy(stranger.path("client.key"), pki.path("other.key")).unwrap();
    let lab = lab(&blue, &pki, &["a"], &format!(", client_ca = {:?}", pki.path("ca.pem")));
    let get = |own: Option<&str>| {
        let config = Arc::new(pki.client_of(&["http/1.1"], own));
        ask(&mut secured(&config, lab.address(), "a.example")?, "a.example", "/")
    };
    assert!(get(Some("client")).unwrap().ends_with("blue"));
    assert!(get(None).is_err() && get(Some("other")).is_err());
    assert_eq!(blue.requests(), 1);
}

#[test]
fn a_new_certificate_is_taken_up_by_itself_and_open_connections_stay() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2098);
    let lab = lab(&blue, &pki, &["a"], "");
    let mut open = connect(&lab, &pki, "a.example");
    let before = shown(&open);
    ask(&mut open, "a.example", "/").unwrap();
    pki.sign("a", &["a.example"], 2099);
    eventually("new handshakes show the new certificate", || {
        (shown(&connect(&lab, &pki, "a.example")) != before).then_some(())
    });
    assert!(ask(&mut open, "a.example", "/").unwrap().ends_with("blue"));
    assert!(lab.ctl("cert list").succeeds().contains("2099-01-01"));
}

#[test]
fn a_certificate_that_cannot_be_used_is_refused_and_the_old_one_stays() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099).sign("b", &["b.example"], 2099);
    pki.sign("old", &["a.example"], 2021);
    let lab = lab(&blue, &pki, &["a"], "");
    let before = shown(&connect(&lab, &pki, "a.example"));
    let good = [fs::read(pki.path("a.pem")).unwrap(), fs::read(pki.path("a.key")).unwrap()];
    let half = &good[0][..good[0].len() / 2];
    let foreign = fs::read(pki.path("b.key")).unwrap();
    let expired = [fs::read(pki.path("old.pem")).unwrap(), fs::read(pki.path("old.key")).unwrap()];
    for (cert, key, why) in [
        (half, &good[1], "not whole"),
        (&good[0], &foreign, "the key of another certificate"),
        (&expired[0], &expired[1], "has expired"),
        (&good[0], &Vec::new(), "no private key"),
    ] {
        fs::write(pki.path("a.pem"), cert).unwrap();
        fs::write(pki.path("a.key"), key).unwrap();
        let refusal = lab.ctl("cert reload").fails_with(4);
        assert!(refusal.contains(why), "{why}: {refusal}");
        assert_eq!(shown(&connect(&lab, &pki, "a.example")), before, "{why}");
    }
    fs::write(pki.path("a.pem"), &good[0]).unwrap();
    fs::write(pki.path("a.key"), &good[1]).unwrap();
    lab.ctl("cert reload").succeeds();
}

#[test]
fn a_bad_certificate_keeps_lbd_from_starting_and_says_which() {
    let (pki, folder) = (Pki::new(), tempfile::tempdir().unwrap());
    pki.sign("a", &["a.example"], 2099).sign("b", &["b.example"], 2099);
    fs::copy(pki.path("b.key"), pki.path("a.key")).unwrap();
    let tls = format!("tls = {{ {} }}", pki.certificates(&["a", "missing"]));
    let plan = Lab::new().listener(&tls).pool("blue", "127.0.0.1:9");
    let said = plan.ends(folder.path()).fails_with(2);
    assert!(said.contains("listener.http.tls.certificates[0]"), "{said}");
    assert!(said.contains("the key of another certificate"), "{said}");
    assert!(said.contains("missing.pem") && said.contains("cannot be read"), "{said}");
}

#[test]
fn certificates_that_end_soon_are_told_in_time() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2021);
    let lab = lab(&blue, &pki, &["a"], "");
    let told = eventually("an event", || {
        lab.events().into_iter().find(|event| event["kind"] == "certificate")
    });
    assert_eq!(told["severity"], "critical");
    assert!(told["summary"].as_str().unwrap().contains("a.example"), "{told}");
    assert!(lab.ctl("cert list").succeeds().contains("expired"));
    let start = lab.ctl("check blue --json");
    assert!(start.stdout.contains("has expired"), "{}", start.stdout);
    start.fails_with(1);
    let metric =
        format!("lbd_certificate_expiry_seconds{{listener=\"http\",file={:?}}}", pki.path("a.pem"));
    assert!((1_609_400_000.0..1_609_600_000.0).contains(&lab.metric(&metric)));
}

#[test]
fn plain_clients_are_sent_to_tls() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().listener("redirect_to_https = true").pool("blue", &blue).start();
    let answer = lab.request(&Request::get("/a?b=c").host("a.example:8080")).expect(301);
    assert_eq!(answer.header("location"), Some("https://a.example/a?b=c"));
    let answer = lab.request(&Request::post("/a", "x").host("a.example")).expect(308);
    assert_eq!(answer.header("location"), Some("https://a.example/a"));
    assert_eq!(blue.requests(), 0);
}

#[test]
fn browsers_are_told_to_stay_with_tls() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let tls = format!("hsts = \"365d\"\ntls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new().listener(&tls).app("hosts = [\"a.example\"]").pool("blue", &blue).start();
    let mut stream = connect(&lab, &pki, "a.example");
    for host in ["a.example", "unknown.example"] {
        let answer = ask(&mut stream, host, "/").unwrap().to_ascii_lowercase();
        assert!(answer.contains("strict-transport-security: max-age=31536000\r\n"), "{answer}");
    }
}

/// Method: a stranger who speaks no TLS, one who says nothing, and one who leaves in the middle.
#[test]
fn who_shakes_no_hands_keeps_nobody_waiting() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["a.example"], 2099);
    let tls =
        format!("timeouts = {{ header = \"200ms\" }}\ntls = {{ {} }}", pki.certificates(&["a"]));
    let lab = Lab::new().listener(&tls).pool("blue", &blue).start();
    let mut plain = TcpStream::connect(lab.address()).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut silent = TcpStream::connect(lab.address()).unwrap();
    drop(TcpStream::connect(lab.address()).unwrap());
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"));
    assert_eq!(silent.read(&mut [0; 10]).unwrap_or(0), 0, "closed without a word");
    assert!(
        ask(&mut connect(&lab, &pki, "a.example"), "a.example", "/").unwrap().ends_with("blue")
    );
    lab.until_metric("lbd_connections{listener=\"http\"}", 0.0);
}

/// Method: curl and openssl as clients.
#[test]
fn other_programs_agree() {
    let (blue, pki) = (Origin::answering("blue"), Pki::new());
    pki.sign("a", &["localhost"], 2099);
    let lab = lab(&blue, &pki, &["a"], "");
    let (ca, port) = (pki.path("ca.pem"), lab.address().port());
    if installed("curl") {
        for version in ["--http1.1", "--http2", "--tlsv1.3"] {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sSf", version, "--cacert"]).arg(&ca);
            curl.args(["-w", " %{http_version}"]).arg(format!("https://localhost:{port}/"));
            let said = Outcome::of(&mut curl, lab.folder()).succeeds();
            assert_eq!(
                said,
                if version == "--http1.1" { "blue 1.1" } else { "blue 2" },
                "{version}"
            );
        }
    }
    if installed("openssl") {
        let mut openssl = std::process::Command::new("openssl");
        openssl.args(["s_client", "-brief", "-verify_return_error", "-servername", "localhost"]);
        openssl.arg("-CAfile").arg(&ca).arg("-connect").arg(lab.address().to_string());
        openssl.stdin(std::process::Stdio::null());
        Outcome::of(&mut openssl, lab.folder()).succeeds();
    }
}
