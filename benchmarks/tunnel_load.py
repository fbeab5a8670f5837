"""What goes through a tunnel while it is measured: a small HTTP server (`python -m benchmarks.tunnel_load`), and its
clients: 32 streams of tokens, 1,000 small requests, one file of 200 MB.

Both sides read one clock, since they are on one machine, so that each token tells how long it was on its way.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import NamedTuple

STREAMS, TOKENS, EVERY = 32, 100, 0.02
REQUESTS = 1000
FILE = 200_000_000
_CHUNK = 1 << 20
# As long as a short answer of an API.
_SMALL = b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"' + b"x" * 200 + b'"}}]}'


class Streams(NamedTuple):
    """What 32 streams at once came to: seconds in all, and the ages of tokens when they arrived, in milliseconds."""

    seconds: float
    p50: float
    p99: float


def streams(port: int) -> Streams:
    """Read all streams at once."""
    return asyncio.run(_streams(port))


def requests(port: int, *, new_connections: bool) -> float:
    """Seconds of 1,000 small requests, one after another, over one connection or over one each."""
    begun = time.monotonic()
    connection = None if new_connections else _connect(port)
    for _ in range(REQUESTS):
        link = connection or _connect(port)
        link.sendall(_asked("/small"))
        _read_small(link)
        if connection is None:
            link.close()
    if connection is not None:
        connection.close()
    return time.monotonic() - begun


def download(port: int) -> float:
    """Seconds of one file of 200 MB."""
    buffer = bytearray(_CHUNK)
    begun = time.monotonic()
    with _connect(port) as link:
        link.sendall(_asked("/file"))
        left = FILE + len(_head(FILE))
        while left > 0:
            taken = link.recv_into(buffer)
            if not taken:
                raise RuntimeError(f"the file ended {left} bytes early")
            left -= taken
    return time.monotonic() - begun


async def _streams(port: int) -> Streams:
    begun = time.monotonic()
    lags = await asyncio.gather(*(_stream(port) for _ in range(STREAMS)))
    seconds = time.monotonic() - begun
    ages = sorted(age for each in lags for age in each)
    if len(ages) != STREAMS * TOKENS:
        raise RuntimeError(f"{STREAMS * TOKENS - len(ages)} tokens did not arrive")
    return Streams(seconds, ages[len(ages) // 2] * 1000, ages[len(ages) * 99 // 100] * 1000)


async def _stream(port: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_asked("/tokens"))
    ages = []
    async for line in reader:
        if line.startswith(b"data: "):
            ages.append(time.monotonic() - float(line[6:]))
    writer.close()
    return ages


def _connect(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _read_small(link: socket.socket) -> None:
    left = len(_head(len(_SMALL))) + len(_SMALL)
    while left > 0:
        taken = len(link.recv(left))
        if not taken:
            raise RuntimeError("a small answer was cut")
        left -= taken


def _asked(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode()


def _head(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while asked := (await reader.readline()).decode():
            while (await reader.readline()).strip():
                pass
            await _answer(asked.split()[1], writer)
            if "/tokens" in asked:
                break
    except ConnectionError:
        # A client that has all it wanted.
        pass
    finally:
        writer.close()


async def _answer(path: str, writer: asyncio.StreamWriter) -> None:
    if path == "/small":
        writer.write(_head(len(_SMALL)) + _SMALL)
    elif path == "/file":
        writer.write(_head(FILE))
        piece = bytes(_CHUNK)
        for start in range(0, FILE, _CHUNK):
            writer.write(memoryview(piece)[: min(_CHUNK, FILE - start)])
            await writer.drain()
    else:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        begun = time.monotonic()
        for number in range(1, TOKENS + 1):
            await asyncio.sleep(begun + number * EVERY - time.monotonic())
            writer.write(f"data: {time.monotonic():.6f}\n\n".encode())
            await writer.drain()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
