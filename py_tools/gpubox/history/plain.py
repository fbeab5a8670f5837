"""A chat as open-webui stores it, told plainly: `gpubox-chat`, version 1 (docs/history.md). Pure."""

from __future__ import annotations

import re
from typing import Any

from gpubox.errors import Failed
from gpubox.history.about import moment

FORMAT, VERSION = "gpubox-chat", 1
# Chats that were brought in carry where they came from.
STAMP = "gpubox"
_ADDRESS = re.compile(r"(?:^|/files/)([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:/|$)")


def chat(record: dict[str, Any], users: dict[str, dict[str, Any]], files: list[dict[str, Any]]) -> dict[str, Any]:
    """The plain form of one `chat` record of `webui_box`; `files`: what is known of the files it refers to.

    `messages` is the branch that the web UI shows, `other_messages` all that lies beside it, `open_webui` the whole as
    it is stored: from this it can be brought back. Raises `Failed` for what is no chat.
    """
    row = record["row"]
    try:
        stored = _dict(row["chat"])
        history = _dict(stored.get("history"))
        tree = {key: value for key, value in _dict(history.get("messages")).items() if isinstance(value, dict)}
        tree = tree or _listed(stored) or _dict(row.get("messages"))
        branch = active(tree, history.get("currentId") or row.get("current_message_id"))
        user = users.get(str(row["user_id"]), {})
        told = [message(key, tree[key]) for key in branch]
        beside = [message(key, value) for key, value in tree.items() if key not in set(branch)]
        meta = _dict(row.get("meta"))
        return {
            "format": FORMAT,
            "version": VERSION,
            "id": str(row["id"]),
            "origin": str(_dict(meta.get(STAMP)).get("origin") or f"open-webui:{row['id']}"),
            "title": str(row.get("title") or stored.get("title") or ""),
            "user": {key: user.get(key) for key in ("email", "name")},
            "created_at": when(row.get("created_at")),
            "updated_at": when(row.get("updated_at")),
            "archived": bool(row.get("archived")),
            "pinned": bool(row.get("pinned")),
            "folder": record.get("folder"),
            "tags": [str(tag) for tag in meta.get("tags") or []],
            "models": models(stored, told),
            "system_prompt": _dict(stored.get("params")).get("system") or stored.get("system") or None,
            "messages": told,
            "other_messages": beside,
            "files": files,
            "open_webui": row,
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed(f"the chat `{row.get('title')}` ({row.get('id')}) cannot be read: {error!r}") from error


def active(tree: dict[str, Any], current: str | None) -> list[str]:
    """Ids of the messages from the first to `current`; to the last leaf when that is not there."""
    if current not in tree:
        parents = {value.get("parentId") for value in tree.values()}
        leaves = [key for key in tree if key not in parents]
        current = max(leaves, key=lambda key: tree[key].get("timestamp") or 0, default=None)
    branch: list[str] = []
    seen: set[str] = set()
    while current in tree and current not in seen:
        branch.append(str(current))
        seen.add(str(current))
        current = tree[str(current)].get("parentId")
    return branch[::-1]


def message(key: str, stored: dict[str, Any]) -> dict[str, Any]:
    """One message, plainly; what is empty is left out."""
    told = {
        "id": key,
        "parent": stored.get("parentId"),
        "role": str(stored.get("role") or "assistant"),
        "time": when(stored.get("timestamp")),
        "model": stored.get("model") or None,
        "text": text(stored),
        "files": [name for entry in _entries(stored) if (name := _file(entry))] or None,
        "error": _error(stored.get("error")),
    }
    return {name: value for name, value in told.items() if value is not None or name in {"parent", "time"}}


def text(stored: dict[str, Any]) -> str:
    """What it says: its content, or the texts of its parts."""
    content = stored.get("content")
    if isinstance(content, str) and content:
        return content
    parts = content if isinstance(content, list) else _output(stored.get("output"))
    return "\n\n".join(found for part in parts if (found := _part(part)))


def when(stamp: object) -> str | None:
    """A time of open-webui as ISO 8601 in UTC."""
    if not isinstance(stamp, int | float) or isinstance(stamp, bool):
        return None
    try:
        at = moment(stamp)
    except (OverflowError, OSError, ValueError):
        return None
    return at.isoformat().replace("+00:00", "Z") if at else None


def models(stored: dict[str, Any], told: list[dict[str, Any]]) -> list[str]:
    """The models that answered; those that were chosen while none has."""
    answered = [str(each["model"]) for each in told if each.get("model") and each["role"] == "assistant"]
    chosen = stored.get("models")
    return list(dict.fromkeys(answered or [str(each) for each in (chosen if isinstance(chosen, list) else []) if each]))


def _listed(stored: dict[str, Any]) -> dict[str, Any]:
    """Messages of an old chat, which has a list of them and no tree."""
    found: dict[str, Any] = {}
    last: str | None = None
    listed = stored.get("messages")
    for number, each in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(each, dict):
            key = str(each.get("id") or number)
            found[key] = {**each, "parentId": each.get("parentId") or last}
            last = key
    return found


def _part(part: object) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    if isinstance(part.get("text"), str):
        return str(part["text"])
    if part.get("type") in {"image_url", "input_image"}:
        return "[image]"
    return ""


def _output(output: object) -> list[object]:
    """Parts of an answer that is stored as a list of items."""
    found: list[object] = []
    for item in output if isinstance(output, list) else []:
        if isinstance(item, dict) and item.get("type") == "message" and isinstance(item.get("content"), list):
            found += item["content"]
    return found


def _error(error: object) -> str | None:
    if isinstance(error, dict):
        return str(error.get("content") or error.get("message") or error)
    return str(error) if error and error is not True else None


def _file(entry: dict[str, Any]) -> str | None:
    """The id of an uploaded file, else what stands for it: an address, or that it lies in the chat itself."""
    inner = _dict(entry.get("file"))
    url = entry.get("url")
    for value in (entry.get("id"), inner.get("id"), url):
        if isinstance(value, str) and (match := _ADDRESS.search(value)):
            return match[1]
    if isinstance(url, str) and url.startswith("data:"):
        return f"{url[5:40].partition(';')[0]}, in `open_webui`"
    found = entry.get("name") or url
    return str(found) if found else None


def _entries(stored: dict[str, Any]) -> list[dict[str, Any]]:
    files = stored.get("files")
    return [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
