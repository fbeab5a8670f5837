"""What comes over the connections of a transfer, put where it belongs and proven."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.remote import explain
from gpubox.remote.transfer_item import ROTTEN, Item, cannot_write, land
from gpubox.remote.transfer_part import Part, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gpubox.remote.transfer_session import Session
    from gpubox.remote.transfer_tasks import Batch, Range

_PIECE = 256 << 10
# As in boxctl's `send`: how many files a pack has, and of each which of the request's, its SHA-256, size, times of its
# content and its inode, inode, mode.
_COUNT = struct.Struct(">I")
_FILE = struct.Struct(">I32sQqqQI")


class Intake:
    """Takes answers from several threads.

    `came` gets the bytes of files as they come; `again` a segment that has to come once more. Methods raise
    `TransferFailed` for what cannot be written here, and what `Session` raises.
    """

    def __init__(self, name: str, came: Callable[[int], None], again: Callable[[Item, Segment], None]) -> None:
        self._name = name
        self._came = came
        self._again = again
        self._fates = threading.Lock()
        # One at a time: each file is a dozen short system calls, and threads that wait for each other at every one
        # of them cost twice the time (measured).
        self._landing = threading.Lock()
        self._growing: list[Part] = []

    def close(self) -> None:
        """Let go of the files that are not whole; what is there of them stays."""
        for part in self._growing:
            part.close()

    def begin(self, item: Item) -> tuple[list[Segment], int]:
        """What is missing of a big file, and how many bytes an earlier try has brought."""
        with self._explained(item.part):
            item.part.parent.mkdir(parents=True, exist_ok=True)
            part = item.growing = Part(item.part, item.size)
            self._growing.append(part)
            missing, had = part.missing(), part.had
            for rotten in part.advance():
                had -= rotten.length
                missing.append(rotten)
        return missing, had

    def known(self, item: Item, sha256: str, version: tuple[int, ...]) -> None:
        """The hash that the box has of a big file."""
        with self._fates:
            item.sha256, item.version = sha256, version
        self._maybe_whole(item)

    def lost(self, item: Item, state: str, reason: str) -> None:
        """The box cannot read a file to its end: "gone", "changed" or "failed"."""
        with self._fates:
            if item.state == "coming":
                item.state, item.reason = state, reason

    def batch(self, session: Session, batch: Batch) -> None:
        """The answer to a request for small files."""
        items = dict(enumerate(batch.items))
        self.stream(session, lambda: items)

    def stream(self, session: Session, items: Callable[[], Mapping[int, Item]]) -> None:
        """Small files as they come, until there are no more; `items`, by their number, may have to be waited for."""
        while True:
            kind, length = session.frame()
            if kind == b"P":
                pack = session.take(length)
                self._pack(items(), pack)
                continue
            answer = session.answer(length)
            if answer.get("done"):
                session.checked(answer)
                return
            items()[answer["i"]].settle("gone" if answer["gone"] else "failed", answer["error"])

    def range(self, session: Session, task: Range) -> bool:
        """The answer to a request for a part of a segment; whether more of it is to come."""
        item, segment = task.item, task.segment
        part = item.growing
        assert part is not None
        kind, length = session.frame()
        if kind == b"J":
            answer = session.answer(length)
            self.lost(item, "gone" if answer.get("gone") else "failed", answer["error"])
            return False
        buffer = memoryview(bytearray(min(length, _PIECE)))
        while length:
            got = session.into(buffer[: min(length, _PIECE)])
            length -= got
            if item.state != "coming":
                continue
            with self._explained(item.part):
                part.write(segment, buffer[:got])
            self._came(got)
        if session.object()["short"]:
            self.lost(item, "changed", "it became shorter while it was read")
        if item.state != "coming":
            return False
        if segment.length:
            return True
        with self._explained(item.part):
            for rotten in part.advance():
                self._came(-rotten.length)
                self._again(item, rotten)
        self._maybe_whole(item)
        return False

    def _pack(self, items: Mapping[int, Item], pack: bytes) -> None:
        view = memoryview(pack)
        (count,) = _COUNT.unpack_from(view)
        begin = at = _COUNT.size + count * _FILE.size
        with self._landing:
            for index, digest, size, mtime, ctime, inode, _ in _FILE.iter_unpack(view[_COUNT.size : begin]):
                item = items[index]
                try:
                    self._small(item, view[at : at + size], digest, (size, mtime, ctime, inode))
                except OSError as error:
                    raise cannot_write(self._name, Path(item.target), error) from error
                at += size
        self._came(at - begin)

    def _small(self, item: Item, data: memoryview, digest: bytes, version: tuple[int, ...]) -> None:
        """Take a small file, when it is what the box has. Raises `OSError`."""
        if hashlib.sha256(data).digest() != digest:
            raise explain.link_lost(self._name, "what came is not what was sent")
        sha256 = digest.hex()
        if item.sha256 not in {None, sha256} and item.version in {(), version}:
            item.settle("failed", ROTTEN)
            return
        land(item.target, data, version[1])
        item.size, item.mtime_ns, item.sha256, item.version = len(data), version[1], sha256, version
        item.settle("home")

    def _maybe_whole(self, item: Item) -> None:
        """Settle a big file once its bytes and the box's hash of it are there, whichever comes last."""
        part = item.growing
        if part is None or (own := part.sha256()) is None:
            return
        with self._fates:
            if item.sha256 is None or item.state != "coming":
                return
            if own != item.sha256:
                item.own = own
                item.settle("changed", "it changed while it was read, time and again")
                return
            item.state = "home"
        target = Path(item.target)
        with self._explained(target):
            part.keep(target, item.mtime_ns)

    @contextlib.contextmanager
    def _explained(self, place: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._name, place, error) from error
