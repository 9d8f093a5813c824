"""Load generators, and what they say."""

import json
import re
import socket
import ssl
import statistics
from dataclasses import dataclass
from pathlib import Path

import machine

HEADERS = {"User-Agent": "bench", "Accept": "*/*", "Accept-Language": "en"}
HOST = "bench.test"

# Every peer's clients offer one cipher and one group: handshakes and records cost each the same.
OPENSSL = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = one
[one]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""

POST = """
wrk.method = "POST"
wrk.body = string.rep("x", 4096)
"""


@dataclass
class Done:
    """What a generator did: requests, how many failed, and how many a second."""

    requests: int
    errors: int
    rate: float


class Generators:
    """The programs that make load, on their cores."""

    def __init__(self, wrk, h2load, open_loop, folder, on):
        self.wrk_binary, self.h2load_binary, self.open_loop_binary = wrk, h2load, open_loop
        self.on = on
        self.post = folder / "post.lua"
        self.post.write_text(POST)
        conf = folder / "openssl.cnf"
        conf.write_text(OPENSSL)
        self.env = {"OPENSSL_CONF": str(conf)}

    def wrk(self, url, connections, seconds, headers=None, script=None):
        """As many requests as go, each connection one at a time."""
        # Half of the cores are the origin's.
        threads = max(1, min(connections, len(self.on) // 2))
        command = [self.wrk_binary, f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
        for name, value in {"Host": HOST, **HEADERS, **(headers or {})}.items():
            command += ["-H", f"{name}: {value}"]
        command += ["-s", str(script)] if script else []
        out = machine.run([*command, url], self.on, seconds + 60, self.env)
        requests, rest = re.search(r"(\d+) requests in ([\d.]+)(m?)s", out).group(1), out
        wrong = [int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", rest)]
        broken = re.findall(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", rest)
        errors = sum(wrong) + sum(int(n) for row in broken for n in row)
        return Done(int(requests), errors, float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)))

    def h2load(self, url, connections, streams, seconds=None, requests=None, http1=False):
        """As many requests as go, `streams` at a time on each connection."""
        command = [self.h2load_binary, f"-c{connections}", f"-m{streams}", "-t1"]
        command += ["-D", str(seconds)] if seconds else ["-n", str(requests)]
        command += ["--h1"] if http1 else []
        command += ["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"]
        for name, value in HEADERS.items():
            command += ["-H", f"{name}: {value}"]
        out = machine.run([*command, url], self.on, (seconds or 60) + 60, self.env)
        row = re.search(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
        done, good = int(row.group(1)), int(row.group(2))
        # In a timed run, what is in the air at the end is not done.
        return Done(good, done - good, float(re.search(r"finished in .*, ([\d.]+) req/s", out).group(1)))

    def open_loop(self, port, rate, connections, seconds, headers=None):
        """Requests at a fixed rate. Returns what open_loop.rs prints: times in microseconds."""
        command = [self.open_loop_binary, f"127.0.0.1:{port}", f"{rate:.0f}", str(connections), str(seconds)]
        headers = {"Host": HOST, **HEADERS, **(headers or {})}
        command += [f"{name}: {value}" for name, value in headers.items()]
        return json.loads(machine.run(command, self.on, seconds + 60))


def hold_idle(port, connections, tls):
    """Opens connections, asks once on each, and holds them. Returns them."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    request = f"GET /128 HTTP/1.1\r\nHost: {HOST}\r\n{head}\r\n".encode()
    held = []
    try:
        for _ in range(connections):
            stream = socket.create_connection(("127.0.0.1", port), 10)
            # Else the request waits for the acknowledgement of the handshake's end.
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                stream = context.wrap_socket(stream, server_hostname=HOST)
            held.append(stream)
            stream.sendall(request)
            answer = b""
            while not answer.endswith(b"x" * 128):
                piece = stream.recv(4096)
                if not piece:
                    raise RuntimeError("a connection was closed that should be held")
                answer += piece
    except BaseException:
        release(held)
        raise
    return held


def release(held):
    for stream in held:
        stream.close()


def middle(values):
    return statistics.median(values)
