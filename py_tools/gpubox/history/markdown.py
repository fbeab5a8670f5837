"""A plain chat as Markdown: front matter, then every message under a line that says whose it is. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ROLES = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool"}


def markdown(chat: dict[str, Any], links: dict[str, str]) -> str:
    """The branch that the web UI shows. `links`: address of a file, relative to where this text will lie, by its id."""
    return "\n".join([*_front(chat), "", *_body(chat, links)]) + "\n"


def _front(chat: dict[str, Any]) -> Iterator[str]:
    """YAML; a JSON string is one of its strings, whatever is in it."""
    yield "---"
    for key, value in (
        ("title", chat["title"]),
        ("models", chat["models"]),
        ("user", chat["user"]["email"]),
        ("created", chat["created_at"]),
        ("updated", chat["updated_at"]),
        ("tags", chat["tags"] or None),
        ("folder", chat["folder"]),
        ("id", chat["id"]),
    ):
        if value is not None:
            yield f"{key}: {json.dumps(value, ensure_ascii=False)}"
    yield "---"


def _body(chat: dict[str, Any], links: dict[str, str]) -> Iterator[str]:
    yield f"# {_line(chat['title']) or 'Untitled'}"
    if chat["system_prompt"]:
        yield from ("", "## System", "", closed(str(chat["system_prompt"])))
    named = {each["id"]: each.get("name") or each["id"] for each in chat["files"]}
    for message in chat["messages"]:
        who = _ROLES.get(message["role"], message["role"])
        model = f" · {message['model']}" if message.get("model") else ""
        time = f" · {message['time']}" if message["time"] else ""
        yield from ("", f"## {who}{model}{time}", "", closed(message["text"]))
        for entry in message.get("files", []):
            name = _line(str(named.get(entry, entry)))
            yield from ("", f"[{name}](<{links[entry]}>)" if entry in links else f"(file: {name})")
        if message.get("error"):
            yield from ("", f"(error: {_line(message['error'])})")
    if beside := len(chat["other_messages"]):
        count = "1 message" if beside == 1 else f"{beside} messages"
        yield from ("", f"*{count} of other branches: see the JSON file of this chat.*")


def closed(text: str) -> str:
    """`text` with a block of code closed that is still open at its end: it would take in all that follows."""
    fence = ""
    for line in text.splitlines():
        if (match := _FENCE.fullmatch(line)) is None:
            continue
        marks, rest = match[1], match[2].strip()
        if not fence:
            # In its first line a block of backticks names a language, and no backticks.
            fence = marks if marks[0] == "~" or "`" not in rest else ""
        elif marks[0] == fence[0] and len(marks) >= len(fence) and not rest:
            fence = ""
    return f"{text}\n{fence}" if fence else text


def _line(text: str) -> str:
    return " ".join(text.split())
