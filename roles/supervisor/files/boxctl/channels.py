"""Further channels of one `boxctl send`: connections through the same login, each answered by a process of its own.

They arrive at a Unix socket, to which the SSH server leads them: that costs neither a shell nor a start of Python.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Serve = Callable[[Iterable[bytes], int], None]

_MOST = 16


class Channels:
    """The socket at `path`, for this user only, from now until `close`. Raises `OSError` when it cannot be."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)
        try:
            self._socket.bind(path)
        finally:
            os.umask(before)
        self._socket.listen(_MOST)
        # Whoever finds that another process was faster is not to wait for the next connection.
        self._socket.setblocking(False)
        # Ready to be read when its other end, which only this process holds, is gone.
        self._alive, self._mine = os.pipe()

    def fork(self, count: int, serve: Serve) -> None:
        """Have `count` processes answer by `serve`, which gets the requests of a connection and where answers go."""
        for _ in range(count):
            if os.fork() == 0:
                code = 1
                try:
                    self._answer(serve)
                    code = 0
                finally:
                    # Nothing of what the process that this is a copy of would do at its end.
                    os._exit(code)

    def close(self) -> None:
        """End it; who answers a connection does so to its end."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108
        self._socket.close()
        os.close(self._mine)

    def _answer(self, serve: Serve) -> None:
        os.close(self._mine)
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nothing, descriptor)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._alive, select.POLLIN)
        while self._alive not in (ready := dict(poll.poll())):
            if self._socket.fileno() not in ready:
                continue
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                continue
            connection.setblocking(True)
            # Who was at its other end may be gone.
            with contextlib.suppress(BrokenPipeError, ConnectionError), connection:
                serve(connection.makefile("rb"), connection.fileno())
