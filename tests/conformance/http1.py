"""One HTTP/1.1 case: raw bytes to a side, what came back, and what reached the origin."""

import itertools
import socket
import ssl
import time
from dataclasses import dataclass

import message

PATIENCE = 5
# Refusals of what a request asks for, not of how it is framed: others may follow.
OPEN = (403, 404, 405, 417, 421)
numbers = itertools.count(1)


@dataclass(frozen=True)
class Expected:
    """What is acceptable.

    statuses   of the last response when refused; the connection must then close
    served     how many responses below 400 with their requests at the origin; None: refuse only
    body       what each of the served requests must have as body at the origin
    either     refusing is as good as serving
    silent     closing without a word is as good as a status
    closes     the connection must close after serving as well
    may_switch without TLS the answer may be in HTTP/2
    is_seen    the origin can tell the requests as this case's
    """

    statuses: tuple = (400,)
    served: int | None = None
    body: bytes | None = None
    either: bool = False
    silent: bool = False
    closes: bool = False
    is_seen: bool = True
    may_switch: bool = False


def refused(*statuses, silent=False):
    return Expected(statuses=statuses or (400,), silent=silent)


def served(count=1, body=None):
    return Expected(statuses=(), served=count, body=body)


def either(*statuses, count=1, body=None, closes=False):
    return Expected(statuses=statuses or (400,), served=count, body=body, either=True, closes=closes)


@dataclass
class Came:
    """What a connection brought."""

    responses: list
    is_closed: bool
    fault: str | None = None


def exchange(port, pieces, tls=False, methods=()):
    """Sends `pieces`, with a pause between them and None for the end, and reads responses until the other side is done."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = untrusting(["http/1.1"]).wrap_socket(plain) if tls else plain
        try:
            for n, piece in enumerate(pieces):
                if n:
                    time.sleep(0.05)
                if piece is None:
                    # Of the connection below: Python's TLS cannot end one side only.
                    socket.socket.shutdown(connection, socket.SHUT_WR)
                else:
                    connection.sendall(piece)
        except OSError:
            pass  # It may have closed already; what it said is still to be read.
        return read(connection, methods)


def untrusting(protocols):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    return context


def read(connection, methods):
    """Reads until the connection is closed or has been silent for a while."""
    connection.settimeout(1)
    came = Came([], False)
    stream = connection.makefile("rb")
    methods = iter(methods)
    try:
        while (response := message.response(stream, next(methods, "GET"))) is not None:
            came.responses.append(response)
        came.is_closed = True
    except TimeoutError:
        came.is_closed = False
    except (ConnectionError, ssl.SSLError) as error:
        # Cut off in the middle of a message it was no HTTP/1.1, if it was anything.
        came.is_closed, came.fault = True, str(error) if isinstance(error, message.CutOff) else None
    except message.Ambiguous as error:
        came.is_closed, came.fault = True, str(error)
    return came


def judge(origin, port, case, tls=False):
    """Runs a case; returns what is wrong, or None.

    `~P` in the case's bytes stands for the case's own path, `~Q` for the path of a request that must
    not come to be: one that a reader of other habits would see.
    """
    marker, smuggled = f"/h1-{next(numbers)}-", "smuggled"
    own = marker.encode()

    def fill(piece):
        return piece and piece.replace(b"~P", own).replace(b"~Q", own + smuggled.encode())

    pieces = [fill(piece) for piece in case.pieces]
    came = exchange(port, pieces, tls, case.methods)
    at_origin = origin.seen(marker)
    if ambiguous := origin.faults_of(marker):
        return f"ambiguous at the origin: {ambiguous[0]}"
    if came.fault and not (case.expected.may_switch and not tls):
        return f"a malformed response: {came.fault}"
    if any(smuggled.encode() in asked.start[1] for asked in at_origin):
        return "smuggled: the origin got a request that was never made"
    return compare(case.expected, came, at_origin)


def compare(expected, came, at_origin):
    statuses = [response.status for response in came.responses if response.status >= 200]
    last = statuses[-1] if statuses else None
    is_over = came.is_closed or last in OPEN
    is_refused = (last in expected.statuses or (last is None and expected.silent)) and is_over
    wanted = expected.served
    good = [status for status in statuses if status < 400]
    if wanted is None:
        if is_refused and not good:
            return complaint(at_origin)
        return f"refused with {expected.statuses} and closed was right; it answered {told(statuses, came)}"
    if len(good) == wanted == len(statuses) and not (expected.closes and not came.is_closed):
        bodies = {asked.body for asked in at_origin}
        if expected.is_seen and len(at_origin) != wanted:
            return f"{len(at_origin)} requests at the origin instead of {wanted}"
        if expected.body is not None and bodies != {expected.body}:
            return f"other bodies at the origin: {[body[:60] for body in bodies]}"
        return None
    if expected.either and is_refused:
        return complaint(at_origin) if not good else None
    return f"{wanted} served was right{' (or refused)' if expected.either else ''}; it answered {told(statuses, came)}"


def complaint(at_origin):
    """A refused request must not have reached the origin as a whole one."""
    whole = [asked for asked in at_origin if asked.is_whole]
    return f"refused, but the origin got {whole[0].start} with the body {whole[0].body[:60]}" if whole else None


def told(statuses, came):
    return f"{statuses or 'nothing'} and {'closed' if came.is_closed else 'stayed open'}"

