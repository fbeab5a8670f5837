"""SQLite databases: a copy of the file alone is wrong while a program writes, so SQLite itself makes the copy."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAGIC = b"SQLite format 3\0"
# SQLite's pages have at least so many bytes, and a database is a whole number of them.
_PAGE = 512
# Files that belong to a database and are never taken along: SQLite's copy holds what they say.
SIDES = ("-wal", "-shm", "-journal")
_BUSY_SECONDS = 60.0
# Two bytes of the header say whether a database keeps a write-ahead log (SQLite's file format, 1.3.3).
_MODE_AT = 18


def is_database(path: str, size: int) -> bool:
    """Whether a file is an SQLite database, by its first bytes."""
    if size % _PAGE or (size == 0 and not os.path.exists(f"{path}-wal")):  # noqa: PTH110 - names that are no text
        return False
    try:
        # Of every file that is listed: a file object costs three times as much.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(handle, len(_MAGIC)) == _MAGIC or size == 0
    except OSError:
        return False
    finally:
        os.close(handle)


def sides_of(databases: Iterable[str]) -> set[str]:
    """The paths of the side files of databases."""
    return {path + side for path in databases for side in SIDES}


def version(path: str) -> tuple[int, int, int, int]:
    """What changes with every write to a database: sizes and times of the file and of its log, and its inode."""
    info = os.stat(path)  # noqa: PTH116
    size, newest = info.st_size, info.st_mtime_ns
    with contextlib.suppress(FileNotFoundError):
        log = os.stat(f"{path}-wal")  # noqa: PTH116
        # An empty one may be a reader's, ours. One that was emptied and filled again has another time.
        if log.st_size:
            size, newest = size + log.st_size, max(newest, log.st_mtime_ns)
    return (size, newest, info.st_mtime_ns, info.st_ino)


def copy(path: str, target: Path) -> None:
    """Copy the database `path`, in whatever state its writers have it, to `target`: consistent, no side files.

    Reads only: an opener that can write may take a running program's log away from it. Raises `BoxctlError`.
    """
    import sqlite3

    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        with (
            contextlib.closing(sqlite3.connect(_address(path), uri=True, timeout=_BUSY_SECONDS)) as source,
            contextlib.closing(sqlite3.connect(part, isolation_level=None)) as sink,
        ):
            # All pages in one step: a writer in between would have it begin anew, for ever if it never rests.
            source.backup(sink, pages=-1)
            # Closed without a log of its own; the mode that the database was in is written back after that.
            sink.execute("PRAGMA journal_mode = DELETE")
        with open(path, "rb", buffering=0) as file, part.open("r+b") as made:  # noqa: PTH123
            made.seek(_MODE_AT)
            made.write(file.read(_MODE_AT + 2)[_MODE_AT:])
        part.replace(target)
    except sqlite3.Error as error:
        raise BoxctlError(
            f"SQLite cannot copy the database `{path}`: {error}",
            hint=f"`sqlite3 {path} 'PRAGMA integrity_check'` looks at it; a full disk has the same effect: `df -h`",
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _address(path: str) -> str:
    from urllib.parse import quote

    return f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro"  # noqa: PTH100
