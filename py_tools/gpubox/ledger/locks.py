"""Who may change a box: one gpubox alone, or several that do the same.

The locks are the kernel's, so a killed process holds none.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpubox.errors import Failed, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOK_AGAIN = 0.05


@contextmanager
def held(directory: Path, name: str, *, wait: float = 0.0, shared: bool = False) -> Iterator[None]:
    """Hold the lock of the box `name`, waiting `wait` seconds for it; `shared`: together with others that share it.

    Raises `Refused` when another process has it all that time, naming its process id.
    """
    side = directory / f"{name}.pid"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Not inherited by programs that we start: a tunnel that stays open would keep the box locked.
        handle = os.open(directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(directory, name, error) from error
    try:
        try:
            taken = _take(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait)
        except OSError as error:
            raise _unusable(directory, name, error) from error
        if not taken:
            raise _taken(side, name)
        side.write_text(f"{os.getpid()}\n", encoding="ascii")
        try:
            yield
        finally:
            if _holder(side) == os.getpid():
                side.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _take(handle: int, kind: int, wait: float) -> bool:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_AGAIN)
        else:
            return True


def _holder(side: Path) -> int | None:
    try:
        return int(side.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _taken(side: Path, name: str) -> Refused:
    # None: it has the lock and is about to write its number, or it shares it with one that has left.
    pid = _holder(side)
    holder = f"process {pid}" if pid is not None else "another process"
    return Refused(
        f"{holder} is working on the box `{name}`",
        where=name,
        hint=f"wait for it, or end it; `gpubox watch {name}` follows it",
    )


def _unusable(directory: Path, name: str, error: OSError) -> Failed:
    return Failed(
        f"cannot lock the box `{name}`: {error.strerror or error}",
        where=str(directory),
        hint="set `GPUBOX_HOME` to a local disk",
    )
