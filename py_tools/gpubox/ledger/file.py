"""The ledger's file: how it is opened, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gpubox.errors import Failed
from gpubox.ledger.layout import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_SECONDS = 20.0  # Every transaction here is a few rows: whoever waits longer waits for a process that hangs.


def open_file(path: Path) -> sqlite3.Connection:
    """The ledger at `path`, made if missing (0600), of the newest layout. Call it inside of `explained`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # SQLite gives its side files (-wal, -shm) the mode of this one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # An intent must survive a power cut: money hangs on it.
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into a sentence that names the file and the way out."""
    try:
        yield
    except Failed as error:
        raise type(error)(error.message, where=error.where or str(path), hint=error.hint) from error
    except sqlite3.IntegrityError as error:
        raise Failed(f"the ledger does not take this: {error}", where=str(path)) from error
    except sqlite3.OperationalError as error:
        raise _operational(path, str(error)) from error
    except sqlite3.DatabaseError as error:
        raise Failed(
            f"the ledger is damaged: {error}",
            where=str(path),
            hint=f"move it away (`mv {path} {path}.damaged`), then `gpubox add` the boxes that you still rent",
        ) from error
    except OSError as error:
        raise Failed(f"the ledger cannot be opened: {error.strerror}", where=str(path), hint=_ELSEWHERE) from error


_ELSEWHERE = "make it writable, or set `GPUBOX_HOME` to a directory that you can write to"


def _operational(path: Path, words: str) -> Failed:
    if "locked" in words or "busy" in words:
        return Failed(
            f"another process has kept the ledger locked for {_BUSY_SECONDS:.0f} s",
            where=str(path),
            hint=f"find it with `fuser {path}`, end it, and run the command again",
        )
    if "full" in words:
        return Failed("the ledger cannot be written: the disk is full", where=str(path), hint="free some space")
    return Failed(f"the ledger cannot be used: {words}", where=str(path), hint=_ELSEWHERE)
