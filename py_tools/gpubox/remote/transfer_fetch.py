"""Files of a box on their way home: small ones in batches, big ones in segments, over several connections at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from gpubox.errors import LinkLost, Unreachable
from gpubox.remote import explain, ssh_config
from gpubox.remote.transfer_intake import Intake
from gpubox.remote.transfer_session import Session
from gpubox.remote.transfer_tasks import SMALL, Batch, Pace, Range, Task, batches, worth_connecting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from gpubox.remote.login import Login
    from gpubox.remote.transfer_item import Item
    from gpubox.remote.transfer_line import Shared
    from gpubox.remote.transfer_part import Segment

# Each has a window of 2 MiB per round trip; a server grants ten channels on a connection if it is not told otherwise.
CONNECTIONS = 6
# Connections of their own that join them when there is much to come.
_RESERVE = 3
# Requests under way on one connection: what answers are on the line (2 MiB, OpenSSH's window) and what follows them.
_AHEAD = 3
# Pauses between tries that bring nothing at all; whatever arrives begins the count anew.
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# Nothing tells when OpenSSH has made the socket at which further channels are asked for.
_LOOK_SECONDS = 0.01


class Fetch:
    """`with Fetch(...) as fetch: fetch.add(items); fetch.finish()`: connections open while the list is being made.

    They are one less than `connections`: the one that makes the list is lent to `finish` when it has done. With
    `shared` they are channels of one login, and as many connections of their own join them when there is much to come.

    `on_bytes` gets the bytes of files as they come, from one thread at a time. Errors are those of `Session`, and
    `TransferFailed` for what cannot be written here; `add`, `known` and `finish` raise them.
    """

    def __init__(
        self,
        login: Login,
        root: str,
        on_bytes: Callable[[int], None],
        *,
        shared: Shared | None = None,
        connections: int = CONNECTIONS,
    ) -> None:
        self._login = login
        self._root = root
        self._on_bytes = on_bytes
        self._intake = Intake(login.name, self._came, self._again)
        self._changed = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._open = 0
        self._complete = False
        self._stopped = False
        self._error: BaseException | None = None
        # Bytes, and when the first of them came: those of earlier tries are not among them.
        self._wanted = self._arrived = 0
        self._begun: float | None = None
        self._sessions: set[Session] = set()
        # What comes unasked, and over how many channels it still may.
        self._unasked: Mapping[int, Item] | None = None
        self._streams = 0
        count = max(1, connections - 1)
        self._workers = [self._worker(shared) for _ in range(count)]
        self._reserve = [self._worker(None) for _ in range(_RESERVE if shared else 0)]

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
        self._intake.close()

    def add(self, items: Iterable[Item]) -> None:
        """Have these come, too. Raises what has stopped the others."""
        small: list[Item] = []
        big: list[Task] = []
        for item in items:
            if item.size > SMALL:
                missing, had = self._intake.begin(item)
                self._count(had)
                big += [Range(item, segment) for segment in missing]
            else:
                small.append(item)
        self._put([*big, *batches(small)])

    def stream(self, items: Mapping[int, Item], session: Session | None) -> None:
        """Have these come, too, which the box sends over all channels, unasked, by their number in its list.

        Raises `LinkLost` when `session` breaks; `ask_for_lost` has to follow.
        """
        with self._changed:
            self._check()
            self._wanted += sum(item.size for item in items.values())
            self._unasked = items
            self._changed.notify_all()
        if session is not None:
            with self._registered(session):
                self._intake.stream(session, lambda: items)

    def ask_for_lost(self) -> None:
        """Once no more comes unasked, ask for what was lost of it."""
        with self._changed:
            while self._streams and self._error is None:
                self._changed.wait()
            lost = [item for item in (self._unasked or {}).values() if item.state == "coming"]
            self._wanted -= sum(item.size for item in lost)
        self._put(batches(lost))

    def known(self, item: Item, sha256: str, version: tuple[int, ...]) -> None:
        """Tell the hash that the box has of a big file."""
        with self._changed:
            self._check()
        self._intake.known(item, sha256, version)

    def lost(self, item: Item, state: str, reason: str) -> None:
        """Tell that the box cannot read a file to its end: "gone", "changed" or "failed"."""
        self._intake.lost(item, state, reason)

    def finish(self, lent: Session | None = None) -> Session | None:
        """Wait until everything that was added has its fate; over the session `lent`, too, which comes back whole or
        not at all."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()
        if lent is not None:
            lent = self._work(None, lent)
        with self._changed:
            while self._open and self._error is None:
                self._changed.wait()
            self._check()
        return lent

    def _worker(self, shared: Shared | None) -> threading.Thread:
        # Daemons, and no pool: a Ctrl-C may come before there is anybody to end them, and Python waits for a pool's.
        return threading.Thread(target=self._run, args=(shared,), daemon=True)

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            for session in self._sessions:
                session.end()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _put(self, tasks: Iterable[Task]) -> None:
        with self._changed:
            self._check()
            for task in tasks:
                self._tasks.append(task)
                self._open += 1
                self._wanted += task.size if isinstance(task, Batch) else task.segment.length
            self._changed.notify_all()

    def _again(self, item: Item, segment: Segment) -> None:
        self._put([Range(item, segment)])

    def _run(self, shared: Shared | None) -> None:
        try:
            self._work(shared)
        except BaseException as error:  # noqa: BLE001 - raised in the thread of whoever waits
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _work(self, shared: Shared | None, lent: Session | None = None) -> Session | None:
        """Take on what there is to do, over one connection after the other; the one that was lent, if it held."""
        tries = 0
        mine: deque[Task] = deque()
        pace = Pace()
        session = lent
        while session is not None or self._may_connect(shared):
            before = self._arrived
            try:
                session = session or self._session(shared)
                self._converse(mine, pace, shared, session)
            except (LinkLost, Unreachable):
                self._give_back(mine)
                pace.cut()
                tries = 0 if self._arrived > before else tries + 1
                if tries > len(PAUSES):
                    raise
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped or self._error, PAUSES[max(0, tries - 1)])
            else:
                if session is lent:
                    session = None
                    return lent
                return None
            finally:
                if session is not None:
                    session.close()
                    session = None
        return None

    def _may_connect(self, shared: Shared | None) -> bool:
        """Wait for the login that is to be shared; whether there is, or may be, anything to do."""
        with self._changed:
            while not self._over() and shared is not None and not shared.settled():
                self._changed.wait(_LOOK_SECONDS)
            return not self._over()

    def _over(self) -> bool:
        return self._stopped or self._error is not None or (self._complete and not self._open)

    def _converse(self, mine: deque[Task], pace: Pace, shared: Shared | None, session: Session) -> None:
        """One connection, for as long as there is work and it holds; what it has taken on stands in `mine`."""
        with self._registered(session):
            if session.served:
                self._take_unasked(session, shared)
            while self._take(session, mine, pace):
                task = mine[0]
                more = False
                if isinstance(task, Range):
                    more = self._intake.range(session, task)
                    pace.went_well()
                else:
                    self._intake.batch(session, task)
                mine.popleft()
                with self._changed:
                    if more:
                        self._tasks.appendleft(task)
                    else:
                        self._open -= 1
                    self._changed.notify_all()

    def _session(self, shared: Shared | None) -> Session:
        if shared is None:
            return Session(self._login, self._root)
        # Counted before the box can know of it: from then on files may be on their way over it.
        with self._changed:
            self._streams += 1
        session = None
        try:
            session = Session(self._login, self._root, line=shared.another())
        finally:
            if session is None or not session.served:
                self._stream_ended()
        return session

    def _take_unasked(self, session: Session, shared: Shared | None) -> None:
        try:
            session.greet()
            self._intake.stream(session, self._awaited)
        except LinkLost:
            if shared is not None and not session.greeted:
                # Its SSH server does not lead to sockets.
                shared.serves(yes=False)
            raise
        finally:
            self._stream_ended()

    def _awaited(self) -> Mapping[int, Item]:
        """What comes unasked, as soon as it is known here what that is."""
        with self._changed:
            while self._unasked is None and not self._over():
                self._changed.wait()
            if self._unasked is None:
                raise explain.link_lost(self._login.name, "it was ended")
            return self._unasked

    def _stream_ended(self) -> None:
        with self._changed:
            self._streams -= 1
            self._changed.notify_all()

    @contextlib.contextmanager
    def _registered(self, session: Session) -> Iterator[None]:
        """While it is in use another thread may end it."""
        with self._changed:
            self._sessions.add(session)
            if self._stopped:
                session.end()
        try:
            yield
        finally:
            with self._changed:
                self._sessions.discard(session)

    def _take(self, session: Session, mine: deque[Task], pace: Pace) -> bool:
        """Ask for as much ahead as may be under way; False when there is nothing more to do."""
        while len(mine) < _AHEAD:
            with self._changed:
                while not self._tasks and not mine and not self._over():
                    self._changed.wait()
                if self._over():
                    return False
                if not self._tasks:
                    break
                task = self._tasks.popleft()
                mine.append(task)
            if isinstance(task, Range):
                where = {"offset": task.segment.offset, "length": min(task.segment.length, pace.piece)}
                session.ask({"do": "range", "file": task.item.source, **where})
            else:
                session.ask({"do": "small", "files": [item.source for item in task.items]})
        return True

    def _give_back(self, mine: deque[Task]) -> None:
        """What a broken connection has left undone is for the next one."""
        with self._changed:
            for task in reversed(mine):
                if isinstance(task, Batch):
                    task.items = [item for item in task.items if item.state == "coming"]
                self._tasks.appendleft(task)
            mine.clear()
            self._changed.notify_all()

    def _came(self, size: int) -> None:
        """Bytes have come, or (negative) have to come again."""
        self._count(size)
        with self._changed:
            self._arrived += max(size, 0)
            now = time.monotonic()
            self._begun = self._begun or now
            if not self._reserve or not worth_connecting(
                self._wanted - self._arrived, self._arrived, now - self._begun
            ):
                return
            for worker in self._reserve:
                worker.start()
            self._workers += self._reserve
            self._reserve = []

    def _count(self, size: int) -> None:
        if size:
            with self._changed:
                self._on_bytes(size)
