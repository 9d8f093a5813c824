"""slowhttptest beside an ordinary stream of requests: how many of those are served, and how fast."""

import http.client
import re
import shutil
import statistics
import subprocess
import threading
import time

CONNECTIONS, SECONDS = 1000, 30
QUIET = 8
# Requests in a second: enough for a percentile, little enough to stay out of the way.
PACE = 100
# The most that a slow client may cost others: the p99 beside it against the quiet one.
RATIO = 2.0

# The path that is attacked, and how.
ATTACKS = {
    "slow headers (-H)": ["/page/a1.js", "-H", "-i", "10", "-t", "GET", "-x", "24", "-p", "3"],
    "slow bodies (-B)": ["/echo", "-B", "-i", "10", "-s", "8192", "-t", "POST", "-x", "10", "-p", "3"],
    "slow reading (-X)": ["/page/large", "-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3", "-p", "3"],
}


def slow_part(world, side):
    tool = "slowhttptest"
    # Some rounds before anything is measured.
    Stream(side, 2).finish()
    for name, options in ATTACKS.items():
        quiet = Stream(side, QUIET).finish()
        beside = Stream(side, None)
        said = attack(world, side, options)
        loaded = beside.finish()
        again = Stream(side, QUIET).finish()
        # The machine has moods: the quieter hour is no excuse, the louder one no fault.
        calm = max(quiet.p99, again.p99)
        ratio = loaded.p99 / calm
        world.table.note(
            f"{tool} {name}, {side.name}: {loaded.served:,} of {loaded.asked:,} ordinary requests served; "
            f"p99 {loaded.p99 * 1e3:.2f} ms beside {calm * 1e3:.2f} ms when quiet ({ratio:.2f} times); {said}"
        )
        fault = f"{loaded.asked - loaded.served} of {loaded.asked} were not: {loaded.faults}"
        world.table.add(tool, side.name, f"{name}: ordinary requests are served", None if loaded.served == loaded.asked else fault)
        fault = None if ratio <= RATIO else f"p99 {ratio:.2f} times that of quiet ({loaded.p99 * 1e3:.2f} ms)"
        world.table.add(tool, side.name, f"{name}: at most {RATIO} times as slow", fault)
        available = re.search(r"service available: *YES", said)
        world.table.add(tool, side.name, f"{name}: its own probe finds the service", None if available else said)
    world.alive(tool, side)


def attack(world, side, options):
    """Runs slowhttptest; returns its last report in one line."""
    path, *options = options
    words = [shutil.which("slowhttptest"), "-c", str(CONNECTIONS), "-r", "200", "-l", str(SECONDS), *options]
    done = subprocess.run(
        [*words, "-u", f"http://127.0.0.1:{side.plain}{path}"],
        capture_output=True, timeout=SECONDS + 60, stdin=subprocess.DEVNULL, cwd=world.folder,
    )
    said = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", done.stdout.decode(errors="replace"))
    last = said.rpartition("slow HTTP test status")[2]
    found = re.findall(r"(connected|error|closed|service available|Exit status): *([^\n]+)", last)
    return ", ".join(f"{key}: {value.strip()}" for key, value in found) or said[-200:]


class Stream:
    """An ordinary client that keeps a pace, half of its requests on connections of their own."""

    def __init__(self, side, seconds):
        self.port, self.times, self.faults = side.plain, [], []
        self.asked = 0
        self.over = threading.Event()
        self.seconds = seconds
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        kept = self.connection()
        began = time.monotonic()
        while not self.over.is_set() and (self.seconds is None or self.asked < self.seconds * PACE):
            wait = began + self.asked / PACE - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            fresh = self.asked % 2 == 0
            self.asked += 1
            connection = self.connection() if fresh else kept
            at = time.monotonic()
            try:
                connection.request("GET", "/page/a1.js")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.faults.append(answer.status)
                else:
                    self.times.append(time.monotonic() - at)
            except OSError as error:
                self.faults.append(str(error))
                connection.close()
            except http.client.HTTPException as error:
                self.faults.append(repr(error))
                connection.close()
            if fresh:
                connection.close()
        kept.close()

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)

    def finish(self):
        if self.seconds is None:
            self.over.set()
        self.thread.join()
        self.served = len(self.times)
        self.p99 = statistics.quantiles(self.times, n=100)[98]
        self.faults = self.faults[:3]
        return self
