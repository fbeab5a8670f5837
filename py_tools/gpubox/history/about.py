"""What a web UI's database holds, and which files it speaks of. Read from a copy that nobody writes to."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from gpubox.errors import Failed
from gpubox.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where the web UI's things lie below gpubox's root, on a box and in a backup's `files/`.
PLACE = "open-webui"
DATABASE, UPLOADS, VERSION = f"{PLACE}/data/webui.db", f"{PLACE}/data/uploads", f"{PLACE}/version.json"
ADMIN_PASSWORD, SECRET_KEY = f"{PLACE}/admin-password", f"{PLACE}/secret-key"
# Beside a backup's manifest.
ABOUT = "web-ui.json"
# open-webui writes seconds; what was brought in from elsewhere may have thousandths or billionths of them.
_FINER = ((1e17, 1e9), (1e11, 1e3))


@dataclass(frozen=True, slots=True)
class About:
    """A database of open-webui. `version`: of the open-webui that had it last, None when nobody wrote it down.

    `alembic`: the revision of its tables. `rows` per table. `messages` are those of people and of models.
    """

    version: str | None
    alembic: str | None
    rows: dict[str, int]
    users: int
    chats: int
    messages: int
    last_message_at: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the time in ISO 8601, UTC."""
        at = self.last_message_at
        return {**asdict(self), "last_message_at": at.isoformat() if at else None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `as_dict` made. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        at = values["last_message_at"]
        return cls(**{**values, "last_message_at": datetime.fromisoformat(at) if at else None})

    def words(self) -> str:
        """`3 users, 9 chats, 58 messages, the last at 2026-11-22 21:36 UTC`."""
        counts = ", ".join(
            counted(count, thing)
            for count, thing in ((self.users, "user"), (self.chats, "chat"), (self.messages, "message"))
        )
        at = self.last_message_at
        return f"{counts}, the last at {at:%Y-%m-%d %H:%M:%S} UTC" if at else counts


def about(db: Path, version: str | None = None) -> About:
    """Count what is in the copy `db`. Raises `Failed` for what is no database of open-webui."""
    with opened(db) as base:
        tables = [str(row[0]) for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        # Names come from the database itself, and are quoted.
        rows = {table: int(base.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]) for table in sorted(tables)}  # noqa: S608
        revision = (
            base.execute("SELECT version_num FROM alembic_version").fetchone() if "alembic_version" in rows else None
        )
        last = (
            base.execute("SELECT max(created_at) FROM chat_message").fetchone()[0] if "chat_message" in rows else None
        )
        return About(
            version=version,
            alembic=str(revision[0]) if revision else None,
            rows=rows,
            users=rows["user"],
            chats=rows["chat"],
            messages=rows.get("chat_message", 0),
            last_message_at=moment(last),
        )


def in_backup(files: Path) -> About:
    """The same for the database below a backup's `files/`, with the version that lies beside it. Raises `Failed`."""
    return about(files / DATABASE, version_in(files))


def version_in(files: Path) -> str | None:
    """The open-webui that had the database of a backup last; None when the backup does not tell."""
    try:
        return str(json.loads((files / VERSION).read_text(encoding="utf-8"))["open_webui"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def missing_uploads(files: Path) -> tuple[str, ...]:
    """Names of files that people gave, of which a backup's database knows and that are not in it. Raises `Failed`."""
    with opened(files / DATABASE) as base:
        rows = base.execute("SELECT filename, path FROM file WHERE path IS NOT NULL ORDER BY created_at").fetchall()
    uploads = files / UPLOADS
    # Other storage than a disk has addresses such as s3://bucket/name.
    local = [(str(name), PurePosixPath(str(path)).name) for name, path in rows if str(path).startswith("/")]
    return tuple(name for name, stored in local if not (uploads / stored).is_file())


def kept_with(place: Path) -> About | None:
    """What the backup at `place` says of the web UI in it; None when it has none, or cannot be read."""
    try:
        return About.from_dict(json.loads((place / ABOUT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def moment(stamp: float | None) -> datetime | None:
    """A time of open-webui's tables, in UTC."""
    if not stamp:
        return None
    for above, parts in _FINER:
        if stamp > above:
            return datetime.fromtimestamp(stamp / parts, UTC)
    return datetime.fromtimestamp(stamp, UTC)


@contextlib.contextmanager
def opened(db: Path) -> Iterator[sqlite3.Connection]:
    """The copy `db` for reading; nothing is written beside it. Raises `Failed` for whatever SQLite cannot read."""
    # Not looked at for a log or a lock: it says that it has a log, and its copy was made without.
    address = f"file:{quote(str(db.absolute()))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as base:
            yield base
    except (sqlite3.Error, LookupError) as error:
        raise Failed(
            f"`{db.name}` cannot be read as the database of a web UI: {error}",
            where=str(db),
            hint=f"`sqlite3 {db} 'PRAGMA integrity_check'` looks at it; an older backup may be whole",
        ) from error
