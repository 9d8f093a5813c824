"""HTTP/2 cases by section of RFC 9113 and RFC 7541, in the manner of h2spec.

Where the RFC wants a stream error, a connection error or a closed connection will do as well, as
h2spec has it; a malformed request may also be answered with a 4xx, but must not reach the origin.
Codes are counted by themselves where the RFC names one.
"""

import struct
import time

from http2 import *  # noqa: F403 (frames, flags and codes are this file's language)
from http2 import PREFACE, frame, integer, literal, number, settings, sized

CASES = []


def case(section, name):
    def keep(run):
        CASES.append((f"{section} {name}", run))
        return run

    return keep


def each(section, rows):
    """One case for each row: its name, and what is passed to the function."""

    def keep(run):
        for name, *arguments in rows:
            CASES.append((f"{section} {name}", lambda c, a=arguments: run(c, *a)))
        return run

    return keep


BODY = ("content-length", "5")


def begun(c, stream=1, more=()):
    """A POST whose body is still to come."""
    c.headers(stream, c.fields(*more, method="POST"), END_HEADERS)


# 3.4: the preface.


@case("3.4", "a request with everything in one piece")
def _(c):
    c.raw(PREFACE + frame(SETTINGS) + frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block()))
    c.answered()


@case("3.4", "the server's first frame is SETTINGS")
def _(c):
    c.raw(PREFACE + frame(SETTINGS))
    first = c.until(lambda f: True, "nothing came")
    if first.kind != SETTINGS or first.flags & ACK:
        raise Wrong(f"frame type {first.kind} came first")


@each("3.4", [
    ("a wrong preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS)),
    ("another first frame than SETTINGS", PREFACE + frame(PING, payload=b"12345678")),
    ("HEADERS before SETTINGS", PREFACE + frame(HEADERS, END_STREAM | END_HEADERS, 1, literal(":method", "GET"))),
])
def _(c, sent):
    c.raw(sent)
    limit = time.monotonic() + PATIENCE
    while (came := c.read(limit)) is not None:
        if came.kind == GOAWAY:
            return
    # What is not HTTP/2 may be answered as what it is: with 400, and closed.
    if not c.is_closed and not c.unread.startswith(b"HTTP/1.1 400"):
        raise Wrong(f"the connection goes on; {c.story()}")


# 4: frames.


@case("4.1", "a frame of an unknown type is ignored")
def _(c):
    c.open().send(0x16, 0, 0, b"unknown!")
    c.ignored()


@case("4.1", "an unknown type on a stream is ignored")
def _(c):
    c.open()
    begun(c)
    c.send(0xFE, 0xFF, 1, b"x" * 100)
    c.send(DATA, END_STREAM, 1, b"hello")
    c.answered()


@case("4.1", "undefined flags are ignored")
def _(c):
    c.open().send(PING, 0xFE, payload=b"flagged!")
    c.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == b"flagged!", "no answer to PING")


@case("4.1", "the reserved bit is ignored")
def _(c):
    c.open().send(PING, 0, 1 << 31, b"reserved")
    c.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == b"reserved", "no answer to PING")


@case("4.2", "a DATA frame of 16,384 bytes")
def _(c):
    c.open()
    begun(c)
    c.send(DATA, END_STREAM, 1, b"x" * 16384)
    c.answered()


@case("4.2", "a larger DATA frame than allowed")
def _(c):
    c.open()
    begun(c)
    size = c.settings.get(MAX_FRAME, 16384) + 1
    c.send(DATA, END_STREAM, 1, b"x" * size)
    c.stream_error(FRAME_SIZE_ERROR)


@case("4.2", "a larger HEADERS frame than allowed")
def _(c):
    c.open()
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, c.block() + literal("x", "y" * (c.settings.get(MAX_FRAME, 16384) + 1)))
    c.connection_error(FRAME_SIZE_ERROR)


@case("4.2", "a larger SETTINGS frame than allowed")
def _(c):
    c.open()
    c.send(SETTINGS, 0, 0, settings((0xFF, 1)) * (c.settings.get(MAX_FRAME, 16384) // 6 + 1))
    c.connection_error(FRAME_SIZE_ERROR)


@each("4.3", [
    ("a block that ends in the middle of a field", literal("x-a", "value")[:-3]),
    ("an index of 0", b"\x80"),
    ("an index beyond both tables", integer(70, 7, 0x80)),
    ("a literal with an index beyond both tables", integer(90, 6, 0x40) + sized(b"x")),
    ("a Huffman code with the end-of-string symbol", b"\x00\x01x\x84\xff\xff\xff\xff"),
    ("Huffman padding longer than 7 bits", b"\x00\x01x\x82\x07\xff\xff"[:6] + b"\xff"),
    ("Huffman padding of zeros", b"\x00\x01x\x81\x00"),
    ("an integer that never ends", b"\xff" + b"\xff" * 20 + b"\x7f"),
    ("a string longer than the block", b"\x00\x01x" + integer(5000, 7) + b"y"),
])
def _(c, broken):
    c.open()
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, c.block() + broken)
    c.connection_error(COMPRESSION_ERROR)


@each("7541-4.2", [
    ("a table size update at the end of a block", lambda c: c.block() + b"\x20"),
    ("a table size update between fields", lambda c: literal(":method", "GET") + b"\x20" + c.block(c.fields(without=(":method",)))),
    ("a table size update above the limit", lambda c: integer(1 << 20, 5, 0x20) + c.block()),
])
def _(c, block):
    c.open()
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, block(c))
    c.connection_error(COMPRESSION_ERROR)


@each("7541-4.2", [
    ("a table size update at the start of a block", b"\x20"),
    ("two table size updates at the start", b"\x20" + integer(4096, 5, 0x20)),
])
def _(c, updates):
    c.open()
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, updates + c.block())
    c.answered()


@case("7541-2.3", "fields of the static and the dynamic table")
def _(c):
    c.open()
    kept = b"".join(literal(name, value, 0x40) for name, value in c.fields(("x-kept", "value")))
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, kept)
    c.answered()
    # The five fields are 62 to 66 now, the last one first.
    c.send(HEADERS, END_STREAM | END_HEADERS, 3, bytes([0x80 | n for n in (66, 65, 64, 63, 62)]))
    c.answered(3)
    if [a.values("x-kept") for a in c.origin.seen(c.own)] != [["value"]] * 2:
        raise Wrong("the origin got other fields")


@case("7541-2.3", "the dynamic table forgets what does not fit")
def _(c):
    c.open()
    c.send(HEADERS, END_STREAM | END_HEADERS, 1, c.block() + literal("x-a", "b", 0x40) + literal("x-large", "y" * 5000, 0x40))
    c.answered()
    c.send(HEADERS, END_STREAM | END_HEADERS, 3, c.block() + b"\xbe")
    c.connection_error(COMPRESSION_ERROR)


# 5.1: states of streams.


@each("5.1", [
    ("DATA on an idle stream", DATA, END_STREAM, b"hello"),
    ("RST_STREAM on an idle stream", RST_STREAM, 0, number(CANCEL)),
    ("WINDOW_UPDATE on an idle stream", WINDOW_UPDATE, 0, number(100)),
    ("CONTINUATION on an idle stream", CONTINUATION, END_HEADERS, literal("x", "y")),
])
def _(c, kind, flags, payload):
    c.open().send(kind, flags, 1, payload)
    c.connection_error(PROTOCOL_ERROR)


@each("5.1", [
    ("DATA on a half-closed stream", lambda c: c.send(DATA, END_STREAM, 1, b"hello"), (STREAM_CLOSED,)),
    ("HEADERS on a half-closed stream", lambda c: c.headers(1, [("x-t", "y")]), (STREAM_CLOSED,)),
    ("CONTINUATION on a half-closed stream", lambda c: c.send(CONTINUATION, END_HEADERS, 1, literal("x", "y")), (STREAM_CLOSED, PROTOCOL_ERROR)),
])
def _(c, then, codes):
    # A window of nothing: the answer cannot end, so the stream is half-closed and no more.
    c.open((INITIAL_WINDOW, 0))
    c.headers()
    c.pong()
    then(c)
    c.stream_error(*codes)


@case("5.1", "WINDOW_UPDATE on a half-closed stream is taken")
def _(c):
    c.open((INITIAL_WINDOW, 0))
    c.headers()
    c.send(WINDOW_UPDATE, 0, 1, number(100))
    c.answered()


@case("5.1", "PRIORITY on a half-closed stream is taken")
def _(c):
    c.open((INITIAL_WINDOW, 0))
    c.headers()
    c.send(PRIORITY, 0, 1, number(0) + b"\x10")
    c.send(WINDOW_UPDATE, 0, 1, number(100))
    c.answered()


def after_reset(c):
    begun(c)
    c.send(RST_STREAM, 0, 1, number(CANCEL))


def after_end(c):
    c.headers()
    c.answered()


# A client that sent RST_STREAM may not follow it up; on a stream that both ended nothing may follow.
@each("5.1", [
    (f"{what} on a stream closed by {how}", close, then, codes)
    for how, close in (("RST_STREAM", after_reset), ("its end", after_end))
    for what, then, codes in (
        ("DATA", lambda c: c.send(DATA, END_STREAM, 1, b"hello"), (STREAM_CLOSED,)),
        ("HEADERS", lambda c: c.headers(1), (STREAM_CLOSED, PROTOCOL_ERROR)),
        ("CONTINUATION", lambda c: c.send(CONTINUATION, END_HEADERS, 1, literal("x", "y")), (STREAM_CLOSED, PROTOCOL_ERROR)),
    )
])
def _(c, close, then, codes):
    c.open()
    close(c)
    then(c)
    c.stream_error(*codes)


@each("5.1", [
    ("WINDOW_UPDATE on a closed stream is ignored", WINDOW_UPDATE, number(100)),
    ("PRIORITY on a closed stream is ignored", PRIORITY, number(0) + b"\x10"),
    ("RST_STREAM on a closed stream is ignored", RST_STREAM, number(CANCEL)),
])
def _(c, kind, payload):
    c.open()
    after_end(c)
    c.send(kind, 0, 1, payload)
    c.ignored()


@each("5.1.1", [("an even stream", (2,)), ("a lower stream than before", (5, 3)), ("stream 0", (0,))])
def _(c, streams):
    c.open()
    for stream in streams:
        c.headers(stream)
    c.connection_error(PROTOCOL_ERROR)


@case("5.1.1", "an unused lower stream is closed")
def _(c):
    c.open()
    c.headers(5)
    c.answered(5)
    c.headers(3)
    c.connection_error(PROTOCOL_ERROR, STREAM_CLOSED)


@case("5.1.2", "more streams than allowed")
def _(c):
    c.open((INITIAL_WINDOW, 0))
    count = c.settings.get(MAX_STREAMS)
    if count is None or count > 2000:
        raise Wrong(f"the limit of streams is {count}")
    for n in range(count + 1):
        begun(c, 2 * n + 1)
    c.stream_error(PROTOCOL_ERROR, REFUSED_STREAM)


@case("5.1.2", "as many streams as allowed")
def _(c):
    c.open()
    for n in range(min(c.settings.get(MAX_STREAMS, 100), 100)):
        c.headers(2 * n + 1)
    c.answered(199)


@case("5.3.1", "a stream that depends on itself, in HEADERS")
def _(c):
    c.open().send(HEADERS, END_STREAM | END_HEADERS | PRIORITIZED, 1, number(1) + b"\x10" + c.block())
    # RFC 9113 took the rule back with priorities themselves (RFC 7540, 5.3.1): taking it is right as well.
    try:
        c.stream_error(PROTOCOL_ERROR)
    except Wrong:
        if c.statuses.get(1) != 200:
            raise


@case("5.3.1", "a stream that depends on itself, in PRIORITY")
def _(c):
    c.open().send(PRIORITY, 0, 3, number(3) + b"\x10")
    c.send(PING, payload=b"conforms")
    # As above: an error, or nothing.
    c.until(lambda f: f.kind in (PING, GOAWAY, RST_STREAM), "neither an error nor an answer to PING")


@case("5.4.1", "GOAWAY is sent with a connection error, and the connection closed")
def _(c):
    c.open().send(PING, payload=b"123")
    c.until(lambda f: f.kind == GOAWAY and f.code != NO_ERROR, "no GOAWAY")
    c.read(time.monotonic() + PATIENCE)
    if not c.is_closed:
        raise Wrong("it was not closed")


# 6.1 and 6.2: DATA and HEADERS.


@each("6.1", [("DATA on stream 0", DATA, b"hello"), ("HEADERS on stream 0", HEADERS, literal("x", "y")),
              ("PRIORITY on stream 0", PRIORITY, number(0) + b"\x10"), ("RST_STREAM on stream 0", RST_STREAM, number(8)),
              ("CONTINUATION on stream 0", CONTINUATION, literal("x", "y"))])
def _(c, kind, payload):
    c.open().send(kind, END_HEADERS | END_STREAM if kind in (HEADERS, CONTINUATION) else 0, 0, payload)
    c.connection_error(PROTOCOL_ERROR)


@case("6.1", "DATA with padding")
def _(c):
    c.open()
    begun(c, more=[BODY])
    c.send(DATA, END_STREAM | PADDED, 1, b"\x06hello" + bytes(6))
    c.answered()
    if [asked.body for asked in c.origin.seen(c.own)] != [b"hello"]:
        raise Wrong("the origin got the padding")


@each("6.1", [("padding as long as the frame", b"\x06hello"), ("padding longer than the frame", b"\xffhello"), ("padded and empty", b"")])
def _(c, payload):
    c.open()
    begun(c)
    c.send(DATA, END_STREAM | PADDED, 1, payload)
    c.connection_error(*((PROTOCOL_ERROR,) if payload else (PROTOCOL_ERROR, FRAME_SIZE_ERROR)))


@case("6.1", "many empty DATA frames end well")
def _(c):
    c.open()
    begun(c)
    c.raw(frame(DATA, 0, 1) * 20 + frame(DATA, END_STREAM, 1))
    c.answered()


@case("6.2", "HEADERS with padding and priority")
def _(c):
    c.open().send(HEADERS, END_STREAM | END_HEADERS | PADDED | PRIORITIZED, 1, b"\x08" + number(0) + b"\x10" + c.block() + bytes(8))
    c.answered()


@case("6.2", "HEADERS with padding longer than the frame")
def _(c):
    c.open().send(HEADERS, END_STREAM | END_HEADERS | PADDED, 1, b"\xff" + c.block()[:100])
    c.connection_error(PROTOCOL_ERROR)


@each("6.2", [
    ("another HEADERS inside a block", lambda c: c.headers(3)),
    ("DATA inside a block", lambda c: c.send(DATA, END_STREAM, 1, b"x")),
    ("PRIORITY inside a block", lambda c: c.send(PRIORITY, 0, 1, number(0) + b"\x10")),
    ("PING inside a block", lambda c: c.send(PING, payload=b"12345678")),
    ("an unknown type inside a block", lambda c: c.send(0x16, 0, 1, b"x")),
    ("CONTINUATION of another stream", lambda c: c.send(CONTINUATION, END_HEADERS, 3, literal("x", "y"))),
    ("RST_STREAM inside a block", lambda c: c.send(RST_STREAM, 0, 1, number(CANCEL))),
])
def _(c, then):
    c.open()
    c.headers(1, flags=END_STREAM)
    then(c)
    c.connection_error(PROTOCOL_ERROR)


# 6.3 to 6.6.


@each("6.3", [("PRIORITY of 4 bytes", PRIORITY, 1, 4), ("PRIORITY of 6 bytes", PRIORITY, 1, 6)])
def _(c, kind, stream, size):
    c.open()
    c.headers(1, c.fields(method="POST"), END_HEADERS)
    c.send(kind, 0, stream, bytes(size))
    c.stream_error(FRAME_SIZE_ERROR)


@each("6.4", [("RST_STREAM of 3 bytes", 3), ("RST_STREAM of 5 bytes", 5)])
def _(c, size):
    c.open()
    begun(c)
    c.send(RST_STREAM, 0, 1, bytes(size))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.4", "RST_STREAM ends one stream and no other")
def _(c):
    c.open()
    after_reset(c)
    c.headers(3)
    c.answered(3)


@each("6.5", [
    ("SETTINGS with ACK and a payload", ACK, 0, settings((1, 0)), FRAME_SIZE_ERROR),
    ("SETTINGS on a stream", 0, 1, b"", PROTOCOL_ERROR),
    ("SETTINGS of 3 bytes", 0, 0, b"123", FRAME_SIZE_ERROR),
    ("SETTINGS of 7 bytes", 0, 0, b"1234567", FRAME_SIZE_ERROR),
    ("ENABLE_PUSH of 2", 0, 0, settings((ENABLE_PUSH, 2)), PROTOCOL_ERROR),
    ("a window above 2^31-1", 0, 0, settings((INITIAL_WINDOW, 1 << 31)), FLOW_CONTROL_ERROR),
    ("a frame size below 16,384", 0, 0, settings((MAX_FRAME, 16383)), PROTOCOL_ERROR),
    ("a frame size above 2^24-1", 0, 0, settings((MAX_FRAME, 1 << 24)), PROTOCOL_ERROR),
])
def _(c, flags, stream, payload, code):
    c.open().send(SETTINGS, flags, stream, payload)
    c.connection_error(code)


@each("6.5", [
    ("an unknown setting is ignored", settings((0xFF, 1))),
    ("settings of no entry", b""),
    ("a setting that is there twice", settings((INITIAL_WINDOW, 100), (INITIAL_WINDOW, 200))),
    ("all settings at their limits", settings((TABLE_SIZE, 0), (MAX_FRAME, (1 << 24) - 1), (INITIAL_WINDOW, (1 << 31) - 1), (MAX_LIST, 1 << 20))),
])
def _(c, payload):
    c.open().send(SETTINGS, 0, 0, payload)
    c.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "no acknowledgement")
    c.headers()
    c.answered()


@case("6.5.3", "each SETTINGS is acknowledged")
def _(c):
    c.open()
    c.raw(frame(SETTINGS, payload=settings((INITIAL_WINDOW, 500))) * 5)
    for _ in range(5):
        c.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "no acknowledgement")


@case("6.6", "PUSH_PROMISE from a client")
def _(c):
    c.open()
    begun(c)
    c.send(PUSH_PROMISE, END_HEADERS, 1, number(2) + c.block())
    c.connection_error(PROTOCOL_ERROR)


# 6.7 to 6.9.


@case("6.7", "PING is answered with its data")
def _(c):
    c.open().pong(b"\x00\xff echo!")


@case("6.7", "PING with ACK is not answered")
def _(c):
    c.open().send(PING, ACK, payload=b"noanswer")
    c.pong()
    if any(f.kind == PING and f.payload == b"noanswer" for f in c.frames):
        raise Wrong("it was answered")


@each("6.7", [("PING of 7 bytes", 0, 7, FRAME_SIZE_ERROR), ("PING of 9 bytes", 0, 9, FRAME_SIZE_ERROR), ("PING on a stream", 1, 8, PROTOCOL_ERROR)])
def _(c, stream, size, code):
    c.open().send(PING, 0, stream, bytes(size))
    c.connection_error(code)


@each("6.8", [("GOAWAY on a stream", 1, bytes(8), PROTOCOL_ERROR), ("GOAWAY of 7 bytes", 0, bytes(7), FRAME_SIZE_ERROR)])
def _(c, stream, payload, code):
    c.open().send(GOAWAY, 0, stream, payload)
    c.connection_error(code)


@case("6.8", "a request that runs is answered after GOAWAY")
def _(c):
    c.open()
    c.headers()
    c.send(GOAWAY, 0, 0, number(0) + number(NO_ERROR) + b"bye")
    c.answered()


@each("6.9", [("WINDOW_UPDATE of 0 on the connection", 0), ("WINDOW_UPDATE of 0 on a stream", 1)])
def _(c, stream):
    c.open()
    begun(c)
    c.send(WINDOW_UPDATE, 0, stream, number(0))
    (c.stream_error if stream else c.connection_error)(PROTOCOL_ERROR)


@each("6.9", [("WINDOW_UPDATE of 3 bytes", 0, 3), ("WINDOW_UPDATE of 5 bytes", 0, 5), ("WINDOW_UPDATE of 3 bytes on a stream", 1, 3)])
def _(c, stream, size):
    c.open()
    begun(c)
    c.send(WINDOW_UPDATE, 0, stream, bytes(size))
    c.connection_error(FRAME_SIZE_ERROR)


@case("6.9.1", "a window of 1 lets 1 byte through")
def _(c):
    c.open((INITIAL_WINDOW, 1))
    c.headers()
    first = c.until(lambda f: f.kind == DATA, "no DATA")
    if len(first.payload) != 1:
        raise Wrong(f"{len(first.payload)} bytes came")
    c.send(WINDOW_UPDATE, 0, 1, number(100))
    c.answered()


@each("6.9.1", [("the connection's window above 2^31-1", 0), ("a stream's window above 2^31-1", 1)])
def _(c, stream):
    c.open()
    begun(c)
    c.raw(frame(WINDOW_UPDATE, 0, stream, number((1 << 31) - 1)) * 2)
    (c.stream_error if stream else c.connection_error)(FLOW_CONTROL_ERROR)


@case("6.9.1", "more DATA than the window")
def _(c):
    c.open()
    # Nothing takes this body: the stream has no whole head at the origin before its length is there.
    begun(c, more=[("content-length", str(1 << 26)), ("expect", "100-continue")])
    c.raw(frame(DATA, 0, 1, bytes(16384)) * 1200)
    try:
        c.stream_error(FLOW_CONTROL_ERROR)
    except Wrong:
        # Where the bytes are taken as fast as they come, the window never ends.
        if sum(f.kind == WINDOW_UPDATE for f in c.frames) < 2:
            raise


@case("6.9.2", "a window that grows by SETTINGS")
def _(c):
    c.open((INITIAL_WINDOW, 0))
    c.headers()
    c.pong()
    c.send(SETTINGS, 0, 0, settings((INITIAL_WINDOW, 1)))
    first = c.until(lambda f: f.kind == DATA, "no DATA")
    if len(first.payload) != 1:
        raise Wrong(f"{len(first.payload)} bytes came")


@case("6.9.2", "a window below zero")
def _(c):
    c.open((INITIAL_WINDOW, 1))
    c.headers()
    c.until(lambda f: f.kind == DATA, "no DATA")
    c.send(SETTINGS, 0, 0, settings((INITIAL_WINDOW, 0)))
    c.send(WINDOW_UPDATE, 0, 1, number(2))
    second = c.until(lambda f: f.kind == DATA and f.payload, "no DATA")
    if len(second.payload) != 1:
        raise Wrong(f"{len(second.payload)} bytes came")


@case("6.9.2", "SETTINGS that carry a stream's window above 2^31-1")
def _(c):
    c.open((INITIAL_WINDOW, 0))
    c.headers()
    c.pong()
    c.send(WINDOW_UPDATE, 0, 1, number(1))
    c.send(SETTINGS, 0, 0, settings((INITIAL_WINDOW, (1 << 31) - 1)))
    try:
        c.connection_error(FLOW_CONTROL_ERROR)
    except Wrong:
        # It sent a byte first, which leaves room for that window.
        if not any(f.kind == DATA and f.payload for f in c.frames):
            raise


@case("6.9", "a large answer under a window that is opened slowly")
def _(c):
    c.open((INITIAL_WINDOW, 1000))
    c.headers(1, [*c.fields()[:2], (":path", "/large" + c.own), c.fields()[3]])
    taken = 0
    while taken < 100_000:
        taken += len(c.until(lambda f: f.kind == DATA, "no DATA").payload)
        c.raw(frame(WINDOW_UPDATE, 0, 1, number(1000)) + frame(WINDOW_UPDATE, 0, 0, number(1000)))
    c.send(RST_STREAM, 0, 1, number(CANCEL))
    c.pong()


# 6.10.


@case("6.10", "a block in three frames")
def _(c):
    block = c.block()
    c.open().raw(frame(HEADERS, END_STREAM, 1, block[:5]) + frame(CONTINUATION, 0, 1, block[5:9]) + frame(CONTINUATION, END_HEADERS, 1, block[9:]))
    c.answered()


@case("6.10", "an empty CONTINUATION")
def _(c):
    c.open().raw(frame(HEADERS, END_STREAM, 1, c.block()) + frame(CONTINUATION, END_HEADERS, 1))
    c.answered()


@each("6.10", [
    ("CONTINUATION behind a whole HEADERS", lambda c: c.headers(1, c.fields(method="POST"), END_HEADERS)),
    ("CONTINUATION behind DATA", lambda c: (begun(c), c.send(DATA, 0, 1, b"x"))),
])
def _(c, before):
    c.open()
    before(c)
    c.send(CONTINUATION, END_HEADERS, 1, literal("x", "y"))
    c.connection_error(PROTOCOL_ERROR)


@case("6.10", "an endless header block")
def _(c):
    c.open()
    c.headers(1, flags=END_STREAM)
    for _ in range(500):
        c.send(CONTINUATION, 0, 1, literal("x", "y" * 8000))
        if c.is_closed:
            break
    c.stream_error()


@case("6.5.2", "a header list above the limit is refused")
def _(c):
    c.open()
    rest = b"".join(literal(f"x-{n}", "y" * 8000) for n in range(60))
    c.headers(1, flags=END_STREAM)
    for at in range(0, len(rest), 16000):
        c.send(CONTINUATION, END_HEADERS if at + 16000 >= len(rest) else 0, 1, rest[at : at + 16000])
    limit = time.monotonic() + PATIENCE
    while (came := c.read(limit)) is not None:
        if came.kind in (RST_STREAM, GOAWAY) or c.statuses.get(1) in (400, 431, 494):
            break
    else:
        if not c.is_closed:
            raise Wrong(f"it was not refused; {c.story()}")
    c.unheard()


@case("6", "a frame that ends with the connection does not hurt the next one")
def _(c):
    c.open().raw(frame(HEADERS, END_STREAM | END_HEADERS, 1, c.block())[:20])


# 8: requests.


@each("8.2", [
    ("a name in upper case", ("X-Upper", "y")),
    ("a name with a space", ("x a", "y")),
    ("a name with a colon", ("x:a", "y")),
    ("an empty name", ("", "y")),
    ("NUL in a name", ("x\0", "y")),
    ("a high byte in a name", ("x\xe4", "y")),
    ("NUL in a value", ("x-a", "y\0z")),
    ("LF in a value", ("x-a", "y\nx-b: z")),
    ("CR in a value", ("x-a", "y\rz")),
    ("CRLF in a value", ("x-a", "y\r\ntransfer-encoding: chunked")),
    ("a blank before a value", ("x-a", " y")),
    ("a blank behind a value", ("x-a", "y ")),
    ("a tab before a value", ("x-a", "\ty")),
    ("an unknown pseudo-header", (":unknown", "y")),
    ("a pseudo-header of responses", (":status", "200")),
    ("Connection", ("connection", "close")),
    ("Keep-Alive", ("keep-alive", "timeout=5")),
    ("Proxy-Connection", ("proxy-connection", "close")),
    ("Transfer-Encoding", ("transfer-encoding", "chunked")),
    ("Upgrade", ("upgrade", "h2c")),
    ("TE other than trailers", ("te", "gzip")),
    ("TE of trailers and more", ("te", "trailers, deflate;q=0.5")),
])
def _(c, field):
    c.open()
    c.headers(1, c.fields(field))
    c.malformed()


@case("8.2.2", "TE: trailers")
def _(c):
    c.open()
    c.headers(1, c.fields(("te", "trailers")))
    c.answered()


@case("8.2.3", "cookies in several fields are joined")
def _(c):
    c.open()
    c.headers(1, c.fields(("cookie", "a=b"), ("x-a", "y"), ("cookie", "c=d")))
    c.answered()
    cookies = [asked.values("cookie") for asked in c.origin.seen(c.own)]
    if cookies != [["a=b; c=d"]]:
        raise Wrong(f"the origin got the cookies {cookies}")


@each("8.3", [
    ("a pseudo-header behind a field", lambda c: [("x-a", "y"), *c.fields()]),
    ("a pseudo-header between fields", lambda c: [*c.fields()[:3], ("x-a", "y"), *c.fields()[3:]]),
    ("no :method", lambda c: c.fields(without=(":method",))),
    ("no :scheme", lambda c: c.fields(without=(":scheme",))),
    ("no :path", lambda c: c.fields(without=(":path",))),
    ("no pseudo-header at all", lambda c: [("x-a", "y")]),
    ("two :method", lambda c: [c.fields()[0], *c.fields()]),
    ("two :scheme", lambda c: [c.fields()[1], *c.fields()]),
    ("two :path", lambda c: [c.fields()[2], *c.fields()]),
    ("two :authority", lambda c: [c.fields()[3], *c.fields()]),
    ("an empty :path", lambda c: [*c.fields()[:2], (":path", ""), c.fields()[3]]),
    ("a :path without slash", lambda c: [*c.fields()[:2], (":path", "x" + c.own), c.fields()[3]]),
    ("a :path with a space", lambda c: c.fields(path=" x")),
    ("a :path with CRLF", lambda c: c.fields(path=" HTTP/1.1\r\nx: y")),
    ("a :path with NUL", lambda c: c.fields(path="\0")),
    ("a :path with a fragment", lambda c: c.fields(path="#x")),
    ("an empty :method", lambda c: c.fields(method="")),
    ("a :method with a space", lambda c: c.fields(method="GET /x")),
    ("a :method with CRLF", lambda c: c.fields(method="GET / HTTP/1.1\r\nx: y\r\n\r\nGET")),
    ("an empty :authority and no Host", lambda c: c.fields(authority="")),
    (":authority with user information", lambda c: c.fields(authority="user@localhost")),
    (":authority with a slash", lambda c: c.fields(authority="localhost/x")),
    (":authority with a space", lambda c: c.fields(authority="local host")),
    (":authority and a Host that differs", lambda c: c.fields(("host", "other"))),
    ("two Hosts", lambda c: c.fields(("host", "localhost"), ("host", "localhost"))),
    (":path of * in a GET", lambda c: [*c.fields()[:2], (":path", "*"), c.fields()[3]]),
])
def _(c, fields):
    c.open()
    c.headers(1, fields(c))
    c.malformed()


@case("8.3.1", "Host in place of :authority")
def _(c):
    c.open()
    c.headers(1, c.fields(("host", "localhost"), without=(":authority",)))
    c.answered()
    if [asked.values("host") for asked in c.origin.seen(c.own)] != [["localhost"]]:
        raise Wrong("the origin got another Host")


@each("8.1.1", [
    ("a length above the body", "6", [(END_STREAM, b"hello")]),
    ("a length below the body", "4", [(END_STREAM, b"hello")]),
    ("a length above the body of two frames", "20", [(0, b"hello"), (END_STREAM, b"hello")]),
    ("a length below the body of two frames", "5", [(0, b"hello"), (END_STREAM, b"hello")]),
    ("a length and an empty DATA", "5", [(END_STREAM, b"")]),
    ("a length of 0 and a body", "0", [(END_STREAM, b"hello")]),
])
def _(c, length, frames):
    c.open()
    begun(c, more=[("content-length", length)])
    for flags, payload in frames:
        c.send(DATA, flags, 1, payload)
    c.malformed()


@each("8.1.1", [
    ("a length without body", [("content-length", "5")]),
    ("a negative length", [("content-length", "-5")]),
    ("a length with a sign", [("content-length", "+0")]),
    ("two different lengths", [("content-length", "0"), ("content-length", "5")]),
    ("a length of letters", [("content-length", "five")]),
])
def _(c, more):
    c.open()
    c.headers(1, c.fields(*more, method="POST"))
    c.malformed()


@case("8.1", "a body with its length")
def _(c):
    c.open()
    begun(c, more=[BODY])
    c.send(DATA, END_STREAM, 1, b"hello")
    c.answered()


@case("8.1", "a body without length")
def _(c):
    c.open()
    begun(c)
    c.send(DATA, 0, 1, b"hel")
    c.send(DATA, END_STREAM, 1, b"lo")
    c.answered()
    if [asked.body for asked in c.origin.seen(c.own)] != [b"hello"]:
        raise Wrong("the origin got another body")


@case("8.1", "a POST with trailers")
def _(c):
    c.open()
    begun(c)
    c.send(DATA, 0, 1, b"hello")
    c.headers(1, [("x-trailer", "y")])
    c.answered()


@each("8.1", [
    ("trailers that do not end the stream", END_HEADERS, [("x-trailer", "y")]),
    ("a pseudo-header in trailers", END_STREAM | END_HEADERS, [(":method", "GET")]),
    ("a name in upper case in trailers", END_STREAM | END_HEADERS, [("X-Trailer", "y")]),
    ("Transfer-Encoding in trailers", END_STREAM | END_HEADERS, [("transfer-encoding", "chunked")]),
])
def _(c, flags, fields):
    c.open()
    begun(c)
    c.send(DATA, 0, 1, b"hello")
    c.headers(1, fields, flags)
    c.malformed()


@case("8.1", "HEAD is answered without a body")
def _(c):
    c.open()
    c.headers(1, c.fields(method="HEAD"))
    c.answered()
    if any(f.kind == DATA and f.payload for f in c.frames):
        raise Wrong("a body came")


@each("8.5", [
    ("CONNECT with :scheme and :path", lambda c: c.fields(method="CONNECT")),
    ("CONNECT without :authority", lambda c: [(":method", "CONNECT")]),
    ("CONNECT to elsewhere", lambda c: [(":method", "CONNECT"), (":authority", "localhost:80")]),
    ("extended CONNECT without the setting", lambda c: [*c.fields(method="CONNECT"), (":protocol", "websocket")]),
])
def _(c, fields):
    c.open()
    c.headers(1, fields(c), END_HEADERS)
    limit = time.monotonic() + PATIENCE
    while (came := c.read(limit)) is not None:
        if came.kind in (RST_STREAM, GOAWAY) or 400 <= (c.statuses.get(1) or 0) < 600:
            break
    else:
        if not c.is_closed:
            raise Wrong(f"it was not refused; {c.story()}")
    c.unheard()


@case("8.4", "ENABLE_PUSH is honoured: no push")
def _(c):
    c.open((ENABLE_PUSH, 0))
    c.headers()
    c.answered()
    if any(f.kind == PUSH_PROMISE for f in c.frames):
        raise Wrong("a push came")


# 10.5: floods. A bound must be met, or the frames be taken; the connection must not hang.


@each("10.5", [
    ("rapid reset of 2,000 streams", lambda c: [frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, c.block()) + frame(RST_STREAM, 0, 2 * n + 1, number(CANCEL)) for n in range(2000)]),
    ("5,000 PINGs", lambda c: [frame(PING, payload=b"pingpong")] * 5000),
    ("5,000 SETTINGS", lambda c: [frame(SETTINGS, payload=settings((INITIAL_WINDOW, 100)))] * 5000),
    ("5,000 PRIORITYs", lambda c: [frame(PRIORITY, 0, 2 * n + 1, number(0) + b"\x10") for n in range(5000)]),
    ("5,000 empty DATA frames", lambda c: [frame(HEADERS, END_HEADERS, 1, c.block(c.fields(method="POST")))] + [frame(DATA, 0, 1)] * 5000),
    ("5,000 malformed requests", lambda c: [frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, literal("x", "y")) for n in range(5000)]),
    ("5,000 empty CONTINUATIONs", lambda c: [frame(HEADERS, END_STREAM, 1, c.block())] + [frame(CONTINUATION, 0, 1)] * 5000),
])
def _(c, frames):
    c.open()
    sent = frames(c)
    for n in range(0, len(sent), 50):
        c.raw(b"".join(sent[n : n + 50]))
        while c.read(time.monotonic() + 0.0005) is not None:
            pass
        if c.is_closed or any(f.kind == GOAWAY for f in c.frames):
            return
    if sent[1][3] == CONTINUATION:
        raise Wrong("empty CONTINUATIONs without end were taken")
    c.pong()
