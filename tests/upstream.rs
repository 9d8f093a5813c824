//! What lbd speaks with endpoints: HTTP/2, TLS, and whom it trusts.

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
};

use crate::support::{
    Authority, Identity, Lab, Origin, PATIENCE, Request, Speech, eventually, installed, timed,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

fn plain(http2: bool) -> Speech {
    Speech { http2, tls: None }
}

fn secure(identity: &Identity, http2: bool) -> Speech {
    let protocols: &[&str] = if http2 { &["h2"] } else { &["http/1.1"] };
    Speech { http2, tls: Some(identity.server(protocols, None)) }
}

/// A folder with the CA's file, and lines for a pool that trusts it.
struct Trust {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Trust {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
        Self { folder, authority }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn lines(&self, protocol: &str) -> String {
        let ca = self.path().join("ca.pem");
        format!(
            "protocol = '{protocol}'\ntls = {{ ca = '{}', server_name = 'app.example' }}",
            ca.display()
        )
    }
}

const PROBE: &str =
    "[service.app.health]\npath = '/healthz'\ninterval = '100ms'\nrise = 1\nfall = 1";
/// No endpoint is taken out because of what clients see.
const NO_PASSIVE: &str = "[service.app.health]\npassive = false";

#[test]
fn every_protocol_carries_requests_and_probes_with_it() {
    let trust = Trust::new();
    let app = trust.authority.vouch("app.example");
    for (protocol, version, speech) in [
        ("http1", "HTTP/1.1", plain(false)),
        ("h2c", "HTTP/2.0", plain(true)),
        ("https", "HTTP/1.1", secure(&app, false)),
        ("https-h2", "HTTP/2.0", secure(&app, true)),
    ] {
        let blue = Origin::speaking("blue", speech);
        let lines = match protocol {
            "http1" | "h2c" => format!("protocol = '{protocol}'"),
            _ => trust.lines(protocol),
        };
        let lab = Lab::new().pool("blue", &blue).link("blue", &lines).config(PROBE).start();
        lab.until("the probe passes", |seen| seen.standing("blue", &blue.address) == "up");
        let body = "x".repeat(300_000);
        let mut client = lab.client();
        for request in
            [Request::post("/echo", body.clone()), Request::post("/echo", body.clone()).chunked()]
        {
            let seen = client.call(&request).expect(200).json();
            assert_eq!(seen["version"], version, "{protocol}");
            assert_eq!(seen["length"], body.len());
            assert_eq!(seen["hash"], crate::support::hash(body.as_bytes()), "{protocol}");
        }
        let get = client.call(&Request::get("/echo")).expect(200).json();
        assert_eq!(get["length"], 0);
        for (path, status) in [("/204", 204), ("/304", 304), ("/404", 404)] {
            client.call(&Request::get(path)).expect(status);
        }
        let head = client.call(&Request::new("HEAD", "/bytes/1000")).expect(200);
        assert_eq!((head.body.len(), head.header("content-length")), (0, Some("1000")));
        assert_eq!(client.call(&Request::get("/bytes/2000000")).expect(200).body.len(), 2_000_000);
        let pieces = client.call(&Request::get("/chunks/50")).expect(200);
        assert!(pieces.text().ends_with("piece 49\n"), "{protocol}");
        assert_eq!(client.call(&Request::post("/mirror", "abc")).expect(200).text(), "abc");
    }
}

/// Method: the same requests at once, which share one connection or not.
#[test]
fn requests_share_an_http2_connection() {
    let blue = Origin::speaking("blue", plain(true));
    let lab = Lab::new()
        .runtime("workers = 1")
        .pool("blue", &blue)
        .link("blue", "protocol = 'h2c'")
        .config(NO_PASSIVE)
        .start();
    lab.get("/").expect(200);
    let before = blue.connections();
    blue.hold();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| lab.get("/").expect(200));
        }
        blue.until_running(20);
        blue.release();
    });
    assert!(blue.connections() <= before + 2, "{} connections", blue.connections());
}

#[test]
fn an_endpoint_that_is_somebody_else_gets_no_request() {
    let trust = Trust::new();
    let (other, stranger) = (trust.authority.vouch("other.example"), Authority::new());
    let forged = stranger.vouch("app.example");
    for (identity, why) in [(other, "another name"), (forged, "another CA")] {
        for protocol in ["https", "https-h2"] {
            let blue = Origin::speaking("blue", secure(&identity, protocol == "https-h2"));
            let lines = trust.lines(protocol);
            let lab = Lab::new().pool("blue", &blue).link("blue", &lines).config(PROBE).start();
            let status = lab.get("/").status;
            assert!(matches!(status, 502 | 503), "{status}");
            let seen = lab.until("the probe fails", |seen| !seen.pools_reasons()[0].is_empty());
            assert!(seen.pools_reasons()[0].contains("certificate"), "{:?}", seen.pools_reasons());
            assert_eq!((blue.requests(), blue.checks()), (0, 0), "{why}");
        }
    }
}

#[test]
fn a_client_certificate_is_shown() {
    let trust = Trust::new();
    let (app, lbd) = (trust.authority.vouch("app.example"), trust.authority.vouch("lbd.example"));
    let (cert, key) = lbd.write(trust.path(), "lbd");
    for http2 in [false, true] {
        let protocols: &[&str] = if http2 { &["h2"] } else { &["http/1.1"] };
        let tls = Some(app.server(protocols, Some(&trust.authority)));
        let blue = Origin::speaking("blue", Speech { http2, tls });
        let protocol = if http2 { "https-h2" } else { "https" };
        let bare = trust.lines(protocol);
        let own = format!(
            ", client_cert = '{}', client_key = '{}' }}",
            trust.path().join(&cert).display(),
            trust.path().join(&key).display()
        );
        let shown = bare.replace(" }", &own);
        let lab = Lab::new().pool("blue", &blue).link("blue", &shown).config(PROBE).start();
        lab.until("the probe passes", |seen| seen.standing("blue", &blue.address) == "up");
        lab.get("/").expect(200);
        drop(lab);
        let lab = Lab::new().pool("blue", &blue).link("blue", &bare).config(NO_PASSIVE).start();
        lab.get("/").expect(502);
    }
}

/// Method: the CA's file is exchanged, and the config reloaded. What was trusted is trusted no more,
/// although connections that were made before are still kept.
#[test]
fn files_are_read_anew_with_the_config_all_or_nothing() {
    let trust = Trust::new();
    let blue = Origin::speaking("blue", secure(&trust.authority.vouch("app.example"), false));
    let lab = Lab::new()
        .app("timeouts = { keepalive = '1m' }\nretries = 0")
        .pool("blue", &blue)
        .link("blue", &trust.lines("https"))
        .config(NO_PASSIVE)
        .start();
    let mut client = lab.client();
    client.call(&Request::get("/")).expect(200);
    fs::write(trust.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    let refused = lab.ctl("config reload");
    assert!(refused.code != 0 && refused.stderr.contains("ca.pem"), "{}", refused.stderr);
    client.call(&Request::get("/")).expect(200);
    fs::write(trust.path().join("ca.pem"), Authority::new().pem).unwrap();
    lab.ctl("config reload").succeeds();
    client.call(&Request::get("/")).expect(502);
    fs::write(trust.path().join("ca.pem"), &trust.authority.pem).unwrap();
    lab.ctl("config reload").succeeds();
    lab.get("/").expect(200);
}

/// Method: both pools lead to the same address, where only plain HTTP/1 is spoken.
#[test]
fn pools_on_one_address_do_not_share_connections() {
    let both = Origin::answering("both");
    let lab = Lab::new()
        .runtime("workers = 1")
        .app("user_id = ['header:X-User-Id']\nfailover = 'off'\nretries = 0\npin = { name = 'x-pin', secret = 'long-enough' }")
        .pool("blue", &both)
        .pool("green", &both)
        .link("green", "protocol = 'h2c'")
        .config(NO_PASSIVE)
        .start();
    let pinned = Request::get("/").header("x-pin", "green:long-enough");
    let mut client = lab.client();
    for _ in 0..3 {
        client.call(&Request::get("/")).expect(200);
        lab.request(&pinned).expect(502);
    }
}

#[test]
fn preflight_asks_as_traffic_does() {
    let trust = Trust::new();
    let app = trust.authority.vouch("app.example");
    let blue = Origin::answering("blue");
    let (good, plain) = (Origin::speaking("good", secure(&app, true)), Origin::answering("plain"));
    for (green, passes) in [(&good, true), (&plain, false)] {
        let lab = Lab::new()
            .pool("blue", &blue)
            .pool("green", green)
            .link("green", &trust.lines("https-h2"))
            .config("[[service.app.check]]\npath = '/echo'\nbody = 'HTTP/2.0'")
            .start();
        let report = lab.ctl("check green");
        assert_eq!(report.code == 0, passes, "{}{}", report.stdout, report.stderr);
    }
}

/// Cookies of HTTP/2 clients may come in several fields; an HTTP/1 client's may not, but who knows.
#[test]
fn cookies_reach_endpoints_in_one_field() {
    let blue = Origin::answering("blue");
    let lab = Lab::new().pool("blue", &blue).start();
    let request = Request::get("/echo").header("Cookie", "a=1").header("Cookie", "b=2");
    let seen = lab.request(&request).expect(200).json();
    let cookies: Vec<&Value> =
        seen["headers"].as_array().unwrap().iter().filter(|h| h[0] == "cookie").collect();
    assert_eq!(cookies.len(), 1);
    assert_eq!(cookies[0][1], "a=1; b=2");
}

/// Ends the program at the end of the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // Its own children end with it. It may have ended by itself.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Method: nginx behind a socket, with TLS, a client certificate that it verifies, HTTP/2 and the PROXY
/// protocol, which must all be as nginx wants them.
#[test]
fn nginx_takes_tls_http2_and_announcements() {
    if !installed("nginx") {
        return;
    }
    let trust = Trust::new();
    let at = trust.path().display();
    trust.authority.vouch("app.example").write(trust.path(), "app");
    let (cert, key) = trust.authority.vouch("lbd.example").write(trust.path(), "lbd");
    let text = format!(
        "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\n{user}\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen unix:{at}/h2.sock ssl http2 proxy_protocol;\n\
         listen unix:{at}/h1.sock ssl proxy_protocol;\n\
         ssl_certificate {at}/app.cert.pem; ssl_certificate_key {at}/app.key.pem;\n\
         ssl_client_certificate {at}/ca.pem; ssl_verify_client on;\n\
         return 200 \"$server_protocol $ssl_client_verify $proxy_protocol_addr\"; }} }}\n",
        user = if nix::unistd::getuid().is_root() { "user root;\n" } else { "" },
    );
    fs::write(trust.path().join("nginx.conf"), text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(trust.path()).arg("-c").arg(trust.path().join("nginx.conf"));
    let _nginx = Program(command.stderr(Stdio::null()).spawn().unwrap());
    for (protocol, socket, spoken) in
        [("https-h2", "h2.sock", "HTTP/2.0"), ("https", "h1.sock", "HTTP/1.1")]
    {
        let socket = trust.path().join(socket);
        eventually("nginx serves", || std::os::unix::net::UnixStream::connect(&socket).ok());
        for form in ["v1", "v2"] {
            let own = format!(", client_cert = '{at}/{cert}', client_key = '{at}/{key}' }}");
            let lines = trust.lines(protocol).replace(" }", &own);
            let lab = Lab::new()
                .pool("blue", format!("unix:{}", socket.display()))
                .link("blue", &format!("{lines}\nproxy_protocol = '{form}'"))
                .config(PROBE.replace("/healthz", "/").as_str())
                .start();
            let mut client = lab.client();
            for _ in 0..3 {
                let answer = client.call(&Request::get("/")).expect(200);
                assert_eq!(answer.text(), format!("{spoken} SUCCESS 127.0.0.1"), "{form}");
            }
            lab.until("probes pass", |seen| seen.pools_reasons()[0].is_empty());
        }
    }
}

/// gRPC says in trailers how it went. Method: the same status over and over; the pool's metric tells
/// what it was taken for.
#[test]
fn grpc_statuses_are_told_apart() {
    let blue = Origin::speaking("blue", plain(true));
    let lab =
        Lab::new().pool("blue", &blue).link("blue", "protocol = 'h2c'").config(NO_PASSIVE).start();
    let failures =
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"upstream-5xx\"}";
    let mut expected = 0.0;
    for (path, failed) in [
        ("/grpc/end/0", false),
        ("/grpc/end/5", false),
        ("/grpc/end/14", true),
        ("/grpc/end/2", true),
        ("/grpc/head/12", false),
        ("/grpc/head/13", true),
        ("/grpc/none", true),
    ] {
        lab.get(path).expect(200);
        if failed {
            expected += 1.0;
        }
        lab.until_metric(failures, expected);
    }
}

/// Method: an endpoint that never answers. Both forms of a request without an end of its own.
#[test]
fn an_http2_endpoint_that_hangs_is_given_up() {
    let blue = Origin::speaking("blue", plain(true));
    let lab = Lab::new()
        .app("timeouts = { first_byte = '200ms', idle = '10s' }\nretries = 0")
        .pool("blue", &blue)
        .link("blue", "protocol = 'h2c'")
        .config(NO_PASSIVE)
        .start();
    blue.hold();
    for request in [Request::get("/"), Request::post("/", "x")] {
        let (took, answer) = timed(|| lab.request(&request));
        answer.expect(504);
        assert!(took.as_secs() < 5, "{took:?}");
    }
    lab.until_metric(
        "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"timeout\"}",
        2.0,
    );
    blue.release();
    lab.get("/").expect(200);
}

/// A connection that is lost between requests is nobody's failure.
#[test]
fn kept_connections_that_are_lost_are_replaced() {
    let trust = Trust::new();
    let app = trust.authority.vouch("app.example");
    for (lines, speech) in
        [("protocol = 'h2c'".to_owned(), plain(true)), (trust.lines("https"), secure(&app, false))]
    {
        let blue = Origin::speaking("blue", speech);
        let lab = Lab::new()
            .app("timeouts = { keepalive = '1m' }")
            .pool("blue", &blue)
            .link("blue", &lines)
            .start();
        for _ in 0..20 {
            lab.get("/").expect(200);
            blue.disconnect();
        }
        assert!(blue.connections() > 1);
    }
}

/// A laboratory on one path, whose pool speaks as these lines say.
fn lab_on(is_lean: bool, address: impl ToString, lines: &str) -> Lab {
    Lab::new()
        .runtime(&format!("fast_path = {is_lean}\nworkers = 1"))
        .app("retries = 0\ntimeouts = { connect = '1s' }")
        .pool("blue", address)
        .link("blue", lines)
        .config(NO_PASSIVE)
        .start()
}

const CONNECT: &str = "lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"connect\"}";

/// Method: what only the lean path says to endpoints.
#[test]
fn the_lean_path_speaks_tls_on_connections_that_it_keeps() {
    let trust = Trust::new();
    let blue = Origin::speaking("blue", secure(&trust.authority.vouch("app.example"), false));
    let lab = lab_on(true, &blue, &trust.lines("https"));
    let mut client = lab.client();
    for _ in 0..10 {
        let request = Request::post("/echo", "hello").chunked().header("TE", "trailers");
        let seen = client.call(&request).expect(200).json();
        assert_eq!(seen["body"], "hello");
        let told = seen["headers"].as_array().unwrap().iter().any(|h| h[0] == "te");
        assert!(told, "{seen}");
    }
    assert_eq!(blue.connections(), 1);
}

/// Whatever keeps a handshake from its end, both paths answer, blame and count alike.
#[test]
fn endpoints_that_lbd_cannot_speak_with_are_blamed_alike() {
    let trust = Trust::new();
    let other = Origin::speaking("other", secure(&trust.authority.vouch("b.example"), false));
    let forged = Origin::speaking("forged", secure(&Authority::new().vouch("app.example"), false));
    let http2 = Origin::speaking("h2", secure(&trust.authority.vouch("app.example"), true));
    let bare = Origin::answering("plain");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = silent.local_addr().unwrap().to_string();
    for (address, status) in [
        (&other.address, 502),
        (&forged.address, 502),
        (&http2.address, 502),
        (&bare.address, 502),
        (&silence, 504),
    ] {
        for is_lean in [true, false] {
            let lab = lab_on(is_lean, address, &trust.lines("https"));
            for round in 1..3 {
                let (took, answer) = timed(|| lab.get("/"));
                assert_eq!((answer.status, answer.origin()), (status, ""), "{is_lean} {address}");
                assert!(took.as_secs() < 5, "{took:?}");
                lab.until_metric(CONNECT, f64::from(round));
            }
        }
    }
    assert_eq!(other.requests() + forged.requests() + http2.requests() + bare.requests(), 0);
}

/// Method: kept connections of a pool whose protocol is another after a reload.
#[test]
fn connections_that_were_made_otherwise_serve_no_more() {
    let trust = Trust::new();
    for is_lean in [true, false] {
        let blue = Origin::answering("blue");
        let lab = lab_on(is_lean, &blue, "");
        let mut client = lab.client();
        client.call(&Request::get("/")).expect(200);
        lab.write_plan(&lab.plan.clone().link("blue", &trust.lines("https")));
        lab.ctl("config reload").succeeds();
        client.call(&Request::get("/")).expect(502);
        lab.write_plan(&lab.plan);
        lab.ctl("config reload").succeeds();
        lab.get("/").expect(200);
    }
}

/// An endpoint over TLS that tells how each handshake went, says `answer` to one request and closes;
/// `is_polite`: it says before that it does.
fn shaking(config: Arc<ServerConfig>, answer: &str, is_polite: bool) -> (SocketAddr, Handshakes) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    let answer = answer.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            read_head(&mut stream).unwrap();
            tell.send(stream.conn.handshake_kind().unwrap()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            if is_polite {
                stream.conn.send_close_notify();
            }
            stream.flush().unwrap();
        }
    });
    (address, told)
}

type Handshakes = mpsc::Receiver<HandshakeKind>;

/// Method: an endpoint that closes each connection behind its answer.
#[test]
fn the_lean_path_resumes_sessions() {
    let trust = Trust::new();
    let config = trust.authority.vouch("app.example").server(&["http/1.1"], None);
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let (address, told) = shaking(config, answer, true);
    let lab = lab_on(true, address, &trust.lines("https"));
    for round in 0..4 {
        lab.get("/").expect(200);
        let kind = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(kind == HandshakeKind::Resumed, round > 0, "{round}: {kind:?}");
    }
}

/// Method: an endpoint that reads on behind its answer; the connection goes when it has rested.
#[test]
fn connections_that_the_lean_path_closes_say_so() {
    let trust = Trust::new();
    let config = trust.authority.vouch("app.example").server(&["http/1.1"], None);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let lab = Lab::new()
        .runtime("fast_path = true")
        .app("timeouts = { keepalive = '200ms' }")
        .pool("blue", listener.local_addr().unwrap())
        .link("blue", &trust.lines("https"))
        .start();
    let endpoint = std::thread::spawn(move || {
        let connection = ServerConnection::new(config).unwrap();
        let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
        stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        read_head(&mut stream).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        // An error, if the connection ends without a word.
        stream.read(&mut [0; 1])
    });
    lab.get("/").expect(200);
    assert_eq!(endpoint.join().unwrap().unwrap(), 0);
}

fn read_head(from: &mut impl Read) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(())
}

/// Whoever cuts a connection must not be able to end an answer: only the endpoint says where its own ends.
#[test]
fn an_answer_without_a_length_ends_where_its_endpoint_says() {
    let trust = Trust::new();
    let config = trust.authority.vouch("app.example").server(&["http/1.1"], None);
    for is_polite in [true, false] {
        let answer = "HTTP/1.1 200 OK\r\n\r\nuntil the end";
        let (address, _told) = shaking(config.clone(), answer, is_polite);
        let lab = lab_on(true, address, &trust.lines("https"));
        let mut client = lab.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
        let rest = String::from_utf8(client.rest()).unwrap();
        assert_eq!(rest.ends_with("\r\n0\r\n\r\n"), is_polite, "{rest}");
    }
}

/// How an HTTP/2 endpoint turns a request away that it did not begin with.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// RST_STREAM with REFUSED_STREAM.
    Refused,
    /// GOAWAY with NO_ERROR, and no stream before it.
    Leaving,
}

impl Away {
    /// The frames, for stream 1 (RFC 9113, section 4.1).
    fn frames(self) -> Vec<u8> {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let answer: &[u8] = match self {
            Self::Refused => &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7],
            Self::Leaving => &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        [&settings, answer].concat()
    }
}

/// An HTTP/2 endpoint that turns the first request of every other connection away, and answers the
/// rest.
fn turning(away: Away) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                if n % 2 == 0 {
                    tokio::spawn(turn(stream, away));
                } else {
                    tokio::spawn(answer(stream));
                }
            }
        });
    });
    address
}

async fn turn(mut stream: TcpStream, away: Away) -> std::io::Result<()> {
    const HEADERS: u8 = 1;
    stream.read_exact(&mut [0; 24]).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if head[3] == HEADERS {
            stream.write_all(&away.frames()).await?;
        }
    }
}

async fn answer(stream: TcpStream) {
    // Connections that end are what the test is about.
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        let _ = respond.send_response(http::Response::new(()), true);
    }
}

/// What an endpoint did not begin with is asked for again, whatever its method, and is nobody's failure.
#[test]
fn requests_that_were_not_begun_with_are_tried_again() {
    for away in [Away::Refused, Away::Leaving] {
        for request in [Request::post("/", "x"), Request::get("/")] {
            let lab = Lab::new()
                .app("retries = 0")
                .pool("blue", turning(away))
                .link("blue", "protocol = 'h2c'")
                .config(NO_PASSIVE)
                .start();
            let answer = lab.request(&request);
            assert_eq!(answer.status, 200, "{away:?} {request:?}");
            let metrics = lab.admin().call(&Request::get("/metrics").host("lbd")).expect(200);
            let is_failure = |line: &&str| {
                line.starts_with("lbd_request_failures_total") && !line.ends_with(" 0")
            };
            assert_eq!(metrics.text().lines().find(is_failure), None, "{away:?}");
        }
    }
}
