"""One run of the build with a number of compilers, and the watcher that keeps the box alive meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from flash_build import machine, units

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash_build.ninja import Count

PULSE = 0.5
_ROOT = Path("/")
_SAID = 400


class Tells(Protocol):
    """Where progress goes: `make_env.Progress`."""

    def tell(self, label: str, **numbers: float | str) -> None:
        """Add one line."""


@dataclass
class Outcome:
    """What came of a run: `ended` compilers by us, `oom` by the kernel, `peak` bytes of the largest one."""

    code: int
    ended: int = 0
    oom: bool = False
    peak: int = 0
    said: list[str] = field(default_factory=list)


@dataclass
class Watcher:
    """Looks at the memory while compilers run, and ends the youngest before there is none left.

    The others finish what they are at; ninja then stops, since one has failed, and the build goes on with fewer.
    """

    build: int
    read: Callable[[], machine.Machine]
    ended: int = 0
    peak: int = 0
    free: int = 0
    running: int = 0
    dying: tuple[int, ...] = ()

    def look(self) -> None:
        """One look. The last compiler is never ended: with nobody beside it there is nothing that fewer would mend."""
        # A process of some GiB takes a while to go; until then its memory is not free, and no other has to go for it.
        leaving = any(units.runs(pid) for pid in self.dying)
        now = self.read()
        alive = units.units(self.build)
        self.free, self.running = now.free, len(alive)
        self.peak = max([self.peak, *(unit.peak for unit in alive)])
        if now.free < now.reserve and len(alive) > 1 and not leaving:
            youngest = alive[-1]
            sys.stdout.write(
                f"only {now.free / machine.GIB:.1f} GiB are free: ended the youngest of {len(alive)} compilers, "
                f"which had {youngest.size / machine.GIB:.1f} GiB\n"
            )
            sys.stdout.flush()
            units.end(youngest)
            self.dying = youngest.members
            self.ended += 1


def attempt(
    argv: list[str],
    *,
    source: Path,
    environment: dict[str, str],
    jobs: int,
    count: Count,
    progress: Tells,
    read: Callable[[], machine.Machine] = lambda: machine.read(_ROOT),
    kills: Callable[[], int] = lambda: machine.kills(_ROOT),
) -> Outcome:
    """Run the build once with `jobs` compilers at most, telling how far it is. A TERM ends all of it."""
    before, begun = kills(), time.monotonic()
    said: deque[str] = deque(maxlen=_SAID)
    count.start()
    with subprocess.Popen(
        argv, cwd=source, env={**environment, "MAX_JOBS": str(jobs)}, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as build:  # fmt: skip
        watcher = Watcher(build.pid, read)
        over = threading.Event()
        thread = threading.Thread(
            target=_watch, args=(watcher, over, lambda: _tell(progress, count, watcher, jobs, begun))
        )
        thread.start()
        previous = signal.signal(signal.SIGTERM, lambda *_: _stop(build))
        try:
            for line in build.stdout or ():
                _hear(line, count, said)
        finally:
            over.set()
            thread.join()
            signal.signal(signal.SIGTERM, previous)
    signals = any(word in line for line in said for word in ("died due to signal 9", "Killed", "signal 9"))
    oom = kills() > before or (build.returncode != 0 and signals and not watcher.ended)
    return Outcome(build.returncode, watcher.ended, oom, watcher.peak, list(said))


def _watch(watcher: Watcher, over: threading.Event, tell: Callable[[], None]) -> None:
    beats = 0
    while not over.wait(PULSE):
        watcher.look()
        if beats % 4 == 0:
            tell()
        beats += 1


def _hear(line: str, count: Count, said: deque[str]) -> None:
    if count.hear(line):
        # The whole command line has 3000 characters; the log is for people.
        line = f"{count.done} of {count.total} compiled: {count.last}\n"
    said.append(line)
    sys.stdout.write(line)
    sys.stdout.flush()


def _tell(progress: Tells, count: Count, watcher: Watcher, jobs: int, begun: float) -> None:
    if not count.total:
        progress.tell("preparing the build of FlashAttention")
        return
    left = count.minutes_left(time.monotonic() - begun)
    numbers: dict[str, float | str] = {} if left is None else {"minutes_left": round(left, 1)}
    words = "" if left is None else f", {max(1, round(left))} min left"
    progress.tell(
        f"compiling FlashAttention: {count.done} of {count.total} units{words}",
        done=count.done, total=count.total, unit="unit", jobs=jobs, running=watcher.running,
        free_gib=round(watcher.free / machine.GIB, 1), peak_gib=round(watcher.peak / machine.GIB, 2), **numbers,
    )  # fmt: skip


def _stop(build: subprocess.Popen[str]) -> None:
    units.end_below(build.pid)
    build.kill()
    raise SystemExit(143)
