"""WebSocket frames of every sort, well-formed and not, through an agreed upgrade: each byte must come
out as it went in, for the two ends alone know what the bytes mean.
"""

import base64
import os
import random
import socket
import struct
import threading
import time

import message
from http1 import untrusting

ROUNDS = 60


def fuzz_part(world, side):
    for transport, port in (("plain", side.plain), ("TLS", side.tls)):
        tool = f"WebSocket frame fuzzer, {transport}"
        for seed in range(ROUNDS):
            check = lambda p=port, s=seed: passes(p, s, transport == "TLS")  # noqa: E731
            world.table.attempt(tool, side.name, f"seed {seed}", check)
        world.table.attempt(tool, side.name, "bytes behind the upgrade in one piece", lambda p=port: in_one_piece(p, transport == "TLS"))
        world.table.attempt(tool, side.name, "4 MiB both ways at once", lambda p=port: large(p, transport == "TLS"))
        world.alive(tool, side)


def upgraded(port, tls, more=b""):
    plain = socket.create_connection(("127.0.0.1", port), 10)
    connection = untrusting(["http/1.1"]).wrap_socket(plain) if tls else plain
    key = base64.b64encode(os.urandom(16))
    head = b"GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    connection.sendall(head + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n" + more)
    stream = connection.makefile("rb")
    answer = message.response(stream)
    if answer is None or answer.status != 101:
        raise RuntimeError(f"no upgrade: {answer and answer.status}")
    return connection, stream


def frame(chance):
    """A frame: any opcode, any flags, masked or not, its length true or not."""
    payload = chance.randbytes(chance.choice([0, 1, 5, 125, 126, 127, 1000, 65535, 65536, 70000]))
    first = chance.randrange(256)
    claimed = len(payload) if chance.random() < 0.8 else chance.choice([0, 125, 65535, 1 << 40, (1 << 64) - 1])
    masked = chance.choice([0, 0x80])
    if chance.random() < 0.1:
        form = struct.pack(">BBQ", first, masked | 127, claimed)  # the longest form, needed or not
    elif claimed < 126:
        form = struct.pack(">BB", first, masked | claimed)
    elif claimed < 1 << 16:
        form = struct.pack(">BBH", first, masked | 126, claimed)
    else:
        form = struct.pack(">BBQ", first, masked | 127, claimed)
    return form + (chance.randbytes(4) if masked else b"") + payload


def passes(port, seed, tls):
    chance = random.Random(seed)
    data = b"".join(frame(chance) for _ in range(20)) + chance.randbytes(chance.randrange(200))
    connection, stream = upgraded(port, tls)
    with connection:
        return echoed(connection, stream, data, chance)


def echoed(connection, stream, data, chance):
    """Sends `data` in pieces of random sizes while reading it back."""

    def send():
        at = 0
        try:
            while at < len(data):
                size = chance.choice([1, 2, 7, 100, 5000, 60000])
                connection.sendall(data[at : at + size])
                at += size
                if chance.random() < 0.05:
                    time.sleep(0.002)
        except OSError:
            pass  # What is missing is seen below.

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    back = stream.read(len(data))
    sending.join(10)
    if back == data:
        return None
    same = next((n for n, (a, b) in enumerate(zip(back, data)) if a != b), len(back))
    return f"{len(back)} of {len(data)} bytes came back, the first {same} as they were sent"


def in_one_piece(port, tls):
    connection, stream = upgraded(port, tls, b"\x81\x85\0\0\0\0hello")
    with connection:
        back = stream.read(11)
        return None if back == b"\x81\x85\0\0\0\0hello" else f"{back!r} came back"


def large(port, tls):
    connection, stream = upgraded(port, tls)
    with connection:
        return echoed(connection, stream, os.urandom(4 << 20), random.Random(1))
