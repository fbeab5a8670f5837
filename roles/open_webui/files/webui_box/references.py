"""Which uploaded files a chat refers to. Pure."""

from __future__ import annotations

import re
from typing import Any

# A picture is named by its address: `/api/v1/files/<id>/content`, or by its id alone.
_ADDRESS = re.compile(r"(?:^|/files/)([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:/|$)")
_KINDS = frozenset({"file", "image", "audio", "video"})


def found_in(chat: dict[str, Any], messages: list[dict[str, Any]]) -> dict[str, str | None]:
    """Ids of files, each with the name that the chat has for it, in the order in which they are named.

    Collections, notes, web pages and pictures that lie in the chat itself are no uploaded files.
    """
    found: dict[str, str | None] = {}
    for entry in [*_entries(chat), *(entry for message in messages for entry in _entries(message))]:
        if (file_id := id_of(entry)) is not None:
            found[file_id] = found.get(file_id) or _name(entry)
    return found


def id_of(entry: dict[str, Any]) -> str | None:
    """The id of the uploaded file that one entry of `files` stands for."""
    if entry.get("type") not in _KINDS:
        return None
    inner = entry.get("file")
    for value in (entry.get("id"), inner.get("id") if isinstance(inner, dict) else None, entry.get("url")):
        if isinstance(value, str) and (match := _ADDRESS.search(value)):
            return match[1]
    return None


def _entries(holder: dict[str, Any]) -> list[dict[str, Any]]:
    files = holder.get("files")
    return [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []


def _name(entry: dict[str, Any]) -> str | None:
    inner = entry.get("file")
    names = (entry.get("name"), inner.get("filename") if isinstance(inner, dict) else None)
    return next((name for name in names if isinstance(name, str) and name), None)
