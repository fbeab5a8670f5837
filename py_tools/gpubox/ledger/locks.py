"""One gpubox at a time changes a box. The lock is the kernel's, so a killed process holds none."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpubox.errors import Failed, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def held(directory: Path, name: str, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock of the box `name`, waiting `wait` seconds for it.

    Raises `Refused` when another process has it all that time, naming its process id.
    """
    # Names are checked on boxes too, where this package is not installed.
    from filelock import FileLock, Timeout

    side = directory / f"{name}.pid"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Soft locks (a file that exists) outlive a kill; on a file system without flock, an error is better.
        lock = FileLock(directory / f"{name}.lock", timeout=wait, mode=0o600, fallback_to_soft=False)
        lock.acquire()
    except Timeout:
        raise _taken(side, name) from None
    except (OSError, NotImplementedError) as error:
        raise Failed(
            f"cannot lock the box `{name}`: {error}", where=str(directory), hint="set `GPUBOX_HOME` to a local disk"
        ) from error
    try:
        side.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        side.unlink(missing_ok=True)
        lock.release()


def _taken(side: Path, name: str) -> Refused:
    try:
        holder = f"process {int(side.read_text(encoding='ascii'))}"
    except (OSError, ValueError):
        holder = "another process"  # It has the lock and is about to write its number.
    return Refused(
        f"{holder} is working on the box `{name}`", where=name, hint=f"wait for it; `gpubox watch {name}` follows it"
    )
