"""What one message of ChatGPT's export says, as Markdown. Pure.

There is no published schema; the kinds of content here are those that public parsers of real exports know.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# References into search results, between characters of Unicode's private use area: only ChatGPT can follow them.
_REFERENCE = re.compile("\ue200[^\ue201]*\ue201|[\ue200-\ue206]")


def said(message: dict[str, Any]) -> str:
    """Its text; empty for what is meant for nobody to see."""
    content = message.get("content")
    if not isinstance(content, dict):
        return ""
    kind = str(content.get("content_type") or "text")
    text = _REFERENCE.sub("", _by_kind(kind, content)).strip("\n")
    role = _dict(message.get("author")).get("role")
    recipient = message.get("recipient") or "all"
    if text and role == "tool":
        return _details(str(_dict(message.get("author")).get("name") or "tool"), text)
    if text and role == "assistant" and recipient != "all":
        return _details(f"to {recipient}", text if kind == "code" else fenced(text))
    return "\n\n".join(part for part in (text, *_attachments(message)) if part)


def hidden(message: dict[str, Any]) -> bool:
    """Whether ChatGPT itself does not show it."""
    return bool(_dict(message.get("metadata")).get("is_visually_hidden_from_conversation"))


def instructions(message: dict[str, Any]) -> str:
    """What a system message told the model, a person's own instructions among it."""
    content = _dict(message.get("content"))
    if content.get("content_type") == "user_editable_context":
        parts = (content.get("user_profile"), content.get("user_instructions"))
        return "\n\n".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
    return said({**message, "author": {}})


def fenced(text: str, language: str = "") -> str:
    """A block of code that no line of the text can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _by_kind(kind: str, content: dict[str, Any]) -> str:
    if kind in _KINDS:
        return _KINDS[kind](content)
    parts = _list(content.get("parts"))
    if not parts and isinstance(content.get("text"), str):
        return str(content["text"])
    return "\n\n".join(found for part in parts if (found := _part(part)))


def _code(content: dict[str, Any]) -> str:
    language, text = str(content.get("language") or ""), str(content.get("text") or "")
    return fenced(text, "" if language == "unknown" else language) if text else ""


def _printed(content: dict[str, Any]) -> str:
    text = str(content.get("text") or "")
    return fenced(text) if text else ""


def _thoughts(content: dict[str, Any]) -> str:
    thoughts = [_thought(each) for each in _list(content.get("thoughts")) if isinstance(each, dict)]
    text = "\n>\n".join("> " + thought.replace("\n", "\n> ") for thought in thoughts if thought)
    return _details("Thoughts", text, kind="reasoning") if text else ""


def _quoted(content: dict[str, Any]) -> str:
    source = content.get("url") or content.get("domain") or ""
    lines = [f"> {line}" for line in str(content.get("text") or "").splitlines()]
    return "\n".join([f"[{content.get('title') or source}](<{source}>)", "", *lines])


def _nothing(_content: dict[str, Any]) -> str:
    return ""


_KINDS: dict[str, Callable[[dict[str, Any]], str]] = {
    "code": _code,
    "execution_output": _printed,
    "system_error": _printed,
    "thoughts": _thoughts,
    # "Thought for 8 seconds", beside the thoughts themselves.
    "reasoning_recap": _nothing,
    "tether_quote": _quoted,
    "tether_browsing_display": lambda content: str(content.get("result") or ""),
    # Instructions and memories: `instructions` knows the first, the second are the model's own.
    "user_editable_context": _nothing,
    "model_editable_context": _nothing,
}


def _part(part: object) -> str:
    """A piece of a message: text, or what is no text and stands as a sign that names it."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    kind = str(part.get("content_type") or part.get("type") or "part")
    if isinstance(part.get("text"), str):
        return str(part["text"])
    if kind == "real_time_user_audio_video_asset_pointer":
        return _part(part.get("audio_asset_pointer"))
    pointer = str(part.get("asset_pointer") or "").rpartition("://")[2]
    if kind == "image_asset_pointer":
        size = f", {part['width']}x{part['height']}" if part.get("width") and part.get("height") else ""
        return f"[image: {pointer or 'without a name'}{size}]"
    return f"[{kind.removesuffix('_asset_pointer')}: {pointer or 'without a name'}]"


def _attachments(message: dict[str, Any]) -> list[str]:
    """Names of files that a person gave; a picture stands in the parts as well."""
    found = _list(_dict(message.get("metadata")).get("attachments"))
    names = [
        each for each in found if isinstance(each, dict) and not str(each.get("mimeType", "")).startswith("image/")
    ]
    return [f"[file: {each.get('name') or each.get('id')}]" for each in names]


def _thought(thought: dict[str, Any]) -> str:
    parts = (thought.get("summary"), thought.get("content"))
    return "\n".join(part.strip() for part in parts if isinstance(part, str) and part.strip())


def _details(summary: str, text: str, *, kind: str = "") -> str:
    """A part that the web UI shows folded, after which an answer goes on."""
    opening = f'<details type="{kind}" done="true">' if kind else "<details>"
    return f"{opening}\n<summary>{summary}</summary>\n\n{text}\n\n</details>"


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
