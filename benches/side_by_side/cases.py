"""The cases, and how one peer is measured in each."""

import re
import signal
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field

import load
import machine
import peers

# Whose slowest saturation rate the latency case is run at, and what part of it.
PROXIES = ("lbd", "nginx", "haproxy", "envoy")
PART = 0.7
ALL = (*PROXIES, "relay")
# Seconds for which every peer is left alone before its memory is looked at: lbd parks a connection after
# one, and allocators give memory back when they find the time.
LEFT_ALONE = 3
DATA = {"read", "readv", "recvfrom", "recvmsg", "recvmmsg", "write", "writev", "sendto", "sendmsg",
        "sendmmsg", "sendfile", "splice"}


@dataclass(frozen=True)
class Case:
    """One kind of traffic. `targets` are the ratios of lbd to a peer, or to the best, not to exceed."""

    name: str
    title: str
    kind: str = "closed"
    path: str = "/128"
    connections: int = 64
    tls: bool = False
    streams: int = 0
    headers: dict = field(default_factory=dict)
    post: bool = False
    logs: bool = False
    peers: tuple = ALL
    targets: dict = field(default_factory=dict)

    @property
    def unit(self):
        units = {"idle": "KiB per connection", "latency": "µs added at p99",
                 "syscalls": "data syscalls per request", "allocations": "allocations per request"}
        return units.get(self.kind, "CPU µs per request")


CLOSE = {"Connection": "close"}
BEST, NGINX = {"best": 1.0}, {"nginx": 1.0}

CASES = [
    Case("small-1", "128 B, keep-alive, 1 connection", connections=1),
    Case("small-64", "128 B, keep-alive, 64 connections",
         targets={"nginx": 0.9, "haproxy": 0.9, "envoy": 0.45}),
    Case("small-1000", "128 B, keep-alive, 1,000 connections", connections=1000),
    Case("16k", "16 KiB, keep-alive, 64 connections", path="/16k", targets=BEST),
    Case("1m", "1 MiB, keep-alive, 16 connections", path="/1m", connections=16, targets=BEST),
    Case("post", "POST of 4 KiB, keep-alive, 64 connections", path="/post", post=True, targets=BEST),
    Case("chunked", "16 KiB in chunks, keep-alive, 64 connections", path="/chunked", targets=BEST),
    Case("new", "128 B, a new connection for each request", headers=CLOSE, targets=NGINX),
    Case("tls", "128 B, TLS 1.3, keep-alive, 64 connections", tls=True, peers=PROXIES, targets=NGINX),
    Case("tls-new", "128 B, TLS 1.3, a new connection for each request, resumed", tls=True,
         headers=CLOSE, peers=PROXIES, targets=NGINX),
    Case("http2", "128 B, HTTP/2 over TLS, 8 connections of 32 streams", tls=True, connections=8,
         streams=32, peers=PROXIES, targets=NGINX),
    Case("log", "128 B, keep-alive, 64 connections, access logs on", logs=True, peers=PROXIES,
         targets=NGINX),
    Case("latency", "128 B, open loop at 70 % of the slowest peer's rate, 64 connections", "latency",
         peers=("direct", *ALL), targets=NGINX),
    Case("idle", "memory of idle connections", "idle", peers=PROXIES, targets=NGINX),
    Case("idle-tls", "memory of idle connections, TLS 1.3", "idle", tls=True, peers=PROXIES,
         targets=NGINX),
    Case("workers", "one worker of lbd and two: 128 B, keep-alive, 64 connections", "workers",
         peers=("lbd",)),
    Case("syscalls", "system calls, 128 B, keep-alive, 64 connections", "syscalls",
         peers=("lbd", "nginx", "haproxy")),
    Case("allocations", "how often lbd allocates, 128 B", "allocations", peers=("lbd",)),
]


class Bench:
    """The origin, the generators and the peers of one run."""

    def __init__(self, binaries, folder, certificate, key, tools, origin):
        self.binaries, self.folder, self.tools = binaries, folder, tools
        self.certificate, self.key, self.origin = certificate, key, origin
        self.proxy_cores, self.load_cores = machine.cores()
        self.running, self.started = {}, 0

    def start(self, name, logs=False, workers=1, on=None):
        self.started += 1
        place = peers.Place(self.folder / f"{name}-{self.started}", self.origin, self.certificate,
                            self.key, workers=workers, logs=logs)
        return peers.start(name, self.binaries[name], place, on or self.proxy_cores)

    def peer(self, name, logs=False):
        """The running peer of that name."""
        if (name, logs) not in self.running:
            self.running[name, logs] = self.start(name, logs)
        return self.running[name, logs]

    def stop(self):
        while self.running:
            self.running.popitem()[1].stop()

    def closed(self, case, name, seconds):
        """As much load as goes. CPU is that of the whole process group, in microseconds a request."""
        return self.full(self.peer(name, case.logs), case, seconds)

    def full(self, peer, case, seconds):
        port = peer.place.tls if case.tls else peer.place.plain
        url = f"{'https' if case.tls else 'http'}://127.0.0.1:{port}{case.path}"
        before, since = peer.group.cpu(), time.monotonic()
        if case.streams:
            done = self.tools.h2load(url, case.connections, case.streams, seconds=seconds)
        else:
            script = self.tools.post if case.post else None
            done = self.tools.wrk(url, case.connections, seconds, case.headers, script)
        used, took = peer.group.cpu() - before, time.monotonic() - since
        if not done.requests:
            raise RuntimeError(f"{peer.name} answered nothing")
        if done.errors > done.requests / 1000:
            raise RuntimeError(f"{peer.name}: {done.errors} of {done.requests} requests failed")
        return {"value": used / done.requests * 1e6, "rate": done.rate, "busy": used / took,
                "errors": done.errors}

    def open(self, case, name, seconds, rate):
        """Response times at a fixed rate, counted from when each request was due."""
        group, port = None, self.origin
        if name != "direct":
            peer = self.peer(name)
            group, port = peer.group, peer.place.plain
        if not group:
            return self.tools.open_loop(port, rate, case.connections, seconds)
        cpu, waited, since = group.cpu(), group.waited(), time.monotonic()
        done = self.tools.open_loop(port, rate, case.connections, seconds)
        took = time.monotonic() - since
        return {**done, "cpu": (group.cpu() - cpu) / took, "waited": (group.waited() - waited) / took}

    def idle(self, case, name, connections):
        """Memory that a connection takes while nothing happens on it, in KiB."""
        peer = self.start(name)
        try:
            port = peer.place.tls if case.tls else peer.place.plain
            load.release(load.hold_idle(port, 10, case.tls))
            time.sleep(LEFT_ALONE)
            before = settled(peer.group)
            held = load.hold_idle(port, connections, case.tls)
            try:
                time.sleep(LEFT_ALONE)
                after = settled(peer.group)
            finally:
                load.release(held)
        finally:
            peer.stop()
        return {"value": (after - before) / connections / 1024, "at_rest_mib": before / 2**20,
                "errors": 0}

    def syscalls(self, strace, case, name, requests=10_000):
        """System calls while an exact number of requests is served."""
        peer = self.peer(name)
        url = f"http://127.0.0.1:{peer.place.plain}{case.path}"
        self.tools.h2load(url, case.connections, 1, requests=2_000, http1=True)
        counted = self.folder / f"strace-{name}"
        command = [strace, "-c", "-f", "-o", str(counted)]
        for pid in peer.group.members():
            command += ["-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  preexec_fn=machine.prepare(self.load_cores), start_new_session=True)
        try:
            first = tracer.stderr.readline().decode()
            if "attached" not in first:
                raise RuntimeError(f"strace cannot attach: {first.strip()}")
            time.sleep(0.3)
            done = self.tools.h2load(url, case.connections, 1, requests=requests, http1=True)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(30)
            tracer.stderr.close()
        calls = {}
        for line in counted.read_text().splitlines():
            row = re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)", line)
            if row and row.group(2) != "total":
                calls[row.group(2)] = int(row.group(1)) / requests
        data = sum(count for call, count in calls.items() if call in DATA)
        return {"value": data, "all": sum(calls.values()), "calls": calls, "errors": done.errors}

    def resumes(self, name):
        """Whether a client's second TLS connection needs no full handshake."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        session = None
        for _ in range(2):
            plain = socket.create_connection(("127.0.0.1", self.peer(name).place.tls), 5)
            with context.wrap_socket(plain, server_hostname=load.HOST, session=session) as stream:
                stream.sendall(b"GET /128 HTTP/1.1\r\nHost: bench.test\r\n\r\n")
                stream.recv(4096)
                session, reused = stream.session, stream.session_reused
        return reused


def settled(group, seconds=10):
    """The group's memory, once it no longer changes."""
    last, end = group.memory(), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1)
        now = group.memory()
        if abs(now - last) < 64 << 10:
            return now
        last = now
    return last
