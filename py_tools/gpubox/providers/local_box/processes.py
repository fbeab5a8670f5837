"""Find and end every process that belongs to a local box: its server and whatever was started through it.

A process belongs to the box when its environment carries the marker or the box's scratch HOME (a service manager may
start others with an environment of its own choice, but nobody else has this HOME). Some processes hide or overwrite
theirs (vLLM renames its workers, which wipes it; macOS hides that of system programs), so children of what was found,
and processes of the same session, belong to it too, and so does a process with no environment to speak of and no
terminal that works inside the box's directory or names a file of it on its command line.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from gpubox.errors import Failed, Refused
from gpubox.providers.local_box.layout import MARKER, BoxDir

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL = 0.05


def members(box: BoxDir) -> list[psutil.Process]:
    """All living processes of the box; this process and its ancestors are never among them."""
    everyone = _everyone()
    inside = {pid for pid, process in everyone.items() if _is_marked(process, box)}
    _close(inside, everyone)
    return [everyone[pid] for pid in sorted(inside - _own_line())]


def end_all(box: BoxDir, *, grace: float = 5.0, patience: float = 15.0) -> int:
    """End every process of the box: SIGTERM, `grace` seconds later SIGKILL; returns how many there were.

    Raises `Refused` when called from inside the box, `Failed` when some still live `patience` seconds after SIGKILL.
    """
    if _says_ours(os.environ, box):
        raise Refused(
            "a local box cannot be powered off from inside itself",
            where=str(box.path),
            hint="run the command in a shell outside of the box",
        )
    found = {process.pid: process for process in members(box)}
    _signal(list(found.values()), kill=False)
    _wait(list(found.values()), grace)
    deadline = time.monotonic() + patience
    # What was found before the first signal is remembered: an orphan with a wiped environment is not found again.
    while left := {p.pid: p for p in [*found.values(), *members(box)] if _lives(p)}:
        found |= left
        if time.monotonic() > deadline:
            raise _immortal(box, list(left.values()))
        _signal(list(left.values()), kill=True)
        _wait(list(left.values()), 1.0)
    return len(found)


def is_server(box: BoxDir, pid: int, created: float) -> bool:
    """Whether `pid` is a living process that was created at `created` and belongs to the box."""
    try:
        process = psutil.Process(pid)
        # Another process may read the boot time a moment after a clock step, hence the tolerance; a pid that was used
        # again within two seconds still lacks the marker.
        return _lives(process) and abs(process.create_time() - created) < 2 and _is_marked(process, box)
    except psutil.NoSuchProcess:
        return False


def _everyone() -> dict[int, psutil.Process]:
    user = os.getuid()
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["uids", "status"]):
        uids = process.info["uids"]
        if uids is not None and uids.real == user and process.info["status"] != psutil.STATUS_ZOMBIE:
            found[process.pid] = process
    return found


def _is_marked(process: psutil.Process, box: BoxDir) -> bool:
    try:
        environment = process.environ()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    except (psutil.AccessDenied, OSError):
        environment = {}
    if MARKER in environment or environment.keys() & {"HOME", "PATH"}:  # else wiped, hidden or emptied
        return _says_ours(environment, box)
    try:
        places = [process.cwd(), *process.cmdline()]
        return process.terminal() is None and any(Path(place).is_relative_to(box.path.resolve()) for place in places)
    except (psutil.Error, OSError):
        return False


def _says_ours(environment: Mapping[str, str], box: BoxDir) -> bool:
    return environment.get(MARKER) == box.id or environment.get("HOME") == str(box.home)


def _close(inside: set[int], everyone: dict[int, psutil.Process]) -> None:
    """Add children, and the rest of a session whose leader is one of ours or gone, until nothing is added."""
    parents: dict[int, int] = {}
    sessions: dict[int, int] = {}
    for pid, process in everyone.items():
        try:
            parents[pid] = process.ppid()
            sessions[pid] = os.getsid(pid)
        except (psutil.Error, OSError):
            continue
    before = -1
    while before != len(inside):
        before = len(inside)
        ours = {
            s for s in (sessions.get(pid) for pid in inside) if s is not None and (s in inside or s not in everyone)
        }
        inside |= {pid for pid in everyone if parents.get(pid) in inside or sessions.get(pid) in ours}


def _own_line() -> set[int]:
    me = psutil.Process()
    return {me.pid, *(parent.pid for parent in me.parents())}


def _signal(processes: list[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        try:
            # psutil compares the creation time first, so that a pid in use again is never hit.
            process.kill() if kill else process.terminate()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _wait(processes: list[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(_lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(_POLL)


def _lives(process: psutil.Process) -> bool:
    """Whether it still runs; a zombie does not, its parent has only not asked for its exit status yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _immortal(box: BoxDir, processes: list[psutil.Process]) -> Failed:
    pids = " ".join(str(process.pid) for process in processes)
    return Failed(
        f"processes of the local box do not end, not even by SIGKILL: {pids}",
        where=str(box.path),
        hint=f"look at them with `ps -o pid,stat,user,args -p {pids.replace(' ', ',')}`, then try again",
    )
