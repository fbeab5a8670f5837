"""Uploads that have moved: a database has the absolute path of each, which is another one on another box."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from webui_box.database import glanced
from webui_box.errors import Trouble
from webui_box.version import DATABASE

if TYPE_CHECKING:
    from pathlib import Path


def rehome(place: Path) -> int:
    """Have the database in `place` find the uploads that lie there; how many it would not have found.

    Only while open-webui does not run: this opens the database for writing. Raises `Trouble`.
    """
    database, uploads = place / DATABASE, place / "data" / "uploads"
    moved = _moved(database, uploads)
    if moved:
        try:
            with closing(sqlite3.connect(database)) as base, base:
                base.executemany("UPDATE file SET path = ? WHERE id = ?", moved)
        except sqlite3.Error as error:
            raise Trouble(f"the paths of uploads cannot be set in `{database}`: {error}") from None
    return len(moved)


def _moved(database: Path, uploads: Path) -> list[tuple[str, str]]:
    """(new path, id) of every upload that is here and is looked for elsewhere."""
    if not database.is_file():
        return []
    with glanced(database) as base:
        try:
            rows = base.execute("SELECT id, path FROM file WHERE path LIKE '/%'").fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
    here = [(uploads / PurePosixPath(str(row["path"])).name, row) for row in rows]
    return [(str(path), str(row["id"])) for path, row in here if str(path) != row["path"] and path.is_file()]
