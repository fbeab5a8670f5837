"""A small SSH server and a TCP proxy on loopback, both in threads of the test, that can be made to misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

T = TypeVar("T")
USER = "root"
PASSWORD = "correct horse 电池"


class LoopThread:
    """An asyncio loop in its own thread; `do` runs a coroutine there and waits for it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def stop(self) -> None:
        self.do(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()

    @staticmethod
    async def _cancel_all() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class BoxServer:
    """An SSH server on 127.0.0.1 with a scratch home: password and key login, commands by `sh -c`, port forwarding."""

    def __init__(self, home: Path, *, password: str | None = PASSWORD, ignores_keys: bool = False) -> None:
        self.home = home
        self.password = password
        self.ignores_keys = ignores_keys
        self.logins: list[str] = []
        self.password_tries = 0
        self.commands: list[str] = []
        self.children: set[int] = set()
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._running: set[asyncio.Task[Any]] = set()
        self._thread = LoopThread()
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        home.mkdir(parents=True, exist_ok=True)
        self._thread.do(self._listen())

    @property
    def host_key(self) -> str:
        return " ".join(self._key.export_public_key().decode().split()[:2])

    @property
    def authorized_keys(self) -> Path:
        return self.home / ".ssh" / "authorized_keys"

    def authorize(self, public_key: str) -> None:
        self.authorized_keys.parent.mkdir(mode=0o700, exist_ok=True)
        self.authorized_keys.write_text(public_key.strip() + "\n")

    def forget_keys(self) -> None:
        """Only a key that nobody has opens it (asyncssh hangs up where the file is empty)."""
        self.authorize(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode())

    def change_host_key(self) -> None:
        """The same address, another machine."""
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._thread.do(self._relisten())

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._connections)

    def kill_connections(self) -> None:
        """Cut every connection without a goodbye, as a killed sshd child does; commands go on."""
        self._thread.do(self._abort())

    def stop(self) -> None:
        self._thread.do(self._close(kill=True))
        self._thread.stop()

    async def _listen(self) -> None:
        self._server = await asyncssh.create_server(
            lambda: _Session(self),
            "127.0.0.1",
            self.port,
            server_host_keys=[self._key],
            process_factory=self._run,
            encoding=None,
            line_editor=False,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _relisten(self) -> None:
        await self._close()
        await self._listen()

    async def _abort(self) -> None:
        for connection in list(self._connections):
            connection.abort()

    async def _close(self, *, kill: bool = False) -> None:
        await self._abort()
        self._server.close()
        await self._server.wait_closed()
        async with asyncio.timeout(30):
            while self._running:
                # A command may have been on its way to its start: its child appears only now.
                for child in list(self.children) if kill else []:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child, signal.SIGKILL)
                await asyncio.wait(self._running, timeout=0.2)

    async def _run(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        task = asyncio.current_task()
        assert task
        self._running.add(task)
        try:
            await self._serve(process)
        finally:
            self._running.discard(task)

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        self.commands.append(process.command or "")
        child = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command or "exec sh",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"},
            cwd=self.home,
            start_new_session=True,
        )
        self.children.add(child.pid)
        feeder = asyncio.create_task(_feed(process, child))
        # The end of both streams first, the exit status after: else the tail of the output may be lost.
        pumps = asyncio.create_task(_pump_both(process, child))
        gone = asyncio.create_task(process.channel.wait_closed())
        await asyncio.wait({pumps, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not pumps.done():
            # As sshd does when the client has gone: who writes on gets SIGPIPE, who does not write goes on.
            pumps.cancel()
            for descriptor in (1, 2):
                child._transport.get_pipe_transport(descriptor).close()  # type: ignore[attr-defined]
        gone.cancel()
        code = await child.wait()
        self.children.discard(child.pid)
        feeder.cancel()
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


class _Session(asyncssh.SSHServer):
    def __init__(self, box: BoxServer) -> None:
        self._box = box

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        self._box._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._box._connections.discard(self._conn)

    def begin_auth(self, username: str) -> bool:
        # Read at every login: a key installed a moment ago counts.
        if self._box.authorized_keys.exists() and not self._box.ignores_keys:
            self._conn.set_authorized_keys(str(self._box.authorized_keys))
        return True

    def auth_completed(self) -> None:
        self._box.logins.append(self._conn.get_extra_info("username"))

    def password_auth_supported(self) -> bool:
        return self._box.password is not None

    def validate_password(self, username: str, password: str) -> bool:
        self._box.password_tries += 1
        return username == USER and password == self._box.password

    def connection_requested(self, *_: object) -> bool:
        return True


async def _feed(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    assert child.stdin
    try:
        while data := await process.stdin.read(1 << 17):
            child.stdin.write(data)
            await child.stdin.drain()
    except (asyncssh.Error, OSError):
        pass
    finally:
        child.stdin.close()


async def _pump_both(process: asyncssh.SSHServerProcess[bytes], child: asyncio.subprocess.Process) -> None:
    assert child.stdout
    assert child.stderr
    await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))


async def _pump(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    with contextlib.suppress(asyncssh.Error, OSError):
        while data := await source.read(1 << 17):
            sink.write(data)
            await sink.drain()


class Proxy:
    """A TCP proxy that can cut its connections, freeze them (bytes stop, sockets stay open), or drop new ones."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.accepted = 0
        self.drop_next = 0
        self._thread = LoopThread()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._server = self._thread.do(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        self._thread.do(self._set(flowing=False))

    def thaw(self) -> None:
        self._thread.do(self._set(flowing=True))

    def cut(self) -> None:
        """Reset every connection there is now."""
        self._thread.do(self._cut())

    def stop(self) -> None:
        self._thread.do(self._close())
        self._thread.stop()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _set(self, *, flowing: bool) -> None:
        if flowing:
            self._flowing.set()
        else:
            self._flowing.clear()

    async def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        self._flowing.set()
        await self._cut()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._serving.add(task)
        try:
            await self._forward(reader, writer)
        finally:
            self._serving.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.drop_next > 0:
            self.drop_next -= 1
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
