"""gRPC with Python's `grpcio`: a server, or a client that goes through lbd.

    grpc.py server            prints its port, serves until its input ends
    grpc.py client ADDRESS    calls everything; exits with 0 if all is as it should be
"""

import sys
import threading
import time
from concurrent import futures

# This file has the library's name.
sys.path = [folder for folder in sys.path if not folder.endswith("tests/peers")]

import grpc  # noqa: E402


def unary(request, context):
    context.set_trailing_metadata((("x-trailer", "yes"),))
    if request == b"fail":
        context.abort(grpc.StatusCode.UNAVAILABLE, "as asked")
    return b"hello " + request


def down(_request, _context):
    for n in range(5):
        yield b"%d" % n


def slow(_request, context):
    while context.is_active():
        time.sleep(0.01)
    return b""


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        same = lambda data: data  # noqa: E731
        kinds = {
            "/test.Test/Unary": (grpc.unary_unary_rpc_method_handler, unary),
            "/test.Test/Down": (grpc.unary_stream_rpc_method_handler, down),
            "/test.Test/Up": (
                grpc.stream_unary_rpc_method_handler,
                lambda pieces, _: b"%d" % sum(map(len, pieces)),
            ),
            "/test.Test/Both": (
                grpc.stream_stream_rpc_method_handler,
                lambda pieces, _: (b"echo " + piece for piece in pieces),
            ),
            "/test.Test/Slow": (grpc.unary_unary_rpc_method_handler, slow),
        }
        make, behaviour = kinds[details.method]
        return make(behaviour, same, same)


def server():
    server = grpc.server(futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers((Handler(),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(0)


def status_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.trailing_metadata()
    raise AssertionError("it should have failed")


def client(address):
    channel = grpc.insecure_channel(address)
    call = channel.unary_unary("/test.Test/Unary")
    answer, done = call.with_call(b"you", timeout=10)
    assert answer == b"hello you", answer
    assert ("x-trailer", "yes") in [tuple(pair) for pair in done.trailing_metadata()]
    code, trailers = status_of(lambda: call(b"fail", timeout=10))
    assert code == grpc.StatusCode.UNAVAILABLE, code
    assert ("x-trailer", "yes") in [tuple(pair) for pair in trailers], trailers
    assert list(channel.unary_stream("/test.Test/Down")(b"", timeout=10)) == [b"0", b"1", b"2", b"3", b"4"]
    up = channel.stream_unary("/test.Test/Up")
    assert up(iter([b"x" * 1000] * 500), timeout=10) == b"500000"
    talk(channel)
    code, _ = status_of(lambda: channel.unary_unary("/test.Test/Slow")(b"", timeout=0.3))
    assert code == grpc.StatusCode.DEADLINE_EXCEEDED, code
    many(call)


def talk(channel):
    """Each piece waits for the echo of the one before: nothing may be kept back on the way."""
    heard = threading.Semaphore(1)

    def pieces():
        for n in range(20):
            assert heard.acquire(timeout=10)
            yield b"%d" % n

    for n, echo in enumerate(channel.stream_stream("/test.Test/Both")(pieces(), timeout=20)):
        assert echo == b"echo %d" % n, echo
        heard.release()


def many(call):
    with futures.ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: call(b"%d" % n, timeout=10), range(200))
        assert list(answers) == [b"hello %d" % n for n in range(200)]


if __name__ == "__main__":
    server() if sys.argv[1] == "server" else client(sys.argv[2])
