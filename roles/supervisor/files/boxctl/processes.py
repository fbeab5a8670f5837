"""Which processes are whose. A process is known by its number and its start time: numbers come again."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PROC = Path("/proc")
_STEP = 0.05
# After this long a process that got KILL is in uninterruptible sleep: nobody can end it.
_UNDEAD_AFTER = 10.0
_DYING = 2.0


class Process(NamedTuple):
    """One line of the process table; `ticks` is the start time in clock ticks since boot."""

    pid: int
    parent: int
    group: int
    state: str
    ticks: int


def look(pid: int) -> Process | None:
    """The process `pid`; None when there is none."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rsplit(")", 1)[1].split()
    return Process(pid, int(fields[1]), int(fields[2]), fields[0], int(fields[19]))


def table() -> list[Process]:
    """Every process that can be seen, without zombies."""
    try:
        numbers = [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - names, not paths
    except OSError:
        return []
    seen = (look(pid) for pid in numbers)
    return [process for process in seen if process and process.state not in "ZX"]


def ticks(pid: int) -> int:
    """Start time of a process; 0 when there is none, or no /proc."""
    process = look(pid)
    return process.ticks if process else 0


def alive(pid: int | None, start: int | None) -> bool:
    """Whether the very process (number and start time) still runs."""
    if not pid:
        return False
    if not (_PROC / "self").exists():
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    process = look(pid)
    return process is not None and process.state not in "ZX" and process.ticks == start


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, whatever its group or session."""
    children: dict[int, list[int]] = {}
    for process in table():
        children.setdefault(process.parent, []).append(process.pid)
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def group_left(group: int, start: int) -> list[int]:
    """Members of the process group that the process `group` (with start time `start`) once led.

    The kernel gives a number out again only when no group bears it: when a leader of another age is there, the group
    is a stranger's.
    """
    leader = look(group)
    if leader is not None and leader.ticks != start:
        return []
    return [process.pid for process in table() if process.group == group]


def marked(marks: Iterable[str]) -> list[int]:
    """Processes whose environment holds every one of `marks` (`NAME=value`); never this one or those above it."""
    wanted = [mark.encode() for mark in marks]
    spared = _line_up(os.getpid())
    found = []
    for process in table():
        if process.pid in spared:
            continue
        try:
            environment = (_PROC / str(process.pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if all(mark in environment for mark in wanted):
            found.append(process.pid)
    return found


def end(find: Callable[[], list[int]], *, grace: float) -> list[int]:
    """TERM and after `grace` seconds KILL what `find` finds, until it finds nothing; all that got a signal.

    `find` is asked again each time, so that what is born meanwhile ends as well.
    """
    deadline = time.monotonic() + grace
    signalled: dict[int, int] = {}
    while left := find():
        kind = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in left:
            if signalled.get(pid) != kind:
                send(pid, kind)
                signalled[pid] = kind
        if time.monotonic() > deadline + _UNDEAD_AFTER:
            # Who was born and told a moment ago is still dying.
            dying = time.monotonic() + _DYING
            while signalled.keys() & find() and time.monotonic() < dying:
                time.sleep(_STEP)
            break
        time.sleep(_STEP)
    return list(signalled)


def send(pid: int, kind: signal.Signals) -> None:
    """Send a signal; a process that is gone, or not ours any more, is no error."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, kind)


def command_words(pid: int) -> list[str]:
    """The command line of a process; empty when it is gone."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return words.decode("utf-8", "replace").rstrip("\0").split("\0")


def command(pid: int) -> str:
    """The command line of a process for people, shortened."""
    return " ".join(command_words(pid))[:200]


def _line_up(pid: int) -> set[int]:
    line = {pid}
    while process := look(pid):
        pid = process.parent
        if pid in line:
            break
        line.add(pid)
    return line
