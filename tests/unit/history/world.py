"""A web UI's place as open-webui 0.12 leaves it, and a backup of it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

from gpubox import backups

if TYPE_CHECKING:
    from pathlib import Path

ROOT = "/root/autodl-tmp/gpubox"
IMAGE = "0b0a3f52-9c5e-4b6a-8a34-2f1f3f7d9c11"
LOST = "1c1a3f52-9c5e-4b6a-8a34-2f1f3f7d9c22"
USERS = [{"id": "u1", "email": "me@example.com", "name": "我", "role": "admin"},
        {"id": "u2", "email": "other@example.com", "name": "Other", "role": "user"}]  # fmt: skip

_TABLES = """
CREATE TABLE user (id TEXT PRIMARY KEY, email TEXT, name TEXT, role TEXT, created_at INTEGER);
CREATE TABLE chat (id TEXT PRIMARY KEY, user_id TEXT, title TEXT, chat JSON, created_at INTEGER, updated_at INTEGER,
  archived BOOLEAN, pinned BOOLEAN, meta JSON, folder_id TEXT, current_message_id TEXT);
CREATE TABLE chat_message (id TEXT PRIMARY KEY, chat_id TEXT, role TEXT, parent_id TEXT, content JSON, model_id TEXT,
  created_at INTEGER);
CREATE TABLE chat_file (id TEXT, chat_id TEXT, message_id TEXT, file_id TEXT);
CREATE TABLE file (id TEXT PRIMARY KEY, filename TEXT, path TEXT);
CREATE TABLE auth (id TEXT PRIMARY KEY, session_stamp TEXT);
CREATE TABLE folder (id TEXT PRIMARY KEY, name TEXT);
CREATE TABLE alembic_version (version_num TEXT);
INSERT INTO alembic_version VALUES ('0bd252b206fb');
INSERT INTO folder VALUES ('f1', '工作');
"""


def tree(*turns: tuple[str, str | None, str, str], at: int = 1_795_000_000) -> dict[str, Any]:
    """Messages from (id, parent, role, text), ten seconds apart; the last is the current one."""
    messages: dict[str, dict[str, Any]] = {
        key: {"id": key, "parentId": parent, "childrenIds": [], "role": role, "content": text, "timestamp": at + 10 * n}
        | ({"model": "small-gpt"} if role == "assistant" else {})
        for n, (key, parent, role, text) in enumerate(turns)
    }
    for key, parent, _, _ in turns:
        if parent:
            messages[parent]["childrenIds"].append(key)
    return {"history": {"messages": messages, "currentId": turns[-1][0]}, "models": ["small-gpt"]}


class World:
    """The place `directory`/open-webui, with two users and no chats."""

    def __init__(self, directory: Path) -> None:
        self.place = directory / "open-webui"
        (self.place / "data/uploads").mkdir(parents=True)
        self.database = sqlite3.connect(self.place / "data/webui.db", isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.executescript(_TABLES)
        for number, user in enumerate(USERS):
            self.database.execute("INSERT INTO user VALUES (?, ?, ?, ?, ?)", (*user.values(), number))
            self.database.execute("INSERT INTO auth VALUES (?, ?)", (user["id"], f"stamp-of-{user['id']}"))
        (self.place / "version.json").write_text('{"open_webui": "0.12.4"}')
        (self.place / "secret-key").write_text("hunter2\n")

    def chat(self, key: str, title: str, stored: dict[str, Any], **columns: object) -> None:
        """Store a chat."""
        values: dict[str, object] = {
            "id": key,
            "user_id": "u1",
            "title": title,
            "chat": json.dumps({"title": title, **stored}),
            "created_at": 1_795_000_000,
            "updated_at": 1_795_000_100,
            "archived": 0,
            "pinned": 0,
            "meta": "{}",
            **columns,
        }
        marks = ", ".join("?" * len(values))
        self.database.execute(f"INSERT INTO chat ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))

    def upload(self, key: str, name: str, data: bytes | None) -> None:
        """A file that somebody gave; without `data` only its row is there."""
        stored = f"{key}_{name}"
        self.database.execute(
            "INSERT INTO file VALUES (?, ?, ?)", (key, name, f"/elsewhere/open-webui/data/uploads/{stored}")
        )
        if data is not None:
            (self.place / "data/uploads" / stored).write_bytes(data)

    def backup(self, to: Path) -> Path:
        """A backup's directory as `gpubox backup` makes it."""
        place = to / "mybox" / "20261122T093000Z"
        target = place / backups.FILES / "open-webui"
        (target / "data/uploads").mkdir(parents=True)
        copy = sqlite3.connect(target / "data/webui.db")
        self.database.backup(copy)
        copy.close()
        for file in (self.place / "data/uploads").iterdir():
            (target / "data/uploads" / file.name).write_bytes(file.read_bytes())
        saved = []
        for file in sorted(path for path in (place / backups.FILES).rglob("*") if path.is_file()):
            file.chmod(0o400)
            data, path = file.read_bytes(), str(file.relative_to(place / backups.FILES))
            sha256 = hashlib.sha256(data).hexdigest()
            where = f"{ROOT}/{path}"
            saved.append(backups.Saved(path, where, len(data), sha256, 0, 0o600, 0, 0, "declared", "open-webui", None))
        manifest = backups.Manifest(
            name="mybox",
            made_at="2026-11-22T09:30:00+00:00",
            root=ROOT,
            data_dir="/root/autodl-tmp",
            home="/root",
            files=tuple(saved),
            missing=(),
            notes=(),
        )
        backups.write(place, manifest)
        return place
