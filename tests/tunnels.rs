//! Tunnels: WebSocket and what else takes HTTP/1's place on a connection.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::support::{Authority, Lab, Origin, PATIENCE, Plan, Request, eventually, timed};
use rustls::{ServerConnection, StreamOwned};

const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const ASKED: &[u8] =
    b"GET /chat HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// An endpoint that does with each connection what `act` says, each on a thread of its own.
fn endpoint(act: fn(TcpStream) -> std::io::Result<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that breaks is what the test looks at from its other end.
            thread::spawn(move || stream.and_then(act));
        }
    });
    address
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        seen.push(byte[0]);
    }
    Ok(seen)
}

/// Sends everything back.
fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece)? {
            0 => return stream.shutdown(Shutdown::Write),
            n => stream.write_all(&piece[..n])?,
        }
    }
}

/// Switches as an endpoint should.
fn switches(mut stream: TcpStream) -> std::io::Result<()> {
    read_head(&mut stream)?;
    stream.set_read_timeout(None)?;
    stream.write_all(SWITCHED)?;
    echo(stream)
}

/// Says at once that it switches, before it has seen the request, and something more right behind.
fn switches_at_once(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(&[SWITCHED, b"hello"].concat())?;
    read_head(&mut stream)?;
    stream.set_read_timeout(None)?;
    echo(stream)
}

/// A tunnel's client, after the head of the answer.
fn tunnel(lab: &Lab, behind: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(lab.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&[ASKED, behind].concat()).unwrap();
    let head = String::from_utf8(read_head(&mut stream).expect("an answer")).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

#[track_caller]
fn expect(stream: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    stream.read_exact(&mut got).unwrap_or_else(|e| panic!("{text} does not come: {e}"));
    assert_eq!(String::from_utf8_lossy(&got), text);
}

/// Waits until the other side has ended it.
#[track_caller]
fn ended(stream: &mut TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(0) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        other => panic!("the tunnel goes on: {other:?}"),
    }
}

fn lab(plan: Plan) -> Lab {
    plan.config("[service.app.health]\npassive = false").start()
}

/// pingora issue 946: the tunnel was torn down where the 101 was there before the request was whole.
/// Method: an endpoint that is as early as can be, many times.
#[test]
fn an_early_101_does_not_end_the_tunnel() {
    let lab = lab(Lab::new().pool("blue", endpoint(switches_at_once)));
    for n in 0..300 {
        let mut stream = tunnel(&lab, b"");
        expect(&mut stream, "hello");
        let text = format!("message {n}");
        stream.write_all(text.as_bytes()).unwrap();
        expect(&mut stream, &text);
    }
}

#[test]
fn bytes_right_behind_the_request_arrive() {
    let lab = lab(Lab::new().pool("blue", endpoint(switches)));
    for _ in 0..100 {
        let mut stream = tunnel(&lab, b"right behind");
        expect(&mut stream, "right behind");
        stream.write_all(b" and more").unwrap();
        expect(&mut stream, " and more");
    }
}

#[test]
fn each_side_can_end_it() {
    let lab = lab(Lab::new().pool(
        "blue",
        endpoint(|mut stream| {
            read_head(&mut stream)?;
            stream.write_all(&[SWITCHED, b"bye"].concat())
        }),
    ));
    let mut stream = tunnel(&lab, b"");
    expect(&mut stream, "bye");
    ended(&mut stream);
    lab.until("nobody runs", |seen| seen.pool("blue").in_flight == 0);
    let lab = self::lab(Lab::new().pool("blue", endpoint(switches)));
    let stream = tunnel(&lab, b"");
    lab.until("a tunnel is a running request", |seen| seen.pool("blue").in_flight == 1);
    drop(stream);
    lab.until("nobody runs", |seen| seen.pool("blue").in_flight == 0);
    lab.until_metric("lbd_requests_total{service=\"app\",pool=\"blue\",code=\"101\"}", 1.0);
}

#[test]
fn a_silent_tunnel_is_closed_and_one_with_a_byte_now_and_then_is_not() {
    let plan = Lab::new()
        .app("timeouts = { tunnel = '400ms', idle = '50ms', first_byte = '10s', total = '300ms' }");
    let lab = lab(plan.pool("blue", endpoint(switches)));
    let mut stream = tunnel(&lab, b"");
    for _ in 0..8 {
        // Longer than `idle`, shorter than `tunnel`: together longer than that, and than `total`.
        thread::sleep(std::time::Duration::from_millis(100));
        stream.write_all(b"x").unwrap();
        expect(&mut stream, "x");
    }
    let (took, ()) = timed(|| ended(&mut stream));
    assert!(took.as_millis() >= 250, "{took:?}");
    lab.until("nobody runs", |seen| seen.pool("blue").in_flight == 0);
    let failures =
        lab.metric("lbd_request_failures_total{service=\"app\",pool=\"blue\",blame=\"timeout\"}");
    assert_eq!(failures, 0.0, "nobody's fault");
}

/// A user whose request went to green.
const SHIFTED: &str = "tunnel_drain = '300ms'\nuser_id = ['header:X-User-Id']";

#[test]
fn tunnels_of_a_pool_that_lost_its_users_end_after_the_bound() {
    let (blue, green) = (endpoint(switches), endpoint(switches));
    for words in ["weight green 0", "rollback"] {
        let lab = lab(Lab::new().app(SHIFTED).pool("blue", blue).pool("green", green));
        lab.ctl("weight green 100").succeeds();
        let mut stream = tunnel(&lab, b"");
        lab.until("the tunnel is on green", |seen| seen.pool("green").in_flight == 1);
        stream.write_all(b"x").unwrap();
        expect(&mut stream, "x");
        lab.ctl(words).succeeds();
        let (took, ()) = timed(|| ended(&mut stream));
        assert!(took.as_secs() < 5, "{words}: {took:?}");
        lab.until("nobody runs", |seen| seen.pool("green").in_flight == 0);
    }
}

#[test]
fn tunnels_go_on_where_the_operator_says_so_or_their_users_come_back() {
    let plan = |drain: &str| {
        let app = format!("tunnel_drain = '{drain}'\nuser_id = ['header:X-User-Id']");
        Lab::new().app(&app).pool("blue", endpoint(switches)).pool("green", endpoint(switches))
    };
    for drain in ["none", "2s"] {
        let lab = lab(plan(drain));
        lab.ctl("weight green 100").succeeds();
        let mut stream = tunnel(&lab, b"");
        lab.ctl("weight green 0").succeeds();
        if drain == "2s" {
            lab.ctl("weight green 1").succeeds();
        }
        for _ in 0..5 {
            thread::sleep(std::time::Duration::from_millis(100));
            stream.write_all(b"still here").unwrap();
            expect(&mut stream, "still here");
        }
    }
}

#[test]
fn tunnels_of_an_endpoint_in_maintenance_end_and_others_do_not() {
    let (first, second) = (endpoint(switches), endpoint(switches));
    let app = "tunnel_drain = '0s'\nbalance = 'round-robin'";
    let endpoints = [first.to_string(), second.to_string()];
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let lab = lab(Lab::new().runtime("workers = 1").app(app).pool_of("blue", &endpoints));
    let mut streams = [tunnel(&lab, b""), tunnel(&lab, b"")];
    lab.until("both run", |seen| seen.pool("blue").in_flight == 2);
    lab.ctl(&format!("endpoint maint blue {first}")).succeeds();
    lab.until("one is gone", |seen| seen.pool("blue").in_flight == 1);
    let alive = |stream: &mut TcpStream| {
        stream.write_all(b"x").is_ok() && matches!(stream.read(&mut [0; 1]), Ok(1))
    };
    assert_eq!(streams.iter_mut().filter_map(|s| alive(s).then_some(())).count(), 1);
}

#[test]
fn a_stop_ends_tunnels_after_the_drain() {
    let plan = Lab::new().runtime("upgrade_drain = '500ms'");
    let mut lab = lab(plan.pool("blue", endpoint(switches)));
    let mut stream = tunnel(&lab, b"");
    lab.sigterm();
    stream.write_all(b"still here").unwrap();
    expect(&mut stream, "still here");
    let (took, ()) = timed(|| ended(&mut stream));
    assert!(took.as_millis() >= 200, "{took:?}");
    assert!(lab.ended().success());
}

/// An endpoint that does not want to switch answers as to any request, and its connection ends there.
#[test]
fn an_upgrade_that_is_refused_is_an_ordinary_answer() {
    let blue = Origin::answering("blue");
    let lab = lab(Lab::new().pool("blue", &blue));
    let mut stream = TcpStream::connect(lab.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(ASKED).unwrap();
    let head = String::from_utf8(read_head(&mut stream).unwrap()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    expect(&mut stream, "blue");
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(lab.get("/").status));
    assert_eq!(eventually("others are served", || receive.try_recv().ok()), 200);
}

/// The same over TLS, where the endpoint is as early as it can be: right behind its handshake. A pool that
/// speaks HTTP/2 is asked in HTTP/1.1 for this.
#[test]
fn tunnels_go_over_tls_and_are_ended_there_too() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let config = authority.vouch("app.example").server(&["h2", "http/1.1"], None);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            thread::spawn(move || -> std::io::Result<()> {
                let session = ServerConnection::new(config).map_err(std::io::Error::other)?;
                let mut stream = StreamOwned::new(session, stream?);
                stream.conn.complete_io(&mut stream.sock)?;
                assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
                stream.write_all(&[SWITCHED, b"hello"].concat())?;
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte)?;
                    seen.push(byte[0]);
                }
                let mut piece = [0; 4096];
                loop {
                    match stream.read(&mut piece)? {
                        0 => return Ok(()),
                        n => stream.write_all(&piece[..n])?,
                    }
                }
            });
        }
    });
    let ca = folder.path().join("ca.pem");
    for protocol in ["https", "https-h2"] {
        let link = format!(
            "protocol = '{protocol}'\ntls = {{ ca = '{}', server_name = 'app.example' }}",
            ca.display()
        );
        let lab = lab(Lab::new()
            .app("tunnel_drain = '0s'\nuser_id = ['header:X-User-Id']")
            .pool("blue", endpoint(switches))
            .pool("green", address)
            .link("green", &link));
        lab.ctl("weight green 100").succeeds();
        let mut stream = None;
        for n in 0..50 {
            let stream = stream.insert(tunnel(&lab, b""));
            expect(stream, "hello");
            let text = format!("message {n}");
            stream.write_all(text.as_bytes()).unwrap();
            expect(stream, &text);
        }
        lab.ctl("rollback").succeeds();
        ended(stream.as_mut().unwrap());
        lab.until("nobody runs", |seen| seen.pool("green").in_flight == 0);
        let metrics = lab.admin().call(&Request::get("/metrics").host("lbd")).expect(200);
        let is_failure =
            |line: &&str| line.starts_with("lbd_request_failures_total") && !line.ends_with(" 0");
        assert_eq!(metrics.text().lines().find(is_failure), None, "{protocol}");
    }
}

/// A WebSocket library of another language, as a server or a client; `None` if it is not installed.
/// Node's modules are looked for in the folder that `NODE_PEERS` names.
fn peer(language: &str, words: &[&str]) -> Option<Command> {
    let (program, has, script) = match language {
        "python" => ("python3", ["-c", "import websockets.asyncio.server"], "websocket.py"),
        _ => {
            let has = "require('node:module').createRequire(process.env.NODE_PEERS + '/')('ws')";
            ("node", ["-e", has], "websocket.mjs")
        }
    };
    let found = Command::new(program).args(has).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        println!("note: WebSockets of {language} are not installed, their test is passed over");
        return None;
    }
    let mut command = Command::new(program);
    command.arg(format!("{}/tests/peers/{script}", env!("CARGO_MANIFEST_DIR"))).args(words);
    Some(command)
}

/// Large messages, pings, close codes, subprotocols, and 200 at once, of other people's libraries.
#[test]
fn websockets_of_other_languages_pass() {
    for language in ["python", "node"] {
        let Some(mut server) = peer(language, &["server"]) else { continue };
        let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let lab = lab(Lab::new().pool("blue", format!("127.0.0.1:{}", port.trim())));
        let address = lab.address().to_string();
        for client in ["python", "node"] {
            let Some(mut command) = peer(client, &["client", &address]) else { continue };
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{client} through lbd to {language}: {said}");
        }
        lab.until("all are over", |seen| seen.pool("blue").in_flight == 0);
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
