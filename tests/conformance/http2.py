"""HTTP/2 by hand: frames as they are meant to be, and as they are not; and what a side says to them."""

import itertools
import socket
import struct
import time
from dataclasses import dataclass

import hpack

from http1 import untrusting

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITIZED = 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(7, 12)
TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST = range(1, 7)
PATIENCE = 3
numbers = itertools.count(1)


@dataclass
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self):
        """Of RST_STREAM and GOAWAY."""
        at = 4 if self.kind == GOAWAY else 0
        return struct.unpack(">I", self.payload[at : at + 4])[0]


class Wrong(Exception):
    """The side did not say what it should have."""


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs):
    return b"".join(struct.pack(">HI", key, value) for key, value in pairs)


def number(value):
    return struct.pack(">I", value)


class Connection:
    """A client's connection; nothing is sent by itself but what `open` and acknowledgements need."""

    def __init__(self, origin, port, tls=False):
        self.origin = origin
        self.own = f"/h2-{next(numbers)}-"
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = untrusting(["h2"]).wrap_socket(self.socket)
        self.unread, self.is_closed = b"", False
        self.frames, self.settings = [], {}
        self.decoder, self.statuses = hpack.Decoder(), {}
        # Whether an error's code was judged, and what was wrong with it.
        self.is_code_judged, self.code_fault = False, None

    def close(self):
        self.socket.close()

    # What is sent.

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            self.is_closed = True

    def send(self, *arguments, **options):
        self.raw(frame(*arguments, **options))

    def open(self, *pairs):
        """The preface and settings on both sides."""
        self.raw(PREFACE + frame(SETTINGS, payload=settings(*pairs)))
        self.until(lambda f: f.kind == SETTINGS and f.flags & ACK, "no acknowledgement of the settings")
        return self

    def fields(self, *more, method="GET", path="", without=(), **changed):
        """A request's header fields: pseudo-headers first, then `more`."""
        pseudo = {":method": method, ":scheme": "http", ":path": self.own + path, ":authority": "localhost"}
        pseudo.update({f":{name}": value for name, value in changed.items()})
        return [(name, value) for name, value in pseudo.items() if name not in without] + list(more)

    def block(self, fields=None):
        """Encoded without the dynamic table, each name and value as it is."""
        return b"".join(literal(name, value) for name, value in (self.fields() if fields is None else fields))

    def headers(self, stream=1, fields=None, flags=END_STREAM | END_HEADERS):
        self.send(HEADERS, flags, stream, self.block(fields))

    # What comes.

    def read(self, limit):
        """The next frame, or None at the end or after the time `limit`."""
        while True:
            if len(self.unread) >= 9:
                size = int.from_bytes(self.unread[:3], "big")
                if len(self.unread) >= 9 + size:
                    kind, flags, stream = struct.unpack(">BBI", self.unread[3:9])
                    came = Frame(kind, flags, stream, self.unread[9 : 9 + size])
                    self.unread = self.unread[9 + size :]
                    self.take(came)
                    return came
            left = limit - time.monotonic()
            if left <= 0 or self.is_closed:
                return None
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError:
                data = b""
            self.is_closed = self.is_closed or not data
            self.unread += data

    def take(self, came):
        self.frames.append(came)
        if came.kind == SETTINGS and not came.flags & ACK:
            self.settings.update(struct.iter_unpack(">HI", came.payload))
            self.send(SETTINGS, ACK)
        if came.kind == HEADERS:
            fields = dict(self.decoder.decode(came.payload))
            self.statuses[came.stream] = int(fields[":status"]) if ":status" in fields else None

    def until(self, is_it, otherwise, patience=PATIENCE):
        limit = time.monotonic() + patience
        while (came := self.read(limit)) is not None:
            if is_it(came):
                return came
        raise Wrong(f"{otherwise}; {self.story()}")

    def story(self):
        names = "DATA HEADERS PRIORITY RST_STREAM SETTINGS PUSH_PROMISE PING GOAWAY WINDOW_UPDATE CONTINUATION".split()
        told = [
            names[f.kind] + (f"({f.code})" if f.kind in (RST_STREAM, GOAWAY) else "")
            for f in self.frames
            if f.kind < len(names) and f.kind != SETTINGS
        ]
        status = f", status {self.statuses}" if self.statuses else ""
        return f"came: {' '.join(told) or 'nothing'}{status}, {'closed' if self.is_closed else 'still open'}"

    # What is right.

    def connection_error(self, *codes):
        """The connection ends: by GOAWAY with one of `codes` (none: any but NO_ERROR), or just closed."""
        limit = time.monotonic() + PATIENCE
        while (came := self.read(limit)) is not None:
            if came.kind == GOAWAY and came.code != NO_ERROR:
                return self.right(came, codes)
        if not self.is_closed:
            raise Wrong(f"no connection error; {self.story()}")

    def stream_error(self, *codes):
        """As a connection error, or the stream is reset with one of `codes`."""
        limit = time.monotonic() + PATIENCE
        while (came := self.read(limit)) is not None:
            if (came.kind == GOAWAY and came.code != NO_ERROR) or came.kind == RST_STREAM:
                return self.right(came, codes)
        if not self.is_closed:
            raise Wrong(f"no stream error; {self.story()}")

    def malformed(self, stream=1):
        """As a stream error; or the stream ends with a 4xx (RFC 9113, 8.1.1). The origin never hears of it."""
        limit = time.monotonic() + PATIENCE
        while (came := self.read(limit)) is not None:
            if (came.kind == GOAWAY and came.code != NO_ERROR) or came.kind == RST_STREAM:
                self.right(came, (PROTOCOL_ERROR,))
                break
            ends = came.stream == stream and came.kind in (HEADERS, DATA) and came.flags & END_STREAM
            if ends and 400 <= (self.statuses.get(stream) or 0) < 500:
                break
        else:
            if not self.is_closed:
                raise Wrong(f"no error; {self.story()}")
        self.unheard()

    def unheard(self):
        """No whole request came to the origin."""
        time.sleep(0.1)
        if whole := [asked for asked in self.origin.seen(self.own) if asked.is_whole]:
            raise Wrong(f"the origin was asked: {whole[0].start}, {self.story()}")

    def right(self, came, codes):
        """Judges an error's code. As h2spec has it, another code will do if the connection then ends."""
        self.is_code_judged = self.is_code_judged or bool(codes)
        if not codes or came.code in codes:
            return
        self.code_fault = f"code {came.code} in place of {' or '.join(map(str, codes))}"
        limit = time.monotonic() + PATIENCE
        while self.read(limit) is not None:
            pass
        if not self.is_closed:
            raise Wrong(f"{self.code_fault}, and the connection goes on")

    def answered(self, stream=1, status=200):
        """The stream is answered to its end."""
        self.until(
            lambda f: f.kind in (HEADERS, DATA) and f.stream == stream and f.flags & END_STREAM,
            f"no whole answer on stream {stream}",
        )
        if status is not None and self.statuses.get(stream) != status:
            raise Wrong(f"status {self.statuses.get(stream)} in place of {status}")

    def pong(self, data=b"conforms"):
        """The connection lives: a PING is answered."""
        self.send(PING, payload=data)
        self.until(lambda f: f.kind == PING and f.flags & ACK and f.payload == data, "no answer to PING")

    def ignored(self):
        """The connection lives, and no stream was reset."""
        self.pong()
        if resets := [f for f in self.frames if f.kind in (RST_STREAM, GOAWAY)]:
            raise Wrong(f"it should have been ignored: code {resets[0].code}")


def literal(name, value, form=0):
    """A field without indexing, its strings without Huffman code."""
    name, value = (text.encode("latin-1") if isinstance(text, str) else text for text in (name, value))
    return bytes([form]) + sized(name) + sized(value)


def sized(text):
    return integer(len(text), 7) + text


def integer(value, bits, first=0):
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out, value = [first | limit], value - limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
