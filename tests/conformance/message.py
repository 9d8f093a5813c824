"""HTTP/1.1 messages, read as strictly as RFC 9112 lets one: what this reader refuses is ambiguous."""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
# Other control bytes may be kept (RFC 9110, section 5.5).
VALUE = re.compile(rb"[^\0\r\n]*\Z")
LENGTH = re.compile(rb"[0-9]+\Z")
SIZE = re.compile(rb"([0-9A-Fa-f]+)((?:;[\t \x21-\x7e\x80-\xff]*)?)\r\n\Z")


class Ambiguous(Exception):
    """The bytes are no message that everyone reads alike."""


class CutOff(ConnectionError):
    """The bytes end in the middle of a line."""


@dataclass
class Message:
    """A request or a response, with its first line's three words."""

    start: tuple
    headers: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    is_chunked: bool = False
    is_whole: bool = False

    def values(self, name):
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def status(self):
        return int(self.start[1])


def line(stream, limit=1 << 17, may_end=False):
    """A line with its CRLF; empty at the stream's end."""
    text = stream.readline(limit)
    if not text.endswith(b"\n") and len(text) < limit:
        if may_end and not text:
            return text
        raise CutOff(f"it ended in a line, behind {text[-80:]!r}")
    if not text.endswith(b"\r\n") or b"\r" in text[:-2]:
        raise Ambiguous(f"a line without CRLF: {text[:80]!r}")
    return text


def fields(stream):
    """Headers or trailers up to and including the empty line."""
    found = []
    while (text := line(stream)) != b"\r\n":
        name, colon, value = text[:-2].partition(b":")
        if not colon or not TOKEN.match(name):
            raise Ambiguous(f"a malformed header: {text[:80]!r}")
        if not VALUE.match(value):
            raise Ambiguous(f"a control byte in a header: {text[:80]!r}")
        found.append((name.decode(), value.strip(b" \t").decode("latin-1")))
    return found


def exactly(stream, count):
    data = stream.read(count)
    if len(data) < count:
        raise ConnectionError(f"{len(data)} of {count} bytes of a body came")
    return data


def chunks(stream):
    """The data of a chunked body, up to its last chunk's line."""
    while True:
        size = SIZE.match(text := line(stream, 1 << 14))
        if not size:
            raise Ambiguous(f"a malformed chunk size: {text[:80]!r}")
        count = int(size[1], 16)
        if count == 0:
            return
        yield exactly(stream, count)
        if exactly(stream, 2) != b"\r\n":
            raise Ambiguous("a chunk is longer than its size says")


def framing(message, version):
    """Whether the body is chunked, and its length otherwise (None: not said)."""
    lengths, codings = message.values("content-length"), message.values("transfer-encoding")
    if codings and (lengths or len(codings) > 1 or codings[0].lower() != "chunked"):
        raise Ambiguous(f"lengths {lengths} and codings {codings}")
    if codings and version != b"HTTP/1.1":
        raise Ambiguous(f"chunks in {version.decode()}")
    if len(lengths) > 1 or (lengths and not LENGTH.match(lengths[0].encode("latin-1"))):
        raise Ambiguous(f"lengths {lengths}")
    return bool(codings), int(lengths[0]) if lengths else None


def words(text):
    """The three words of a first line."""
    start = tuple(text[:-2].split(b" ", 2))
    if len(start) != 3 or not all(start[:2]):
        raise Ambiguous("a malformed first line")
    return start


def request(stream, before_body=lambda message: None):
    """The next request, whole; None at the stream's end. `before_body` is called once the head is there."""
    text = line(stream, may_end=True)
    if not text:
        return None
    try:
        asked = Message(words(text), fields(stream))
        asked.is_chunked, length = judge(asked)
        before_body(asked)
        read_body(stream, asked, length)
        asked.is_whole = True
    except Ambiguous as error:
        raise Ambiguous(f"{error} in {text[:200]!r}") from None
    return asked


def judge(asked):
    """Whether the request's body is chunked, and its length otherwise."""
    method, _, version = asked.start
    if not TOKEN.match(method) or version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Ambiguous("a malformed first line")
    hosts = asked.values("host")
    if len(hosts) > 1 or (not hosts and version == b"HTTP/1.1"):
        raise Ambiguous(f"hosts {hosts}")
    chunked, length = framing(asked, version)
    return chunked, length or 0


def read_body(stream, message, length):
    if message.is_chunked:
        message.body = b"".join(chunks(stream))
        message.trailers = fields(stream)
    else:
        message.body = stream.read() if length is None else exactly(stream, length)


def response(stream, method="GET"):
    """The next response, whole; None at the stream's end."""
    text = line(stream, may_end=True)
    if not text:
        return None
    message = Message(words(text), fields(stream))
    version, status, _ = message.start
    if not re.match(rb"HTTP/1\.[01]\Z", version) or not re.match(rb"[1-9][0-9]{2}\Z", status):
        raise Ambiguous(f"a malformed first line: {message.start}")
    message.is_chunked, length = framing(message, version)
    if method != "HEAD" and message.status >= 200 and message.status not in (204, 304):
        read_body(stream, message, length)
    return message
