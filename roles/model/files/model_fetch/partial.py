"""A file on its way: bytes at their places, a journal of them, its checksum as far as there is no gap."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import zlib
from typing import TYPE_CHECKING

from model_fetch import files, journal
from model_fetch.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_fetch.listing import RemoteFile

# A line in the journal for so many bytes or seconds: what a kill can cost for each connection.
RECORD = 4 * 2**20
_RECORD_SECONDS = 0.5
_BLOCK = 4 * 2**20


class Partial:
    """`part`: where it lies; `final`: where it will, once it is verified. Raises `OSError`."""

    def __init__(self, file: RemoteFile, part: Path, final: Path) -> None:
        self.file, self._final = file, final
        self._data, self._log = journal.names(part)
        self._data.parent.mkdir(parents=True, exist_ok=True)
        final.parent.mkdir(parents=True, exist_ok=True)
        known = self._log.exists() and self._data.exists()
        # Of the right size, but nobody has verified it: taken for what it may be.
        adopted = not known and final.is_file() and final.stat().st_size == file.size
        if adopted:
            final.replace(self._data)
        self._descriptor = os.open(self._data, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._descriptor, file.size)
        self._journal = journal.Journal(self._log, self._descriptor)
        found = self._journal.resume(file) if known else None
        self.lock = threading.Lock()
        self.done = found if found is not None else Ranges([(0, file.size)] if adopted else [])
        if found is None:
            self._journal.begin(file, self.done)
        self._hashed, self._sha, self._restart = 0, hashlib.sha256(), False
        self.sha256 = ""

    @property
    def whole(self) -> bool:
        """Whether no byte is missing."""
        return self.done.total == self.file.size

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put bytes at their place; `record` them afterwards."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, at)
            view, at = view[written:], at + written

    def differs(self, at: int, data: bytes) -> bool:
        """Whether something else is there."""
        return os.pread(self._descriptor, len(data), at) != data

    def record(self, start: int, end: int, crc: int) -> int:
        """Bytes [start, end) are there; how many of them are new."""
        self._journal.record(start, end, crc)
        with self.lock:
            return self.done.add(start, end)

    def hash_on(self) -> bool:
        """Go on with the checksum by one block; false when there is nothing to hash by now."""
        if self._restart:
            self._restart, self._hashed, self._sha = False, 0, hashlib.sha256()
        with self.lock:
            until = self.done.prefix
        if self._hashed >= until:
            return False
        data = os.pread(self._descriptor, min(_BLOCK, until - self._hashed), self._hashed)
        if not data:
            raise OSError(5, "a part has become shorter", str(self._data))
        self._sha.update(data)
        self._hashed += len(data)
        return True

    @property
    def hashed(self) -> bool:
        """Whether the checksum is of the whole file."""
        return not self._restart and self._hashed == self.file.size

    def right(self) -> bool:
        """Whether the whole file has the checksum that the hub lists (SHA-256; git's SHA-1 where it lists no other)."""
        self.sha256 = self._sha.hexdigest()
        if self.file.sha256:
            return self.sha256 == self.file.sha256
        return not self.file.git or self._git() == self.file.git

    def again(self) -> None:
        """The checksum starts anew: bytes have changed. `hash_on` does it, which may be at work just now."""
        self._restart = True

    def forget(self) -> None:
        """Nothing of it is there any more."""
        with self.lock:
            self.done = Ranges()
        self._journal.begin(self.file)
        self.again()

    def sync(self) -> None:
        """All of it is safe from a power cut."""
        self._journal.sync()

    def finish(self) -> None:
        """It gets its name, on disk before that."""
        os.fsync(self._descriptor)
        self._data.replace(self._final)
        files.sync_directory(self._final.parent)
        self._log.unlink(missing_ok=True)
        self.close()

    def discard(self) -> None:
        """It is worth nothing."""
        self.close()
        self._data.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep it for the next run."""
        self._journal.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _git(self) -> str:
        found = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)
        at = 0
        while data := os.pread(self._descriptor, _BLOCK, at):
            found.update(data)
            at += len(data)
        return found.hexdigest()


class Writer:
    """One connection's bytes on their way into a file: in order from `at` on, a journal line now and then.

    `compare`: the bytes are there already and may be wrong; those that differ are replaced and counted.
    """

    def __init__(
        self, partial: Partial, at: int, *, compare: bool = False, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._partial, self._start, self._compare, self._now = partial, at, compare, now
        self._since = now()
        self.at = at
        self._crc = 0
        self.new = 0
        self.differed = 0

    def write(self, data: bytes) -> None:
        """The next bytes. Raises `OSError`."""
        if not self._compare:
            self._partial.write(self.at, data)
        elif self._partial.differs(self.at, data):
            self._partial.write(self.at, data)
            self.differed += len(data)
        self._crc = zlib.crc32(data, self._crc)
        self.at += len(data)
        if self.at - self._start >= RECORD or self._now() - self._since >= _RECORD_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Record what was written. Raises `OSError`."""
        if self.at > self._start:
            self.new += self._partial.record(self._start, self.at, self._crc)
        self._start, self._crc, self._since = self.at, 0, self._now()
