"""A channel of a login that needs neither an `ssh` child here nor a shell there: a forwarded Unix socket."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BUFFER = 1 << 18
# OpenSSH's own code for a connection that broke, of which a channel itself says nothing.
_CONNECTION_ENDED = 255


class Channel:
    """As a `Line` on which the command runs already. Raises `OSError` when nobody listens at `place`."""

    served = True

    def __init__(self, place: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(str(place))
        except OSError:
            self._socket.close()
            raise
        self.stdin = self._socket.makefile("wb", buffering=_BUFFER)
        self.stdout = self._socket.makefile("rb", buffering=_BUFFER)

    def tell(self, command: str) -> None:
        """Nothing: it has been told."""

    def words(self, patience: float) -> tuple[int | None, str]:
        """As of an `ssh` whose connection broke."""
        return _CONNECTION_ENDED, ""

    def end(self) -> None:
        """End it from another thread: whoever reads from it comes to an end."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self, *, patience: float = 0.0) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self.stdin.close()
        self.stdout.close()
        self._socket.close()
