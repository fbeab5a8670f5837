"""Files of a box on their way home: small ones in batches, big ones in segments, over several connections at once."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpubox.errors import LinkLost, Unreachable
from gpubox.remote import explain, ssh_config
from gpubox.remote.transfer_item import ROTTEN, Item, cannot_write, land
from gpubox.remote.transfer_part import SEGMENT, Part, Segment
from gpubox.remote.transfer_session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from gpubox.remote.login import Login

CONNECTIONS = 4
# Bytes up to which a file comes whole in one frame, and of all files in one request.
SMALL = 256 << 10
_BATCH = 2 << 20
_BATCH_FILES = 128
# Requests under way on one connection: what answers are on the line (2 MiB, OpenSSH's window) and what follows them.
_AHEAD = 3
_PIECE = 256 << 10
# What one request asks for of a segment: after a cut little, then more with each that came. A cut loses what `ssh`
# itself still holds, up to all that was asked for: on a line that is cut all the time that must not be much.
_CAUTIOUS = 64 << 10
_BOLDER = 4 << 10
# Pauses between tries that bring nothing at all; whatever arrives begins the count anew.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
_FILE = struct.Struct(">I32sQqqQI")


@dataclass(slots=True, eq=False)
class _Batch:
    items: list[Item] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True, eq=False)
class _Range:
    item: Item
    segment: Segment


@dataclass(slots=True)
class _Pace:
    """How much one connection asks for at once, in bytes."""

    piece: int = SEGMENT


_Task = _Batch | _Range


class Fetch:
    """`with Fetch(...) as fetch: fetch.add(items); fetch.finish()`: connections open while the list is being made.

    They are one less than `connections`: the one that makes the list is lent to `finish` when it has done.

    `on_bytes` gets the bytes of files as they come, from one thread at a time. Errors are those of `Session`, and
    `TransferFailed` for what cannot be written here; `add`, `known` and `finish` raise them.
    """

    def __init__(
        self, login: Login, root: str, on_bytes: Callable[[int], None], *, connections: int = CONNECTIONS
    ) -> None:
        self._login = login
        self._root = root
        self._on_bytes = on_bytes
        self._changed = threading.Condition()
        self._tasks: deque[_Task] = deque()
        self._open = 0
        self._complete = False
        self._stopped = False
        self._error: BaseException | None = None
        self._arrived = 0
        self._sessions: set[Session] = set()
        self._growing: list[Part] = []
        # Daemons, and no pool: a Ctrl-C may come before there is anybody to end them, and Python waits for a pool's.
        self._workers = [threading.Thread(target=self._run, daemon=True) for _ in range(max(1, connections - 1))]

    def __enter__(self) -> Fetch:
        # Every child reads it: written before there are several.
        ssh_config.write(self._login)
        try:
            for worker in self._workers:
                worker.start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        for worker in self._workers:
            worker.join()
        for part in self._growing:
            part.close()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            for session in self._sessions:
                session.end()

    def add(self, items: Iterable[Item]) -> None:
        """Have these come, too. Raises what has stopped the others."""
        tasks: list[_Task] = []
        batch = _Batch()
        for item in items:
            if item.size > SMALL:
                tasks += self._ranges(item)
                continue
            if batch.items and (batch.size + item.size > _BATCH or len(batch.items) >= _BATCH_FILES):
                tasks.append(batch)
                batch = _Batch()
            batch.items.append(item)
            batch.size += item.size
        if batch.items:
            tasks.append(batch)
        with self._changed:
            self._check()
            self._tasks += tasks
            self._open += len(tasks)
            self._changed.notify_all()

    def known(self, item: Item, sha256: str, version: tuple[int, ...]) -> None:
        """Tell the hash that the box has of a big file."""
        with self._changed:
            self._check()
            item.sha256, item.version = sha256, version
        self._maybe_whole(item)

    def lost(self, item: Item, state: str, reason: str) -> None:
        """Tell that the box cannot read a file to its end: "gone", "changed" or "failed"."""
        with self._changed:
            if item.state == "coming":
                item.state, item.reason = state, reason

    def finish(self, session: Session | None = None) -> None:
        """Wait until everything that was added has its fate; over `session`, too, which is closed then."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()
        if session is not None:
            self._work(session)
        with self._changed:
            while self._open and self._error is None:
                self._changed.wait()
            self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _ranges(self, item: Item) -> list[_Task]:
        with self._explained(item.part):
            item.part.parent.mkdir(parents=True, exist_ok=True)
            part = item.growing = Part(item.part, item.size)
        with self._changed:
            self._growing.append(part)
        self._count(part.had)
        missing = part.missing()
        for rotten in part.advance():
            self._count(-rotten.length)
            missing.append(rotten)
        return [_Range(item, segment) for segment in missing]

    def _work(self, session: Session | None = None) -> None:
        tries = 0
        mine: deque[_Task] = deque()
        pace = _Pace()
        while True:
            before = self._arrived
            try:
                self._converse(mine, pace, session or Session(self._login, self._root))
            except (LinkLost, Unreachable):
                self._give_back(mine)
                session, pace.piece = None, _CAUTIOUS
                tries = 0 if self._arrived > before else tries + 1
                if tries > len(PAUSES):
                    raise
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._error, PAUSES[max(0, tries - 1)])
                    if self._stopped or self._error:
                        return
            else:
                return

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised in the thread of whoever waits
            self._fail(error)

    def _converse(self, mine: deque[_Task], pace: _Pace, session: Session) -> None:
        """One connection, for as long as there is work and it holds; what it has taken on stands in `mine`."""
        try:
            with self._changed:
                self._sessions.add(session)
                if self._stopped:
                    return
            while self._take(session, mine, pace):
                task = mine[0]
                more = False
                if isinstance(task, _Range):
                    more = self._receive_range(session, task)
                    pace.piece = min(SEGMENT, pace.piece + _BOLDER)
                else:
                    self._receive_batch(session, task)
                mine.popleft()
                with self._changed:
                    if more:
                        self._tasks.appendleft(task)
                    else:
                        self._open -= 1
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._sessions.discard(session)
            session.close()

    def _take(self, session: Session, mine: deque[_Task], pace: _Pace) -> bool:
        """Ask for as much ahead as may be under way; False when there is nothing more to do."""
        while len(mine) < _AHEAD:
            with self._changed:
                while not self._tasks and not mine:
                    if self._stopped or self._error or (self._complete and not self._open):
                        return False
                    self._changed.wait()
                if self._stopped or self._error:
                    return False
                if not self._tasks:
                    break
                task = self._tasks.popleft()
                mine.append(task)
            if isinstance(task, _Range):
                where = {"offset": task.segment.offset, "length": min(task.segment.length, pace.piece)}
                session.ask({"do": "range", "file": task.item.source, **where})
            else:
                session.ask({"do": "small", "files": [item.source for item in task.items]})
        return True

    def _give_back(self, mine: deque[_Task]) -> None:
        """What a broken connection has left undone is for the next one."""
        with self._changed:
            for task in reversed(mine):
                if isinstance(task, _Batch):
                    task.items = [item for item in task.items if item.state == "coming"]
                self._tasks.appendleft(task)
            mine.clear()
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _receive_batch(self, session: Session, batch: _Batch) -> None:
        items = list(batch.items)
        came = 0
        try:
            while True:
                kind, length = session.frame()
                if kind == b"F":
                    index, digest, _, mtime, ctime, inode, _ = _FILE.unpack(session.take(_FILE.size))
                    data = session.take(length - _FILE.size)
                    if self._small(items[index], data, digest, (len(data), mtime, ctime, inode)):
                        came += len(data)
                    if came > _PIECE:
                        self._count(came)
                        came = 0
                    continue
                answer = session.answer(length)
                if answer.get("done"):
                    session.checked(answer)
                    return
                items[answer["i"]].settle("gone" if answer["gone"] else "failed", answer["error"])
        finally:
            self._count(came)

    def _small(self, item: Item, data: bytes, digest: bytes, version: tuple[int, ...]) -> bool:
        """Take a small file; whether it was what the box has."""
        own = hashlib.sha256(data)
        if own.digest() != digest:
            raise explain.link_lost(self._login.name, "what came is not what was sent")
        sha256 = digest.hex()
        if item.sha256 not in {None, sha256} and item.version in {(), version}:
            item.settle("failed", ROTTEN)
            return False
        with self._explained(item.target):
            land(item.target, data, version[1])
        item.size, item.mtime_ns, item.sha256, item.version = len(data), version[1], sha256, version
        item.settle("home")
        return True

    def _receive_range(self, session: Session, task: _Range) -> bool:
        """Take a part of a segment; whether more of it is to come."""
        item, segment = task.item, task.segment
        part = item.growing
        assert part is not None
        kind, length = session.frame()
        if kind == b"J":
            answer = session.answer(length)
            self.lost(item, "gone" if answer.get("gone") else "failed", answer["error"])
            return False
        buffer = memoryview(bytearray(_PIECE))
        while length:
            got = session.into(buffer[: min(length, _PIECE)])
            length -= got
            if item.state != "coming":
                continue
            with self._explained(item.part):
                part.write(segment, buffer[:got])
            self._count(got)
        if session.object()["short"]:
            self.lost(item, "changed", "it became shorter while it was read")
        if item.state != "coming":
            return False
        if segment.length:
            return True
        with self._explained(item.part):
            for rotten in part.advance():
                self._again(item, rotten)
        self._maybe_whole(item)
        return False

    def _again(self, item: Item, segment: Segment) -> None:
        self._count(-segment.length)
        with self._changed:
            self._open += 1
            self._tasks.append(_Range(item, segment))
            self._changed.notify_all()

    def _maybe_whole(self, item: Item) -> None:
        """Settle a big file once its bytes and the box's hash of it are there, whichever comes last."""
        part = item.growing
        if part is None or (own := part.sha256()) is None:
            return
        with self._changed:
            if item.sha256 is None or item.state != "coming":
                return
            if own != item.sha256:
                item.own = own
                item.settle("changed", "it changed while it was read, time and again")
                return
            item.state = "home"
        with self._explained(item.target):
            part.keep(item.target, item.mtime_ns)

    def _count(self, size: int) -> None:
        if size:
            with self._changed:
                self._arrived += max(size, 0)
                self._on_bytes(size)

    @contextlib.contextmanager
    def _explained(self, place: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._login.name, place, error) from error
