"""A conversation of ChatGPT's export as a chat of open-webui. Pure.

Its `mapping` is a tree of nodes: edited questions and answers made anew are branches, `current_node` is the end of the
one that is shown. Nodes without words (the root, hidden system messages) are left out, their children move up; what the
assistant and its tools said without a question in between becomes one answer, as ChatGPT shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gpubox.history.chatgpt_text import hidden, instructions, said


class Malformed(Exception):
    """A conversation that is none; the text says what is wrong with it."""


@dataclass
class _Turn:
    """What becomes one message: a question, or all that followed from it."""

    key: str
    parent: str | None
    role: str
    texts: list[str]
    time: float | None
    model: str | None
    nodes: list[str] = field(default_factory=list)


def converted(talk: object) -> tuple[str, dict[str, Any]]:
    """The origin of a conversation, and the form in which open-webui takes it. Raises `Malformed`."""
    if not isinstance(talk, dict):
        raise Malformed("it is no object")
    key = talk.get("conversation_id") or talk.get("id")
    if not isinstance(key, str) or not key:
        raise Malformed("it has no `id`")
    mapping = talk.get("mapping")
    if not isinstance(mapping, dict):
        raise Malformed("its `mapping` is no object")
    if any(not isinstance(node, dict) for node in mapping.values()):
        raise Malformed("a node of its `mapping` is no object")
    begun, ended = _time(talk.get("create_time")), _time(talk.get("update_time"))
    turns, where, system = _turns(mapping)
    messages = {turn.key: _message(turn, begun) for turn in turns.values()}
    for turn in turns.values():
        if turn.parent is not None:
            messages[turn.parent]["childrenIds"].append(turn.key)
    current = where.get(str(talk.get("current_node"))) or next(reversed(messages), None)
    models = [turn.model for turn in turns.values() if turn.model]
    default = talk.get("default_model_slug")
    chat: dict[str, Any] = {
        "title": _title(talk, turns),
        "models": list(dict.fromkeys(models))[-1:] or ([str(default)] if default else []),
        "history": {"messages": messages, "currentId": current},
        "timestamp": (begun or 0) * 1000,
    }
    if system:
        chat["params"] = {"system": system}
    times = [message["timestamp"] for message in messages.values() if message["timestamp"]]
    form = {
        "chat": chat,
        "archived": bool(talk.get("is_archived")),
        "pinned": bool(talk.get("is_starred") or talk.get("pinned_time")),
        "created_at": begun or min(times, default=None),
        "updated_at": ended or max(times, default=begun),
        "current_message_id": current,
    }
    return f"chatgpt:{key}", form


def _turns(mapping: dict[str, Any]) -> tuple[dict[str, _Turn], dict[str, str | None], str]:
    """The turns in the order of the tree, in which turn each node is, and the system prompt."""
    turns: dict[str, _Turn] = {}
    where: dict[str, str | None] = {}
    prompts: list[str] = []
    children = _children(mapping)
    todo: list[tuple[str, str | None]] = [(key, None) for key in reversed(children[None])]
    while todo:
        key, parent = todo.pop()
        where[key] = _place(key, mapping[key], parent, turns, prompts)
        # A second answer to the same question is another turn: only an only child goes on with its parent's.
        inner = children.get(key, [])
        if len(inner) > 1 and where[key] is not None:
            turns[str(where[key])].nodes.append("")
        todo += [(child, where[key]) for child in reversed(inner)]
    if len(where) != len(mapping):
        lost = next(key for key in mapping if key not in where)
        raise Malformed(f"its `mapping` runs in a circle at `{lost}`")
    return turns, where, "\n\n".join(dict.fromkeys(prompts))


def _place(
    key: str, node: dict[str, Any], parent: str | None, turns: dict[str, _Turn], prompts: list[str]
) -> str | None:
    """Put a node into a turn; the turn that its children follow."""
    message = node.get("message")
    if not isinstance(message, dict):
        return parent
    author = message.get("author")
    role = author.get("role") if isinstance(author, dict) else None
    if role == "system":
        if told := instructions(message):
            prompts.append(told)
        return parent
    if role == "user" and (told := _own_instructions(message)):
        prompts.append(told)
        return parent
    text = said(message)
    if not text or hidden(message):
        return parent
    kind = "user" if role == "user" else "assistant"
    metadata = message.get("metadata")
    slug = metadata.get("model_slug") if isinstance(metadata, dict) and kind == "assistant" else None
    before = turns.get(parent or "")
    if before is not None and before.role == kind == "assistant" and "" not in before.nodes:
        before.texts.append(text)
        before.nodes.append(key)
        before.model = slug or before.model
        return before.key
    turns[key] = _Turn(key, parent, kind, [text], _time(message.get("create_time")), slug, [key])
    return key


def _own_instructions(message: dict[str, Any]) -> str:
    """A person's own instructions come as a message of theirs in newer exports."""
    content = message.get("content")
    own = isinstance(content, dict) and content.get("content_type") == "user_editable_context"
    return instructions(message) if own else ""


def _children(mapping: dict[str, Any]) -> dict[str | None, list[str]]:
    """By parent; `children` tells the order, `parent` who belongs to whom."""
    found: dict[str | None, list[str]] = {None: []}
    order = {
        child: number
        for node in mapping.values()
        for number, child in enumerate(node.get("children") if isinstance(node.get("children"), list) else [])
        if isinstance(child, str)
    }
    for key, node in mapping.items():
        parent = node.get("parent")
        found.setdefault(parent if parent in mapping else None, []).append(key)
    for inner in found.values():
        inner.sort(key=lambda key: order.get(key, 0))
    return found


def _message(turn: _Turn, begun: int | None) -> dict[str, Any]:
    message: dict[str, Any] = {
        "id": turn.key,
        "parentId": turn.parent,
        "childrenIds": [],
        "role": turn.role,
        "content": "\n\n".join(turn.texts),
        "timestamp": turn.time or begun,
    }
    if turn.role == "assistant":
        message |= {"model": turn.model or "", "modelName": turn.model or "", "done": True}
    return message


def _title(talk: dict[str, Any], turns: dict[str, _Turn]) -> str:
    title = talk.get("title")
    if isinstance(title, str) and title.strip():
        return title
    first = next((turn.texts[0] for turn in turns.values() if turn.role == "user"), "")
    return " ".join(first.split())[:60] or "Untitled"


def _time(value: object) -> int | None:
    """Whole seconds, as open-webui's tables have them."""
    return round(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
