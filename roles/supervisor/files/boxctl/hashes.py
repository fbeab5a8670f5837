"""SHA-256 of files, remembered: a file whose size, times and inode are what they were is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING

from boxctl import files

if TYPE_CHECKING:
    from pathlib import Path

Identity = tuple[int, int, int, int]

_BLOCK = 1 << 20
# A file that changed a moment ago may change again within one tick of the kernel's clock: not remembered yet.
_TICK_NS = 100_000_000
# Lines of the file for each path in it, beyond which it is written anew.
_SLACK = 4


def identity(info: os.stat_result) -> Identity:
    """What has to be the same for a remembered hash to count. The inode's own time shows what `touch` would hide."""
    return (info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


def of_file(path: str | Path, size: int | None = None) -> tuple[str, int, os.stat_result]:
    """SHA-256 (hex) of the first `size` bytes (all, as long as it is when opened), their number, and what it was.

    Raises `OSError`.
    """
    digest = hashlib.sha256()
    buffer = bytearray(_BLOCK)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - names that are no text come as they are
        info = os.fstat(file.fileno())
        left = wanted = info.st_size if size is None else size
        while left > 0 and (got := file.readinto(view[: min(_BLOCK, left)])):
            digest.update(view[:got])
            left -= got
    return digest.hexdigest(), wanted - left, info


class Hashes:
    """The memory: lines of JSON that several processes may add to at once; the last one on a path counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[Identity, str]] | None = None
        self._new: list[str] = []

    def get(self, path: str, what: Identity) -> str | None:
        """The SHA-256 of `path` while it is `what`, if it is known."""
        if self._known is None:
            self._known = self._load()
        seen = self._known.get(path)
        return seen[1] if seen is not None and seen[0] == what else None

    def put(self, path: str, what: Identity, sha256: str) -> None:
        """Remember, from the next `save` on."""
        if time.time_ns() - max(what[1], what[2]) < _TICK_NS:
            return
        if self._known is not None:
            self._known[path] = (what, sha256)
        self._new.append(json.dumps([path, what, sha256]))

    def save(self) -> None:
        """Write what is new. A full disk is no reason to fail: it only costs time later."""
        if not self._new:
            return
        data = "".join(f"{line}\n" for line in self._new).encode()
        self._new.clear()
        with contextlib.suppress(OSError):
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                file.write(data)

    def _load(self) -> dict[str, tuple[Identity, str]]:
        known: dict[str, tuple[Identity, str]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return known
        for path, what, sha256 in _rows(lines):
            size, mtime, ctime, inode = what
            known[path] = ((size, mtime, ctime, inode), sha256)
        if len(lines) > _SLACK * (len(known) + 64):
            text = "".join(json.dumps([path, *seen]) + "\n" for path, seen in known.items())
            with contextlib.suppress(OSError):
                files.write(self._path, text)
        return known


def _rows(lines: list[bytes]) -> list[tuple[str, Identity, str]]:
    """What is well-formed of them; all at once where all of them are, which takes a third of the time."""
    with contextlib.suppress(ValueError):
        rows = json.loads(b"[%b]" % b",".join(lines))
        return [row for row in rows if _is_row(row)]
    rows = []
    for line in lines:
        # A line that was cut off, or that two writers mixed.
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if _is_row(row)]


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == 3 and isinstance(row[1], list) and len(row[1]) == 4
