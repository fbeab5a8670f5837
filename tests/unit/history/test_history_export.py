"""`gpubox history export --from`: what is in the files, and what is left when it goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpubox.errors import Failed
from gpubox.history.folder import Folder
from unit.history.world import IMAGE, LOST, World, tree

TITLE = 'a/b: "你好"? CON.'
CODE = "```python\nprint('你好')\n"
TALK = tree(
    ("m1", None, "user", "你是谁？"),
    ("m2", "m1", "assistant", "the first answer"),
    ("m3", "m1", "assistant", CODE),
    ("m4", "m3", "user", "thanks, \ud83d and \U0001f600"),
)


def export(directory: Path, backup: Path, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "gpubox", "history", "export", "mybox", "--from", str(backup), *more],
        cwd=directory, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def read(place: Path, name: str = "index.json") -> Any:  # noqa: ANN401 - JSON is what it is
    return json.loads((place / name).read_text(encoding="utf-8"))


def test_every_chat_of_every_user_is_there(world: World, tmp_path: Path) -> None:
    talk = json.loads(json.dumps(TALK))
    talk["history"]["messages"]["m1"]["files"] = [
        {"type": "image", "url": f"/api/v1/files/{IMAGE}/content", "name": "cat.png"},
        {"type": "file", "id": LOST, "name": "gone.pdf"},
        {"type": "collection", "id": "7d1a3f52-9c5e-4b6a-8a34-2f1f3f7d9c33"},
    ]
    talk["params"] = {"system": "你是一位诗人。"}
    world.upload(IMAGE, "cat.png", b"\x89PNG" * 40_000)
    world.chat("c1", TITLE, talk, folder_id="f1", meta='{"tags": ["诗"]}', pinned=1)
    world.chat("c2", TITLE.lower(), tree(("x", None, "user", "hi")), user_id="u2", created_at=1_795_000_001)
    place = Path(export(tmp_path, world.backup(tmp_path / "b")).stdout.strip())

    assert place.parent == tmp_path / "gpubox-history"
    assert {path.stat().st_mode & 0o777 for path in place.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (place, *place.rglob("*")) if path.is_dir()} == {0o700}
    index = read(place)
    assert (index["format"], index["version"], index["open_webui"]) == ("gpubox-history", 1, None)
    assert [(each["id"], each["user"], each["messages"]) for each in index["chats"]] == [
        ("c1", "me@example.com", 4),
        ("c2", "other@example.com", 1),
    ]
    chat = read(place, index["chats"][0]["json"])
    assert [message["text"] for message in chat["messages"]] == ["你是谁？", CODE, "thanks, \ud83d and \U0001f600"]
    assert [message["id"] for message in chat["other_messages"]] == ["m2"]
    assert chat["messages"][1]["time"] == "2026-11-18T11:07:00Z"
    assert (chat["models"], chat["system_prompt"], chat["folder"]) == (["small-gpt"], "你是一位诗人。", "工作")
    # Nothing is lost: the whole is there as it is stored.
    assert chat["open_webui"]["chat"] == {"title": TITLE, **talk}
    (picture,) = [each for each in index["files"] if each["id"] == IMAGE]
    assert (place / picture["file"]).read_bytes() == b"\x89PNG" * 40_000
    (lost,) = [each for each in index["files"] if each["id"] == LOST]
    assert (lost["file"], lost["name"], lost["chats"]) == (None, "gone.pdf", ["c1"])
    assert lost["missing"] == "open-webui does not know it any more"


def test_the_markdown_can_be_read(world: World, tmp_path: Path) -> None:
    world.chat("c1", TITLE, TALK)
    place = Path(export(tmp_path, world.backup(tmp_path / "b")).stdout.strip())
    name = read(place)["chats"][0]["markdown"]
    # What Windows refuses is replaced, Chinese stays.
    assert name.startswith("chats/2026-")
    assert name.endswith(" a-b- -你好- CON c1.md")
    text = (place / name).read_text(encoding="utf-8")
    assert f"title: {json.dumps(TITLE, ensure_ascii=False)}" in text
    assert 'models: ["small-gpt"]' in text
    # The block that the answer left open does not take in the next message.
    assert "print('你好')\n\n```\n\n## User · " in text
    assert "1 message of other branches" in text


def test_one_user_only_and_nobody_else(world: World, tmp_path: Path) -> None:
    world.chat("c1", "mine", TALK)
    world.chat("c2", "theirs", TALK, user_id="u2")
    backup = world.backup(tmp_path / "b")
    place = Path(export(tmp_path, backup, "--user", "Other@example.com").stdout.strip())
    assert [each["title"] for each in read(place)["chats"]] == ["theirs"]
    assert [user["email"] for user in read(place)["users"]] == ["other@example.com"]
    said = export(tmp_path, backup, "--user", "nobody@example.com", code=1).stderr
    assert "`me@example.com`, `other@example.com`" in said


def test_a_rotten_database_and_a_backup_without_one_are_refused(world: World, tmp_path: Path) -> None:
    backup = world.backup(tmp_path / "b")
    file = backup / "files/open-webui/data/webui.db"
    file.chmod(0o600)
    with file.open("r+b") as database:
        database.seek(5000)
        database.write(b"rot")
    assert "its SHA-256 differs" in export(tmp_path, backup, code=1).stderr
    assert "is no backup" in export(tmp_path, tmp_path, code=2).stderr
    assert not list(tmp_path.glob("gpubox-history/*"))


def test_a_chat_that_cannot_be_read_is_named_and_the_others_are_there(world: World, tmp_path: Path) -> None:
    world.chat("c1", "whole", TALK)
    world.chat("c2", "half", {}, chat='{"history": {"mess', created_at=1_795_000_001)
    done = export(tmp_path, world.backup(tmp_path / "b"), code=1)
    assert "half: " in done.stderr
    (place,) = (tmp_path / "gpubox-history").iterdir()
    assert [each["title"] for each in read(place)["chats"]] == ["whole"]
    assert str(place) in done.stderr


def test_messages_that_are_only_in_their_own_table(world: World, tmp_path: Path) -> None:
    world.chat("c1", "rows", {}, current_message_id="b")
    for number, (key, parent, role, text) in enumerate((("a", None, "user", "问"), ("b", "a", "assistant", "答"))):
        world.database.execute(
            "INSERT INTO chat_message VALUES (?, 'c1', ?, ?, ?, 'small-gpt', ?)",
            (f"c1-{key}", role, parent, json.dumps(text), 1_795_000_000 + number),
        )
    place = Path(export(tmp_path, world.backup(tmp_path / "b")).stdout.strip())
    chat = read(place, read(place)["chats"][0]["json"])
    assert [(each["role"], each["text"]) for each in chat["messages"]] == [("user", "问"), ("assistant", "答")]


def test_an_export_that_is_cut_off_leaves_nothing(tmp_path: Path) -> None:
    with Folder(tmp_path / "to", "mybox", {}) as folder:
        folder.take({"type": "head", "users": [], "chats": 2})
        folder.take({"type": "file", "id": IMAGE, "name": "x", "missing": None, "chats": []})
        folder.take({"type": "bytes", "data": "AAAA"})
        assert [path.name[0] for path in (tmp_path / "to").iterdir()] == ["."]
        with pytest.raises(Failed, match="ended in the middle"):
            folder.finish()
    assert list((tmp_path / "to").iterdir()) == []
