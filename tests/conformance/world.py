"""Everything that runs: the origins, lbd, nginx; and the parts that are run against both."""

import http.client
import sys
import time

import admin
import clients
import fuzz
import parts
import sides
import slow
import tls
from origin import Origin
from reasons import REASONS
from table import Table

PARTS = {
    "http1": parts.http1_part,
    "http2": parts.http2_part,
    "clients": clients.clients_part,
    "fuzz": fuzz.fuzz_part,
    "tls": tls.tls_part,
    "slow": slow.slow_part,
    # Last: it leaves pools, maintenance and pauses as it found words for them.
    "admin": admin.admin_part,
}


class World:
    def __init__(self, folder, tools, binary):
        self.folder, self.tools, self.binary = folder, tools, binary
        self.table, self.origin = Table(REASONS), Origin()
        self.processes = sides.Processes(folder)
        self.sides = []

    def __enter__(self):
        try:
            sides.certificate(self.folder)
            ports = sides.origins(self.processes, self.folder, self.tools, self.origin)
            self.sides = [
                sides.start_lbd(self.processes, self.folder, self.binary, ports),
                sides.start_nginx(self.processes, self.folder, ports),
            ]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.processes.stop()
        self.origin.stop()

    def run(self, only):
        """Runs the parts; returns what is wrong."""
        for name in only or PARTS:
            for side in self.sides:
                began = time.monotonic()
                # A tool that fails takes nothing of what the others found with it.
                self.table.attempt("harness", side.name, name, lambda: PARTS[name](self, side))
                print(f"{name}: {side.name}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        fallen = [f"{name} ended by itself" for name in self.processes.fallen()]
        return fallen + self.table.verdict()

    def alive(self, tool, side):
        """Puts down whether the side still serves."""
        self.table.attempt(tool, side.name, "an ordinary request afterwards", lambda: self.ask(side))

    def ask(self, side):
        connection = http.client.HTTPConnection("127.0.0.1", side.plain, timeout=5)
        try:
            connection.request("GET", "/alive")
            answer = connection.getresponse()
            return None if (answer.status, answer.read()) == (200, b"ok") else f"status {answer.status}"
        finally:
            connection.close()

    def strays(self):
        """What was ambiguous at the origin and belongs to no case, or came when its case was over."""
        with self.origin.lock:
            strays = [fault for fault in self.origin.faults if "/h1-" not in fault]
            late = [asked for asked in self.origin.requests if b"smuggled" in asked.start[1]]
        if late:
            return f"smuggled: {late[0].start[1]!r} reached the origin"
        return f"ambiguous: {strays[0]}" if strays else None
