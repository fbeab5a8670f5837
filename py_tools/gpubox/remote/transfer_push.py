"""Files of a backup on their way onto a box: small ones in batches, big ones in segments, over several connections."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox.errors import LinkLost, RemoteCommandFailed, Unreachable
from gpubox.remote import explain, ssh_config
from gpubox.remote.transfer_fetch import PAUSES
from gpubox.remote.transfer_part import SEGMENT
from gpubox.remote.transfer_session import Session
from gpubox.remote.transfer_tasks import SMALL, groups, worth_connecting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType

    from gpubox.remote.login import Login
    from gpubox.remote.transfer_line import Shared

# Each is a login of its own, or a channel of the one that is shared.
_CONNECTIONS = 4
# Logins of their own that join the channels when there is much to send.
_RESERVE = 3
_AHEAD = 3


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file here, and how it is to be on the box: `there` has target, size, sha256, mtime_ns, mode, uid, gid, copy."""

    source: Path
    size: int
    there: dict[str, Any]


@dataclass(slots=True, eq=False)
class _Task:
    """A request, and where the bytes behind it are read: (file, offset, length)."""

    request: dict[str, Any]
    content: list[tuple[Path, int, int]]
    size: int


class Push:
    """`with Push(...) as push: push.send(files)`. A cut link goes on where it was; `bad` names what did not arrive.

    With `shared` the connections are channels of that login, and connections of their own join them when there is much
    to send. Errors are those of `Session`; `on_bytes` gets bytes as the box has them, from one thread at a time.
    """

    def __init__(
        self,
        login: Login,
        root: str,
        on_bytes: Callable[[int], None],
        *,
        shared: Shared | None = None,
        connections: int = _CONNECTIONS,
    ) -> None:
        self.bad: dict[str, str] = {}
        self._login = login
        self._root = root
        self._on_bytes = on_bytes
        self._shared = shared
        self._connections = connections
        self._reserve: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._tasks: deque[_Task] = deque()
        self._sessions: set[Session] = set()
        self._stopped = False
        # Tasks and bytes; bytes alone are those of the present run.
        self._arrived = 0
        self._left = self._came = 0
        self._begun = 0.0

    def __enter__(self) -> Push:
        ssh_config.write(self._login)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def send(self, files: Sequence[Outgoing]) -> None:
        """Send all of these; every one has its name on the box afterwards, or stands in `bad`."""
        big = [file for file in files if file.size > SMALL]
        tasks = [_batch(group) for group in groups(file for file in files if file.size <= SMALL)]
        for file, there in zip(big, self._segments_of(big), strict=True):
            tasks += _segments(file, there)
        self._run(tasks)
        self._run([_Task({"do": "keep", "file": file.there}, [], 0) for file in big])

    def _segments_of(self, files: Sequence[Outgoing]) -> list[list[int]]:
        answers: list[list[int]] = []
        if files:
            with self._session(self._shared) as session:
                answers = [session.call({"do": "segments", "file": file.there})["there"] for file in files]
        return answers

    def _run(self, tasks: list[_Task]) -> None:
        if not tasks:
            return
        self._tasks.extend(tasks)
        self._left, self._came, self._begun = sum(task.size for task in tasks), 0, time.monotonic()
        count = min(self._connections, len(tasks))
        pool = ThreadPoolExecutor(count + _RESERVE)
        try:
            workers = [pool.submit(self._work, self._shared) for _ in range(count)]
            # More may join while the first ones are waited for.
            self._reserve = (lambda: workers.append(pool.submit(self._work, None))) if self._shared else None
            for worker in workers:
                worker.result()
        except BaseException:
            self._stop()
            raise
        finally:
            pool.shutdown(wait=True)

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            for session in self._sessions:
                session.end()

    def _work(self, shared: Shared | None) -> None:
        tries = 0
        mine: deque[_Task] = deque()
        while True:
            before = self._arrived
            try:
                self._converse(mine, shared)
            except (LinkLost, Unreachable):
                with self._lock:
                    self._tasks.extendleft(reversed(mine))
                    mine.clear()
                tries = 0 if self._arrived > before else tries + 1
                if self._stopped or tries > len(PAUSES):
                    raise
                threading.Event().wait(PAUSES[max(0, tries - 1)])
            else:
                return

    def _session(self, shared: Shared | None) -> Session:
        return Session(self._login, self._root, "receive", line=shared.another() if shared is not None else None)

    def _converse(self, mine: deque[_Task], shared: Shared | None) -> None:
        session = self._session(shared)
        try:
            with self._lock:
                self._sessions.add(session)
            while self._ask(session, mine):
                self._read_answer(session, mine[0])
                task = mine.popleft()
                with self._lock:
                    self._arrived += task.size + 1
                    self._came += task.size
                    self._left -= task.size
                    self._on_bytes(task.size)
                    self._maybe_join()
        finally:
            with self._lock:
                self._sessions.discard(session)
            session.close()

    def _maybe_join(self) -> None:
        """Have further connections join when they pay."""
        if self._reserve and worth_connecting(self._left, self._came, time.monotonic() - self._begun):
            for _ in range(_RESERVE):
                self._reserve()
            self._reserve = None

    def _ask(self, session: Session, mine: deque[_Task]) -> bool:
        while len(mine) < _AHEAD:
            with self._lock:
                if self._stopped:
                    raise explain.link_lost(self._login.name, "it was stopped")
                if not self._tasks:
                    break
                task = self._tasks.popleft()
                mine.append(task)
            session.ask(task.request, *(_bytes(*piece) for piece in task.content))
        return bool(mine)

    def _read_answer(self, session: Session, task: _Task) -> None:
        files = task.request.get("files") or [task.request["file"]]
        while True:
            answer = session.object()
            if "error" in answer:
                if task.request["do"] == "range":
                    # A full disk there: the other segments will fare no better.
                    raise RemoteCommandFailed(answer["error"], where=self._login.name, hint=answer.get("hint"))
                with self._lock:
                    self.bad[files[answer.get("i", 0)]["target"]] = answer["error"]
            if answer.get("done"):
                return


def _batch(files: Sequence[Outgoing]) -> _Task:
    content = [(file.source, 0, file.size) for file in files]
    return _Task({"do": "small", "files": [file.there for file in files]}, content, sum(file.size for file in files))


def _segments(file: Outgoing, there: list[int]) -> list[_Task]:
    tasks = []
    for number, offset in enumerate(range(0, file.size, SEGMENT)):
        if number < len(there) and there[number]:
            continue
        length = min(SEGMENT, file.size - offset)
        request = {"do": "range", "file": file.there, "number": number, "offset": offset, "length": length}
        tasks.append(_Task(request, [(file.source, offset, length)], length))
    return tasks


def _bytes(path: Path, offset: int, length: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(handle, length, offset)
    finally:
        os.close(handle)
    # The box compares the hash of it all: what has become shorter here must not keep it waiting for more.
    return data.ljust(length, b"\0")
