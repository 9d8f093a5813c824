"""TLS: testssl.sh, cases with `openssl s_client`, tlslite-ng as another client, malformed handshakes."""

import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time

from tlslite.api import HandshakeSettings, TLSConnection

MALFORMED = 300


def tls_part(world, side):
    testssl(world, side)
    s_client(world, side)
    for name, change, wanted in tlslite_cases():
        world.table.attempt("tlslite-ng", side.name, name, lambda c=change, w=wanted: tlslite(side, c, w))
    malformed(world, side)


def testssl(world, side):
    """Each finding is a case; one that is worse than INFO does not pass."""
    found = world.folder / f"testssl-{side.name}.json"
    words = [shutil.which("testssl") or shutil.which("testssl.sh"), "--quiet", "--color", "0", "--warnings", "off"]
    # Protocols, ciphers, forward secrecy, the server's preferences and defaults, bugs, vulnerabilities.
    # Client simulations are left out: their data is as old as the package.
    words += ["--fast", "-p", "-s", "-f", "-P", "-S", "-g", "-U", "--nodns", "min", "--jsonfile", found, "--add-ca", world.folder / "cert.pem"]
    with subprocess.Popen(
        [*map(str, words), f"https://127.0.0.1:{side.tls}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=world.folder,
        start_new_session=True,
    ) as running:
        try:
            running.wait(400)
        except subprocess.TimeoutExpired:
            # With what it started itself.
            os.killpg(running.pid, signal.SIGKILL)
            world.table.add("testssl.sh", side.name, "it ends in time", "not within 400 s")
    counts = {}
    if not found.exists():
        world.table.add("testssl.sh", side.name, "it runs", "it wrote nothing")
    for finding in json.loads(found.read_text()) if found.exists() else []:
        severity, name = finding["severity"], finding["id"]
        counts[severity] = counts.get(severity, 0) + 1
        if severity in ("INFO", "OK", "LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"):
            good = severity in ("INFO", "OK")
            name = name if counts.setdefault(name, 0) == 0 else f"{name} again {counts[name]}"
            counts[finding["id"]] += 1
            world.table.add("testssl.sh", side.name, name, None if good else f"{severity}: {finding['finding']}")
    by = ", ".join(f"{counts[s]} {s}" for s in ("OK", "INFO", "WARN", "LOW", "MEDIUM", "HIGH", "CRITICAL") if s in counts)
    world.table.note(f"testssl.sh, {side.name}: {by}")


def client(side, *options, send=b"", timeout=10):
    """What `openssl s_client` says, and its exit code."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{side.tls}", *map(str, options)]
    done = subprocess.run(words, input=send, capture_output=True, timeout=timeout)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace")


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def s_client(world, side):
    # At security level 0 the client would speak the old versions, if the server did.
    weak = ("-cipher", "ALL:@SECLEVEL=0")

    def accepts(*options, wanted=""):
        def check():
            code, said = client(side, *options)
            return None if code == 0 and re.search(wanted, said) else f"exit code {code}: {last(said)}"

        return check

    def refuses(*options, wanted="alert|no protocols|wrong version|unexpected eof|reset"):
        def check():
            code, said = client(side, *options)
            return None if code and re.search(wanted, said) else f"exit code {code}: {last(said)}"

        return check

    cases = {
        "TLS 1.0 is refused": refuses("-tls1", *weak),
        "TLS 1.1 is refused": refuses("-tls1_1", *weak),
        "TLS 1.2 is taken": accepts("-tls1_2", wanted="Protocol *: TLSv1.2"),
        "TLS 1.3 is taken": accepts("-tls1_3", wanted="TLSv1.3"),
        "ALPN h2": accepts("-alpn", "h2", wanted="ALPN protocol: h2"),
        "ALPN http/1.1": accepts("-alpn", "http/1.1", wanted="ALPN protocol: http/1.1"),
        "ALPN h2 before http/1.1": accepts("-alpn", "http/1.1,h2", wanted="ALPN protocol: h2"),
        "no ALPN": accepts(wanted="No ALPN negotiated"),
        # RFC 7301, section 3.2: fatal if nothing is shared.
        "ALPN of nothing known is refused": refuses("-alpn", "nothing", wanted="no application protocol|alert number 120"),
        "SNI of a known name": accepts("-servername", "localhost", wanted="CN = localhost"),
        "SNI of another name gets the first certificate": accepts("-servername", "other.example", wanted="CN = localhost"),
        "no SNI": accepts("-noservername", wanted="CN = localhost"),
        "secure renegotiation is known": accepts("-tls1_2", wanted="Secure Renegotiation IS supported"),
        "no compression": accepts("-tls1_2", "-comp", wanted="Compression: NONE"),
        "AES-128 in GCM": accepts("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", wanted="AES128-GCM"),
        "ChaCha20": accepts("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305", wanted="CHACHA20"),
        "TLS 1.3 with ChaCha20": accepts("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", wanted="CHACHA20"),
        "CBC is refused": refuses("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
        "NULL ciphers are refused": refuses("-tls1_2", "-cipher", "NULL:@SECLEVEL=0"),
        "anonymous ciphers are refused": refuses("-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"),
        "static RSA is refused": refuses("-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"),
        "the group X25519": accepts("-tls1_3", "-groups", "X25519", wanted="X25519"),
        "the group P-256": accepts("-tls1_3", "-groups", "P-256", wanted="TLSv1.3"),
        "the group P-384, by a HelloRetryRequest or at once": accepts("-tls1_3", "-groups", "P-384", wanted="TLSv1.3"),
        "a group that is not known is refused": refuses("-tls1_3", "-groups", "ffdhe2048"),
        "the fallback signal at a lower version": refuses("-tls1_2", "-fallback_scsv", wanted="inappropriate fallback"),
        "a small maximal fragment": accepts("-tls1_2", "-maxfraglen", "512", wanted="TLSv1.2"),
        "resumption with TLS 1.2": lambda: resumes(world, side, "-tls1_2"),
        "resumption with TLS 1.3": lambda: resumes(world, side, "-tls1_3"),
        "renegotiation by the client is refused": lambda: renegotiates(side),
        "a key update": lambda: updates_keys(side),
        "early data is not taken": lambda: early(world, side),
    }
    for name, check in cases.items():
        world.table.attempt("openssl s_client", side.name, name, check)


def last(said):
    lines = [line for line in said.splitlines() if "error" in line or "alert" in line]
    return (lines or said.splitlines() or [""])[-1]


def resumes(world, side, version):
    session = world.folder / f"session{version}-{side.name}"
    # The ticket of TLS 1.3 comes with the answer.
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{side.tls}", version, "-sess_out", session, "-ign_eof"]
    subprocess.run(list(map(str, words)), input=GET, capture_output=True, timeout=10)
    code, said = client(side, version, "-sess_in", session)
    return None if code == 0 and "Reused, " in said else f"not resumed: {last(said)}"


def talk(side, pieces, *options):
    """What s_client says to `pieces` of input, with a pause between them."""
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{side.tls}", *options]
    running = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for piece in pieces[:-1]:
        # Commands are read as pieces of their own, once the connection is there.
        time.sleep(0.5)
        running.stdin.write(piece)
        running.stdin.flush()
    time.sleep(0.5)
    try:
        said, _ = running.communicate(pieces[-1], 4)
    except subprocess.TimeoutExpired:
        running.kill()
        said, _ = running.communicate()
    return said.decode(errors="replace")


def renegotiates(side):
    """`R` alone on a line asks for a new handshake, which must not come about."""
    said = talk(side, [b"R\n", GET], "-tls1_2").partition("RENEGOTIATING")
    if not said[1]:
        return "it was not asked for"
    # A new handshake would show the certificate once more.
    return f"a new handshake: {last(said[2])}" if "depth=" in said[2] or "verify" in said[2] else None


def updates_keys(side):
    """`K` asks for new keys of both sides; the request behind it is answered."""
    said = talk(side, [b"K\n", GET, b""], "-tls1_3", "-alpn", "http/1.1").partition("KEYUPDATE")[2]
    return None if "HTTP/1.1 200" in said else f"no answer behind it: {last(said)}"


def early(world, side):
    session = world.folder / f"session-tls1_3-{side.name}"
    data = world.folder / "early"
    data.write_bytes(GET)
    code, said = client(side, "-tls1_3", "-sess_in", session, "-early_data", data)
    return "it was taken" if "Early data was accepted" in said else None


def tlslite_cases():
    def only(**changes):
        def change(settings):
            for name, value in changes.items():
                setattr(settings, name, value)

        return change

    tls12 = {"minVersion": (3, 3), "maxVersion": (3, 3)}
    tls13 = {"minVersion": (3, 4), "maxVersion": (3, 4)}
    yield "as it comes", only(), True
    yield "TLS 1.2", only(**tls12), True
    yield "TLS 1.3", only(**tls13), True
    yield "TLS 1.1", only(minVersion=(3, 2), maxVersion=(3, 2)), False
    yield "TLS 1.0", only(minVersion=(3, 1), maxVersion=(3, 1)), False
    yield "SSL 3", only(minVersion=(3, 0), maxVersion=(3, 0)), False
    yield "TLS 1.3 with a guess of the wrong group", only(**tls13, keyShares=["secp521r1"]), True
    yield "TLS 1.3 with no guess", only(**tls13, keyShares=[]), True
    yield "TLS 1.3 with two guesses", only(**tls13, keyShares=["x25519", "secp256r1"]), True
    yield "TLS 1.2 with ChaCha20", only(**tls12, cipherNames=["chacha20-poly1305"]), True
    yield "TLS 1.2 with AES-256 in GCM", only(**tls12, cipherNames=["aes256gcm"]), True
    yield "TLS 1.2 with RC4", only(**tls12, cipherNames=["rc4"]), False
    yield "TLS 1.2 with 3DES", only(**tls12, cipherNames=["3des"]), False
    yield "TLS 1.2 without an extended master secret", only(**tls12, useExtendedMasterSecret=False), None
    yield "TLS 1.2 with SHA-1 signatures only", only(**tls12, ecdsaSigHashes=["sha1"], rsaSigHashes=["sha1"], more_sig_schemes=[]), False
    yield "records of 512 bytes at most", only(record_size_limit=512), True


def tlslite(side, change, wanted):
    settings = HandshakeSettings()
    change(settings)
    with socket.create_connection(("127.0.0.1", side.tls), 5) as plain:
        connection = TLSConnection(plain)
        try:
            connection.handshakeClientCert(settings=settings, serverName="localhost", alpn=[b"http/1.1"])
            connection.sendall(GET)
            answer = connection.recv(1 << 16)
        except Exception as error:  # noqa: BLE001
            return None if wanted in (False, None) else f"{type(error).__name__}: {error}"
    if wanted is False:
        return "it was taken"
    return None if answer.startswith(b"HTTP/1.1 200") else f"another answer: {answer[:40]}"


def hello():
    """The bytes of a well-formed ClientHello, as Python's own library makes it."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()


def broken(chance, good):
    """One malformed beginning of a connection."""
    body = bytearray(good)
    kind = chance.randrange(10)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 600))
    if kind == 1:
        return bytes(body[: chance.randrange(1, len(body))])
    if kind == 2:
        for _ in range(chance.randrange(1, 20)):
            body[chance.randrange(len(body))] = chance.randrange(256)
    elif kind == 3:
        body[3:5] = struct.pack(">H", chance.choice([0, 1, 16385, 65535]))
    elif kind == 4:
        body[0] = chance.choice([0, 20, 21, 23, 24, 255])
    elif kind == 5:
        body[5] = chance.choice([0, 2, 4, 11, 16, 20, 255])
    elif kind == 6:
        body[6:9] = chance.randbytes(3)
    elif kind == 7:
        return bytes(body) * 2
    elif kind == 8:
        return b"".join(struct.pack(">BHH", 22, 0x0301, 1) + body[n : n + 1] for n in range(5, len(body))) + chance.randbytes(50)
    else:
        return bytes(body) + struct.pack(">BHH", chance.choice([20, 22, 23]), 0x0303, 100) + chance.randbytes(100)
    return bytes(body)


def malformed(world, side):
    """The other side must end each such connection, or wait for the rest, and serve others all the while."""
    chance, good = random.Random(7), hello()
    unserved, over, first = 0, 0, None
    for n in range(MALFORMED):
        try:
            with socket.create_connection(("127.0.0.1", side.tls), 5) as plain:
                plain.sendall(broken(chance, good))
                plain.shutdown(socket.SHUT_WR)
                plain.settimeout(5)
                while plain.recv(1 << 16):
                    pass
                over += 1
        except TimeoutError:
            first = first or f"connection {n} is still open after the client's end"
        except OSError:
            over += 1
        if n % 10 == 0 and tlslite(side, lambda settings: None, True):
            unserved += 1
    tool = "malformed handshakes"
    world.table.add(tool, side.name, f"each of {MALFORMED} comes to an end", None if over == MALFORMED else first)
    world.table.add(tool, side.name, "others are served meanwhile", f"{unserved} were not" if unserved else None)
    world.alive(tool, side)
