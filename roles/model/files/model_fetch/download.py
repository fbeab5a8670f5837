"""Files from hubs to their places: connections, checksums, room on the disk and progress, side by side."""

from __future__ import annotations

import errno
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_fetch import disk, manifest, others
from model_fetch.board import Board, Item, Piece
from model_fetch.errors import DiskFull, Trouble, Unreachable
from model_fetch.pace import Pace
from model_fetch.partial import Partial
from model_fetch.pull import Busy, Stopped, pull
from model_fetch.words import size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from model_fetch.curl import Transfer
    from model_fetch.listing import RemoteFile
    from model_fetch.plan import Plan
    from model_fetch.progress import Progress
    from model_fetch.routes import Route
    from model_fetch.spec import Spec

_TICK = 0.1
_DISK_TICK = 2.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Download:
    """One model's missing files. `run` returns when each has its name; `received` and `new` count bytes.

    `verified` is told of each file that has its name, and its SHA-256.
    """

    def __init__(
        self,
        spec: Spec,
        plan: Plan,
        files: Sequence[RemoteFile],
        routes: Sequence[Route],
        progress: Progress,
        verified: Callable[[RemoteFile, str], None],
    ) -> None:
        self._spec, self._plan, self._progress, self._verified = spec, plan, progress, verified
        self._directory = Path(spec.directory)
        for route in routes:
            route.revision = plan.revision
            route.branch = plan.asked or "master" if route.hub.source == "modelscope" else ""
        self._cond = threading.Condition()
        self._board = Board(files, routes, self._open)
        if not spec.settings.other_sources:
            self._board.others = "asked"
        self._pace = Pace(spec.settings.connections, now=time.monotonic())
        self._transfers: set[Transfer] = set()
        self._over = self._paused = False
        self._error: BaseException | None = None
        self._before = plan.bytes - sum(file.size for file in files)
        self._moved = time.monotonic()
        self.received = self.new = 0
        self.most = 0

    def run(self) -> None:
        """Raises `Trouble`, `OSError`, and whatever a signal handler raises; what has come by then is kept."""
        threads = [threading.Thread(target=self._guarded, args=(self._hash,), daemon=True)]
        threads += [
            threading.Thread(target=self._guarded, args=(self._work,), daemon=True)
            for _ in range(self._spec.settings.connections)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch()
        finally:
            self._end(threads)

    def _watch(self) -> None:
        looked = float("-inf")
        while True:
            with self._cond:
                if self._error is not None:
                    raise self._error
                if all(item.state == "done" for item in self._board.items):
                    return
                self._look(time.monotonic())
                news, self._board.news = self._board.news, []
                asking = self._board.others == "wanted"
                self._cond.wait(_TICK)
            for line in news:
                self._progress.say(line)
            if asking:
                self._ask_others()
            if time.monotonic() - looked >= _DISK_TICK and not self._paused:
                looked = time.monotonic()
                self._paused = disk.free(self._directory) < self._spec.settings.min_free_bytes // 2
            if self._paused:
                self._wait_for_room()

    def _look(self, now: float) -> None:
        board, settings = self._board, self._spec.settings
        active = board.busy
        self.most = max(self.most, active)
        self._pace.feed(now, self.received, active)
        left = board.left
        if active == 0 and left == 0:
            self._moved = now
        if now - self._moved > settings.patience_seconds:
            why = f": {board.last_error}" if board.last_error else ""
            raise Unreachable(
                f"nothing came for {settings.patience_seconds:.0f} s from any source{why}",
                "what has come is kept; see the network, then run `gpubox up` again",
            )
        label = f"fetching {self._plan.name}" if left else f"verifying {self._plan.name}"
        there = sum(item.partial.done.total if item.partial else 0 for item in board.items if item.state != "done")
        there += self._before + sum(item.file.size for item in board.items if item.state == "done")
        done = sum(item.state == "done" for item in board.items)
        whole = len(self._plan.files) - len(board.items)
        numbers = {"speed": self._pace.speed, "files": whole + done, "of": len(self._plan.files), "connections": active}
        self._progress.tell(label, there, self._plan.bytes, **numbers)

    def _ask_others(self) -> None:
        self._progress.say("asking whether another hub has the same files")
        routes, said = others.find(self._spec, self._plan)
        for line in said:
            self._progress.say(line)
        with self._cond:
            self._board.found(routes, time.monotonic())
            self._cond.notify_all()

    def _wait_for_room(self) -> None:
        """The disk is full: nothing is written until there is room for all that is left."""
        settings = self._spec.settings
        until = time.monotonic() + settings.disk_wait_seconds
        self._stop_transfers()
        with self._cond:
            while self._board.busy and self._error is None:
                self._cond.wait(_TICK)
            left = self._board.left
        said = ""
        while True:
            missing = left + settings.min_free_bytes - disk.free(self._directory)
            words = f"the disk of `{self._directory}` is full: {size(missing)} are missing"
            if missing <= 0:
                break
            if time.monotonic() >= until:
                raise DiskFull(
                    words, "what has come is kept; make room or enlarge the disk, then run `gpubox up` again"
                )
            if words != said:
                self._progress.say(f"{words}; waiting for room")
                said = words
            self._progress.tell(f"{words}; waiting for room")
            time.sleep(min(1.0, max(0.05, settings.disk_wait_seconds / 10)))
        with self._cond:
            self._paused = False
            self._moved = time.monotonic()
            self._cond.notify_all()

    def _guarded(self, work: Any) -> None:  # noqa: ANN401  # a method
        """A thread's error is the download's."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # raised again by `_watch`, in the main thread
            with self._cond:
                self._error = self._error or error
                self._cond.notify_all()

    def _work(self) -> None:
        while True:
            with self._cond:
                while (piece := self._next()) is None:
                    if self._over:
                        return
                    self._cond.wait(0.25)
            self._fetch(piece)

    def _next(self) -> Piece | None:
        if self._over or self._paused or self._error or self._board.busy >= self._pace.target:
            return None
        try:
            return self._board.take(time.monotonic(), self._pace.target)
        except OSError as error:
            self._disk(error)
            return None

    def _fetch(self, piece: Piece) -> None:
        trouble: Trouble | None = None
        try:
            pull(
                piece,
                self._plan.id,
                stall=self._spec.settings.stall_seconds,
                came=self._counter(),
                going=lambda: not (self._over or self._paused),
            )
        except Trouble as error:
            trouble = error
        except OSError as error:
            self._disk(error)
            trouble = Stopped("the disk is full")
        with self._cond:
            self.new += piece.new
            if piece.new or piece.differed or (piece.compare and piece.at > piece.start):
                self._moved = time.monotonic()
            self._board.done(piece)
            # What ends because we end it is no failure.
            if trouble is not None and not isinstance(trouble, Stopped) and not (self._over or self._paused):
                wait = trouble.wait if isinstance(trouble, Busy) else 0.0
                self._board.failed(piece, trouble, time.monotonic(), wait=wait)
            self._cond.notify_all()

    def _counter(self) -> Any:  # noqa: ANN401  # a closure of two kinds of news
        running: list[Transfer] = []

        def came(transfer: Transfer | None, size: int) -> None:
            with self._cond:
                if transfer is None:
                    self._transfers -= set(running)
                elif not running:
                    running.append(transfer)
                    self._transfers.add(transfer)
                self.received += size

        return came

    def _disk(self, error: OSError) -> None:
        if error.errno not in _FULL:
            raise error
        self._paused = True

    def _open(self, file: RemoteFile) -> Partial:
        return Partial(file, self._directory / manifest.PARTS / file.path, self._directory / file.path)

    def _hash(self) -> None:
        """Checksums follow the bytes while they are in memory, and end files that are whole."""
        while not self._over:
            with self._cond:
                items = [item for item in self._board.items if item.partial and item.state != "done"]
            moved = False
            for item in items:
                assert item.partial is not None
                if item.compared is None or item.state == "hashing":
                    while item.partial.hash_on() and not self._over:
                        moved = True
                if item.state == "hashing" and item.partial.hashed:
                    self._conclude(item, item.partial)
                    moved = True
            if not moved:
                with self._cond:
                    self._cond.wait(0.1)

    def _conclude(self, item: Item, partial: Partial) -> None:
        if partial.right():
            partial.finish()
            self._verified(item.file, partial.sha256)
            with self._cond:
                item.state, item.partial = "done", None
                self._cond.notify_all()
            return
        with self._cond:
            try:
                self._board.arrived_wrong(item, time.monotonic())
            except Trouble:
                partial.discard()
                item.partial = None
                raise
            self._cond.notify_all()

    def _stop_transfers(self) -> None:
        with self._cond:
            running = list(self._transfers)
            self._cond.notify_all()
        for transfer in running:
            transfer.stop()

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        self._over = True
        self._stop_transfers()
        for thread in threads:
            thread.join(10)
        for item in self._board.items:
            if item.partial is not None:
                try:
                    item.partial.sync()
                except OSError as error:
                    self._progress.say(f"`{item.file.path}`: {error.strerror}")
                item.partial.close()
