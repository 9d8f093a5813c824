"""WebSocket with Python's `websockets`: a server, or a client that goes through lbd.

    websocket.py server            prints its port, echoes; speaks the subprotocols chat and superchat
    websocket.py client ADDRESS    asks what a client may ask; exits with 0 if all is as it should be
"""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

LARGE = 1 << 20


async def handle(socket):
    try:
        async for message in socket:
            if message == "close":
                await socket.close(4001, "as asked")
            else:
                await socket.send(message)
    except ConnectionClosed:
        pass


def select(_connection, offered):
    return next((name for name in offered if name in ("superchat", "chat")), None)


async def server():
    async with serve(handle, "127.0.0.1", 0, select_subprotocol=select, max_size=4 * LARGE) as running:
        print(running.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


def open_to(address, **options):
    return connect(f"ws://{address}/chat", max_size=4 * LARGE, compression=None, **options)


async def large_messages(address):
    async with open_to(address) as socket:
        for kind in (os.urandom(LARGE), "ä" * (LARGE // 2), b"", ""):
            await socket.send(kind)
            assert await socket.recv() == kind


async def pings(address):
    async with open_to(address, ping_interval=None) as socket:
        for _ in range(10):
            await asyncio.wait_for(await socket.ping(), 5)


async def close_codes(address):
    async with open_to(address) as socket:
        await socket.send("close")
        try:
            await socket.recv()
            raise AssertionError("not closed")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as asked"), closed
    socket = await open_to(address)
    await socket.close(4002, "mine")
    assert socket.close_code == 4002


async def subprotocols(address):
    async with open_to(address, subprotocols=["chat", "superchat"]) as socket:
        assert socket.subprotocol in ("chat", "superchat"), socket.subprotocol
    async with open_to(address) as socket:
        assert socket.subprotocol is None


async def many(address):
    async def one(n):
        async with open_to(address) as socket:
            for k in range(5):
                await socket.send(f"{n} {k}" * 100)
                assert await socket.recv() == f"{n} {k}" * 100
                await asyncio.sleep(0.01)

    await asyncio.gather(*(one(n) for n in range(200)))


async def client(address):
    for check in (large_messages, pings, close_codes, subprotocols, many):
        await asyncio.wait_for(check(address), 60)
        print(f"{check.__name__}: ok", flush=True)


asyncio.run(server() if sys.argv[1] == "server" else client(sys.argv[2]))
