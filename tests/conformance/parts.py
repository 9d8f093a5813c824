"""The parts of the harness: each runs its tools against a side and puts down what it found."""

from concurrent.futures import ThreadPoolExecutor

import http1
import http1_cases
import http2_cases
from http2 import Connection

LANES = 12


def http1_part(world, side):
    for transport, port in (("plain", side.plain), ("TLS", side.tls)):
        tool = f"HTTP/1.1 framing, {transport}"

        def run(case, tool=tool, port=port, tls=transport == "TLS"):
            world.table.attempt(tool, side.name, str(case), lambda: http1.judge(world.origin, port, case, tls))

        with ThreadPoolExecutor(LANES) as lanes:
            list(lanes.map(run, http1_cases.all_cases()))
        world.alive(tool, side)
    world.table.add("HTTP/1.1 framing, plain", side.name, "nothing else reached the origin", world.strays())


def http2_part(world, side):
    for transport, port in (("h2c", side.h2c), ("TLS", side.tls)):
        tool = f"HTTP/2 frames, {transport}"

        def run(named, tool=tool, port=port, tls=transport == "TLS"):
            name, case = named

            def check():
                connection = Connection(world.origin, port, tls)
                try:
                    case(connection)
                finally:
                    connection.close()
                    if connection.is_code_judged:
                        codes = tool.replace("frames", "error codes")
                        world.table.add(codes, side.name, name, connection.code_fault)

            world.table.attempt(tool, side.name, name, check)

        with ThreadPoolExecutor(LANES) as lanes:
            list(lanes.map(run, http2_cases.CASES))
        world.alive(tool, side)
