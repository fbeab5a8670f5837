"""open-webui's database as it was at one moment, read without being in anybody's way."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

from webui_box.errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Pages between two signs of life.
_PAGES = 4096


@contextlib.contextmanager
def opened(
    file: Path, *, still: bool = False, on_page: Callable[[int, int], None] = lambda _left, _all: None
) -> Iterator[sqlite3.Connection]:
    """The database as it is now, copied by SQLite's backup through a reader's connection.

    A copy of the file alone would lack what is in its `-wal` file, and whoever opens it to write may delete that under
    a program that runs. The copy has no name and lies on the data disk: nothing is left of it, however this ends.
    `still`: nobody writes to it any more, as in a backup; it is read where it lies. Raises `Trouble`.
    """
    if not file.is_file():
        raise Trouble(f"there is no database `{file}`: open-webui has never been started here")
    # `immutable`: of a database in WAL mode SQLite would otherwise make side files beside it.
    mode = "immutable=1" if still else "mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?{mode}", uri=True)) as source:
            if still:
                yield _ready(source)
                return
            os.environ["SQLITE_TMPDIR"] = str(file.parent)
            with contextlib.closing(sqlite3.connect("")) as copy:
                source.backup(copy, pages=_PAGES, progress=lambda _status, left, total: on_page(left, total))
                yield _ready(copy)
    except sqlite3.Error as error:
        raise Trouble(f"`{file}` cannot be read: {error}") from error


def _ready(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.row_factory = sqlite3.Row
    return connection


@contextlib.contextmanager
def glanced(file: Path) -> Iterator[sqlite3.Connection]:
    """The database itself, for one short question: whoever reads for long keeps its `-wal` file growing."""
    if not file.is_file():
        raise Trouble(f"there is no database `{file}`: open-webui has never been started here")
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as found:
            yield _ready(found)
    except sqlite3.Error as error:
        raise Trouble(f"`{file}` cannot be read: {error}") from error
