"""The compilers that run: which they are, what each takes, and how to end one without disturbing the others."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Unit:
    """One command of ninja with all that it has started; bytes. `peak`: the largest of its processes so far."""

    pid: int
    started: int
    members: tuple[int, ...]
    size: int
    peak: int


def units(build: int) -> list[Unit]:
    """The commands that run below the process `build`, the youngest last."""
    parents = _children()
    ninjas = [pid for pid in _below(build, parents) if _name(pid) == "ninja"]
    # PyPI's ninja may be a Python program that runs the real one: that is the last in the line.
    found = []
    for pid in parents.get(ninjas[-1], []) if ninjas else []:
        if not runs(pid):
            continue  # ended, and ninja has not noticed yet
        members = (pid, *_below(pid, parents))
        sizes = [_sizes(member) for member in members]
        size, peak = sum(now for now, _ in sizes), max(most for _, most in sizes)
        found.append(Unit(pid, _started(pid), members, size, peak))
    return sorted(found, key=lambda unit: (unit.started, unit.pid))


def end(unit: Unit) -> None:
    """Kill a command with all that it has started, at once: it has nothing to save, and memory is short."""
    for pid in unit.members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_below(build: int) -> None:
    """Kill everything below a process; ninja puts its commands into groups of their own."""
    for pid in _below(build, _children()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def runs(pid: int) -> bool:
    """Neither gone nor a zombie: it holds memory."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    return found


def _below(pid: int, parents: dict[int, list[int]]) -> list[int]:
    """All descendants, parents before children."""
    found, queue = [], list(parents.get(pid, []))
    while queue:
        found.append(queue.pop(0))
        queue += parents.get(found[-1], [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields after the name: state, parent, ..."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def _sizes(pid: int) -> tuple[int, int]:
    """Resident bytes now and at most."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0, 0
    fields = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return tuple(int(fields.get(name, "0 kB").split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]
