//! Real programs on both sides: curl, Python and Node as clients, Python and nginx as origins.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{
    Lab, Origin, Outcome, PATIENCE, Request, eventually, installed, predicted, within,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

fn two() -> (Origin, Origin, Lab) {
    let (blue, green) = (Origin::answering("blue"), Origin::answering("green"));
    let lab = Lab::new().pool("blue", &blue).pool("green", &green).start();
    (blue, green, lab)
}

fn run(lab: &Lab, program: &str, arguments: &[&str]) -> String {
    Outcome::of(Command::new(program).args(arguments), lab.folder()).succeeds()
}

/// Method: 100 users over curl's own keep-alive, one upload, one HEAD, and the admin API.
#[test]
fn curl_is_served() {
    if !installed("curl") {
        return;
    }
    let (blue, green, lab) = two();
    lab.ctl("weight green 50").succeeds();
    for user in ["user-0", "user-1", "user-2", "user-3", "user-4", "user-5"] {
        let header = format!("X-User-Id: {user}");
        let body = run(&lab, "curl", &["-sSf", "-H", &header, &lab.url("/"), &lab.url("/")]);
        let side = if predicted(6, 50).contains(user) { "green" } else { "blue" };
        assert_eq!(body, side.repeat(2), "{user}");
    }
    let upload = lab.path("upload");
    let content = "0123456789abcdef".repeat(1 << 17);
    fs::write(&upload, &content).unwrap();
    let (file, mirror) = (format!("@{}", upload.display()), lab.url("/mirror"));
    for extra in
        [&["-H", "Expect: 100-continue"][..], &["-H", "Transfer-Encoding: chunked"], &["--http1.0"]]
    {
        let arguments = [&["-sSf", "--data-binary", &file], extra, &[&mirror]].concat();
        assert!(run(&lab, "curl", &arguments) == content, "{extra:?}");
    }
    let head = run(&lab, "curl", &["-sSfI", &lab.url("/bytes/5")]);
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 5"),
        "{head}"
    );
    let socket = lab.socket();
    let status = run(
        &lab,
        "curl",
        &["-sSf", "--unix-socket", socket.to_str().unwrap(), "http://lbd/v1/status"],
    );
    assert!(status.contains("\"share\":\"50%\""), "{status}");
    assert!(blue.requests() > 0 && green.requests() > 0);
}

/// Method: http.client on one connection and urllib, with users, uploads in chunks and a big answer.
#[test]
fn python_is_served() {
    if !installed("python3") {
        return;
    }
    let (blue, green, lab) = two();
    lab.ctl("weight green 50").succeeds();
    let script = "
import http.client, sys, urllib.request
host, users = sys.argv[1], int(sys.argv[2])
c = http.client.HTTPConnection(host, timeout=10)
greens = []
for n in range(users):
    c.request('GET', '/', headers={'X-User-Id': f'user-{n}', 'Host': 'app.test'})
    r = c.getresponse()
    assert r.status == 200, r.status
    if r.read() == b'green': greens.append(f'user-{n}')
    if n == 0: sock = c.sock
assert c.sock is sock, 'the connection was not kept'
body = [b'x' * 10000] * 50
c.request('POST', '/mirror', body=iter(body), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
assert c.getresponse().read() == b''.join(body)
c.request('HEAD', '/bytes/9'); r = c.getresponse(); assert r.headers['content-length'] == '9' and r.read() == b''
for status in (204, 304):
    c.request('GET', f'/{status}'); r = c.getresponse(); r.read(); assert r.status == status
with urllib.request.urlopen(f'http://{host}/bytes/3000000', timeout=10) as r: assert len(r.read()) == 3000000
try: urllib.request.urlopen(f'http://{host}/500'); assert False
except urllib.error.HTTPError as e: assert e.code == 500
print(' '.join(greens))
";
    let said = run(&lab, "python3", &["-c", script, &lab.address().to_string(), "200"]);
    let greens = said.split_whitespace().map(str::to_owned).collect();
    assert_eq!(predicted(200, 50), greens);
    assert!(blue.requests() + green.requests() >= 204);
}

/// Method: Node's keep-alive agent with parallel requests, and its built-in fetch with a stream.
#[test]
fn node_is_served() {
    if !installed("node") {
        return;
    }
    let (_blue, _green, lab) = two();
    lab.ctl("weight green 50").succeeds();
    let script = "
const http = require('http'), assert = require('assert');
const [host, port] = process.argv[1].split(':'), agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const get = user => new Promise((done, fail) => {
  http.get({ host, port, agent, path: '/', headers: { 'x-user-id': user } }, r => {
    let body = ''; r.on('data', d => body += d); r.on('end', () => done(body)); r.on('error', fail);
  }).on('error', fail);
});
(async () => {
  const users = [...Array(300).keys()].map(n => `user-${n}`);
  const sides = await Promise.all(users.map(get));
  const big = 'y'.repeat(2000000);
  const url = `http://${host}:${port}`;
  const r = await fetch(url + '/mirror', { method: 'POST', body: big });
  assert.equal(await r.text(), big);
  const head = await fetch(url + '/bytes/7', { method: 'HEAD' });
  assert.equal(head.headers.get('content-length'), '7');
  for (let n = 0; n < 20; n++) assert.equal((await fetch(url + '/204')).status, 204);
  assert.equal((await (await fetch(url + '/chunks/40')).text()).split('\\n').length, 41);
  console.log(users.filter((_, n) => sides[n] === 'green').join(' '));
  agent.destroy();
})().catch(e => { console.error(e); process.exit(1); });
";
    let said = run(&lab, "node", &["-e", script, &lab.address().to_string()]);
    let greens = said.split_whitespace().map(str::to_owned).collect();
    assert_eq!(predicted(300, 50), greens);
}

/// A program that is stopped at the end, with the processes that it started.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        if within(PATIENCE, || self.0.try_wait().ok()?).is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Serves a folder with a real server on a Unix socket or port, whichever it can, and gives the address.
fn python_server(folder: &Path) -> (Program, String) {
    let script = "
import http.server, functools, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
open(sys.argv[1] + '/.port.new', 'w').write(str(server.server_port))
import os; os.rename(sys.argv[1] + '/.port.new', sys.argv[1] + '/.port')
server.serve_forever()
";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(folder).stderr(Stdio::null()).stdout(Stdio::null());
    let program = Program(command.spawn().unwrap());
    let port = eventually("python serves", || fs::read_to_string(folder.join(".port")).ok());
    (program, format!("127.0.0.1:{port}"))
}

/// Method: two folders behind the HTTP/1.0 server that everybody has; files, a listing, 404, and shifts.
#[test]
fn python_http_server_is_an_origin() {
    if !installed("python3") {
        return;
    }
    let folders = ["blue", "green"].map(|side| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("side.txt"), side).unwrap();
        fs::write(folder.path().join("big.bin"), vec![7; 3_000_000]).unwrap();
        folder
    });
    let servers = folders.each_ref().map(|folder| python_server(folder.path()));
    let lab = Lab::new().pool("blue", &servers[0].1).pool("green", &servers[1].1).start();
    let mut client = lab.client();
    for (percent, side) in [(0, "blue"), (100, "green"), (0, "blue")] {
        lab.ctl(&format!("weight green {percent}")).succeeds();
        for _ in 0..20 {
            assert_eq!(client.call(&Request::get("/side.txt")).expect(200).text(), side);
        }
    }
    assert_eq!(client.call(&Request::get("/big.bin")).expect(200).body.len(), 3_000_000);
    assert!(client.call(&Request::get("/")).expect(200).text().contains("side.txt"));
    client.call(&Request::get("/nothing")).expect(404);
    client.call(&Request::new("HEAD", "/side.txt")).expect(200);
    client.call(&Request::post("/side.txt", "x")).expect(501);
    client.call(&Request::get("/side.txt")).expect(200);
}

/// Method: nginx on a Unix socket, with files, ranges, a redirect, its own errors, and a reload of its own
/// under load, which closes kept connections.
#[test]
fn nginx_is_an_origin() {
    if !installed("nginx") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    fs::write(folder.path().join("index.html"), "from nginx").unwrap();
    let text = format!(
        "daemon off; pid {at}/pid; error_log {at}/error.log; worker_processes 1;\n{user}\
         events {{}}\nhttp {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         server {{ listen unix:{at}/nginx.sock; root {at}; keepalive_timeout 5s;\n\
         location /moved {{ return 302 /index.html; }} location /gone {{ return 410; }} }} }}\n",
        user = if nix::unistd::getuid().is_root() { "user root;\n" } else { "" },
    );
    fs::write(folder.path().join("nginx.conf"), text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
    let nginx = Program(command.stderr(Stdio::null()).spawn().unwrap());
    let socket = folder.path().join("nginx.sock");
    eventually("nginx serves", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let lab = Lab::new().pool("blue", format!("unix:{}", socket.display())).start();
    let mut client = lab.client();
    assert_eq!(client.call(&Request::get("/index.html")).expect(200).text(), "from nginx");
    let part = client.call(&Request::get("/index.html").header("Range", "bytes=5-9")).expect(206);
    assert_eq!(part.text(), "nginx");
    assert!(
        client
            .call(&Request::get("/moved"))
            .expect(302)
            .header("location")
            .unwrap()
            .contains("/index.html")
    );
    client.call(&Request::get("/gone")).expect(410);
    let etag = client.call(&Request::get("/index.html")).header("etag").unwrap().to_owned();
    client.call(&Request::get("/index.html").header("If-None-Match", &etag)).expect(304);
    let load = lab.load();
    for _ in 0..20 {
        load.goes_on(100);
        kill(Pid::from_raw(nginx.0.id() as i32), Signal::SIGHUP).unwrap();
    }
    load.goes_on(500);
    load.without_failure();
}
