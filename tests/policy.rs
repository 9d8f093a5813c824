//! Who gets in: body sizes, networks, rates, passwords; own error pages; what lbd answers itself is nobody's fault.

use std::{collections::BTreeSet, fs};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::{Answer, Client, Lab, Origin, Plan, Request, eventually};

const OWN_413: &str = "lbd_requests_total{service=\"app\",pool=\"-\",code=\"413\"}";

/// A lab whose only pool is this origin, with lines for its service.
fn with(origin: &Origin, lines: &str) -> Plan {
    Lab::new().pool("blue", origin).app(lines)
}

/// No endpoint has been blamed for anything.
#[track_caller]
fn nobody_is_blamed(lab: &Lab) {
    let metrics = lab.admin().call(&Request::get("/metrics").host("lbd")).expect(200);
    let blamed = |line: &&str| {
        line.starts_with("lbd_request_failures_total")
            && !line.contains("client-abort")
            && !line.ends_with(" 0")
    };
    let blamed: Vec<_> = metrics.text().lines().filter(blamed).collect();
    assert!(blamed.is_empty(), "{blamed:?}");
}

/// Method: announced bodies at the limit and beyond it; of the latter no byte is sent, so that only the
/// head can have been judged.
#[test]
fn a_body_that_is_announced_too_long_is_refused_before_any_endpoint_is_asked() {
    let blue = Origin::answering("blue");
    let lab = with(&blue, "max_body_bytes = \"1KiB\"").start();
    lab.request(&Request::post("/mirror", vec![b'x'; 1024])).expect(200);
    assert_eq!(blue.requests(), 1);
    let mut client = lab.client();
    client.send("POST /mirror HTTP/1.1\r\nHost: app.test\r\nContent-Length: 1025\r\n\r\n");
    let answer = client.answer().expect(413);
    assert_eq!(answer.header("connection"), Some("close"));
    client.close_writing();
    assert!(client.is_closed());
    let whole = lab.request(&Request::post("/mirror", vec![b'x'; 1 << 20])).expect(413);
    assert_eq!(whole.origin(), "");
    // A client that asks first is not told to go on.
    let mut polite = lab.client();
    polite.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(polite.read_head().unwrap().status, 413);
    assert_eq!(blue.requests(), 1);
    lab.until_metric(OWN_413, 3.0);
    nobody_is_blamed(&lab);
}

/// Method: chunked bodies of 1,000-byte pieces; after those that are refused the endpoint must be asked
/// on connections that carry no rest of them.
#[test]
fn a_body_that_grows_too_long_is_refused_and_leaves_no_trace_at_the_endpoint() {
    let blue = Origin::answering("blue");
    let lab = with(&blue, "max_body_bytes = 3000").start();
    for _ in 0..5 {
        let fits = Request::post("/echo", vec![b'x'; 3000]).chunked();
        assert_eq!(lab.request(&fits).expect(200).json()["length"], 3000);
        let grows = Request::post("/echo", vec![b'x'; 3001]).chunked();
        let mut client = lab.client();
        let answer = client.call(&grows).expect(413);
        assert_eq!((answer.origin(), answer.header("connection")), ("", Some("close")));
        client.close_writing();
        assert!(client.is_closed());
        lab.get("/").expect(200);
    }
    lab.until_metric(OWN_413, 5.0);
    nobody_is_blamed(&lab);
}

/// Method: a stream of chunks without an end; lbd must answer in its midst.
#[test]
fn an_endless_body_is_refused_while_it_comes() {
    let blue = Origin::answering("blue");
    let lab = with(&blue, "max_body_bytes = \"64KiB\"").start();
    let mut client = lab.client();
    client.send("POST /echo HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = format!("{:x}\r\n{}\r\n", 8192, "x".repeat(8192));
    for _ in 0..9 {
        client.send(&piece);
    }
    client.answer().expect(413);
    client.close_writing();
    lab.until_metric(OWN_413, 1.0);
    eventually("the endpoint is rid of it", || {
        (lab.metric("lbd_requests_in_flight{service=\"app\",pool=\"blue\"}") == 0.0).then_some(())
    });
    lab.get("/").expect(200);
    nobody_is_blamed(&lab);
}

/// Method: a trusted proxy speaks for clients inside and outside of the networks.
#[test]
fn networks_are_judged_by_the_client_behind_trusted_proxies() {
    let blue = Origin::answering("blue");
    let status = |lab: &Lab, client: &str| {
        lab.request(&Request::get("/").header("X-Forwarded-For", client)).status
    };
    let trusting = "trusted_proxies = [\"127.0.0.0/8\"]";
    let only = with(&blue, "allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]").listener(trusting);
    let lab = only.start();
    assert_eq!([status(&lab, "10.1.2.3"), status(&lab, "2001:db8::7")], [200, 200]);
    assert_eq!([status(&lab, "192.0.2.1"), status(&lab, "10.1.2.3, 192.0.2.1")], [403, 403]);
    let denying = "allow = [\"10.0.0.7\"]\ndeny = [\"10.0.0.0/8\"]";
    lab.write_plan(&with(&blue, denying).listener(trusting));
    lab.ctl("config reload").succeeds();
    assert_eq!([status(&lab, "10.0.0.7"), status(&lab, "10.0.0.8")], [200, 403]);
    assert_eq!(status(&lab, "192.0.2.1"), 200);
    let distrusting = with(&blue, "allow = [\"10.0.0.0/8\"]").start();
    assert_eq!(status(&distrusting, "10.1.2.3"), 403, "forged");
    nobody_is_blamed(&lab);
}

/// Method: far more requests than the burst, over one connection and over many, so that both workers
/// serve them; the next one is hours away.
#[test]
fn a_rate_is_kept_over_all_workers_and_connections() {
    let blue = Origin::answering("blue");
    let limit = "rate_limit = { requests = 1, per = \"1h\", burst = 20 }";
    for connections in [1, 40] {
        let lab = with(&blue, limit).start();
        let mut clients: Vec<Client> = (0..connections).map(|_| lab.client()).collect();
        let answers: Vec<_> =
            (0..60).map(|n| clients[n % connections].call(&Request::get("/"))).collect();
        let passed = answers.iter().filter(|answer| answer.status == 200).count();
        // One more for a worker that met the client at the same instant.
        assert!((20..=21).contains(&passed), "{passed} over {connections} connections");
        let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
        assert_eq!(refused.status, 429);
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&wait), "{wait}");
        nobody_is_blamed(&lab);
    }
}

/// Method: users and addresses through a trusted proxy; IPv6 neighbours share, IPv4 ones do not.
#[test]
fn a_rate_is_counted_by_user_or_else_by_address() {
    let blue = Origin::answering("blue");
    let lab = with(
        &blue,
        "user_id = [\"header:X-User-Id\"]\n\
         rate_limit = { requests = 1, per = \"1h\", burst = 2, by = \"user-id\" }",
    )
    .listener("trusted_proxies = [\"127.0.0.0/8\"]")
    .start();
    let status = |user: &str, client: &str| {
        let request = Request::get("/").header("X-Forwarded-For", client);
        lab.request(&if user.is_empty() { request } else { request.user(user) }).status
    };
    assert_eq!([(); 3].map(|()| status("ada", "192.0.2.1")), [200, 200, 429]);
    assert_eq!([(); 3].map(|()| status("bob", "192.0.2.1")), [200, 200, 429]);
    assert_eq!([(); 3].map(|()| status("", "192.0.2.1")), [200, 200, 429]);
    let neighbours = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"];
    assert_eq!(neighbours.map(|client| status("", client)), [200, 200, 429, 200]);
    let seen: BTreeSet<_> = blue.users();
    assert_eq!(seen.len(), 2);
}

/// A request of somebody with a password.
fn by(name: &str, password: &str) -> Request {
    let credentials = STANDARD.encode(format!("{name}:{password}"));
    Request::get("/echo").header("Authorization", &format!("Basic {credentials}"))
}

fn user(name: &str, password: &str, cost: u32) -> String {
    let hash = bcrypt::hash_with_result(password, cost).unwrap();
    format!("{name}:{}\n", hash.format_for_version(bcrypt::Version::TwoY))
}

/// A lab that asks for passwords; the file is in its folder before it starts.
fn guarded(origin: &Origin, users: &str) -> (Lab, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("htpasswd");
    fs::write(&file, users).unwrap();
    let auth = format!("basic_auth = {{ file = \"{}\", realm = \"Staff\" }}", file.display());
    (with(origin, &auth).start(), folder)
}

fn header<'a>(echo: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    let headers = echo["headers"].as_array().unwrap();
    headers.iter().find(|header| header[0] == name).and_then(|header| header[1].as_str())
}

/// Method: right, wrong and no credentials; the endpoint must not see them, and a file that changes
/// counts from the next reload on.
#[test]
fn a_password_opens_the_door_and_stays_there() {
    let blue = Origin::answering("blue");
    let (lab, folder) = guarded(&blue, &user("ada", "hunter22", 5));
    let echo = lab.request(&by("ada", "hunter22")).expect(200).json();
    assert_eq!(header(&echo, "authorization"), None);
    let refused = |request: &Request| -> Answer { lab.request(request).expect(401) };
    for request in [by("ada", "hunter23"), by("eve", "hunter22"), Request::get("/echo")] {
        let answer = refused(&request);
        let challenge = "Basic realm=\"Staff\", charset=\"UTF-8\"";
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
    }
    refused(&Request::get("/").header("Authorization", "Bearer x"));
    assert_eq!(blue.requests(), 1);
    fs::write(folder.path().join("htpasswd"), user("ada", "hunter33", 5)).unwrap();
    lab.request(&by("ada", "hunter22")).expect(200);
    lab.ctl("config reload").succeeds();
    refused(&by("ada", "hunter22"));
    lab.request(&by("ada", "hunter33")).expect(200);
    fs::write(folder.path().join("htpasswd"), "ada:plain\n").unwrap();
    let said = lab.ctl("config reload").fails_with(4);
    assert!(said.contains("line 1, has for ada neither a bcrypt"), "{said}");
    lab.request(&by("ada", "hunter33")).expect(200);
    nobody_is_blamed(&lab);
    // Elsewhere the header is the application's.
    let open = with(&blue, "").start();
    let echo = open.request(&by("ada", "hunter22")).expect(200).json();
    assert!(header(&echo, "authorization").is_some());
}

/// Method: twenty wrong passwords at a time, each of which takes long to check; when somebody who is
/// known has been served by the same workers, most of them must still be waiting.
#[test]
fn trying_passwords_holds_nobody_else_up() {
    let blue = Origin::answering("blue");
    let (lab, _folder) = guarded(&blue, &user("ada", "hunter22", 12));
    let mut known: Vec<Client> = (0..8).map(|_| lab.client()).collect();
    known.iter_mut().for_each(|client| drop(client.call(&by("ada", "hunter22")).expect(200)));
    let mut trying: Vec<Client> = (0..20).map(|_| lab.client()).collect();
    for (n, client) in trying.iter_mut().enumerate() {
        client.begin(&by("ada", &format!("guess-{n}")));
    }
    known.iter_mut().for_each(|client| drop(client.call(&by("ada", "hunter22")).expect(200)));
    let checked = lab.metric("lbd_requests_total{service=\"app\",pool=\"-\",code=\"401\"}");
    let statuses: Vec<u16> = trying.iter_mut().map(|client| client.answer().status).collect();
    // 429: more at a time than one network may have; 503: it waited too long for its turn.
    assert!(statuses.iter().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
    let refused = statuses.iter().filter(|status| **status == 401).count();
    assert!((checked as usize) < refused, "{checked} of {refused} were checked meanwhile");
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(blue.requests(), 16);
}

/// Method: an own page for what lbd answers, which an endpoint's error and JSON must not get.
#[test]
fn errors_of_lbds_own_have_the_services_pages() {
    let blue = Origin::answering("blue");
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("sorry.html");
    fs::write(&page, "<h1>Sorry!</h1>").unwrap();
    let page = page.display();
    let lab = with(
        &blue,
        &format!(
            "retries = 0\nmax_body_bytes = 10\nerror_pages = {{ 502 = '{page}', 413 = '{page}' }}"
        ),
    )
    .start();
    let large = lab.request(&Request::post("/", "x".repeat(11))).expect(413);
    assert_eq!(
        (large.text(), large.header("content-type")),
        ("<h1>Sorry!</h1>", Some("text/html; charset=utf-8"))
    );
    assert_eq!(lab.get("/502").expect(502).text(), "blue");
    blue.close();
    assert_eq!(lab.get("/").expect(502).text(), "<h1>Sorry!</h1>");
    let json = lab.request(&Request::get("/").header("Accept", "application/json")).expect(502);
    assert_eq!(json.json()["status"], 502);
    lab.ctl("maintenance on").succeeds();
    assert!(lab.get("/").expect(503).text().contains("maintenance"));
}
