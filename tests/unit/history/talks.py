"""Conversations as ChatGPT exports them."""

from __future__ import annotations

from typing import Any

AT = 1_795_000_000.25


def node(key: str, parent: str | None, children: list[str], message: dict[str, Any] | None) -> dict[str, Any]:
    """A node of `mapping`."""
    return {"id": key, "message": message, "parent": parent, "children": children}


def message(role: str, content: dict[str, Any] | str, at: float | None = AT, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A message; a text stands for content of the kind `text`."""
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    author = {"role": role, "name": more.pop("name", None), "metadata": {}}
    fixed = {"status": "finished_successfully", "weight": 1.0, "recipient": "all", "metadata": {}, "update_time": None}
    return {**fixed, "id": "m", "author": author, "create_time": at, "content": content, **more}


def talk(nodes: list[dict[str, Any]], current: str | None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A conversation."""
    return {
        "title": "写诗",
        "create_time": AT,
        "update_time": AT + 100,
        "mapping": {each["id"]: each for each in nodes},
        "current_node": current,
        "conversation_id": "67a0",
        "id": "67a0",
        "is_archived": False,
        "default_model_slug": "gpt-5",
        **more,
    }


def with_a_tool() -> dict[str, Any]:
    """A root, a hidden system message, a picture, an answer made with a tool, and one made anew."""
    slug = {"metadata": {"model_slug": "gpt-5"}}
    picture = {
        "content_type": "multimodal_text",
        "parts": [
            {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_0001", "width": 64, "height": 32},
            "画的是什么？",
        ],
    }
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "Look", "content": "a cat\nor a dog"}]}
    code = {"content_type": "code", "language": "unknown", "text": "print('```')"}
    printed = {"content_type": "execution_output", "text": "```"}
    quoted = "It is a cat\ue200cite\ue202turn0search0\ue201."
    given = {"attachments": [{"id": "file_2", "name": "a.pdf", "mimeType": "application/pdf"},
                             {"id": "file_0001", "name": "cat.png", "mimeType": "image/png"}]}  # fmt: skip
    hidden = {"is_visually_hidden_from_conversation": True}
    return talk(
        [
            node("root", None, ["sys"], None),
            node("sys", "root", ["q"], message("system", "", metadata=hidden)),
            node("q", "sys", ["t", "old"], message("user", picture, metadata=given)),
            node("old", "q", [], message("assistant", "A dog.", AT + 1, **slug)),
            node("t", "q", ["c"], message("assistant", thoughts, AT + 2, **slug)),
            node("c", "t", ["o"], message("assistant", code, AT + 3, recipient="python", **slug)),
            node("o", "c", ["r"], message("tool", printed, AT + 4, name="python")),
            node("r", "o", ["a"], message("assistant", {"content_type": "reasoning_recap", "content": "8 s"}, AT + 5)),
            node("a", "r", ["q2"], message("assistant", quoted, AT + 6, **slug)),
            node("q2", "a", [], message("user", "谢谢", None)),
        ],
        "q2",
    )
