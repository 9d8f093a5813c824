"""The proxies under test, with equal duties.

Each has one worker, keeps its connections to the origin, sets X-Forwarded-For, -Proto, -Host and
X-Request-Id, speaks TLS 1.3 with the same certificate, and HTTP/2 where the client wants it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import machine

# More than any case opens; HAProxy wants two descriptors for each.
CONNECTIONS = 8_000


@dataclass
class Place:
    """Where one peer of one run listens and writes, and whom it asks."""

    folder: Path
    origin: int
    certificate: Path
    key: Path
    workers: int = 1
    logs: bool = False

    def __post_init__(self):
        self.plain, self.tls = machine.free_port(), machine.free_port()
        self.folder.mkdir(parents=True)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    @property
    def log(self):
        return str(self.folder / "access.log")


class Peer:
    """A proxy that runs."""

    def __init__(self, name, place, command, on, stdout=None):
        self.name, self.place = name, place
        ports = [place.plain] if name == "relay" else [place.plain, place.tls]
        self.group = machine.Group(command, on, place.folder / "said", stdout=stdout)
        try:
            self.group.until_open(ports)
        except BaseException:
            self.group.stop()
            raise

    def stop(self):
        self.group.stop()


def start(name, binary, place, on):
    """Starts the peer of that name."""
    command = COMMANDS[name](binary, place)
    stdout = place.log if name == "haproxy" and place.logs else None
    return Peer(name, place, command, on, stdout)


def lbd(binary, place):
    log = json.dumps({"target": place.log, "format": "combined"}).replace('":', '" =')
    config = place.write("lbd.toml", f"""
[admin]
socket = "{place.folder}/admin.sock"
state_dir = "{place.folder}/state"
[runtime]
workers = {place.workers}
[listener.plain]
address = "127.0.0.1:{place.plain}"
[listener.tls]
address = "127.0.0.1:{place.tls}"
[listener.tls.tls]
min_version = "1.3"
certificates = [{{ cert = "{place.certificate}", key = "{place.key}" }}]
[service.bench]
access_log = {log if place.logs else '"off"'}
[service.bench.timeouts]
keepalive = "60s"
[service.bench.pool.blue]
endpoints = ["127.0.0.1:{place.origin}"]
""")
    return [binary, "--config", config]


def nginx(binary, place):
    server = f"""
        access_log {place.log + " combined" if place.logs else "off"};
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Request-Id $request_id;
        }}"""
    config = place.write("nginx.conf", f"""
daemon off;
worker_processes {place.workers};
pid {place.folder}/pid;
error_log stderr error;
events {{ worker_connections {CONNECTIONS}; }}
http {{
{temporary(place.folder)}
    keepalive_requests 100000000;
    # An answer passes through memory, as with the others.
    proxy_max_temp_file_size 0;
    upstream origin {{
        server 127.0.0.1:{place.origin};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{place.plain} reuseport backlog=4096;{server}
    }}
    server {{
        listen 127.0.0.1:{place.tls} ssl http2 reuseport backlog=4096;
        ssl_certificate {place.certificate};
        ssl_certificate_key {place.key};
        ssl_protocols TLSv1.3;
        ssl_session_cache shared:tls:10m;{server}
    }}
}}
""")
    return [binary, "-p", str(place.folder), "-c", config]


def temporary(folder):
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "\n".join(f"    {kind}_temp_path {folder}/{kind};" for kind in kinds)


def haproxy(binary, place):
    bundle = place.write("bundle.pem", place.certificate.read_text() + place.key.read_text())
    config = place.write("haproxy.cfg", f"""
global
    nbthread {place.workers}
    maxconn {CONNECTIONS}
    ssl-default-bind-options ssl-min-ver TLSv1.3
    {"log stdout format raw local0" if place.logs else ""}
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 60s
    timeout http-keep-alive 75s
    {"log global" if place.logs else ""}
    {"option httplog" if place.logs else ""}
frontend front
    bind 127.0.0.1:{place.plain} backlog 4096
    bind 127.0.0.1:{place.tls} backlog 4096 ssl crt {bundle} alpn h2,http/1.1
    option forwardfor
    http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Request-Id %[uuid()]
    default_backend origin
backend origin
    http-reuse always
    server one 127.0.0.1:{place.origin} pool-max-conn -1 pool-purge-delay 60s
""")
    return [binary, "-db", "-f", config]


def envoy(binary, place):
    log = {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": extension("access_loggers.file.v3.FileAccessLog"), "path": place.log,
        },
    }
    manager = {
        "@type": extension("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "use_remote_address": True,
        "generate_request_id": True,
        "access_log": [log] if place.logs else [],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{
                "match": {"prefix": "/"},
                "route": {"cluster": "origin", "timeout": "60s"},
                "request_headers_to_add": [{
                    "header": {"key": "x-forwarded-host", "value": "%REQ(:AUTHORITY)%"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                }],
            }],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": extension("filters.http.router.v3.Router"),
                             "suppress_envoy_headers": True},
        }],
    }
    tls = {
        "@type": extension("transport_sockets.tls.v3.DownstreamTlsContext"),
        "common_tls_context": {
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_3"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{
                "certificate_chain": {"filename": str(place.certificate)},
                "private_key": {"filename": str(place.key)},
            }],
        },
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]

    def listener(name, port, chain):
        return {
            "name": name, "address": address(port), "filter_chains": [{"filters": filters, **chain}],
            "tcp_backlog_size": 4096, "bypass_overload_manager": True,
        }

    limits = {key: CONNECTIONS for key in ("max_connections", "max_requests", "max_pending_requests")}
    config = place.write("envoy.json", json.dumps({"static_resources": {
        "listeners": [
            listener("plain", place.plain, {}),
            listener("tls", place.tls, {"transport_socket": {
                "name": "envoy.transport_sockets.tls", "typed_config": tls}}),
        ],
        "clusters": [{
            "name": "origin", "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {"cluster_name": "origin", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(place.origin)}}]}]},
        }],
    }}, indent=1))
    return [binary, "-c", config, "--concurrency", str(place.workers), "-l", "error",
            "--disable-hot-restart"]


def extension(name):
    return f"type.googleapis.com/envoy.extensions.{name}"


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def relay(binary, place):
    return [binary, f"127.0.0.1:{place.plain}", f"127.0.0.1:{place.origin}"]


# In the order in which rounds go.
COMMANDS = {"lbd": lbd, "nginx": nginx, "haproxy": haproxy, "envoy": envoy, "relay": relay}


def origin(binary, folder, on, ports):
    """The server behind all peers: answers of 128 B, 16 KiB and 1 MiB; of 16 KiB in chunks."""
    files = folder / "files"
    files.mkdir(parents=True)
    (files / "16k").write_bytes(b"x" * (16 << 10))
    (files / "1m").write_bytes(b"x" * (1 << 20))
    listens = "\n".join(f"        listen 127.0.0.1:{port} reuseport backlog=4096;" for port in ports)
    config = folder / "origin.conf"
    config.write_text(f"""
daemon off;
worker_processes {max(1, len(on) // 2)};
pid {folder}/pid;
error_log stderr error;
events {{ worker_connections {CONNECTIONS}; }}
http {{
{temporary(folder)}
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 3600s;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    default_type text/plain;
    server {{
{listens}
        root {files};
        location = /128 {{ return 200 "{"x" * 128}"; }}
        location = /post {{ return 200 "{"x" * 128}"; }}
        # A page of includes has no length that is known before.
        location = /chunked {{ ssi on; ssi_types *; alias {files}/16k; }}
    }}
}}
""")
    group = machine.Group([binary, "-p", str(folder), "-c", str(config)], on, folder / "said")
    return group.until_open(ports)
