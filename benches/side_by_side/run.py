#!/usr/bin/env python3
"""lbd beside nginx, HAProxy, Envoy and a relay that reads nothing: what a request costs each.

The proxy under test has one core; origin and load have the others. Rounds are interleaved (A B C A B
C), so what else the machine does befalls all, and a ratio is of two runs of the same round. CPU is
that of the whole process group, user and system. Load is as much as goes (wrk, h2load) but in the
latency case. Where the load's core is full before the proxy's, the rate is the load's limit, which the
proxy's part of its core shows; proxies are then compared at different parts of it.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True

import cases
import load
import machine
import peers
import report
import tools

ROOT = Path(__file__).resolve().parents[2]
# What part of the time a proxy may wait for its core before its response times are not its own.
BUSY = 0.05
# How many requests are looked at for allocations.
COUNTED = 10_000
NOT_JUDGED = "other work had the proxies' core meanwhile: these times say nothing"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = [case for case in cases.CASES if not options.case or case.name in options.case]
    binaries = find(options)
    run = about(binaries)
    results = {}
    names = ", ".join(name for name in peers.COMMANDS if binaries[name])
    print(f"{run['date']}: {names}; {options.rounds} rounds of {options.seconds} s\n", flush=True)
    try:
        with Lab(options, binaries) as bench:
            for case in chosen:
                samples, note = measure(bench, case, options, binaries, results)
                if samples:
                    results[case.name] = result = {**report.summary(case, samples), "note": note}
                    if note and NOT_JUDGED in note:
                        result["targets"] = {}
                    print(report.table(case.name, results[case.name]) + "\n", flush=True)
    finally:
        # What was measured before an interruption is kept too.
        if results:
            folder = Path(options.output) / run["date"].replace(":", "-").replace(" ", "T")
            report.write(folder, {**run, "load_average_after": os.getloadavg()}, results)
            print(f"{folder}/results.json, table.txt, ratios.md, ratios.svg")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    names = [case.name for case in cases.CASES]
    parser.add_argument("--lbd", default=TARGET / "release/lbd", help="lbd's binary")
    parser.add_argument("--helpers", default=TARGET / "release/examples",
                        help="the folder of the examples relay, open_loop and allocations")
    parser.add_argument("--case", action="append", choices=names, metavar="NAME",
                        help="only this case; may be repeated: " + ", ".join(names))
    parser.add_argument("--peer", action="append", choices=list(peers.COMMANDS)[1:], metavar="NAME",
                        help="only beside this peer; may be repeated")
    parser.add_argument("--rounds", type=int, help="how often each is measured (5)")
    parser.add_argument("--seconds", type=int, help="how long, each time (3)")
    parser.add_argument("--idle", type=int, help="how many idle connections (5000)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s, 1,000 idle connections")
    parser.add_argument("--cache", default=TARGET / "bench/tools", help="where Envoy is put")
    parser.add_argument("--output", default=TARGET / "bench", help="where the results are put")
    options = parser.parse_args()
    for name, usual, quick in (("rounds", 5, 2), ("seconds", 3, 1), ("idle", 5000, 1000)):
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return options


def find(options):
    """The binaries of lbd, its peers and the tools that are there."""
    installed = tools.install(["nginx", "haproxy", "wrk", "h2load", "strace", "openssl"])
    helpers = Path(options.helpers)
    found = {**installed, "lbd": str(options.lbd), "relay": str(helpers / "relay"),
             "open_loop": str(helpers / "open_loop"), "allocations": str(helpers / "allocations"),
             "envoy": tools.envoy(options.cache)}
    for name in ("lbd", "relay", "open_loop", "allocations"):
        if not os.access(found[name], os.X_OK):
            sys.exit(f"{found[name]} is not there; `make bench` builds it")
    for name in ("nginx", "wrk", "h2load", "openssl"):
        if not found[name]:
            sys.exit(f"Nothing can be measured without {name}.")
    for name in ("haproxy", "envoy", "strace"):
        if not found[name]:
            print(f"{name} could not be had and is left out.\n")
    for name in list(peers.COMMANDS)[1:]:
        if options.peer and name not in options.peer and name != "nginx":
            found[name] = None
    return found


def about(binaries):
    """When, how and with what."""
    versions = {name: tools.version(path) for name, path in binaries.items()
                if path and name in ("nginx", "haproxy", "envoy", "h2load", "wrk")}
    return {"date": time.strftime("%Y-%m-%d %H:%M:%S"), "command": shlex.join(["run.py", *sys.argv[1:]]),
            "versions": versions, "cores": os.cpu_count(), "kernel": platform.release(),
            "load_average_before": os.getloadavg()}


class Lab:
    """A folder, a certificate, the origin and the peers; all of them gone at the end."""

    def __init__(self, options, binaries):
        self.options, self.binaries = options, binaries

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="lbd-bench-"))
        self.folder.chmod(0o755)
        self.origin = self.bench = None
        try:
            return self.begin()
        except BaseException:
            self.__exit__()
            raise

    def begin(self):
        certificate, key = certify(self.binaries["openssl"], self.folder)
        proxy_cores, load_cores = machine.cores()
        # This program is a part of the load.
        os.sched_setaffinity(0, load_cores)
        if proxy_cores == load_cores:
            print("There is one core: the load and the proxy share it.\n")
        port = machine.free_port()
        self.origin = peers.origin(self.binaries["nginx"], self.folder / "origin", load_cores, [port])
        generators = load.Generators(self.binaries["wrk"], self.binaries["h2load"],
                                     self.binaries["open_loop"], self.folder, load_cores)
        self.bench = cases.Bench(self.binaries, self.folder, certificate, key, generators, port)
        return self.bench

    def __exit__(self, *_):
        if self.bench:
            self.bench.stop()
        if self.origin:
            self.origin.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def certify(openssl, folder):
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "30", "-subj", f"/CN={load.HOST}", "-addext", f"subjectAltName=DNS:{load.HOST}",
         "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def measure(bench, case, options, binaries, results):
    """The samples of each peer, round by round, and what is to be known of them."""
    names = [name for name in case.peers if name == "direct" or binaries.get(name)]
    kinds = {"closed": closed, "latency": latency, "idle": idle, "workers": workers,
             "syscalls": syscalls, "allocations": allocations}
    try:
        return kinds[case.kind](bench, case, names, options, binaries, results)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"{case.name}: could not be measured: {error}\n", flush=True)
        return None, None


def rounds(names, count, sample):
    """A B C A B C."""
    samples = {name: [] for name in names}
    for _ in range(count):
        for name in names:
            samples[name].append(sample(name))
    return samples


def closed(bench, case, names, options, *_):
    note = None
    for name in names:
        bench.closed(case, name, 1)
    if case.name == "tls-new":
        full = [name for name in names if not bench.resumes(name)]
        note = f"not resumed by {', '.join(full)}" if full else "every peer resumes"
    return rounds(names, options.rounds, lambda name: bench.closed(case, name, options.seconds)), note


def latency(bench, case, names, options, _, results):
    small = next(other for other in cases.CASES if other.name == "small-64")
    proxies = [name for name in names if name in cases.PROXIES]
    if small.name in results:
        rates = {name: [row["rate"] for row in results[small.name]["samples"][name]] for name in proxies}
    else:
        found = rounds(proxies, 2, lambda name: bench.closed(small, name, options.seconds))
        rates = {name: [row["rate"] for row in rows] for name, rows in found.items()}
    slowest = min(rates, key=lambda name: load.middle(rates[name]))
    rate = cases.PART * load.middle(rates[slowest])
    samples = rounds(names, options.rounds, lambda name: bench.open(case, name, options.seconds, rate))
    for name in names:
        for row, direct in zip(samples[name], samples["direct"]):
            # Of the same round. What the proxy adds to the quantile, not the quantile of what it adds.
            for part in ("p50", "p99", "p999"):
                row[f"added_{part}"] = row[part] - direct[part]
            row["value"] = row["added_p99"]
    note = f"{rate:.0f} requests/s, 70 % of what {slowest} takes"
    waits = [row["waited"] for rows in samples.values() for row in rows if "waited" in row]
    if load.middle(waits) > BUSY:
        note += f"; {NOT_JUDGED}"
    return samples, note


def idle(bench, case, names, options, *_):
    # Once: memory hardly scatters.
    samples = rounds(names, 1, lambda name: bench.idle(case, name, options.idle))
    return samples, f"{options.idle} connections, each asked once before and left alone for {cases.LEFT_ALONE} s"


def workers(bench, case, _, options, *__):
    """Both have the same two cores; whether they share anything shows in what a request costs."""
    two = set(machine.AVAILABLE[:2])
    peers_by = {f"{n} worker{'s'[:n - 1]}": bench.start("lbd", workers=n, on=two) for n in (1, 2)}
    try:
        samples = rounds(peers_by, options.rounds,
                         lambda name: bench.full(peers_by[name], case, options.seconds))
    finally:
        for peer in peers_by.values():
            peer.stop()
    one, both = samples.values()
    rate = load.middle([b["rate"] / a["rate"] for a, b in zip(one, both)])
    cost = load.middle([b["value"] / a["value"] for a, b in zip(one, both)])
    said = f"two have {rate:.2f} × the rate of one, at {cost:.2f} × the CPU of a request"
    if len(machine.AVAILABLE) < 6:
        said += "; the rate needs 6 cores to mean anything (target 1.9), as load and origin want theirs"
    return samples, said


def syscalls(bench, case, names, options, binaries, *_):
    if not binaries["strace"]:
        raise RuntimeError("strace is not there")
    samples = rounds(names, 1, lambda name: bench.syscalls(binaries["strace"], case, name))
    return samples, "counted by strace, which slows the proxy; not comparable with other rates"


def allocations(bench, _, __, ___, binaries, *____):
    out = machine.run([binaries["allocations"], str(COUNTED)], bench.load_cores, 120)
    counted = json.loads(out)
    samples = {"kept connection": [{"value": counted["kept"], "errors": 0}],
               "new connection": [{"value": counted["new"], "errors": 0}]}
    return samples, f"{COUNTED} requests to a worker in a process whose allocator counts, after 2,000 others"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
