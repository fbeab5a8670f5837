"""What `gpubox history import` can read: our own export, and ChatGPT's."""

from __future__ import annotations

import io
import json
import re
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gpubox.errors import UsageError
from gpubox.history import chatgpt, plain
from gpubox.history.folder import FORMAT, INDEX, VERSION
from gpubox.history.streams import elements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# One file, or, since about February 2026, numbered parts; sometimes in a folder of the archive.
_TALKS = re.compile(r"(?:[^/]*/)?conversations(?:-\d+)?\.json")
_HINT = "name a directory of `gpubox history export`, ChatGPT's zip file, or a `conversations.json` out of it"


@dataclass(frozen=True)
class Incoming:
    """A chat to bring in. `email`: whose it was; None when that is nobody of a web UI. `files`: given with it."""

    title: str
    origin: str
    email: str | None
    form: dict[str, Any]
    files: int = 0

    @property
    def empty(self) -> bool:
        """Whether nobody ever said a word."""
        return not self.form["chat"].get("history", {}).get("messages")


@dataclass
class Source:
    """A file or directory as a source of chats. `kind` names it for a person."""

    kind: str
    chats: Iterator[Incoming] = field(repr=False)
    total: int | None = None


def open_source(place: Path) -> Source:
    """Find out what `place` is. Its chats raise `UsageError` naming the one that is malformed."""
    if not place.exists():
        raise UsageError(f"there is no `{place}`", where=str(place), hint=_HINT)
    if place.is_dir():
        if (place / INDEX).is_file():
            index = _index(place)
            return Source("an export of gpubox", _own(place, index), len(index["chats"]))
        names = sorted(each.name for each in place.iterdir() if _TALKS.fullmatch(each.name))
        if names:
            return Source("an export of ChatGPT", _talks([(name, place / name) for name in names]))
        raise UsageError(f"`{place}` holds no chats that we know", where=str(place), hint=_HINT)
    if zipfile.is_zipfile(place):
        return Source("an export of ChatGPT", _zipped(place))
    return _one_file(place)


def _one_file(place: Path) -> Source:
    if place.name == INDEX:
        return open_source(place.parent)
    with _text(place) as file:
        start = file.read(1000).lstrip("\ufeff \t\r\n")
    if start.startswith("["):
        return Source("an export of ChatGPT", _talks([(place.name, place)]))
    data = _read(place)
    if isinstance(data, dict) and data.get("format") == plain.FORMAT:
        return Source("a chat of a gpubox export", iter([_chat(place, data)]), 1)
    if isinstance(data, dict) and "mapping" in data:
        return Source("a conversation of ChatGPT", iter([_talk(place.name, 1, data)]), 1)
    raise UsageError(f"`{place}` holds no chats that we know", where=str(place), hint=_HINT)


def _index(place: Path) -> dict[str, Any]:
    index = _read(place / INDEX)
    if not isinstance(index, dict) or index.get("format") != FORMAT or not isinstance(index.get("chats"), list):
        raise UsageError(f"`{place / INDEX}` is no index of an export", where=str(place), hint=_HINT)
    if index.get("version") != VERSION:
        raise UsageError(f"`{place}` was made by another gpubox", hint="pip install --upgrade gpubox")
    return index


def _own(place: Path, index: dict[str, Any]) -> Iterator[Incoming]:
    for entry in index["chats"]:
        name = entry.get("json") if isinstance(entry, dict) else None
        if not isinstance(name, str) or ".." in name.split("/") or name.startswith("/"):
            raise UsageError(f"the index names no file for {entry!r:.100}", where=str(place / INDEX))
        yield _chat(place / name, _read(place / name))


def _chat(file: Path, data: Any) -> Incoming:  # noqa: ANN401 - JSON is what it is
    """A chat in our own form: what open-webui had stored, as it takes it in."""
    title = data.get("title") if isinstance(data, dict) else None
    try:
        if data["format"] != plain.FORMAT or data["version"] != plain.VERSION:
            raise UsageError(f"`{file}` was made by another gpubox", hint="pip install --upgrade gpubox")
        row = data["open_webui"]
        chat = {**row["chat"]}
        if isinstance(row.get("messages"), dict) and row["messages"]:
            history = {"messages": row["messages"], "currentId": row.get("current_message_id")}
            chat |= {"history": history}
        form = {
            "chat": chat,
            "meta": dict(row.get("meta") or {}),
            "variables": row.get("variables") or None,
            "archived": bool(row.get("archived")),
            "pinned": bool(row.get("pinned")),
            "created_at": row.get("created_at"),
            "updated_at": row.get("updated_at"),
            "current_message_id": row.get("current_message_id"),
        }
        form["chat"].setdefault("title", data["title"])
        return Incoming(data["title"], data["origin"], data["user"].get("email"), form, len(data["files"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the chat `{title}` is not as an export has it: {error!r}", where=str(file)) from error


def _talks(parts: list[tuple[str, Path]]) -> Iterator[Incoming]:
    for name, path in parts:
        with _text(path) as file:
            yield from _array(name, file)


def _zipped(place: Path) -> Iterator[Incoming]:
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(place))
            names = sorted(name for name in archive.namelist() if _TALKS.fullmatch(name))
            if not names:
                raise UsageError(
                    f"`{place}` has no `conversations.json` in it: it is no export of ChatGPT",
                    where=str(place),
                    hint=_HINT,
                )
            for name in names:
                with archive.open(name) as data:
                    yield from _array(name, io.TextIOWrapper(data, encoding="utf-8"))
        except (zipfile.BadZipFile, EOFError, OSError) as error:
            raise UsageError(f"`{place}` is damaged: {error}", where=str(place), hint="download it again") from error


def _array(name: str, file: io.TextIOWrapper) -> Iterator[Incoming]:
    count = 0
    try:
        for talk in elements(file):
            count += 1
            yield _talk(name, count, talk)
    # Of text that is no UTF-8, too.
    except ValueError as error:
        raise UsageError(
            f"`{name}` cannot be read after its conversation {count}: {error}", where=name, hint="download it again"
        ) from error


def _talk(name: str, number: int, talk: Any) -> Incoming:  # noqa: ANN401 - JSON is what it is
    title = talk.get("title") if isinstance(talk, dict) else None
    try:
        origin, form = chatgpt.converted(talk)
    except chatgpt.Malformed as error:
        raise UsageError(
            f"conversation {number} of `{name}` (`{title or 'without a title'}`) is malformed: {error}", where=name
        ) from error
    return Incoming(form["chat"]["title"], origin, None, form)


def _read(path: Path) -> Any:  # noqa: ANN401 - JSON is what it is
    try:
        with _text(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"`{path}` cannot be read: {error}", where=str(path), hint=_HINT) from error


def _text(path: Path) -> io.TextIOWrapper:
    return path.open(encoding="utf-8")
