"""`boxctl send`: gives files of this box to a backup, in the form of `boxctl.frames`.

A pack (`P`) is the number of its files, a head for each, then their bytes in the same order.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from boxctl.frames import Frames, serve
from boxctl.hashes import Hashes, identity, of_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from boxctl.frames import Verb
    from boxctl.layout import Layout

_COUNT = struct.Struct(">I")
# Of a small file: which of the request's, its SHA-256, size, times of its content and its inode, inode, mode.
_FILE = struct.Struct(">I32sQqqQI")
# Bytes in one pack: a cut link loses at most one that was on its way, and one costs both ends as much as a lone file.
_PACK = 256 << 10
_PIECE = 1 << 20
_SAVE_SECONDS = 5.0


def main(layout: Layout) -> None:
    """Serve stdin and stdout."""
    answer(layout, sys.stdin.buffer, sys.stdout.fileno())


def answer(layout: Layout, requests: Iterable[bytes], sink: int) -> None:
    """Answer requests until there are no more."""
    sender = _Sender(layout, Frames(sink))
    try:
        serve("send", sender.verbs(), sender.out, requests, root=str(layout.root))
    finally:
        sender.hashes.save()


class _Sender:
    def __init__(self, layout: Layout, out: Frames) -> None:
        self.hashes = Hashes(layout.root / "hashes.jsonl")
        self.out = out
        self._layout = layout

    def verbs(self) -> dict[str, Verb]:
        return {
            "list": self._list,
            "copy": self._copy,
            "hash": self._hash,
            "small": self._small,
            "range": self._range,
            "end": self._end,
        }

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        from boxctl import copies, manifest

        copies.prune(self._layout)
        found = manifest.listed(self._layout, search=request["search"], seconds=request["seconds"])
        # Rows without the names of their columns: half as much to write, send and read.
        return {**found, "files": [tuple(entry.values()) for entry in found["files"]]}

    def _copy(self, request: dict[str, Any]) -> dict[str, Any]:
        from boxctl import copies

        token, path, how = request["token"], request["file"], request["copy"]
        return copies.make(self._layout, self.hashes, token, path, how, request["version"])

    def _end(self, request: dict[str, Any]) -> None:
        from boxctl import copies

        self.hashes.save()
        copies.remove(self._layout, request["token"])

    def _hash(self, request: dict[str, Any]) -> None:
        """The hash of each file up to a size, or of all of it; with `fresh` what is remembered does not count."""
        saved = time.monotonic()
        for index, (path, size) in enumerate(request["files"]):
            try:
                self.out.json({"i": index, **self._hash_of(path, size, fresh=request["fresh"])})
            except OSError as error:
                self.out.json({"i": index, **_trouble(error)})
            self.out.flush()
            if time.monotonic() - saved > _SAVE_SECONDS:
                # A cut link must not cost the hashes of an hour.
                self.hashes.save()
                saved = time.monotonic()

    def _hash_of(self, path: str, size: int | None, *, fresh: bool) -> dict[str, Any]:
        info = os.stat(path)  # noqa: PTH116
        if not fresh and size in {None, info.st_size} and (known := self.hashes.get(path, identity(info))):
            return {"sha256": known, "size": info.st_size, "version": identity(info)}
        sha256, got, info = of_file(path, size)
        if got == info.st_size and not fresh:
            self.hashes.put(path, identity(info), sha256)
        return {"sha256": sha256, "size": got, "version": identity(info)}

    def _small(self, request: dict[str, Any]) -> None:
        """Whole files, in packs."""
        heads: list[bytes] = []
        contents: list[bytes] = []
        held = 0
        for index, path in enumerate(request["files"]):
            try:
                data, info, digest = _whole(path)
            except OSError as error:
                self.out.json({"i": index, **_trouble(error)})
                continue
            what = identity(info)
            if len(data) == info.st_size:
                self.hashes.put(path, what, digest.hex())
            heads.append(_FILE.pack(index, digest, len(data), what[1], what[2], what[3], info.st_mode & 0o7777))
            contents.append(data)
            held += len(data)
            if held >= _PACK:
                self._pack(heads, contents)
                held = 0
        if heads:
            self._pack(heads, contents)
        self.hashes.save()

    def _pack(self, heads: list[bytes], contents: list[bytes]) -> None:
        self.out.frame(b"P", _COUNT.pack(len(heads)), *heads, *contents)
        heads.clear()
        contents.clear()

    def _range(self, request: dict[str, Any]) -> dict[str, Any]:
        """Bytes of one file. When it has become shorter, zeros stand for the rest and the end says so."""
        left: int = request["length"]
        try:
            file = open(request["file"], "rb", buffering=0)  # noqa: PTH123, SIM115
        except OSError as error:
            return _trouble(error)
        with file:
            file.seek(request["offset"])
            self.out.begin(b"D", left)
            self.out.flush()
            buffer = memoryview(bytearray(min(left, _PIECE)))
            while left and (got := file.readinto(buffer[: min(left, _PIECE)])):
                left -= got
                self.out.direct(buffer[:got])
        short = left
        while left:
            piece = min(left, _PIECE)
            self.out.write(bytes(piece))
            left -= piece
        return {"short": short}


def _trouble(error: OSError) -> dict[str, Any]:
    return {"error": error.strerror or str(error), "gone": error.errno in {errno.ENOENT, errno.ENOTDIR}}


def _whole(path: str) -> tuple[bytes, os.stat_result, bytes]:
    """A file's bytes and their digest; the same before and after it was read, when it rests."""
    import hashlib

    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        info = os.fstat(handle)
        data = os.read(handle, info.st_size) if info.st_size else b""
        while len(data) < info.st_size and (more := os.read(handle, info.st_size - len(data))):
            data += more
    finally:
        os.close(handle)
    return data, info, hashlib.sha256(data).digest()
