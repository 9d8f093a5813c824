//! Certificates that lbd gets by itself, from a real ACME server.

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use crate::support::{
    Lab, Origin, Outcome, Pebble, Pki, Plan, Request, Secured, ask, secured, within,
};
use rustls::{ClientConfig, pki_types::CertificateDer};

/// How long an order may take, on a machine that does much else.
const ORDER: Duration = Duration::from_secs(60);

/// A listener without TLS that sends everybody to the one with TLS, which gets its certificate by
/// itself.
fn plan(blue: &Origin, pebble: &Pebble, names: &str, acme: &str) -> Plan {
    let ports = pebble.ports();
    let plain = format!("address = \"127.0.0.1:{}\"\nredirect_to_https = true", ports.http);
    let secure = format!(
        "[listener.secure]\naddress = \"127.0.0.1:{}\"\ntls = {{ acme = [{names}] }}",
        ports.tls
    );
    Lab::new().listener(&plain).pool("blue", blue).config(&secure).config(&pebble.config(acme))
}

fn tls_address(pebble: &Pebble) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], pebble.ports().tls))
}

/// A connection to a name, once its certificate is one that the server signed.
fn until_trusted(client: &Arc<ClientConfig>, pebble: &Pebble, name: &str) -> Secured {
    let connect = || secured(client, tls_address(pebble), name).ok();
    within(ORDER, connect).expect("the certificate is issued")
}

fn shown(stream: &Secured) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

/// The first event about a certificate that says so.
fn told(lab: &Lab, what: &str) -> serde_json::Value {
    let find = || {
        let says = |event: &serde_json::Value| {
            event["kind"] == "certificate" && event["summary"].as_str().unwrap().contains(what)
        };
        lab.events().into_iter().find(says)
    };
    within(ORDER, find).unwrap_or_else(|| panic!("no event says: {what}"))
}

/// Method: HTTP-01 for two names, with a redirect of everything to TLS; then a start while the server
/// is gone.
#[test]
fn a_certificate_is_had_by_http_and_kept_over_a_restart() {
    if !Pebble::is_installed() {
        return;
    }
    let (blue, mut pebble) = (Origin::answering("blue"), Pebble::started(""));
    let email = "email = [\"ops@example.com\"]";
    let mut lab = plan(&blue, &pebble, "\"a.example\", \"b.example\"", email).start();
    let client = pebble.client(&["http/1.1"]);
    let mut stream = until_trusted(&client, &pebble, "a.example");
    assert!(ask(&mut stream, "a.example", "/").unwrap().ends_with("blue"));
    let issued = shown(&stream);
    assert_eq!(shown(&until_trusted(&client, &pebble, "b.example")), issued);

    assert_eq!(told(&lab, "lbd signs itself")["severity"], "warning");
    let event = told(&lab, "was issued by Pebble");
    assert!(event["summary"].as_str().unwrap().contains("a.example, b.example"), "{event}");
    let list = lab.ctl("--json cert list").json();
    let one = &list["certificates"][0];
    assert_eq!((&one["source"], &one["listener"]), (&"acme".into(), &"secure".into()));
    let file = one["cert"].as_str().unwrap();
    assert!(file.starts_with(lab.path("state/acme").to_str().unwrap()), "{file}");
    assert!(lab.ctl("cert list").succeeds().contains(" acme "));
    let metric = format!("lbd_certificate_expiry_seconds{{listener=\"secure\",file=\"{file}\"}}");
    assert!(lab.metric(&metric) > 1_000_000_000.0);

    // No order is in progress: such a request is like any other.
    let answer = lab.request(&Request::get("/.well-known/acme-challenge/x").host("a.example"));
    assert_eq!(answer.expect(301).header("location").map(|l| l.starts_with("https:")), Some(true));

    pebble.stop();
    lab.restart();
    let again = secured(&client, tls_address(&pebble), "a.example").unwrap();
    assert_eq!(shown(&again), issued);
}

/// Method: only a listener with TLS, which asks its clients for certificates; Pebble has none.
#[test]
fn a_certificate_is_had_by_tls_alone() {
    if !Pebble::is_installed() {
        return;
    }
    let (blue, pebble, pki) = (Origin::answering("blue"), Pebble::started(""), Pki::new());
    let ca = pki.path("ca.pem");
    let listener = format!(
        "address = \"127.0.0.1:{}\"\ntls = {{ acme = [\"a.example\"], client_ca = {ca:?} }}",
        pebble.ports().tls
    );
    let config = pebble.config("challenge = \"tls-alpn-01\"");
    let lab = Lab::new().listener(&listener).pool("blue", &blue).config(&config).start();
    told(&lab, "was issued by Pebble");
    // With TLS 1.3 a client is through before the server has asked it for a certificate.
    let mut stream = secured(&pebble.client(&["http/1.1"]), lab.address(), "a.example").unwrap();
    assert!(ask(&mut stream, "a.example", "/").is_err(), "who shows no certificate is not served");
    // The proof is over: who comes for it only is sent away.
    assert!(secured(&pebble.client(&["acme-tls/1"]), lab.address(), "a.example").is_err());
}

#[test]
fn a_certificate_is_renewed_in_time_and_open_connections_stay() {
    if !Pebble::is_installed() {
        return;
    }
    let blue = Origin::answering("blue");
    let pebble = Pebble::started(", \"certificateValidityPeriod\": 15");
    let lab = plan(&blue, &pebble, "\"a.example\"", "").start();
    let client = pebble.client(&["http/1.1"]);
    let mut open = until_trusted(&client, &pebble, "a.example");
    ask(&mut open, "a.example", "/").unwrap();
    let first = shown(&open);
    let renewed = within(ORDER, || {
        // It was renewed before it expired: every handshake on the way finds a valid one.
        let now = shown(&secured(&client, tls_address(&pebble), "a.example").unwrap());
        (now != first).then_some(now)
    });
    assert!(renewed.is_some(), "a new certificate is shown");
    assert!(ask(&mut open, "a.example", "/").unwrap().ends_with("blue"));
    told(&lab, "was renewed by Pebble");
    let accounts = pebble.log().matches("POST /sign-me-up").count();
    assert_eq!(accounts, 1, "the account is used again");
}

#[test]
fn a_server_may_want_to_know_whose_account_it_is() {
    if !Pebble::is_installed() {
        return;
    }
    let (blue, key) = (Origin::answering("blue"), "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wE");
    let pebble = Pebble::started(&format!(
        ", \"externalAccountBindingRequired\": true, \"externalAccountMACKeys\": {{ \"us\": {key:?} }}"
    ));
    let lab = plan(&blue, &pebble, "\"a.example\"", "").start();
    let refused = told(&lab, "could not be had");
    let said = refused["summary"].as_str().unwrap();
    assert!(said.contains("the server says") && said.contains("external"), "{said}");
    assert!(said.contains("there is none yet; the next attempt is in"), "{said}");
    // A new config is tried at once.
    let eab = format!("eab = {{ key_id = \"us\", key = {key:?} }}");
    lab.write_plan(&plan(&blue, &pebble, "\"a.example\"", &eab));
    until_trusted(&pebble.client(&[]), &pebble, "a.example");
    let shown = lab.ctl("config show").succeeds();
    assert!(shown.contains("***") && !shown.contains(key), "{shown}");
}

/// Method: the server is not there at first, comes, and is gone again when the names change.
#[test]
fn a_server_that_is_down_takes_nothing_away() {
    if !Pebble::is_installed() {
        return;
    }
    let (blue, mut pebble) = (Origin::answering("blue"), Pebble::planned(""));
    let lab = plan(&blue, &pebble, "\"a.example\"", "").start();
    let down = told(&lab, "could not be had");
    assert_eq!(down["severity"], "warning");
    assert!(down["summary"].as_str().unwrap().contains("refused"), "{down}");
    // It works all the same, with a certificate that nobody trusts.
    let connect = |client: &Arc<ClientConfig>| secured(client, tls_address(&pebble), "a.example");
    let nobody = Pki::new();
    let said = connect(&Arc::new(nobody.client(&[]))).unwrap_err().to_string();
    assert!(said.contains("UnknownIssuer") || said.contains("invalid peer"), "{said}");

    pebble.start();
    let client = pebble.client(&["http/1.1"]);
    lab.ctl("cert reload").succeeds();
    let first = shown(&until_trusted(&client, &pebble, "a.example"));

    pebble.stop();
    lab.write_plan(&plan(&blue, &pebble, "\"a.example\", \"c.example\"", ""));
    let down = told(&lab, "a.example, c.example on listener secure could not be had");
    assert!(down["summary"].as_str().unwrap().contains("the old one stays"), "{down}");
    let now = secured(&client, tls_address(&pebble), "a.example").unwrap();
    assert_eq!(shown(&now), first);

    // It has forgotten the account; the order is made with a new one.
    pebble.start();
    let client = pebble.client(&["http/1.1"]);
    lab.write_plan(&plan(&blue, &pebble, "\"a.example\", \"d.example\"", ""));
    until_trusted(&client, &pebble, "d.example");
    told(&lab, "a new account is made");
}

#[test]
fn a_damaged_file_is_set_aside_and_a_new_certificate_ordered() {
    if !Pebble::is_installed() {
        return;
    }
    let (blue, pebble) = (Origin::answering("blue"), Pebble::started(""));
    let mut lab = plan(&blue, &pebble, "\"a.example\"", "").start();
    let client = pebble.client(&[]);
    let first = shown(&until_trusted(&client, &pebble, "a.example"));
    let list = lab.ctl("--json cert list").json();
    let file = list["certificates"][0]["cert"].as_str().unwrap().to_owned();
    lab.stop();
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    lab.launch();
    let event = told(&lab, "it was set aside as");
    assert!(event["summary"].as_str().unwrap().contains(&file), "{event}");
    assert_ne!(shown(&until_trusted(&client, &pebble, "a.example")), first);
}

#[test]
fn names_that_cannot_be_proved_are_refused_with_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |names: &str| {
        let tls = format!("tls = {{ acme = [{names}] }}");
        Lab::new().listener(&tls).pool("blue", "127.0.0.1:9")
    };
    let said = |outcome: Outcome| outcome.fails_with(2);
    let wildcard = said(plan("\"*.example.com\"").ends(folder.path()));
    assert!(wildcard.contains("DNS"), "{wildcard}");
    let alone = said(plan("\"example.com\"").ends(folder.path()));
    assert!(alone.contains("no listener is without tls"), "{alone}");
}
