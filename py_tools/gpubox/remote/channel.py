"""One command over an open connection, read without threads or polling.

fabric's own `run` moves 1000 bytes per 10 ms tick in three threads and searches all it has read for each of them:
20 MB of output took 18 to 45 s, against 0.4 s here (docs/decisions/001-ssh-libraries.md).
"""

from __future__ import annotations

import contextlib
import itertools
import re
import select
import threading
import time
from typing import TYPE_CHECKING

from gpubox.remote import explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType

    from fabric import Connection
    from paramiko import Channel

_BLOCK = 1 << 16
# A command may end and leave a child that holds its stdout: after so many quiet seconds nothing more is expected.
_AFTERMATH = 2.0
# The longest wait before looking again, for what no event tells.
_TURN = 5.0
# paramiko closes the channels of a dead connection before it calls the connection dead.
_DYING = 0.3
# What fits into the smallest window a server grants (dropbear: 24 kB) needs no second thread.
_INLINE = 16_000
_OPEN_TIMEOUT = 15.0
_KILL_PATIENCE = 3.0
# Each command first tells its pid, in a line of stderr that nobody sees: it may have to be ended.
_MARK = "gpubox-pid"
_MARK_LINE = re.compile(rb"^gpubox-pid (\d+)\r?\n", re.MULTILINE)
# A start-up file that says more than so many bytes before the mark, and we do without.
_HEAD_LIMIT = 8192


class TimedOut(Exception):
    """The command did not end, or say anything, in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Command:
    """A command that runs on a box. Leaving the `with` block closes its channel, and ends it if it still runs."""

    def __init__(
        self, name: str, connection: Connection, command: str, *, stdin: Iterator[bytes] | None = None
    ) -> None:
        import paramiko

        self._name = name
        self._stdin = stdin or iter(())
        self._pid: int | None = None
        self._head: bytes | None = b""
        try:
            self._channel: Channel = connection.transport.open_session(timeout=_OPEN_TIMEOUT)
            self._channel.exec_command(f"echo {_MARK} $$ >&2; {command}")
        except (paramiko.SSHException, EOFError, OSError) as error:
            # A connection that cannot open a channel is of no use to the next caller either.
            connection.close()
            raise explain.link_lost(name, str(error) or "it was closed") from error
        self._start_stdin()

    def __enter__(self) -> Command:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._channel.exit_status_ready():
            self._terminate()
        with contextlib.suppress(OSError, EOFError):
            self._channel.close()

    def output(self, *, deadline: float | None = None, patience: float | None = None) -> Iterator[tuple[bytes, bool]]:
        """Pieces of output as they come, each with whether it is stderr.

        Raises `TimedOut` after `deadline` seconds in all or `patience` seconds without output, `LinkLost` when the
        connection breaks.
        """
        channel = self._channel
        begun = heard = time.monotonic()
        while True:
            # Asked before reading: what came in between is read in the next turn.
            ended, eof, closed = channel.exit_status_ready(), bool(channel.eof_received), channel.closed
            for data, is_error in self._drain():
                heard = time.monotonic()
                yield data, is_error
                if deadline is not None:
                    _left(begun, heard, deadline)
            now = time.monotonic()
            if closed or (ended and (eof or now - heard > _AFTERMATH)):
                if self._head:
                    yield self._head, True
                return
            waits = [_AFTERMATH if ended else _TURN]
            if deadline is not None:
                waits.append(_left(begun, now, deadline))
            if patience is not None:
                waits.append(_left(heard, now, patience))
            # Once the end of the stream was read the descriptor is always ready: wait for the exit status itself.
            if eof:
                channel.status_event.wait(min(waits))
            else:
                select.select([channel.fileno()], [], [], min(waits))

    def exit_code(self) -> int:
        """The exit code of a command whose output has been read; raises `LinkLost` when the box never sent one."""
        code = self._channel.recv_exit_status()
        if code >= 0:
            return code
        transport = self._channel.get_transport()
        transport.join(_DYING)
        if transport.is_active():
            # OpenSSH sends a signal's name, which paramiko drops, instead of a code.
            return 128
        raise explain.link_lost(self._name, "the box closed it or stopped answering")

    def _drain(self) -> Iterator[tuple[bytes, bool]]:
        while self._channel.recv_ready():
            yield self._channel.recv(_BLOCK), False
        while self._channel.recv_stderr_ready():
            if data := self._without_mark(self._channel.recv_stderr(_BLOCK)):
                yield data, True

    def _start_stdin(self) -> None:
        first, second = next(self._stdin, b""), next(self._stdin, None)
        if second is None and len(first) <= _INLINE:
            self._feed((first,))
        else:
            pieces = itertools.chain((first, second or b""), self._stdin)
            threading.Thread(target=self._feed, args=(pieces,), daemon=True).start()

    def _feed(self, pieces: Iterable[bytes]) -> None:
        # A command may end without having read its stdin; its exit code tells how it went.
        with contextlib.suppress(OSError, EOFError):
            for piece in pieces:
                self._channel.sendall(piece)
            self._channel.shutdown_write()

    def _terminate(self) -> None:
        """SIGTERM to the command's process group, over a channel of its own.

        Not SSH's own "signal" request: OpenSSH refuses it for root, and that is who we are on rented boxes.
        """
        import paramiko

        transport = self._channel.get_transport()
        if self._pid is None or not transport.is_active():
            return
        with contextlib.suppress(paramiko.SSHException, EOFError, OSError):
            killer = transport.open_session(timeout=_KILL_PATIENCE)
            killer.exec_command(f"kill -TERM -{self._pid} || kill -TERM {self._pid}")
            killer.status_event.wait(_KILL_PATIENCE)
            killer.close()

    def _without_mark(self, data: bytes) -> bytes:
        """Stderr without the line that tells the pid; what the box's start-up files say before it is kept."""
        if self._head is None:
            return data
        self._head += data
        if found := _MARK_LINE.search(self._head):
            self._pid = int(found.group(1))
        elif len(self._head) < _HEAD_LIMIT and not self._channel.eof_received:
            return b""
        rest, self._head = self._head, None
        return rest[: found.start()] + rest[found.end() :] if found else rest


def _left(since: float, now: float, seconds: float) -> float:
    left = since + seconds - now
    if left <= 0:
        raise TimedOut(seconds)
    return left
