"""Words into every open terminal of the box."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from boxguard import sessions

_PTS = Path("/dev/pts")


def terminals(words: str, server: str) -> int:
    """Write `words` to every terminal; how many took them. A terminal that is held (Ctrl-S) is passed over."""
    text = f"\r\n\a*** gpubox guard: {words}\r\n".encode()
    told = 0
    for number in _numbers(server):
        with suppress(OSError):
            # Not ours to control, and never to wait for.
            handle = os.open(_PTS / str(number), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(handle, text)
                told += 1
            finally:
                os.close(handle)
    return told


def _numbers(server: str) -> list[int]:
    """On a box that is this machine (a local one) only its own sessions are told."""
    with suppress(OSError):
        if "." in server:
            return sessions.terminals(sessions.table(), server)
        return sorted(int(path.name) for path in _PTS.iterdir() if path.name.isdigit())
    return []
