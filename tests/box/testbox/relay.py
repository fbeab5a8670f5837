"""A TCP relay inside one event loop that can be slow, cut, frozen or closed on demand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]

_CHUNK = 64 << 10
_IN_FLIGHT = 256  # chunks a direction, 16 MiB: what a long fast line holds
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close sends RST


@dataclass(slots=True)
class Counts:
    """Since the relay was made: connections taken, bytes towards the target and back."""

    accepted: int = 0
    up: int = 0
    down: int = 0


class Relay:
    """Forwards every connection of a listening socket to a stream from `connect`.

    `delay` is one-way, in seconds; a new connection costs a round trip more, as a TCP handshake does.
    """

    def __init__(self, connect: Connect, *, delay: float = 0.0) -> None:
        self.delay = delay
        self.counts = Counts()
        self._connect = connect
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._heal: asyncio.TimerHandle | None = None
        self._port = 0
        self._socket: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    @property
    def live(self) -> int:
        """Connections open now."""
        return len(self._links)

    def reserve(self, port: int = 0) -> int:
        """Takes the port of 127.0.0.1 (0: any free one) without listening: clients are refused, nobody else gets it."""
        self.release()
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setblocking(False)
        made.bind(("127.0.0.1", port))
        self._socket, self._port = made, made.getsockname()[1]
        return self._port

    def listen(self) -> None:
        """Starts taking connections on the reserved port."""
        assert self._socket is not None
        self._socket.listen(128)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._socket))

    def refuse(self) -> None:
        """Refuses new connections; those that are open stay."""
        self.reserve(self._port)

    def release(self) -> None:
        """Gives the port back."""
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def freeze(self, seconds: float | None = None) -> None:
        """Stops forwarding and keeps every connection open, new ones too; heals by itself after `seconds`."""
        self._flowing.clear()
        self._stop_timer()
        if seconds is not None:
            self._heal = asyncio.get_running_loop().call_later(seconds, self.heal)

    def heal(self) -> None:
        """Forwards again, beginning with what has waited."""
        self._stop_timer()
        self._flowing.set()

    async def reset(self) -> int:
        """Breaks every open connection with RST on both sides; returns how many."""
        broken = list(self._links.items())
        for task, writers in broken:
            for writer in writers:
                _reset(writer)
            task.cancel()
        if broken:
            await asyncio.wait([task for task, _ in broken])
        return len(broken)

    async def close(self) -> None:
        """Gives the port back and breaks every connection."""
        self._stop_timer()
        self.release()
        await self.reset()

    def _stop_timer(self) -> None:
        if self._heal is not None:
            self._heal.cancel()
            self._heal = None

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except ConnectionError:  # the client was gone before it was taken
                continue
            self.counts.accepted += 1
            writers: list[asyncio.StreamWriter] = []
            task = loop.create_task(self._link(client, writers))
            self._links[task] = writers
            task.add_done_callback(lambda done: self._links.pop(done, None))

    async def _link(self, client: socket.socket, writers: list[asyncio.StreamWriter]) -> None:
        reader, writer = await asyncio.open_connection(sock=client)
        writers.append(writer)
        try:
            await asyncio.sleep(2 * self.delay)
            await self._flowing.wait()
            target_reader, target_writer = await self._connect()
            writers.append(target_writer)
            for each in writers:
                _no_nagle(each)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, target_writer, up=True))
                both.create_task(self._pump(target_reader, writer, up=False))
        except OSError:
            _reset(writer)
        except ExceptionGroup as group:
            if group.split(OSError)[1] is not None:
                raise
            for each in writers:
                _reset(each)
        finally:
            for each in writers:
                each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(reader, queue))
            both.create_task(self._give(queue, writer, up=up))

    async def _take(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes]]) -> None:
        clock = asyncio.get_running_loop().time
        data = b"more"
        while data:
            data = await reader.read(_CHUNK)
            await queue.put((clock() + self.delay, data))

    async def _give(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, *, up: bool) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, data = await queue.get()
            if (wait := due - clock()) > 0:
                await asyncio.sleep(wait)
            await self._flowing.wait()
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
            if up:
                self.counts.up += len(data)
            else:
                self.counts.down += len(data)


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _no_nagle(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
