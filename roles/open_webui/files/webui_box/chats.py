"""Every chat of a web UI as records (see `records.py`): first `head`, then users' chats, files, and `end`.

Reads the database and the uploads only, so it works while open-webui runs, while it is stopped, and on a backup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webui_box import references
from webui_box.database import opened
from webui_box.errors import Trouble
from webui_box.records import lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Columns of `chat` that hold JSON.
_JSON = ("chat", "meta", "variables", "tasks")
_PIECE = 45_000


@dataclass(frozen=True)
class Wanted:
    """What is asked for: the place of a web UI, of one user only, and whether it lies still (a backup)."""

    place: Path
    email: str | None = None
    still: bool = False


def wanted(place: Path, options: list[str]) -> Wanted:
    """What the command line asks for. Raises `Trouble`."""
    email, still = None, False
    rest = list(options)
    while rest:
        match rest:
            case ["--user", value, *rest]:
                email = value
            case ["--still", *rest]:
                still = True
            case _:
                raise Trouble(f"`chats` knows no `{rest[0]}`")
    return Wanted(place, email, still)


def write(asked: Wanted) -> None:
    """Write the records to stdout. Raises `Trouble`."""

    def say(record: dict[str, Any]) -> None:
        sys.stdout.writelines(lines(record))

    def alive(left: int, total: int) -> None:
        say({"type": "copying", "left": left, "total": total})
        sys.stdout.flush()

    with opened(asked.place / "data" / "webui.db", still=asked.still, on_page=alive) as database:
        for record in records(asked, database):
            say(record)
    sys.stdout.flush()


def records(asked: Wanted, database: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """Everything, in this order. Raises `Trouble` for a user who is not there."""
    users = {str(row["id"]): _user(row) for row in database.execute("SELECT * FROM user ORDER BY created_at, id")}
    only = _only(users, asked.email)
    condition, values = ("WHERE user_id = ?", (only,)) if only else ("", ())
    (count,) = database.execute(f"SELECT count(*) FROM chat {condition}", values).fetchone()  # noqa: S608 - our words
    folders = {str(row["id"]): str(row["name"]) for row in _rows(database, "folder")}
    shown = [user for key, user in users.items() if only in {None, key}]
    yield {"type": "head", **versions(asked.place, database), "users": shown, "chats": count}
    named: dict[str, dict[str, Any]] = {}
    # By id first: a list of many long chats is never held.
    query = f"SELECT id FROM chat {condition} ORDER BY created_at, id"  # noqa: S608
    for (key,) in database.execute(query, values).fetchall():
        yield _chat(asked.place, database, str(key), folders, named)
    for about in named.values():
        yield from _file(about)
    yield {"type": "end", "chats": count, "files": len(named)}


def versions(place: Path, database: sqlite3.Connection) -> dict[str, Any]:
    """Which open-webui wrote this, as far as it is known."""
    alembic = next(iter(_rows(database, "alembic_version")), None)
    try:
        version = json.loads((place / "version.json").read_text(encoding="utf-8")).get("open_webui")
    except (OSError, ValueError, AttributeError):
        version = None
    return {"open_webui": version, "alembic": alembic["version_num"] if alembic else None}


def _user(row: sqlite3.Row) -> dict[str, Any]:
    return {key: row[key] for key in ("id", "email", "name", "role")}


def _only(users: dict[str, dict[str, Any]], email: str | None) -> str | None:
    if email is None:
        return None
    for key, user in users.items():
        if str(user["email"]).lower() == email.lower():
            return key
    known = ", ".join(f"`{user['email']}`" for user in users.values()) or "nobody"
    raise Trouble(f"no user has the e-mail `{email}`; there is {known}")


def _chat(
    place: Path, database: sqlite3.Connection, key: str, folders: dict[str, str], named: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    row: dict[str, Any] = dict(database.execute("SELECT * FROM chat WHERE id = ?", (key,)).fetchone())
    try:
        for column in _JSON:
            if isinstance(row.get(column), str):
                row[column] = json.loads(row[column])
        messages = ((row["chat"] or {}).get("history") or {}).get("messages") or {}
        if not messages:
            row["messages"] = _message_rows(database, key)
        found = references.found_in(row["chat"], [*messages.values(), *row.get("messages", {}).values()])
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return {"type": "broken", "id": key, "title": row.get("title"), "why": f"{type(error).__name__}: {error}"}
    for (file_id,) in _pairs(database, "SELECT file_id FROM chat_file WHERE chat_id = ?", key):
        found.setdefault(str(file_id), None)
    files = []
    for file_id, name in found.items():
        if file_id not in named:
            named[file_id] = _about(place, database, file_id, name)
        named[file_id]["chats"].append(key)
        files.append({field: named[file_id][field] for field in ("id", "name", "missing")})
    return {"type": "chat", "row": row, "folder": folders.get(str(row.get("folder_id"))), "files": files}


def _about(place: Path, database: sqlite3.Connection, file_id: str, name: str | None) -> dict[str, Any]:
    """A file that a chat refers to; `missing` says why it cannot be had."""
    row = next(iter(_pairs(database, "SELECT filename, path FROM file WHERE id = ?", file_id)), None)
    source = _source(place, row)
    why = None
    if source is None:
        why = "its bytes are not there" if row else "open-webui does not know it any more"
    return {
        "id": file_id,
        "name": (row["filename"] if row else None) or name,
        "missing": why,
        "source": source,
        "chats": [],
    }


def _message_rows(database: sqlite3.Connection, chat: str) -> dict[str, Any]:
    """Messages that are in their own table only, in the form of a chat's history."""
    found: dict[str, Any] = {}
    for row in _pairs(database, "SELECT * FROM chat_message WHERE chat_id = ? ORDER BY created_at, id", chat):
        values = {key: row[key] for key in row.keys() if row[key] is not None}  # noqa: SIM118 - a row is no mapping
        for column in ("content", "output", "files", "sources", "meta", "error", "usage"):
            if isinstance(values.get(column), str):
                values[column] = json.loads(values[column])
        key = str(values["id"]).removeprefix(f"{chat}-")
        found[key] = {
            **values,
            "id": key,
            "parentId": values.get("parent_id"),
            "model": values.get("model_id"),
            "timestamp": values.get("created_at"),
        }
    return found


def _file(about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The bytes of one file; only who it was for when there are none."""
    source = about.pop("source")
    try:
        file = source.open("rb") if source else None
    except OSError as error:
        file, about["missing"] = None, error.strerror
    yield {"type": "file", **about}
    if file is None:
        return
    digest = hashlib.sha256()
    with file:
        while data := file.read(_PIECE):
            digest.update(data)
            yield {"type": "bytes", "data": base64.b64encode(data).decode("ascii")}
    yield {"type": "file-end", "sha256": digest.hexdigest()}


def _source(place: Path, row: sqlite3.Row | None) -> Path | None:
    """Where a file's bytes are: below the uploads, whatever absolute path another box has written down."""
    if row is None or not row["path"]:
        return None
    source = place / "data" / "uploads" / Path(str(row["path"])).name
    return source if source.is_file() else None


def _rows(database: sqlite3.Connection, table: str) -> list[sqlite3.Row]:
    """All rows of a small table; none when this open-webui has no such table."""
    return _absent(lambda: database.execute(f"SELECT * FROM {table}").fetchall())  # noqa: S608 - our words


def _pairs(database: sqlite3.Connection, query: str, value: str) -> list[sqlite3.Row]:
    return _absent(lambda: database.execute(query, (value,)).fetchall())


def _absent(ask: Callable[[], list[sqlite3.Row]]) -> list[sqlite3.Row]:
    try:
        return ask()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
