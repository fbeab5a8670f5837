"""An export under way: a directory with a hidden name, which gets its own when everything is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from gpubox.errors import Failed
from gpubox.history import plain
from gpubox.history.markdown import markdown
from gpubox.history.names import Taken, safe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

FORMAT, VERSION, INDEX = "gpubox-history", 1, "index.json"
CHATS, FILES = "chats", "files"


@dataclass
class Folder:
    """What `webui_box chats` writes, record by record, as files below `place`, which is there when all of it is.

    As a context: what was begun and not finished is removed. Raises `Failed` and `OSError`.
    """

    below: Path
    name: str
    source: dict[str, Any]
    on_chat: Callable[[int, int], None] = lambda _done, _all: None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        stem = f"{self.name}-{self.at:%Y%m%dT%H%M%SZ}"
        self.below.mkdir(parents=True, exist_ok=True, mode=0o700)
        count, self.place = 1, self.below / stem
        while self.place.exists() or self._partial.exists():
            count += 1
            self.place = self.below / f"{stem}-{count}"
        self.chats: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []
        self.broken: list[str] = []
        self.messages = 0
        self._head: dict[str, Any] = {}
        self._names = Taken()
        self._file_names: dict[str, str] = {}
        self._writing: _File | None = None
        self._ended = False

    @property
    def _partial(self) -> Path:
        return self.place.with_name(f".{self.place.name}.partial")

    def __enter__(self) -> Folder:
        for directory in (self._partial, self._partial / CHATS, self._partial / FILES):
            directory.mkdir(mode=0o700)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writing is not None:
            self._writing.file.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    def take(self, record: dict[str, Any]) -> None:
        """Write one record down."""
        match record["type"]:
            case "head":
                self._head = record
            case "chat":
                self._chat(record)
            case "broken":
                self.broken.append(f"{record['title'] or record['id']}: {record['why']}")
            case "file":
                self._begin(record)
            case "bytes":
                assert self._writing is not None
                self._writing.add(base64.b64decode(record["data"]))
            case "file-end":
                assert self._writing is not None
                self.files[-1] |= self._writing.end(record["sha256"])
                self._writing = None
            case "end":
                self._ended = True
        if record["type"] in {"chat", "broken"}:
            self.on_chat(len(self.chats) + len(self.broken), int(self._head.get("chats", 0)))

    def finish(self) -> Path:
        """Write the index and give the directory its name. Raises `Failed` when something did not come."""
        if not self._ended:
            raise Failed("the list of chats ended in the middle", where=self.name)
        about = {key: self._head.get(key) for key in ("open_webui", "alembic", "users")}
        head = {"format": FORMAT, "version": VERSION, "name": self.name, "exported_at": plain.when(self.at.timestamp())}
        counts = {"messages": self.messages, "broken": self.broken}
        index = {**head, "source": self.source, **about, **counts, "chats": self.chats, "files": self.files}
        _write(self._partial / INDEX, encoded(index))
        if not self.files:
            (self._partial / FILES).rmdir()
        self._partial.rename(self.place)
        return self.place

    def _chat(self, record: dict[str, Any]) -> None:
        users = {str(user["id"]): user for user in self._head.get("users", [])}
        chat = plain.chat(record, users, [self._named(each) for each in record["files"]])
        date = (chat["created_at"] or "undated")[:10]
        stem = self._names.free(f"{date} {safe(chat['title'])} {safe(chat['id'][:8], otherwise='chat')}")
        links = {each["id"]: f"../{each['file']}" for each in chat["files"] if each["file"]}
        _write(self._partial / CHATS / f"{stem}.json", encoded(chat))
        _write(self._partial / CHATS / f"{stem}.md", markdown(chat, links).encode(errors="replace"))
        keys = ("id", "origin", "title", "created_at", "updated_at")
        count = len(chat["messages"]) + len(chat["other_messages"])
        self.messages += count
        self.chats.append(
            {key: chat[key] for key in keys}
            | {"user": chat["user"]["email"], "messages": count, "json": f"{CHATS}/{stem}.json"}
            | {"markdown": f"{CHATS}/{stem}.md"}
        )

    def _named(self, about: dict[str, Any]) -> dict[str, Any]:
        """Where a file will lie, told before its bytes come."""
        if about["id"] not in self._file_names:
            name = safe(str(about["name"] or "file"))
            stem, dot, ending = name.rpartition(".")
            named = (stem, f"{dot}{ending}") if stem else (name, "")
            self._file_names[about["id"]] = self._names.free(f"{safe(about['id'][:8])} {named[0]}", named[1])
        file = None if about["missing"] else f"{FILES}/{self._file_names[about['id']]}"
        return {"id": about["id"], "name": about["name"], "file": file, "missing": about["missing"]}

    def _begin(self, record: dict[str, Any]) -> None:
        known = self._named(record)
        self.files.append({**known, "size": None, "sha256": None, "chats": record["chats"]})
        if known["file"]:
            self._writing = _File.at(self._partial / known["file"])


@dataclass
class _File:
    file: BinaryIO
    size: int = 0

    @classmethod
    def at(cls, path: Path) -> _File:
        return cls(open(path, "xb", opener=_private))

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, data: bytes) -> None:
        self.file.write(data)
        self._digest.update(data)
        self.size += len(data)

    def end(self, sha256: str) -> dict[str, Any]:
        self.file.close()
        if self._digest.hexdigest() != sha256:
            raise Failed(f"`{self.file.name}` did not come as it is there")
        return {"size": self.size, "sha256": sha256}


def encoded(data: object) -> bytes:
    """JSON as people read it, in UTF-8; half characters, which UTF-8 has none of, stay as escapes."""
    try:
        return (json.dumps(data, ensure_ascii=False, indent=1) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(data, indent=1) + "\n").encode()


def _write(path: Path, data: bytes) -> None:
    with open(path, "xb", opener=_private) as file:
        file.write(data)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
