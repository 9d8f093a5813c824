"""Ordinary clients: curl, httpx, undici, nghttp2's h2load, grpcio, websockets, ws, and a browser."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from origin import LARGE
from sides import ASSETS, PEERS

HERE = Path(__file__).resolve().parent


def command(words, env=None, timeout=90, data=None):
    """Runs to the end; returns what was printed. Raises with the last words of one that failed."""
    done = subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        input=data,
    )
    if done.returncode:
        said = (done.stderr + done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"exit code {done.returncode}: {said[-200:]}")
    return done.stdout


def succeeds(words, env=None):
    """A check: the exit code is all."""
    command(words, env)


def clients_part(world, side):
    curl(world, side)
    for name, check in {
        "httpx, httpx.Client": lambda: printed(world, side, [world.tools.python, HERE / "httpx_client.py"]),
        "undici": lambda: printed(world, side, ["node", HERE / "undici_client.mjs"]),
    }.items():
        scripted(world, side, name.split(",")[0], check)
    h2load(world, side)
    world.table.attempt(
        "grpcio", side.name, "all kinds of calls, trailers, deadlines, 200 at once",
        lambda: succeeds([world.tools.python, PEERS / "grpc.py", "client", f"127.0.0.1:{side.h2c}"]),
    )
    websockets(world, side)
    world.table.attempt("Chromium", side.name, f"a page with {ASSETS} assets over HTTP/2", lambda: chromium(world, side))


def printed(world, side, words):
    env = {"NODE_PEERS": str(world.tools.node)}
    return command([*words, side.plain, side.h2c, side.tls], env=env)


def scripted(world, side, tool, check):
    """A script prints a line for each case: `ok NAME`, or `failed NAME: WHY`."""
    try:
        lines = check().decode().splitlines()
    except Exception as error:  # noqa: BLE001
        world.table.add(tool, side.name, "the script runs", error)
        return
    for line in lines:
        verdict, _, rest = line.partition(" ")
        name, _, why = rest.partition(": ")
        world.table.add(tool, side.name, name, None if verdict == "ok" else why or "failed")


# What curl prints for a status, a version and a body's hash.
FORMAT = "%{http_code} %{http_version} %{num_connects}"


def curl(world, side):
    plain, h2c, tls = (f"http://127.0.0.1:{side.plain}", f"http://127.0.0.1:{side.h2c}", f"https://localhost:{side.tls}")
    body = world.folder / "body"
    body.write_bytes(LARGE[: 1 << 20])
    ways = {
        "--http1.1": ("--http1.1", plain, "1.1"),
        "--http1.1 with TLS": ("--http1.1", tls, "1.1"),
        "--http2 with TLS": ("--http2", tls, "2"),
        "--http2-prior-knowledge": ("--http2-prior-knowledge", h2c, "2"),
        "--http1.0": ("--http1.0", plain, None),
    }
    digest = lambda data: hashlib.sha256(data).hexdigest()  # noqa: E731
    sent = digest(body.read_bytes())
    cases = {
        "GET": (["/"], "200", digest(b"ok")),
        "HEAD": (["/", "--head", "-o", "/dev/null"], "200", None),
        "204": (["/status/204"], "204", digest(b"")),
        "304": (["/status/304"], "304", digest(b"")),
        "503 of the origin": (["/status/503"], "503", digest(b"")),
        "a chunked answer": (["/stream"], "200", digest(b"0123456789")),
        "4 MiB down": (["/large"], "200", digest(LARGE)),
        "1 MiB up": (["/echo", "--data-binary", f"@{body}"], "200", sent),
        "1 MiB up in chunks": (["/echo", "-T", "-", "-X", "POST"], "200", sent),
        "1 MiB up after 100-continue": (["/echo", "--data-binary", f"@{body}", "-H", "Expect: 100-continue"], "200", sent),
        "PUT": (["/echo", "-T", body], "200", sent),
        "DELETE": (["/", "-X", "DELETE"], "200", digest(b"ok")),
        "dots in the path stay": (["/a/../b/./c", "--path-as-is"], "200", digest(b"ok")),
        "a header of 8 KiB": (["/", "-H", "X-Large: " + "y" * 8000], "200", digest(b"ok")),
        "a static file of nginx": (["/page/a1.js"], "200", None),
        "a range": (["/page/a1.js", "-r", "0-9"], "206", None),
    }
    for way, (flag, base, version) in ways.items():
        for name, (more, status, wanted) in cases.items():
            if way == "--http1.0" and "up in chunks" in name:
                continue

            def check(more=more, status=status, wanted=wanted, flag=flag, base=base, version=version):
                url, *options = more
                words = ["curl", "-sSk", "--max-time", "20", flag, "-w", "\n" + FORMAT, *options, base + url]
                out = command(words, data=body.read_bytes() if "-" in options else None)
                got, _, told = out.rpartition(b"\n")
                code, spoken, _ = told.decode().split()
                if code != status or version not in (None, spoken):
                    return f"status {code} over HTTP/{spoken}"
                if wanted and digest(got) != wanted:
                    return f"another body, of {len(got)} bytes"
                return None

            world.table.attempt("curl", side.name, f"{way}: {name}", check)
        world.table.attempt("curl", side.name, f"{way}: 50 at a time, 200 in all", lambda f=flag, b=base: at_once(f, b))
        if way != "--http1.0":
            world.table.attempt("curl", side.name, f"{way}: 20 on one connection", lambda f=flag, b=base: in_a_row(f, b))


def at_once(flag, base):
    words = ["curl", "-sSk", "--max-time", "30", flag, "-Z", "--parallel-max", "50", "-w", "%{http_code}\n", "-o", "/dev/null"]
    codes = command([*words, base + "/?[1-200]"]).decode().split()
    return None if codes == ["200"] * 200 else f"{codes.count('200')} of 200"


def in_a_row(flag, base):
    words = ["curl", "-sSk", "--max-time", "30", flag, "-w", "%{http_code} %{num_connects}\n", "-o", "/dev/null"]
    lines = command([*words, base + "/?[1-20]"]).decode().split("\n")[:-1]
    connects = sum(int(line.split()[1]) for line in lines)
    return None if len(lines) == 20 and connects == 1 else f"{len(lines)} answers on {connects} connections"


def h2load(world, side):
    for name, words in {
        "HTTP/2 with TLS, 10 connections, 32 streams each": [f"https://127.0.0.1:{side.tls}/page/a1.js", "-m", "32"],
        "h2c, 10 connections, 100 streams each": [f"http://127.0.0.1:{side.h2c}/page/a1.js", "-m", "100"],
        "HTTP/1.1, 10 connections": ["--h1", f"http://127.0.0.1:{side.plain}/page/a1.js"],
    }.items():

        def check(words=words):
            out = command(["h2load", "-n", "3000", "-c", "10", *words]).decode()
            passed = re.search(r"status codes: (\d+) 2xx", out)
            return None if passed and passed[1] == "3000" else f"{passed and passed[1]} of 3000 requests"

        world.table.attempt("h2load", side.name, name, check)


def websockets(world, side):
    env = {"NODE_PEERS": str(world.tools.node)}
    clients = {"websockets": [world.tools.python, PEERS / "websocket.py"], "ws": ["node", PEERS / "websocket.mjs"]}
    for server, host in (("websockets", "127.0.0.1"), ("ws", "localhost")):
        for client, words in clients.items():
            check = lambda w=words, h=host: succeeds([*w, "client", f"{h}:{side.plain}"], env)  # noqa: E731
            world.table.attempt("WebSocket clients", side.name, f"{client} to a server of {server}", check)


def chromium(world, side):
    words = [shutil.which("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    words += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--no-proxy-server"]
    words += ["--ignore-certificate-errors", f"--user-data-dir={world.folder}/chromium-{side.name}"]
    out = command([*words, "--timeout=20000", "--dump-dom", f"https://localhost:{side.tls}/page/index.html"]).decode()
    title = re.search(r"<title>([^<]*)</title>", out)
    wanted = f"assets={ASSETS} entries={ASSETS} protocols=h2"
    return None if title and title[1] == wanted else f"{title and title[1]} in place of {wanted}"
