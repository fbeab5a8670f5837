"""Snapshots of a web UI at home: where they lie, when the next is due, which are kept, and the process that takes them.

`<data dir>/snapshots/<box>/<time>/` is a backup that holds the web UI only; `gpubox restore NAME DIR` takes it. Nothing
finds it by itself: `down` and `restore` go by whole backups.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gpubox import backups, paths
from gpubox.history.about import kept_with
from gpubox.remote.process import Process

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A quarter of a day at every 15 minutes, and two weeks of days.
KEPT, DAYS = 24, 14
# When it was looked at last, whether or not anything had changed.
_LOOKED = ".looked"
_STATE = "snapshots.json"
_LOG = "snapshots.log"
_LOG_LIMIT = 1 << 20
_NAME = "%Y%m%dT%H%M%SZ"
# A fetch that is told to end keeps what came.
_END_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One whole snapshot, made `at` that time (UTC). `current`: when it was last seen to be all there is."""

    place: Path
    at: datetime
    current: datetime

    def words(self) -> str:
        """`the chats are here as they were at 2026-11-22 21:45 UTC (/home/...: 3 users, 9 chats, ...)`."""
        found = kept_with(self.place)
        holds = f": {found.words()}" if found is not None else ""
        return f"the chats are here as they were at {self.current:%Y-%m-%d %H:%M} UTC ({self.place}{holds})"


def below() -> Path:
    """Where the snapshots of all boxes lie."""
    return paths.data_dir() / "snapshots"


def newest(name: str) -> Snapshot | None:
    """The newest snapshot of a box; None when there is none."""
    found = _whole(below() / name)
    if not found:
        return None
    place, at = max((place, at) for at, place in ((at, place) for place, at in found.items()))
    return Snapshot(place, at, max(at, looked_at(name) or at))


def due(name: str, every: timedelta, now: datetime) -> bool:
    """Whether it is time to look again; at once when this machine slept, or its clock was set back."""
    last = looked_at(name)
    return last is None or now - last >= every or last - now > every


def looked_at(name: str) -> datetime | None:
    """When the box was last asked."""
    try:
        return datetime.fromisoformat((below() / name / _LOOKED).read_text().strip())
    except (OSError, ValueError):
        return None


def note_look(name: str, now: datetime) -> None:
    """Write down that the box was asked. Raises `OSError`."""
    place = below() / name
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    (place / _LOOKED).write_text(now.isoformat())


def settle(name: str, place: Path, now: datetime) -> bool:
    """Keep the new snapshot at `place` unless nothing had changed, and remove what has become old; whether it is kept.

    One without a chat is not kept: of a new box with an old name it would be the newest. Raises `OSError`.
    """
    others = [other for other in _whole(below() / name) if other != place]
    before = max(others, default=None)
    holds = kept_with(place)
    changed = before is None or _content(before) != _content(place)
    changed = changed and (holds is None or holds.chats > 0)
    if not changed:
        shutil.rmtree(place)
    note_look(name, now)
    found = _whole(below() / name)
    wanted = kept(found.values(), now)
    for old, at in found.items():
        if at not in wanted:
            shutil.rmtree(old)
    return changed


def kept(times: Iterable[datetime], now: datetime) -> set[datetime]:
    """Which snapshots stay: the last 24, and the last of each of the last 14 days (UTC)."""
    ordered = sorted(times, reverse=True)
    last_of_day: dict[object, datetime] = {}
    for at in ordered:
        if now - at < timedelta(days=DAYS):
            last_of_day.setdefault(at.date(), at)
    return {*ordered[:KEPT], *last_of_day.values()}


def begin(name: str) -> None:
    """Have a process take snapshots of this box for as long as its tunnel is open; one that does so already stays."""
    if running(name) is not None:
        return
    directory = paths.box_dir(name)
    log_file = directory / _LOG
    if log_file.exists() and log_file.stat().st_size > _LOG_LIMIT:
        log_file.unlink()
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "gpubox.snapshot_daemon", name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    # No warning at exit: it is meant to outlive this process.
    child.returncode = 0
    process = Process.of(child.pid)
    if process is not None:
        (directory / _STATE).write_text(json.dumps(asdict(process)))


def end(name: str | None = None) -> None:
    """End the process of one box, or of all; none is left when this returns."""
    for directory in [paths.box_dir(name)] if name else sorted((paths.data_dir() / "boxes").glob("*")):
        process = _process(directory)
        if process is not None:
            process.end(_END_PATIENCE)
        (directory / _STATE).unlink(missing_ok=True)


def running(name: str) -> Process | None:
    """The process that takes them now."""
    process = _process(paths.box_dir(name))
    return process if process is not None and process.alive() else None


def _process(directory: Path) -> Process | None:
    try:
        return Process(**json.loads((directory / _STATE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _whole(place: Path) -> dict[Path, datetime]:
    found: dict[Path, datetime] = {}
    if not place.is_dir():
        return found
    for entry in place.iterdir():
        if entry.name.startswith(".") or not (entry / backups.MANIFEST).is_file():
            continue
        try:
            found[entry] = datetime.strptime(entry.name[:16], _NAME).replace(tzinfo=UTC)
        except ValueError:
            continue
    return found


def _content(place: Path) -> dict[str, str]:
    return {file.path: file.sha256 for file in backups.read(place).files}
