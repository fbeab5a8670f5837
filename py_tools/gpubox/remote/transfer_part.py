"""A big file on its way: segments that arrive in any order, remembered on disk, hashed as soon as they are in a row."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Bytes: what a killed process may have to fetch once more for each connection.
SEGMENT = 2 << 20
_PIECE = 1 << 20
# A segment that is there: 1 and its CRC-32. Nothing is flushed to disk before the file is whole, so it is checked.
_MARK = struct.Struct(">BI")
_MODE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


@dataclass(slots=True)
class Segment:
    """A part of a file that is still to come, in bytes; a cut link leaves the rest of it."""

    number: int
    offset: int
    length: int
    crc: int = 0


class Part:
    """The file `path` grows in, beside it `path`.segments. Used by several threads."""

    def __init__(self, path: Path, size: int) -> None:
        self.size = size
        self._path = path
        self._file = os.open(path, _MODE, 0o600)
        self._marks = os.open(path.with_name(f"{path.name}.segments"), _MODE, 0o600)
        self._count = -(-size // SEGMENT)
        self._there: list[int | None] = [None] * self._count
        self._doubtful: set[int] = set()
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._load()

    @property
    def had(self) -> int:
        """Bytes that an earlier try has brought."""
        with self._lock:
            return sum(self._length(number) for number in self._doubtful)

    def missing(self) -> list[Segment]:
        """What is still to come."""
        with self._lock:
            return [self._segment(number) for number, crc in enumerate(self._there) if crc is None]

    def write(self, segment: Segment, data: memoryview) -> None:
        """Take the next bytes of a segment. Raises `OSError`."""
        segment.crc = zlib.crc32(data, segment.crc)
        left = data
        while left:
            wrote = os.pwrite(self._file, left, segment.offset)
            segment.offset += wrote
            segment.length -= wrote
            left = left[wrote:]
        if segment.length == 0:
            os.pwrite(self._marks, _MARK.pack(1, segment.crc), segment.number * _MARK.size)
            with self._lock:
                self._there[segment.number] = segment.crc

    def advance(self) -> list[Segment]:
        """Hash what is there in a row, unless another thread is at it; segments that have rotted and must come again.

        After the last `write` one call comes to the end.
        """
        rotten: list[Segment] = []
        while self._ready() and self._hashing.acquire(blocking=False):
            try:
                while self._ready():
                    if (again := self._hash_next()) is not None:
                        rotten.append(again)
            finally:
                self._hashing.release()
        return rotten

    def sha256(self) -> str | None:
        """In hex, once all of it is there and hashed."""
        # Not under the lock of who hashes: `advance` leaves when it is taken.
        with self._lock:
            return self._digest.hexdigest() if self._hashed == self._count else None

    def keep(self, target: Path, mtime_ns: int) -> None:
        """Flush it to disk and give it its name. Raises `OSError`."""
        os.utime(self._file, ns=(mtime_ns, mtime_ns))
        os.fchmod(self._file, 0o400)
        os.fsync(self._file)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._path.replace(target)
        self._path.with_name(f"{self._path.name}.segments").unlink()
        self.close()

    def close(self) -> None:
        """Let go of the files; what is there stays."""
        for handle in (self._file, self._marks):
            if handle >= 0:
                os.close(handle)
        self._file = self._marks = -1

    def _load(self) -> None:
        marks = os.pread(self._marks, self._count * _MARK.size, 0)
        for number in range(len(marks) // _MARK.size):
            there, crc = _MARK.unpack_from(marks, number * _MARK.size)
            if there:
                self._there[number] = crc
                self._doubtful.add(number)
        os.ftruncate(self._file, self.size)

    def _ready(self) -> bool:
        with self._lock:
            return self._hashed < self._count and self._there[self._hashed] is not None

    def _hash_next(self) -> Segment | None:
        """Hash one segment; or give it back when an earlier try's bytes are not what they were."""
        number = self._hashed
        pieces = []
        offset, left, crc = number * SEGMENT, self._length(number), 0
        doubtful = number in self._doubtful
        while left and (data := os.pread(self._file, min(left, _PIECE), offset)):
            if doubtful:
                crc = zlib.crc32(data, crc)
                pieces.append(data)
            else:
                self._digest.update(data)
            offset += len(data)
            left -= len(data)
        with self._lock:
            if doubtful and crc != self._there[number]:
                self._there[number] = None
                self._doubtful.discard(number)
                return self._segment(number)
        for data in pieces:
            self._digest.update(data)
        with self._lock:
            self._hashed += 1
        return None

    def _segment(self, number: int) -> Segment:
        return Segment(number, number * SEGMENT, self._length(number))

    def _length(self, number: int) -> int:
        return min(SEGMENT, self.size - number * SEGMENT)
