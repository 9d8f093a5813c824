"""Processes: started on chosen cores, measured as groups, and ended by the id of their own group."""

import ctypes
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_TIMERSLACK = 29
# CPUCLOCK_SCHED: what the scheduler gave all threads of a process, those that ended included.
CLOCK_OF_PROCESS = 2
OPEN_FILES = 65_536
TICKS = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None, use_errno=True)
AVAILABLE = sorted(os.sched_getaffinity(0))


def cores():
    """The core of the proxy under test, and those of load and origin."""
    return {AVAILABLE[0]}, set(AVAILABLE[1:]) or {AVAILABLE[0]}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare(on):
    """What a child does before it begins: it takes its cores, and goes when this process goes."""

    def child():
        os.sched_setaffinity(0, on)
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        LIBC.prctl(PR_SET_TIMERSLACK, 1)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))

    return child


def run(command, on, timeout, env=None):
    """What a load generator prints. One that fails or hangs is an error with its own words."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=prepare(on), env={**os.environ, **(env or {})},
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {(err or out).strip()[-500:]}")
    return out


class Group:
    """A server with all its processes, in a group of its own."""

    def __init__(self, command, on, log, stdout=None, env=None):
        self.log = Path(log)
        with open(self.log, "ab") as errors, open(stdout or self.log, "ab") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                start_new_session=True, preexec_fn=prepare(on), env={**os.environ, **(env or {})},
            )
        self.id = self.process.pid

    def until_open(self, ports, seconds=30):
        """Waits until something listens on each port."""
        end = time.monotonic() + seconds
        for port in ports:
            while True:
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.process.args[0]} ended: {self.said()}")
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > end:
                        raise RuntimeError(f"nothing listens on {port}: {self.said()}") from None
                    time.sleep(0.01)
        return self

    def said(self):
        return self.log.read_text(errors="replace").strip()[-800:]

    def members(self):
        """The process ids of the group."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = stat(entry)
                # The third field is the process group.
                if fields and int(fields[2]) == self.id:
                    found.append(int(entry))
        return found

    def cpu(self):
        """Seconds of CPU, user and system, of all processes of the group that ran so far."""
        used = 0
        for pid in self.members():
            try:
                # The process's own clock: utime and stime in /proc only count whole hundredths.
                used += time.clock_gettime((~pid << 3) | CLOCK_OF_PROCESS)
            except OSError:
                continue
            fields = stat(pid)
            if fields and pid == self.id:
                # Children that ended count with the group's leader.
                used += (int(fields[13]) + int(fields[14])) / TICKS
        return used

    def waited(self):
        """Seconds that threads of the group were ready and had no core: others had it."""
        waited = 0
        for pid in self.members():
            for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    waited += int(thread.read_text().split()[1])
                except OSError:
                    continue
        return waited / 1e9

    def memory(self):
        """Bytes of memory: what processes share is counted once."""
        total = 0
        for pid in self.members():
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except ProcessLookupError:
                continue
            for line in lines:
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    def stop(self):
        """Ends the group: asks first, then does not."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.id, number)
            except ProcessLookupError:
                break
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                continue
        self.process.wait()


def stat(pid):
    """The fields of /proc/PID/stat after the name; none if the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
