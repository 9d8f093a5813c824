"""What httpx asks over HTTP/1.1 and HTTP/2; prints a line for each case.

httpx_client.py PLAIN H2C TLS
"""

import asyncio
import os
import sys

import httpx

PLAIN, H2C, TLS = sys.argv[1:4]
BODY = os.urandom(1 << 20)


async def pieces():
    for at in range(0, len(BODY), 50_000):
        yield BODY[at : at + 50_000]


async def streamed(client):
    async with client.stream("GET", "/large") as answer:
        size = 0
        async for piece in answer.aiter_bytes():
            size += len(piece)
    return answer.status_code == 200 and size == 4 << 20


async def given_up(client):
    """Answers that are given up leave the client usable."""
    for _ in range(5):
        async with client.stream("GET", "/large") as answer:
            async for _ in answer.aiter_bytes(1000):
                break
    return (await client.get("/")).text == "ok"


async def is_ok(request, status=200, content=None):
    answer = await request
    return answer.status_code == status and (content is None or answer.content == content)


async def many(client):
    answers = await asyncio.gather(*(client.get(f"/?{n}") for n in range(100)))
    return all(answer.status_code == 200 for answer in answers)


CASES = {
    "GET": lambda c: is_ok(c.get("/"), content=b"ok"),
    "HEAD": lambda c: is_ok(c.head("/"), content=b""),
    "204": lambda c: is_ok(c.get("/status/204"), 204, b""),
    "404": lambda c: is_ok(c.get("/status/404"), 404),
    "POST of 1 MiB": lambda c: is_ok(c.post("/echo", content=BODY), content=BODY),
    "POST of 1 MiB in pieces": lambda c: is_ok(c.post("/echo", content=pieces()), content=BODY),
    "an empty POST": lambda c: is_ok(c.post("/echo"), content=b""),
    "a form with a file": lambda c: is_ok(c.post("/echo", files={"f": BODY})),
    "a chunked answer": lambda c: is_ok(c.get("/stream"), content=b"0123456789"),
    "4 MiB as a stream": streamed,
    "answers given up": given_up,
    "100 at once": many,
}


async def main():
    ways = {
        "HTTP/1.1": (False, f"http://127.0.0.1:{PLAIN}"),
        "HTTP/1.1 with TLS": (False, f"https://localhost:{TLS}"),
        "HTTP/2": (True, f"https://localhost:{TLS}"),
    }
    for way, (http2, base) in ways.items():
        version = "HTTP/2" if http2 else "HTTP/1.1"
        async with httpx.AsyncClient(http1=not http2, http2=http2, verify=False, base_url=base, timeout=20) as client:
            for name, case in CASES.items():
                try:
                    good, why = await case(client), "another answer"
                except Exception as error:  # noqa: BLE001
                    good, why = False, repr(error)
                print(f"ok {way} {name}" if good else f"failed {way} {name}: {why}")
            spoken = (await client.get("/")).http_version
            print(f"ok {way} is spoken" if spoken == version else f"failed {way} is spoken: {spoken}")


asyncio.run(main())
