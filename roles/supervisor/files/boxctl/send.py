"""`boxctl send`: gives files of this box to a backup, in the form of `boxctl.frames`.

A pack (`P`) is the number of its files, a head for each, then their bytes in the same order.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

from boxctl.frames import Frames, serve
from boxctl.hashes import Hashes, identity, of_file
from boxctl.shares import Shares

if TYPE_CHECKING:
    from collections.abc import Iterable

    from boxctl.channels import Channels
    from boxctl.frames import Verb
    from boxctl.layout import Layout

_COUNT = struct.Struct(">I")
# Of a small file: which of the request's, its SHA-256, size, times of its content and its inode, inode, mode.
_FILE = struct.Struct(">I32sQqqQI")
# Bytes in one pack: a cut link loses at most one that was on its way, and one costs both ends as much as a lone file.
_PACK = 256 << 10
_PIECE = 1 << 20
# Shares, of 256 KiB.
_ALONE = 64
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
        sender.close()


class _Sender:
    def __init__(self, layout: Layout, out: Frames) -> None:
        self.hashes = Hashes(layout.root / "hashes.jsonl")
        self.out = out
        self._layout = layout
        self._channels: Channels | None = None
        self._files: list[dict[str, Any]] = []
        self._shares: Shares | None = None

    def close(self) -> None:
        """Remember what was hashed; no further channel is answered."""
        self.hashes.save()
        if self._channels is not None:
            self._channels.close()

    def verbs(self) -> dict[str, Verb]:
        return {
            "listen": self._listen,
            "list": self._list,
            "channels": self._open_channels,
            "share": self._share,
            "copy": self._copy,
            "hash": self._hash,
            "small": self._small,
            "range": self._range,
            "end": self._end,
        }

    def _listen(self, request: dict[str, Any]) -> None:
        """Further channels may come to a socket; they are answered from `channels` on."""
        from boxctl.channels import Channels

        self._channels = Channels(request["path"])

    def _open_channels(self, request: dict[str, Any]) -> None:
        """Have the channels answered. With `small` all listed files up to that size come at once, over all of them."""
        if request["small"] is not None:
            self._shares = Shares(self._files, request["small"])
        if self._channels is not None:
            self._channels.fork(request["count"], self._answer_channel)
        self._share(request)

    def _answer_channel(self, requests: Iterable[bytes], sink: int) -> None:
        """In a process of its own, which has the list."""
        sender = _Sender(self._layout, Frames(sink))
        sender._shares = self._shares
        unasked = (b'{"do": "share"}',)
        try:
            serve("send", sender.verbs(), sender.out, itertools.chain(unasked, requests), root=str(self._layout.root))
        finally:
            sender.close()

    def _share(self, _request: dict[str, Any]) -> None:
        """What no other channel has sent yet of what is shared among them; `i` is the place in the list.

        When no other channel takes any, only a beginning: what is left is asked for over all that there are.
        """
        if self._shares is None:
            return
        sent = number = 0
        while sent < _ALONE or number > sent:
            number, share = self._shares.take()
            if not share:
                break
            self._send_whole((place, file["absolute"], file["sha256"]) for place, file in share)
            sent += 1
        self.hashes.save()

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        from boxctl import copies, manifest

        copies.prune(self._layout)
        found = manifest.listed(self._layout, search=request["search"], seconds=request["seconds"])
        self._files = found["files"]
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
        self._send_whole((number, path, None) for number, path in enumerate(request["files"]))
        self.hashes.save()

    def _send_whole(self, files: Iterable[tuple[int, str, str | None]]) -> None:
        """Files by number, place, and the hash that is remembered."""
        heads: list[bytes] = []
        contents: list[bytes] = []
        held = 0
        for index, path, known in files:
            try:
                data, info, digest = _whole(path)
            except OSError as error:
                self.out.json({"i": index, **_trouble(error)})
                continue
            what = identity(info)
            if len(data) == info.st_size and (sha256 := digest.hex()) != known:
                self.hashes.put(path, what, sha256)
            heads.append(_FILE.pack(index, digest, len(data), what[1], what[2], what[3], info.st_mode & 0o7777))
            contents.append(data)
            held += len(data)
            if held >= _PACK:
                self._pack(heads, contents)
                held = 0
        if heads:
            self._pack(heads, contents)

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
