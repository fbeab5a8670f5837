"""Files that are whole at every moment, and locks."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# Below this no database and no log can go on, in bytes.
_ROOM = 4 * 2**20


def write(path: Path, content: str, *, mode: int = 0o600) -> None:
    """Replace `path` by `content` at once: a reader sees the old or the new file, never half of one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: object, *, mode: int = 0o600) -> None:
    """`write` of one JSON object."""
    write(path, json.dumps(data, ensure_ascii=False, indent=1) + "\n", mode=mode)


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`; None when there is no such file or it holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def full(path: Path) -> str | None:
    """A sentence when the disk of `path` has no room left, else None."""
    seen = os.statvfs(path)
    free = seen.f_bavail * seen.f_frsize
    if free >= _ROOM:
        return None
    return f"the disk of `{path}` is full ({free // 1024} KiB free): nothing that is new can be kept on it"


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path`; it goes with the process. Raises `BoxctlError` when taken and not `wait`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise BoxctlError(f"`{path}` is held by another process") from error
        yield
    finally:
        os.close(descriptor)


def tail(path: Path, size: int = 65536) -> bytes:
    """The last `size` bytes of a file; empty when there is none."""
    try:
        with path.open("rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - size))
            return file.read(size)
    except OSError:
        return b""


def utc(seconds: float) -> str:
    """A moment (seconds since 1970) as `2026-11-22T11:09:30Z`."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
