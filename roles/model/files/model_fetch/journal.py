"""Which ranges of a begun file are on the disk: one JSON line each, beside it, with a CRC-32 of the bytes.

The order that survives a power cut: bytes, lines, `fdatasync` of the bytes, then a line that says how many lines
before it are safe. Lines after the last of these are compared with the disk when a run goes on; so a kill costs
nothing that was written, and a power cut at most what was not safe yet.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import zlib
from typing import TYPE_CHECKING, Any

from model_fetch.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_fetch.listing import RemoteFile

# Made safe at the latest after so many bytes or seconds. Syncing more often costs speed on disks that cache writes.
_SAFE_BYTES = 256 * 2**20
_SAFE_SECONDS = 5.0
_BLOCK = 1 << 20


def names(part: Path) -> tuple[Path, Path]:
    """The file of bytes and the journal of a part named as the final file."""
    return part.with_name(part.name + ".part"), part.with_name(part.name + ".journal")


def left(part: Path, size: int) -> int:
    """Bytes that a journal says are there; 0 when there is none for that size. Reads no bytes of the file."""
    data, journal = names(part)
    head, records, _ = _read(journal)
    if head.get("size") != size or not data.exists():
        return 0
    return Ranges((start, end) for start, end, _ in records).total


class Journal:
    """The journal of one file; `descriptor` is the file of bytes. Safe to use from several threads."""

    def __init__(self, path: Path, descriptor: int, now: Callable[[], float] = time.monotonic) -> None:
        self._path, self._descriptor, self._now = path, descriptor, now
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._lines, self._safe = 0, 0
        self._unsafe, self._since = 0, now()
        self._file = path.open("ab", buffering=0)
        self._torn = False

    def begin(self, file: RemoteFile, found: Ranges | None = None) -> None:
        """Start it anew: what the bytes are of, and what of them is there and safe. Raises `OSError`."""
        os.fsync(self._descriptor)
        head = {"path": file.path, "size": file.size, "sha256": file.sha256, "git": file.git}
        lines = [head, *([start, end, -1] for start, end in found or ())]
        self._lines = self._safe = len(lines) - 1
        temporary = self._path.with_name(self._path.name + ".new")
        with temporary.open("wb") as new:
            new.write(b"".join(json.dumps(line).encode() + b"\n" for line in [*lines, {"safe": self._safe}]))
            new.flush()
            os.fsync(new.fileno())
        temporary.replace(self._path)
        self._file.close()
        self._file = self._path.open("ab", buffering=0)

    def resume(self, file: RemoteFile) -> Ranges | None:
        """What is there of `file`, compared with the disk where it is not known to be safe; None: it is of another."""
        head, records, safe = _read(self._path)
        if (head.get("size"), head.get("sha256"), head.get("git")) != (file.size, file.sha256, file.git):
            return None
        found = Ranges((start, end) for start, end, _ in records[:safe])
        for start, end, crc in records[safe:]:
            if self.crc(start, end) == crc:
                found.add(start, end)
        self.begin(file, found)
        return found

    def record(self, start: int, end: int, crc: int) -> None:
        """Bytes [start, end) were written. Raises `OSError`."""
        with self._lock:
            self._say([start, end, crc])
            self._lines += 1
            self._unsafe += end - start
            due = self._unsafe >= _SAFE_BYTES or self._now() - self._since >= _SAFE_SECONDS
        if due and self._syncing.acquire(blocking=False):
            try:
                self._make_safe()
            finally:
                self._syncing.release()

    def sync(self) -> None:
        """Everything that was recorded is safe. Raises `OSError`."""
        with self._syncing:
            self._make_safe()

    def crc(self, start: int, end: int) -> int:
        """CRC-32 of what is on the disk."""
        found = 0
        while start < end and (block := os.pread(self._descriptor, min(_BLOCK, end - start), start)):
            found = zlib.crc32(block, found)
            start += len(block)
        return found if start == end else -1

    def close(self) -> None:
        """Hand the file back."""
        self._file.close()

    def _make_safe(self) -> None:
        with self._lock:
            lines, self._unsafe, self._since = self._lines, 0, self._now()
        if lines == self._safe:
            return
        os.fdatasync(self._descriptor) if hasattr(os, "fdatasync") else os.fsync(self._descriptor)
        with self._lock:
            self._say({"safe": lines})
            self._safe = lines
        os.fsync(self._file.fileno())

    def _say(self, line: object) -> None:
        data = (b"\n" if self._torn else b"") + json.dumps(line).encode() + b"\n"
        self._torn = True
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        self._torn = False


def _read(path: Path) -> tuple[dict[str, Any], list[tuple[int, int, int]], int]:
    """Head, records and how many of them are safe. A line that was torn by a full disk counts for nothing."""
    head: dict[str, Any] = {}
    records: list[tuple[int, int, int]] = []
    safe = 0
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        return head, records, safe
    for raw in lines:
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, list):
            records.append((int(line[0]), int(line[1]), int(line[2])))
        elif "safe" in line:
            safe = int(line["safe"])
        elif "path" in line:
            head = line
    return head, records, safe
