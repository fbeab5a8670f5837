"""ChatGPT's export: its tree, its kinds of content, its files, and what is wrong with them."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from gpubox.errors import UsageError
from gpubox.history.chatgpt import Malformed, converted
from gpubox.history.chatgpt_text import said
from gpubox.history.plain import active
from gpubox.history.sources import open_source
from unit.history.talks import AT, message, node, talk, with_a_tool

if TYPE_CHECKING:
    from pathlib import Path


def test_a_conversation_becomes_questions_and_answers() -> None:
    origin, form = converted(with_a_tool())
    assert origin == "chatgpt:67a0"
    history = form["chat"]["history"]
    tree = history["messages"]
    assert [(tree[key]["role"], key) for key in active(tree, history["currentId"])] == [
        ("user", "q"),
        ("assistant", "t"),
        ("user", "q2"),
    ]
    assert tree["q"]["content"] == "[image: file_0001, 64x32]\n\n画的是什么？\n\n[file: a.pdf]"
    answer = tree["t"]["content"]
    assert answer == (
        '<details type="reasoning" done="true">\n<summary>Thoughts</summary>\n\n'
        "> Look\n> a cat\n> or a dog\n\n</details>"
        "\n\n<details>\n<summary>to python</summary>\n\n````\nprint('```')\n````\n\n</details>"
        "\n\n<details>\n<summary>python</summary>\n\n````\n```\n````\n\n</details>"
        "\n\nIt is a cat."
    )
    # The answer that was made anew is a branch; times are whole seconds; what has none has that of the conversation.
    assert (tree["old"]["content"], tree["q"]["childrenIds"]) == ("A dog.", ["t", "old"])
    assert (tree["t"]["timestamp"], tree["q2"]["timestamp"]) == (round(AT + 2), round(AT))
    assert (tree["t"]["model"], form["chat"]["models"]) == ("gpt-5", ["gpt-5"])
    assert (form["created_at"], form["updated_at"]) == (round(AT), round(AT + 100))


def test_what_a_person_told_of_themselves_becomes_the_system_prompt() -> None:
    own = {"content_type": "user_editable_context", "user_profile": "我是老师。", "user_instructions": "简短。"}
    nodes = [
        node("s", None, ["i"], message("system", "You are helpful.")),
        node("i", "s", ["q"], message("user", own)),
        node("q", "i", [], message("user", "hi")),
    ]
    _, form = converted(talk(nodes, "q", title=None))
    assert form["chat"]["params"] == {"system": "You are helpful.\n\n我是老师。\n\n简短。"}
    assert list(form["chat"]["history"]["messages"]) == ["q"]
    assert form["chat"]["title"] == "hi"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"content_type": "text", "parts": ["a", "", "b"]}, "a\n\nb"),
        (
            {"content_type": "tether_quote", "title": "T", "url": "https://e.org", "text": "x\ny"},
            "[T](<https://e.org>)\n\n> x\n> y",
        ),
        (
            {"content_type": "multimodal_text", "parts": [{"content_type": "audio_transcription", "text": "hello"}]},
            "hello",
        ),
        (
            {
                "content_type": "multimodal_text",
                "parts": [{"content_type": "audio_asset_pointer", "asset_pointer": "sediment://f1"}],
            },
            "[audio: f1]",
        ),
        ({"content_type": "of_next_year", "text": "still text"}, "still text"),
        ({"content_type": "model_editable_context", "model_set_context": "secret"}, ""),
    ],
)
def test_kinds_of_content(content: dict[str, Any], text: str) -> None:
    assert said(message("assistant", content)) == text


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ([], "it is no object"),
        (talk([], None, id=None, conversation_id=None), "it has no `id`"),
        (talk([], None, mapping=[]), "its `mapping` is no object"),
        (talk([], None, mapping={"a": 1}), "a node of its `mapping`"),
        (talk([node("a", "b", [], message("user", "x")), node("b", "a", [], None)], "a"), "runs in a circle at `a`"),
    ],
)
def test_a_malformed_conversation_says_why(broken: object, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        converted(broken)


def test_a_missing_end_and_a_missing_parent_are_borne() -> None:
    nodes = [node("q", "nowhere", ["a"], message("user", "x")), node("a", "q", [], message("assistant", "y"))]
    _, form = converted(talk(nodes, "gone"))
    history = form["chat"]["history"]
    assert active(history["messages"], history["currentId"]) == ["q", "a"]


def _titles(place: Path) -> list[str]:
    return [chat.title for chat in open_source(place).chats]


def _named(number: int) -> dict[str, Any]:
    return talk([node("q", None, [], message("user", "问" * 3000))], "q", title=f"talk {number}", id=f"t{number}")


def test_every_form_in_which_it_comes(tmp_path: Path) -> None:
    talks = [_named(number) for number in range(300)]
    whole = json.dumps(talks, ensure_ascii=False)
    # More than one block is read at a time.
    assert len(whole) > 900_000
    wanted = [f"talk {number}" for number in range(300)]
    single = tmp_path / "conversations.json"
    single.write_text(whole, encoding="utf-8")
    assert _titles(single) == _titles(tmp_path) == wanted
    split = tmp_path / "split"
    split.mkdir()
    for number in range(3):
        part = json.dumps(talks[100 * number : 100 * number + 100])
        (split / f"conversations-{number:03}.json").write_text(part)
    (split / "conversations.json.index").write_text("{}")
    assert _titles(split) == wanted
    for names in (["conversations.json"], ["export/conversations-000.json", "export/user.json"]):
        archive = tmp_path / f"{len(names)}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for name in names:
                file.writestr(name, whole if "conv" in name else "{}")
        assert _titles(archive) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"id": "a", "mapping": {}}, {"id": "b"', "after its conversation 1"),
        ('[{"id": "a", "mapping": {}} {"id": "b"}]', "no comma"),
        ('[{"id": "a", "mapping": {}}, {"id": "b", "title": "坏了"}]', r"n 2 .*坏了.* malformed: its `mapping`"),
        ('{"some": "object"}', "holds no chats that we know"),
        ("not JSON", "cannot be read"),
        ("", "cannot be read"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "conversations.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        _titles(file)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("photo.png", "x")
    with pytest.raises(UsageError, match=r"has no `conversations\.json`"):
        _titles(tmp_path / "x.zip")
    with pytest.raises(UsageError, match="there is no"):
        _titles(tmp_path / "nowhere.zip")
