"""Which open-webui is installed, which one had the database last, and whether the two fit."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webui_box.database import glanced
from webui_box.errors import Trouble

if TYPE_CHECKING:
    from pathlib import Path

FILE, DATABASE = "version.json", "data/webui.db"
# `revision = "..."` and `down_revision: str | None = "..."`, as alembic's files have them.
_REVISION = re.compile(r"""^(down_)?revision\b[^=]*=\s*["'](\w+)["']""", re.MULTILINE)
_KEPT = "before-"


@dataclass(frozen=True)
class Program:
    """An open-webui that is installed: its version, the revisions of its tables, and the newest of these."""

    version: str
    revisions: frozenset[str]
    heads: frozenset[str]

    @classmethod
    def at(cls, command: Path) -> Program:
        """The one that `command` (`.../bin/open-webui`) starts. Raises `Trouble`."""
        infos = sorted((command.parent.parent / "lib").glob("python*/site-packages/open_webui-*.dist-info"))
        if not infos:
            raise Trouble(f"no open-webui is installed at `{command.parent.parent}`; converge this box again")
        files = (infos[-1].parent / "open_webui" / "migrations" / "versions").glob("*.py")
        found = [match for file in files for match in _REVISION.findall(file.read_text(encoding="utf-8"))]
        own = frozenset(name for down, name in found if not down)
        older = frozenset(name for down, name in found if down)
        return cls(infos[-1].name.removeprefix("open_webui-").removesuffix(".dist-info"), own, own - older)


@dataclass(frozen=True)
class Noted:
    """What was written down of a database: the open-webui that had it last, and the revision of its tables then."""

    open_webui: str
    alembic: str


def noted(place: Path) -> Noted | None:
    """What `<place>/version.json` says; None when nothing can be read there."""
    try:
        values = json.loads((place / FILE).read_text(encoding="utf-8"))
        return Noted(str(values["open_webui"]), str(values["alembic"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def note(place: Path, program: Program) -> None:
    """Write `version.json`, once the database is as this open-webui has it. Changes nothing that is right already."""
    revision = revision_of(place / DATABASE)
    if revision not in program.heads:
        return
    now = Noted(program.version, revision)
    if noted(place) == now:
        return
    part = place / f".{FILE}"
    text = json.dumps({"open_webui": now.open_webui, "alembic": now.alembic}) + "\n"
    with open(part, "w", encoding="utf-8", opener=_private) as out:
        out.write(text)
    part.replace(place / FILE)


def revision_of(database: Path) -> str | None:
    """The revision of a database's tables; None when there is no database or it has no tables yet."""
    if not database.is_file():
        return None
    with glanced(database) as base:
        try:
            row = base.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return None
            raise
    return str(row[0]) if row else None


def need_known(place: Path, program: Program) -> None:
    """Raise `Trouble` for a database of a newer open-webui, before this one fails at it half-way."""
    revision = revision_of(place / DATABASE)
    if revision is None or revision in program.revisions:
        return
    last = noted(place)
    who = f"open-webui {last.open_webui}" if last and last.alembic == revision else "a newer open-webui"
    raise Trouble(
        f"the database `{place / DATABASE}` was last used by {who} (its tables are of revision {revision}), and cannot "
        f"go back to open-webui {program.version}, which is installed here; converge this box with a newer gpubox, or "
        "restore an older backup"
    )


def keep_before(place: Path, program: Program) -> Path | None:
    """Before its tables change: copy the database of an older open-webui to `before-<its version>/`; only the last
    such copy stays. None when there is nothing to do. Raises `Trouble` when there is no room."""
    database, last = place / DATABASE, noted(place)
    revision = revision_of(database)
    if revision is None or revision in program.heads:
        return None
    # What was written down of another state of the database says nothing of this one.
    version = last.open_webui if last and last.alembic == revision else revision
    target = place / f"{_KEPT}{version}"
    part = place / f".{_KEPT}{version}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    try:
        with (
            glanced(database) as source,
            closing(sqlite3.connect(part / "webui.db", isolation_level=None)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
    except (sqlite3.Error, Trouble) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise Trouble(
            f"the database cannot be copied to `{target}` before open-webui {program.version} changes it: {error}; "
            "make room on the data disk"
        ) from None
    for old in place.glob(f"{_KEPT}*"):
        shutil.rmtree(old)
    part.replace(target)
    return target


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
