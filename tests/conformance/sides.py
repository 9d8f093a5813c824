"""lbd and nginx with the same duties, and the origins behind both."""

import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from origin import LARGE

PEERS = Path(__file__).resolve().parent.parent / "peers"
ASSETS = 100


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Processes:
    """What was started; ended in reverse order, by id."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, command, **options):
        log = open(self.folder / f"{name}.log", "ab")
        options = {"stdin": subprocess.PIPE, "stdout": log, **options}
        process = subprocess.Popen(command, stderr=log, **options)
        log.close()
        self.running.append((name, process))
        return process

    def start_peer(self, name, command, **options):
        """One that prints its port as its first line."""
        process = self.start(name, command, stdout=subprocess.PIPE, **options)
        return int(process.stdout.readline())

    def fallen(self):
        """Those that ended by themselves."""
        return [name for name, process in self.running if process.poll() is not None]

    def stop(self):
        for _, process in reversed(self.running):
            if process.poll() is None:
                process.terminate()
        for _, process in reversed(self.running):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Side:
    """One of the two, and where it listens: without TLS for HTTP/1.1 and for HTTP/2, and with TLS."""

    name: str
    process: subprocess.Popen
    plain: int = field(default_factory=free_port)
    h2c: int = field(default_factory=free_port)
    tls: int = field(default_factory=free_port)

    def is_up(self):
        return self.process.poll() is None


def until_open(port, process, folder):
    limit = time.monotonic() + 20
    while time.monotonic() < limit and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
    raise RuntimeError(f"nothing listens on port {port}:\n{logs}")


def certificate(folder):
    """A self-signed one for localhost and 127.0.0.1."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "90", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command += ["-addext", "extendedKeyUsage=serverAuth", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)


def page(folder):
    """A page with assets of three kinds whose script says how many came, and by which protocol."""
    folder.mkdir()
    kinds = ("css", "js", "svg")
    names = [f"a{n}.{kinds[n % 3]}" for n in range(ASSETS)]
    tags = {
        "css": '<link rel="stylesheet" href="{}" onload="came()">',
        "js": '<script src="{}" onload="came()"></script>',
        "svg": '<img src="{}" onload="came()">',
    }
    content = {
        "css": ".x {{ color: #{n:06x} }}\n" * 50,
        "js": "window.n{n} = {n};\n" * 50,
        "svg": '<svg xmlns="http://www.w3.org/2000/svg" width="{n}" height="1"/>',
    }
    for n, name in enumerate(names):
        kind = name.rpartition(".")[2]
        (folder / name).write_text(content[kind].format(n=n + 1))
    script = """<script>let count = 0; function came() { count += 1; }
    onload = () => {
      const entries = performance.getEntriesByType("resource");
      const by = [...performance.getEntriesByType("navigation"), ...entries].map((e) => e.nextHopProtocol);
      document.title = `assets=${count} entries=${entries.length} protocols=${[...new Set(by)].join()}`;
    };</script>"""
    body = "\n".join(tags[name.rpartition(".")[2]].format(name) for name in names)
    (folder / "large").write_bytes(LARGE)
    (folder / "index.html").write_text(f"<!doctype html><title>-</title>{script}{body}")


def nginx(processes, folder, name, http):
    """An nginx of its own that stays in the foreground."""
    home = folder / name
    home.mkdir()
    temp = "\n".join(f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;" if os.geteuid() == 0 else ""
    types = "types { text/html html; text/css css; application/javascript js; image/svg+xml svg; }"
    (home / "nginx.conf").write_text(
        f"""{user} worker_processes 2; daemon off; pid {home}/pid; error_log {home}/error.log warn;
        events {{ worker_connections 8192; }} http {{ access_log off; {temp} {types} {http} }}"""
    )
    command = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(home), "-c", str(home / "nginx.conf")]
    return processes.start(name, command + ["-e", str(home / "error.log")])


def origins(processes, folder, tools, recorder):
    """Starts those that are processes; returns the port of each."""
    page(folder / "page")
    static = free_port()
    process = nginx(processes, folder, "origin", f"server {{ listen 127.0.0.1:{static}; root {folder}; }}")
    until_open(static, process, folder)
    python = str(tools.python)
    environment = {**os.environ, "NODE_PEERS": str(tools.node)}
    return {
        "recorder": recorder.port,
        "static": static,
        "grpc": processes.start_peer("grpc", [python, PEERS / "grpc.py", "server"]),
        "python": processes.start_peer("python", [python, PEERS / "websocket.py", "server"]),
        "node": processes.start_peer("node", ["node", PEERS / "websocket.mjs", "server"], env=environment),
    }


def start_lbd(processes, folder, binary, ports):
    side = Side("lbd", None)
    side.h2c = side.plain
    # A host that a service names is no other's.
    everywhere = "hosts = ['localhost', '127.0.0.1', '*']"
    pools = {
        "recorder": f"{everywhere}\npaths = ['/']",
        "static": f"{everywhere}\npaths = ['/page']",
        "grpc": f"{everywhere}\npaths = ['/test.Test']",
        "python": "hosts = ['127.0.0.1']\npaths = ['/chat']",
        "node": "hosts = ['localhost']\npaths = ['/chat']",
    }
    services = "".join(
        f"[service.{name}]\n{where}\n[service.{name}.pool.blue]\nendpoints = ['127.0.0.1:{ports[name]}']\n"
        + ("protocol = 'h2c'\n" if name == "grpc" else "")
        for name, where in pools.items()
    )
    home = folder / "lbd"
    home.mkdir()
    config = f"""[admin]
socket = "{home}/admin.sock"
state_dir = "{home}/state"
[listener.plain]
address = "127.0.0.1:{side.plain}"
[listener.tls]
address = "127.0.0.1:{side.tls}"
tls = {{ certificates = [{{ cert = "{folder}/cert.pem", key = "{folder}/key.pem" }}] }}
{services}"""
    (home / "lbd.toml").write_text(config)
    side.process = processes.start("lbd-daemon", [binary, "--config", home / "lbd.toml"])
    until_open(side.plain, side.process, folder)
    until_open(side.tls, side.process, folder)
    return side


def start_nginx(processes, folder, ports):
    side = Side("nginx", None)
    header = """proxy_http_version 1.1; proxy_set_header Host $host; proxy_request_buffering off;
        client_max_body_size 0; proxy_buffering off; client_header_timeout 10s; client_body_timeout 30s;"""
    upgrade = "proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade;"
    locations = f"""{header} ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{ {upgrade} proxy_pass http://127.0.0.1:{ports["recorder"]}; }}
        location /page {{ proxy_pass http://127.0.0.1:{ports["static"]}; }}
        location /test.Test {{ grpc_pass grpc://127.0.0.1:{ports["grpc"]}; }}"""
    servers = "".join(
        f"""server {{ listen 127.0.0.1:{side.plain}; listen 127.0.0.1:{side.h2c} http2;
        listen 127.0.0.1:{side.tls} ssl http2; server_name {name};
        {locations} location /chat {{ {upgrade} proxy_pass http://127.0.0.1:{ports[peer]}; }} }}"""
        for name, peer in (("127.0.0.1", "python"), ("localhost", "node"))
    )
    mapping = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }"
    side.process = nginx(processes, folder, "nginx", mapping + servers)
    until_open(side.tls, side.process, folder)
    return side
