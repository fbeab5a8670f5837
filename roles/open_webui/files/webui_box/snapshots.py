"""The service that copies a web UI to a disk which survives the box, while nobody at home fetches it.

`<to>/<name>/<time>/` has the form of a backup of gpubox's, with the web UI in it only: `files/`, `manifest.json`,
`SHA256SUMS`. A directory with such a name is whole; what is under way lies in `.partial` beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webui_box.errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# As at home: a quarter of a day at every 15 minutes, and two weeks of days.
KEPT, DAYS = 24, 14
# Below gpubox's root, where no backup looks: touched from home, when it had everything.
FETCHED = "cache/open-webui-fetched"
_FORMAT = 1
_NAME = "%Y%m%dT%H%M%SZ"
_TICK = 5.0
_DATABASE = "data/webui.db"
_SECRETS = ("secret-key", "admin-password", "version.json")


@dataclass(frozen=True)
class Wanted:
    """The web UI below `root`, copied to `to`/`name` when that is `every` seconds old."""

    root: Path
    to: Path
    name: str
    every: float

    @property
    def place(self) -> Path:
        """Where the web UI's lasting things lie."""
        return self.root / "open-webui"

    @property
    def below(self) -> Path:
        """Where this box's copies lie."""
        return self.to / self.name


def wanted(words: list[str]) -> Wanted:
    """What the command line asks for. Raises `Trouble`."""
    match words:
        case [root, "--to", to, "--name", name, "--every", seconds]:
            return Wanted(Path(root), Path(to), name, float(seconds))
        case _:
            raise Trouble("snapshots ROOT --to DIR --name NAME --every SECONDS")


def serve(asked: Wanted) -> None:
    """Copy whenever it is time, for ever; what cannot be done is said on stderr and tried again."""
    os.umask(0o077)
    os.nice(10)
    run(asked, now=lambda: datetime.now(UTC), pause=time.sleep, forever=lambda: True)


def run(
    asked: Wanted, *, now: Callable[[], datetime], pause: Callable[[float], None], forever: Callable[[], bool]
) -> None:
    """The same with a clock of the caller's."""
    looked: datetime | None = None
    seen: object = None
    while forever():
        at = now()
        every = timedelta(seconds=asked.every)
        last = max((each for each in (looked, newest(asked.below), _fetched(asked.root)) if each), default=None)
        if last is None or at - last >= every or last - at > every:
            looked = at
            try:
                # Not even read when nothing has been written.
                mark = _mark(asked.place)
                if mark != seen:
                    _say(at, take(asked, at))
                    seen = mark
            except (Trouble, OSError, sqlite3.Error) as error:
                _say(at, f"error: {error}")
        pause(_TICK)


def take(asked: Wanted, at: datetime) -> str:
    """Copy the web UI; what was done, in words. Raises `Trouble`, `OSError` and `sqlite3.Error`."""
    # The parent of what is named has to be there: a disk that is not mounted is no place to write to.
    if not asked.to.parent.is_dir():
        raise Trouble(f"there is no `{asked.to.parent}`: is that disk there?")
    below = asked.below
    partial = below / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    files = partial / "files" / "open-webui"
    # `parents=True` would give all but the last the mode of everything.
    for directory in (asked.to, below, partial, partial / "files", files, files / "data"):
        directory.mkdir(exist_ok=True, mode=0o700)
    try:
        before = _last(below)
        rows = [_database(asked.place, files)]
        # On a new box of the same name the newest copy would be of a web UI that has just begun.
        if _empty(files / _DATABASE):
            return "there is no chat yet"
        rows += [_plain(asked, files, path, before) for path in _others(asked.place)]
        if before is not None and {row["path"]: row["sha256"] for row in rows} == before[1]:
            return "nothing has changed"
        _manifest(asked, partial, rows, at)
        target = below / at.strftime(_NAME)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    prune(below, at)
    size = sum(row["size"] for row in rows)
    return f"{len(rows)} files, {size} bytes, in {target}"


def newest(below: Path) -> datetime | None:
    """When the newest whole copy was made."""
    return max(_whole(below).values(), default=None)


def prune(below: Path, now: datetime) -> None:
    """Remove what has become old."""
    found = _whole(below)
    stay = kept(found.values(), now)
    for place, at in found.items():
        if at not in stay:
            shutil.rmtree(place)


def kept(times: Iterable[datetime], now: datetime) -> set[datetime]:
    """The last 24, and the last of each of the last 14 days (UTC)."""
    ordered = sorted(times, reverse=True)
    last_of_day: dict[object, datetime] = {}
    for at in ordered:
        if now - at < timedelta(days=DAYS):
            last_of_day.setdefault(at.date(), at)
    return {*ordered[:KEPT], *last_of_day.values()}


def _database(place: Path, files: Path) -> dict[str, Any]:
    source, target = place / _DATABASE, files / _DATABASE
    if not source.is_file():
        raise Trouble(f"there is no database `{source}` yet")
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=60)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    return _row(place, _DATABASE, target, "sqlite")


def _empty(database: Path) -> bool:
    with closing(sqlite3.connect(database)) as copy:
        return copy.execute("SELECT 1 FROM chat LIMIT 1").fetchone() is None


def _others(place: Path) -> list[str]:
    """What else lasts, in the database's own order: an upload is on disk before its row is written."""
    uploads = place / "data" / "uploads"
    given = sorted(file for file in uploads.rglob("*") if file.is_file()) if uploads.is_dir() else []
    secrets = [name for name in _SECRETS if (place / name).is_file()]
    return [*(str(file.relative_to(place)) for file in given), *secrets]


def _plain(asked: Wanted, files: Path, path: str, before: tuple[Path, dict[str, str]] | None) -> dict[str, Any]:
    """Copy a file, or link it to the copy before when that is the same."""
    source, target = asked.place / path, files / path
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(source, target)
    row = _row(asked.place, path, target, None)
    if before is not None and before[1].get(row["path"]) == row["sha256"]:
        old, part = before[0] / "files" / row["path"], target.with_name(f".{target.name}.link")
        try:
            os.link(old, part)
            part.replace(target)
        except OSError:
            # Network storage need not have links.
            part.unlink(missing_ok=True)
    return row


def _row(place: Path, path: str, copy: Path, way: str | None) -> dict[str, Any]:
    """An entry of the manifest, as gpubox writes it at home."""
    source = place / path
    info = source.stat()
    digest = hashlib.sha256()
    with copy.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    copy.chmod(0o400)
    return {
        "path": f"open-webui/{path}",
        "absolute": str(source.absolute()),
        "size": copy.stat().st_size,
        "sha256": digest.hexdigest(),
        "mtime_ns": info.st_mtime_ns,
        "mode": info.st_mode & 0o777,
        "uid": info.st_uid,
        "gid": info.st_gid,
        "kind": "declared",
        "reason": "service open-webui",
        "copy": way,
    }


def _manifest(asked: Wanted, partial: Path, rows: list[dict[str, Any]], at: datetime) -> None:
    head = {
        "format": _FORMAT,
        "name": asked.name,
        "made_at": at.isoformat(timespec="seconds"),
        "root": str(asked.root),
        "data_dir": str(asked.root.parent),
        "home": str(Path.home()),
        "missing": [],
        "notes": [],
        "beside": [],
        "files": rows,
    }
    text = (json.dumps(head, indent=1) + "\n").encode()
    sums = [f"{hashlib.sha256(text).hexdigest()}  manifest.json\n"]
    sums += [_sum(row) for row in rows]
    _write(partial / "SHA256SUMS", "".join(sums).encode(errors="surrogateescape"))
    _write(partial / "manifest.json", text)


def _sum(row: dict[str, Any]) -> str:
    """As `sha256sum` writes names with a backslash or a new line in them."""
    name = f"files/{row['path']}"
    mark = "\\" if "\\" in name or "\n" in name else ""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
    return f"{mark}{row['sha256']}  {escaped}\n"


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o400)


def _last(below: Path) -> tuple[Path, dict[str, str]] | None:
    """The newest copy, and the hashes in it."""
    found = _whole(below)
    if not found:
        return None
    place = max(found, key=lambda each: found[each])
    try:
        rows = json.loads((place / "manifest.json").read_text(encoding="utf-8"))["files"]
        return place, {row["path"]: row["sha256"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _whole(below: Path) -> dict[Path, datetime]:
    found: dict[Path, datetime] = {}
    if below.is_dir():
        for entry in below.iterdir():
            try:
                at = datetime.strptime(entry.name, _NAME).replace(tzinfo=UTC)
            except ValueError:
                continue
            if (entry / "manifest.json").is_file():
                found[entry] = at
    return found


def _fetched(root: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp((root / FETCHED).stat().st_mtime, UTC)
    except OSError:
        return None


def _mark(place: Path) -> object:
    """What changes with every write: the database, the log that is not yet in it, and the uploads."""
    marks = []
    for path in (_DATABASE, f"{_DATABASE}-wal", "data/uploads", *_SECRETS):
        try:
            info = (place / path).stat()
            marks.append((info.st_mtime_ns, info.st_size))
        except FileNotFoundError:
            marks.append((0, 0))
    return marks


def _say(at: datetime, words: str) -> None:
    sys.stderr.write(f"{at.isoformat(timespec='seconds')} {words}\n")
    sys.stderr.flush()
