"""schemathesis against the admin API of lbd, by the OpenAPI document that lbd itself serves."""

import base64
import http.client
import json
import socket
import subprocess
import threading
import time

from sides import free_port

EXAMPLES = 25
SECONDS = 180

# A request that the schema allows may still make no sense in this state (422), or not any more (412).
CONFIG = """[checks.positive_data_acceptance]
expected-statuses = ["2xx", "403", "404", "409", "412", "422"]
"""


def admin_part(world, side):
    """An lbd of its own, which may be turned upside down; nginx has no such API."""
    if side.name != "lbd":
        return
    home = world.folder / "admin"
    home.mkdir()
    (home / "lbd.toml").write_text(
        f"""[admin]
        socket = "{home}/admin.sock"
        state_dir = "{home}/state"
        [listener.http]
        address = "127.0.0.1:{free_port()}"
        [service.app.pool.blue]
        endpoints = ["127.0.0.1:{world.origin.port}"]
        [service.app.pool.green]
        endpoints = ["127.0.0.1:{world.origin.port}"]
        weight = 0
        """
    )
    process = world.processes.start("lbd-admin", [world.binary, "--config", home / "lbd.toml"])
    until_there(home / "admin.sock", process)
    relay = Relay(home / "admin.sock")
    report = world.folder / "schemathesis.ndjson"
    config = world.folder / "schemathesis.toml"
    config.write_text(CONFIG)
    words = [world.tools.folder / "venv/bin/schemathesis", "--config-file", config, "run", f"http://127.0.0.1:{relay.port}/v1/openapi.json"]
    words += ["--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", "1"]
    words += ["--continue-on-failure", "--request-timeout", "10", "--no-color", "--generation-database", "none"]
    # It would put a process in lbd's place of which nobody here knows; tests/upgrade.rs is about that.
    words += ["--exclude-operation-id", "Upgrade"]
    words += ["--report", "ndjson", "--report-ndjson-path", report]
    try:
        done = subprocess.run(
            [str(word) for word in words], capture_output=True, timeout=SECONDS * 2, stdin=subprocess.DEVNULL, cwd=world.folder
        )
        (world.folder / "schemathesis.txt").write_bytes(done.stdout + done.stderr)
        (health := http.client.HTTPConnection("127.0.0.1", relay.port, timeout=5)).request("GET", "/healthz")
        status = health.getresponse().status
        world.table.add("schemathesis", side.name, "it lives afterwards", None if status == 200 else f"status {status}")
    finally:
        relay.stop()
    count(world, side, report)


def until_there(socket_path, process):
    limit = time.monotonic() + 20
    while not socket_path.exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError("the lbd of the admin API does not start")
        time.sleep(0.05)


class Relay:
    """Carries a TCP port's connections to a Unix socket."""

    def __init__(self, path):
        self.path = str(path)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            admin = socket.socket(socket.AF_UNIX)
            admin.connect(self.path)
            for pair in ((client, admin), (admin, client)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    def stop(self):
        self.listener.close()


def carry(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: so is the other, at once.
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def count(world, side, report):
    """A case is what one check said of one operation, over all requests that were made of it."""
    found, requests = {}, 0
    lines = report.read_text().splitlines() if report.exists() else []
    for event in map(json.loads, lines):
        if error := event.get("NonFatalError"):
            found[f"{error['label']}: it answers"] = str(error["value"])
        recorder = event.get("ScenarioFinished", {}).get("recorder", {})
        for key, checks in recorder.get("checks", {}).items():
            requests += 1
            for check in checks:
                name = f"{recorder['label']}: {check['name']}"
                failed = check["status"] != "success"
                found[name] = found.get(name) or (told(check, recorder["interactions"].get(key)) if failed else None)
    if not found:
        found["it runs"] = "it reported nothing"
    for name, fault in sorted(found.items()):
        world.table.add("schemathesis", side.name, name, fault)
    world.table.note(f"schemathesis: {requests:,} requests")


def told(check, exchange):
    """A failed check's words, with what was sent and what came."""
    text = lambda part: base64.b64decode((part or {}).get("$base64", "")).decode(errors="replace")  # noqa: E731
    words = check.get("failure_info", {}).get("failure", {}).get("message", check["status"]).partition("\n")[0]
    if not exchange:
        return words
    sent, came = exchange["request"], exchange.get("response") or {}
    path = sent["uri"].split("/", 3)[-1]
    body = f"{text(sent.get('body'))[:80]} -> {came.get('status_code')} {text(came.get('content'))[:120]}"
    return f"{words}: {sent['method']} /{path} {body}"
