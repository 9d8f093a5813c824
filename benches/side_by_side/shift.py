#!/usr/bin/env python3
"""What lbd's own work costs: weight changes, cohort lists, many services, a scrape.

lbd has one core; origin and load have the others. Sizes grow by tens, and their rounds are interleaved
(A B C A B C): growth must be linear or better, and what a request costs must not grow.
"""

import argparse
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True

import load
import machine
import peers
import report
import tools

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
POOLS = ("blue", "green", "amber", "grey")
ENDPOINTS = 8
CHANGES = 100
USER = {"Host": "s0.test", "X-User-Id": "user-{n}"}


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    binaries = find(options)
    date = time.strftime("%Y-%m-%d %H:%M:%S")
    parts = {"changes": changes, "cohorts": cohorts, "services": services}
    results, lab = {}, Lab(options, binaries)
    try:
        for name in options.part or parts:
            results[name] = parts[name](lab, options)
            print(shown(results[name]) + "\n", flush=True)
    finally:
        lab.stop()
        if results:
            write(Path(options.output), date, results)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--lbd", default=TARGET / "release/lbd", help="lbd's binary")
    parser.add_argument("--helpers", default=TARGET / "release/examples", help="the folder of open_loop")
    parser.add_argument("--part", action="append", choices=("changes", "cohorts", "services"),
                        help="only this; may be repeated")
    parser.add_argument("--rounds", type=int, help="how often each is measured (5)")
    parser.add_argument("--seconds", type=int, help="how long, each time (5)")
    parser.add_argument("--rate", type=int, default=2000, help="requests a second (2000)")
    parser.add_argument("--users", type=int, default=100_000, help="the longest cohort list (100000)")
    parser.add_argument("--services", type=int, default=1000, help="the most services (1000)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s")
    parser.add_argument("--output", default=TARGET / "bench", help="where the results are put")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.seconds = options.seconds or (2 if options.quick else 5)
    return options


def find(options):
    found = tools.install(["nginx", "wrk"])
    found |= {"lbd": str(options.lbd), "open_loop": str(Path(options.helpers) / "open_loop")}
    for name in ("lbd", "open_loop"):
        if not os.access(found[name], os.X_OK):
            sys.exit(f"{found[name]} is not there; `make bench-shift` builds it")
    for name in ("nginx", "wrk"):
        if not found[name]:
            sys.exit(f"Nothing can be measured without {name}.")
    return found


class Lab:
    """A folder, an origin with eight ports, and every lbd that was started."""

    def __init__(self, options, binaries):
        self.binaries, self.running = binaries, []
        self.proxy_cores, self.load_cores = machine.cores()
        # This program is a part of the load.
        os.sched_setaffinity(0, self.load_cores)
        self.folder = Path(tempfile.mkdtemp(prefix="lbd-bench-"))
        self.folder.chmod(0o755)
        self.ports = [machine.free_port() for _ in range(ENDPOINTS)]
        try:
            origin = peers.origin(binaries["nginx"], self.folder / "origin", self.load_cores, self.ports)
            self.running.append(origin)
            self.load = load.Generators(binaries["wrk"], None, binaries["open_loop"], self.folder,
                                        self.load_cores)
        except BaseException:
            self.stop()
            raise

    def lbd(self, name, services):
        daemon = Daemon(self, name, services)
        self.running.append(daemon)
        daemon.start()
        return daemon

    def stop(self):
        while self.running:
            self.running.pop().stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Daemon:
    """An lbd with so many services, each with four pools of eight endpoints."""

    def __init__(self, lab, name, services):
        self.lab, self.services, self.group = lab, services, None
        # What it takes of a core without requests.
        self.rest = 0
        self.folder = lab.folder / name
        self.folder.mkdir()
        self.port, self.metrics = machine.free_port(), machine.free_port()
        self.configure(share=10)

    def configure(self, share):
        endpoints = json.dumps([f"127.0.0.1:{port}" for port in self.lab.ports])
        shares = dict(zip(POOLS, (100 - share, share, 0, 0)))
        parts = [f"""
[admin]
socket = "{self.folder}/admin.sock"
state_dir = "{self.folder}/state"
http = "127.0.0.1:{self.metrics}"
[runtime]
workers = 1
[listener.plain]
address = "127.0.0.1:{self.port}"
"""]
        for number in range(self.services):
            parts.append(f'[service.s{number}]\nhosts = ["s{number}.test"]\n'
                         'user_id = ["header:X-User-Id"]\nbaseline = "blue"\n')
            for pool in POOLS:
                parts.append(f"[service.s{number}.pool.{pool}]\nendpoints = {endpoints}\n"
                             f"weight = {shares[pool]}\n")
        (self.folder / "lbd.toml").write_text("".join(parts))

    def start(self):
        """Starts it. Returns the seconds until its last service has answered."""
        since = time.monotonic()
        command = [self.lab.binaries["lbd"], "--config", str(self.folder / "lbd.toml")]
        self.group = machine.Group(command, self.lab.proxy_cores, self.folder / "said")
        self.group.until_open([self.port], 120)
        self.ask(f"s{self.services - 1}.test")
        return time.monotonic() - since

    def stop(self):
        if self.group:
            self.group.stop()
            self.group = None

    def ask(self, host):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", "/128", headers={"Host": host})
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise RuntimeError(f"lbd answered {status}: {self.group.said()}")

    def order(self, method, path, body):
        """Seconds that a command takes, on a connection of its own."""
        since = time.monotonic()
        connection = Admin(self.folder / "admin.sock")
        try:
            connection.order(method, path, body)
        finally:
            connection.close()
        return time.monotonic() - since

    def scrape(self):
        """Seconds and bytes of a scrape."""
        since = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.metrics, timeout=60)
        connection.request("GET", "/metrics")
        size = len(connection.getresponse().read())
        connection.close()
        return time.monotonic() - since, size

    def script(self):
        """Has wrk ask each service in turn."""
        path = self.folder / "hosts.lua"
        path.write_text(f"""
local requests, n = {{}}, 0
function init()
    for i = 0, {self.services - 1} do
        local headers = {{ Host = "s" .. i .. ".test", ["X-User-Id"] = "user-" .. i }}
        requests[i] = wrk.format("GET", "/128", headers)
    end
end
function request()
    n = (n + 1) % {self.services}
    return requests[n]
end
""")
        return path

    def request_cost(self, seconds):
        """CPU microseconds of a request, over all services in turn; without what it takes at rest."""
        before, since = self.group.cpu(), time.monotonic()
        done = self.lab.load.wrk(f"http://127.0.0.1:{self.port}/128", 64, seconds, script=self.script())
        if done.errors or not done.requests:
            raise RuntimeError(f"{done.errors} of {done.requests} requests failed")
        used = self.group.cpu() - before - self.rest * (time.monotonic() - since)
        return used / done.requests * 1e6


class Admin(http.client.HTTPConnection):
    """The admin API, over its socket."""

    def __init__(self, path):
        super().__init__("lbd", timeout=120)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def order(self, method, path, body):
        self.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self.getresponse()
        text = answer.read().decode(errors="replace")
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")


class Changing(threading.Thread):
    """Changes green's weight so many times a second, until told to stop."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.socket, self.over = daemon.folder / "admin.sock", threading.Event()
        self.times, self.problem = [], None

    def run(self):
        admin, start = Admin(self.socket), time.monotonic()
        try:
            while not self.over.wait(max(0, start + len(self.times) / CHANGES - time.monotonic())):
                since = time.monotonic()
                share = 10 + len(self.times) % 80
                admin.order("PUT", "/v1/split", {"pool": "green", "share": f"{share}%"})
                self.times.append(time.monotonic() - since)
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            self.problem = error
        finally:
            admin.close()

    def end(self):
        self.over.set()
        self.join()
        if self.problem:
            raise RuntimeError(f"a weight change failed: {self.problem}")
        return self.times


def changes(lab, options):
    """CPU and response times at a fixed rate, with weight changes and without, in turn."""
    daemon = lab.lbd("changes", 1)
    rows = {"none": [], "changing": []}
    for _ in range(options.rounds):
        for name, found in rows.items():
            changing = Changing(daemon) if name == "changing" else None
            before, since = daemon.group.cpu(), time.monotonic()
            if changing:
                changing.start()
            done = lab.load.open_loop(daemon.port, options.rate, 32, options.seconds, USER)
            times = changing.end() if changing else []
            used, took = daemon.group.cpu() - before, time.monotonic() - since
            found.append({"busy": used / took, "rate": len(times) / took, "p99": done["p99"],
                          "failed": done["errors"], "reply": statistics.median(times or [0])})
    daemon.stop()
    none, some = rows["none"], rows["changing"]
    each = [(b["busy"] - a["busy"]) / b["rate"] * 1e6 for a, b in zip(none, some) if b["rate"]]
    wanted = f"{CHANGES} weight changes a second at {options.rate} requests/s"
    return {"title": wanted, "columns": ["none", "changing"], "rows": {
        "changes a second": [mid(none, "rate"), mid(some, "rate")],
        "requests that failed": [sum(r["failed"] for r in none), sum(r["failed"] for r in some)],
        "part of a core, %": [100 * mid(none, "busy"), 100 * mid(some, "busy")],
        "CPU of one change, µs": [None, statistics.median(each)],
        "reply to a change, ms": [None, 1000 * mid(some, "reply")],
        "p99 of requests, ms": [mid(none, "p99") / 1000, mid(some, "p99") / 1000],
    }, "rounds": rows}


def cohorts(lab, options):
    """What lists of users cost, with every request of a listed user."""
    sizes = [0, *tens(options.users)]
    rows, daemons = {}, {}

    def put(what, value):
        rows.setdefault(what, []).append(value)

    for size in sizes:
        daemon = daemons[size] = lab.lbd(f"cohort-{size}", 1)
        since = time.monotonic()
        users = [f"user-{n}" for n in range(size)]
        for first in range(0, size, 10_000):
            some = {"list": "allow", "users": users[first:first + 10_000]}
            daemon.order("POST", "/v1/cohorts/green", some)
        put("adding them, ms", 1000 * (time.monotonic() - since))
        put("reply to a weight change, ms", 1000 * statistics.median(
            daemon.order("PUT", "/v1/split", {"pool": "green", "share": f"{n}%"}) for n in range(10, 20)))
        daemon.stop()
        put("start with the list, ms", 1000 * daemon.start())
        put("memory after that, MiB", daemon.group.memory() / 2**20)
    put_interleaved(rows, "CPU of a request, µs", daemons, options,
                    lambda daemon: listed(lab, daemon, options))
    for daemon in daemons.values():
        daemon.stop()
    return {"title": "users on a cohort list", "columns": [f"{size:,}" for size in sizes], "rows": rows}


def listed(lab, daemon, options):
    """CPU microseconds of a listed user's request, at a fixed rate."""
    before = daemon.group.cpu()
    done = lab.load.open_loop(daemon.port, options.rate, 32, options.seconds, USER)
    if done["errors"]:
        raise RuntimeError(f"{done['errors']} requests failed")
    # The first second is sent, but not among those that are counted.
    return (daemon.group.cpu() - before) / (options.rate * (options.seconds + 1)) * 1e6


def put_interleaved(rows, what, daemons, options, cost):
    """A row of medians, from rounds of A B C A B C."""
    found = {size: [] for size in daemons}
    for _ in range(options.rounds):
        for size, daemon in daemons.items():
            found[size].append(cost(daemon))
    rows[what] = [statistics.median(costs) for costs in found.values()]


def services(lab, options):
    """What services cost that are there, each with four pools of eight endpoints."""
    sizes, repeats = tens(options.services), 1 if options.quick else 3
    rows, daemons = {}, {}

    def put(what, value):
        rows.setdefault(what, []).append(value)

    def timed(what, daemon, action):
        """Puts how long the action takes, and lbd's CPU meanwhile, to hundredths of a second."""
        times, used = [], []
        for turn in range(repeats):
            if action is start_anew:
                daemon.stop()
            before = daemon.group.cpu() if daemon.group else 0
            since = time.monotonic()
            action(daemon, turn)
            times.append(time.monotonic() - since)
            used.append(daemon.group.cpu() - before)
        put(f"{what}, ms", 1000 * statistics.median(times))
        put(f"{what}, CPU ms", 1000 * statistics.median(used))

    for size in sizes:
        daemon = daemons[size] = Daemon(lab, f"services-{size}", size)
        lab.running.append(daemon)
        timed("start", daemon, start_anew)
        put("memory, MiB", daemon.group.memory() / 2**20)
        timed("reload", daemon, reload)
        timed("weight change in all", daemon, shift_all)
        daemon.request_cost(1)
        timed("scrape", daemon, lambda daemon, _: daemon.scrape())
        put("scrape, KiB", daemon.scrape()[1] / 1024)
        before = daemon.group.cpu()
        time.sleep(options.seconds)
        daemon.rest = (daemon.group.cpu() - before) / options.seconds
        put("part of a core at rest, %", 100 * daemon.rest)
        put("memory after traffic and scrapes, MiB", daemon.group.memory() / 2**20)
    put_interleaved(rows, "CPU of a request beyond that, µs", daemons, options,
                    lambda daemon: daemon.request_cost(options.seconds))
    for daemon in daemons.values():
        daemon.stop()
    title = f"services of {len(POOLS)} pools with {ENDPOINTS} endpoints each"
    return {"title": title, "columns": [f"{size:,}" for size in sizes], "rows": rows}


def start_anew(daemon, _):
    """Starts a daemon that does not run."""
    daemon.start()


def reload(daemon, turn):
    """Loads a file that is new in every service."""
    daemon.configure(share=20 + turn)
    daemon.order("POST", "/v1/config/reload", {})


def shift_all(daemon, turn):
    daemon.order("PUT", "/v1/split", {"pool": "green", "share": f"{30 + turn}%"})


def tens(most):
    """A hundredth, a tenth and all of it."""
    return [most // part for part in (100, 10, 1) if most >= part]


def mid(rows, key):
    return statistics.median(row[key] for row in rows)


def shown(result):
    """A table; the last column is how the last sizes compare with the ones before: ×10 is linear."""
    grows = len(result["columns"]) > 2
    table = [("", *result["columns"], *(["growth (×10 is linear)"] if grows else []))]
    for what, values in result["rows"].items():
        row = [what, *("" if value is None else number(value) for value in values)]
        if grows:
            pairs = zip(values[-3:], values[-2:])
            row.append("  ".join(f"×{b / a:.1f}" if a > 0 else "" for a, b in pairs))
        table.append(tuple(row))
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [result["title"]]
    for first, *rest in table:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:])]
        lines.append("  " + first.ljust(widths[0]) + "  " + "  ".join(cells))
    return "\n".join(lines)


def number(value):
    return str(value) if isinstance(value, int) else report.figure(value)


def write(output, date, results):
    folder = output / ("shift-" + date.replace(":", "-").replace(" ", "T"))
    folder.mkdir(parents=True, exist_ok=True)
    run = {"date": date, "command": shlex.join(["shift.py", *sys.argv[1:]])}
    (folder / "results.json").write_text(json.dumps({**run, "parts": results}, indent=1) + "\n")
    tables = [f"{run['command']}\n{date}", *map(shown, results.values())]
    (folder / "table.txt").write_text("\n\n".join(tables) + "\n")
    print(f"{folder}/results.json, table.txt")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"bench-shift: {error}")
