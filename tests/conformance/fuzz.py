"""WebSocket frames of every sort, well-formed and not, through an agreed upgrade: each byte must come
out as it went in, for the two ends alone know what the bytes mean.
"""

import base64
import os
import random
import select
import socket
import ssl
import struct
import time

import message
from http1 import untrusting

ROUNDS = 60
PATIENCE = 20


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
    connection, _ = upgraded(port, tls)
    with connection:
        return echoed(connection, data, chance)


def echoed(connection, data, chance):
    """Sends `data` in pieces of random sizes while reading it back, on one thread, as TLS wants it."""
    connection.setblocking(False)
    at, back, limit = 0, bytearray(), time.monotonic() + PATIENCE
    while len(back) < len(data) and time.monotonic() < limit:
        select.select([connection], [connection] if at < len(data) else [], [], 1)
        if at < len(data):
            piece = data[at : at + chance.choice([1, 2, 7, 100, 5000, 60000])]
            try:
                # What was refused for now must be offered again as it was.
                while (sent := unless_full(connection.send, piece)) is None:
                    if not take(connection, back):
                        select.select([connection], [connection], [], 0.01)
                    if time.monotonic() > limit:
                        break
                at += sent or 0
            except OSError:
                break
        while take(connection, back):
            pass
    if back == data:
        return None
    same = next((n for n, (a, b) in enumerate(zip(back, data)) if a != b), min(len(back), len(data)))
    return f"{len(back)} of {len(data)} bytes came back, the first {same} as they were sent"


def unless_full(act, argument):
    try:
        return act(argument)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None


def take(connection, back):
    """Reads what is there; whether that was anything."""
    got = unless_full(connection.recv, 1 << 16)
    back += got or b""
    return bool(got)


def in_one_piece(port, tls):
    connection, stream = upgraded(port, tls, b"\x81\x85\0\0\0\0hello")
    with connection:
        back = stream.read(11)
        return None if back == b"\x81\x85\0\0\0\0hello" else f"{back!r} came back"


def large(port, tls):
    connection, _ = upgraded(port, tls)
    with connection:
        return echoed(connection, os.urandom(4 << 20), random.Random(1))
