"""An origin that remembers what reached it, byte by byte judged, and answers as its path says.

    /echo      the request's body, chunked if that was
    /status/N  that status, without a body where it has none
    /stream    ten chunks, and a trailer
    /large     4 MiB
    /upgrade   101, then every byte comes back
    others     200 "ok"
"""

import base64
import hashlib
import socket
import socketserver
import threading

import message

LARGE = bytes(range(256)) * (1 << 14)


class Origin:
    """Runs until `stop`; `address` is where."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests, self.faults = [], []
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), self.handler(), False)
        self.server.allow_reuse_address = self.server.daemon_threads = True
        self.server.request_queue_size = 1024
        self.server.server_bind()
        self.server.server_activate()
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(self):
        origin = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self):
                try:
                    while origin.serve(self.rfile, self.wfile, self.connection):
                        pass
                except OSError:
                    pass

        return Handler

    def serve(self, stream, out, connection):
        def go_on(head):
            # Put down before the body, which may never come.
            with self.lock:
                self.requests.append(head)
            if head.values("expect"):
                out.write(b"HTTP/1.1 100 Continue\r\n\r\n")

        try:
            asked = message.request(stream, go_on)
        except message.Ambiguous as error:
            with self.lock:
                self.faults.append(str(error))
            out.write(b"HTTP/1.1 599 Ambiguous\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        if asked is None:
            return False
        if asked.values("upgrade") and b"/upgrade" in asked.start[1]:
            return upgrade(asked, stream, out, connection)
        out.write(answer(asked))
        return "close" not in asked.values("connection") and asked.start[2] == b"HTTP/1.1"

    def seen(self, marker):
        """The requests with `marker` in their address."""
        with self.lock:
            return [asked for asked in self.requests if marker.encode() in asked.start[1]]

    def faults_of(self, marker):
        """What was ambiguous in requests with `marker` in their first line."""
        with self.lock:
            return [fault for fault in self.faults if marker in fault]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def answer(asked):
    path = asked.start[1].partition(b"?")[0]
    if path.startswith(b"/status/"):
        status = int(path.rpartition(b"/")[2])
        return b"HTTP/1.1 %d As Asked\r\n%s\r\n" % (status, b"" if status in (204, 304) else b"Content-Length: 0\r\n")
    if path.startswith(b"/stream") or (path.startswith(b"/echo") and asked.is_chunked):
        body = asked.body if path.startswith(b"/echo") else b"0123456789"
        step = max(1, len(body) // 10)
        pieces = [body[n : n + step] for n in range(0, len(body), step)]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Trailer\r\n\r\n"
        return head + (b"" if asked.start[0] == b"HEAD" else framed + b"0\r\nX-Trailer: yes\r\n\r\n")
    body = asked.body if path.startswith(b"/echo") else LARGE if path.startswith(b"/large") else b"ok"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    return head + (b"" if asked.start[0] == b"HEAD" else body)


def upgrade(asked, stream, out, connection):
    """Agrees, then returns every byte; ends its side once the client ended its own."""
    key = (asked.values("sec-websocket-key") or [""])[0] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest())
    out.write(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Accept: %s\r\n\r\n"
        % (asked.values("upgrade")[0].encode(), accept)
    )
    while data := stream.read1(1 << 16):
        out.write(data)
    connection.shutdown(socket.SHUT_WR)
    return False
