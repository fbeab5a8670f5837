"""`boxctl send`: gives files of this box to a backup, over stdin and stdout of one SSH connection.

A line of JSON on stdin is a request. stdout begins with the line `HELLO`; then every answer is frames: one byte of
kind, eight of length (big endian), the content. `J` is JSON, `F` a small whole file (its head, then its bytes), `D`
bytes of a range. Requests are answered in order, each ending with a `J` frame that has `done`.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from boxctl.errors import BoxctlError, from_os_error
from boxctl.hashes import Hashes, identity, of_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from boxctl.layout import Layout

HELLO = b"gpubox-send-1\n"
_HEAD = struct.Struct(">cQ")
# Of a small file: which of the request's, its SHA-256, size, times of its content and its inode, inode, mode.
_FILE = struct.Struct(">I32sQqqQI")
_FLUSH = 1 << 20
_PIECE = 1 << 20
_SAVE_SECONDS = 5.0


def serve(layout: Layout, requests: Iterable[bytes], sink: int) -> None:
    """Answer requests until there are no more."""
    server = _Server(layout, sink)
    try:
        server.write(HELLO)
        server.flush()
        for line in requests:
            server.answer(json.loads(line))
    finally:
        server.hashes.save()


class _Server:
    def __init__(self, layout: Layout, sink: int) -> None:
        self.hashes = Hashes(layout.root / "hashes.jsonl")
        self._layout = layout
        self._sink = sink
        self._waiting: list[bytes] = []
        self._held = 0
        self._verbs: dict[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
            "list": self._list,
            "copy": self._copy,
            "hash": self._hash,
            "small": self._small,
            "range": self._range,
            "end": self._end,
        }

    def answer(self, request: dict[str, Any]) -> None:
        try:
            answer = self._verbs[request["do"]](request) or {}
        except BoxctlError as error:
            answer = error.as_dict()
        except OSError as error:
            answer = from_os_error(error, str(self._layout.root)).as_dict()
        self._json({**answer, "done": True})
        self.flush()

    def write(self, *pieces: bytes) -> None:
        self._waiting += pieces
        self._held += sum(len(piece) for piece in pieces)
        if self._held >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        view = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._held = 0
        while view:
            view = view[os.write(self._sink, view) :]

    def _json(self, data: dict[str, Any]) -> None:
        # ASCII: a name that is no text travels as the surrogates that Python made of it.
        text = json.dumps(data).encode()
        self.write(_HEAD.pack(b"J", len(text)), text)

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        from boxctl import copies, manifest

        copies.prune(self._layout)
        return manifest.listed(self._layout, search=request["search"], seconds=request["seconds"])

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
                self._json({"i": index, **self._hash_of(path, size, fresh=request["fresh"])})
            except OSError as error:
                self._json({"i": index, **_trouble(error)})
            self.flush()
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
        for index, path in enumerate(request["files"]):
            try:
                data, info, digest = _whole(path)
            except OSError as error:
                self._json({"i": index, **_trouble(error)})
                continue
            what = identity(info)
            if len(data) == info.st_size:
                self.hashes.put(path, what, digest.hex())
            head = _FILE.pack(index, digest, len(data), what[1], what[2], what[3], info.st_mode & 0o7777)
            self.write(_HEAD.pack(b"F", len(head) + len(data)), head, data)
        self.hashes.save()

    def _range(self, request: dict[str, Any]) -> dict[str, Any]:
        """Bytes of one file. When it has become shorter, zeros stand for the rest and the end says so."""
        left: int = request["length"]
        try:
            file = open(request["file"], "rb", buffering=0)  # noqa: PTH123, SIM115
        except OSError as error:
            return _trouble(error)
        with file:
            file.seek(request["offset"])
            self.write(_HEAD.pack(b"D", left))
            self.flush()
            buffer = memoryview(bytearray(min(left, _PIECE)))
            while left and (got := file.readinto(buffer[: min(left, _PIECE)])):
                view = buffer[:got]
                left -= got
                while view:
                    view = view[os.write(self._sink, view) :]
        short = left
        while left:
            piece = min(left, _PIECE)
            self.write(bytes(piece))
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


def main(layout: Layout) -> None:
    """Serve stdin and stdout."""
    serve(layout, sys.stdin.buffer, sys.stdout.fileno())
