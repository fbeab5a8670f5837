"""Chats that are brought into a web UI: for whom, once, and what open-webui may answer."""

from __future__ import annotations

import base64
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from unit.history.world import World, tree
from webui_box.bring import Request, answers
from webui_box.errors import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unit.open_webui.conftest import Box

IMPORT = ("POST", "/api/v1/chats/import")


@pytest.fixture
def world(webui: Box, tmp_path: Path) -> Iterator[World]:
    """The same, with a database of two users."""
    shutil.rmtree(webui.root / "open-webui")
    made = World(webui.root)
    webui.service = {**webui.service, "healthy": True, "port": webui.ui.port}
    webui.write()
    yield made
    made.database.close()


def chat(origin: str, email: str | None = None, updated_at: int = 5) -> dict[str, Any]:
    stored = {"title": "你好", **tree(("a", None, "user", "hi"))}
    return {
        "origin": origin,
        "email": email,
        "form": {"chat": stored, "meta": {"tags": ["x"]}, "updated_at": updated_at},
    }


def bring(webui: Box, *chats: dict[str, Any], email: str | None = None, dry: bool = False) -> list[tuple[str, str]]:
    request = Request(webui.root, "open-webui", email, dry)
    return [(each["state"], each["user"]) for each in answers(request, iter(chats))]


def takes_all(webui: Box) -> None:
    webui.ui.answers[IMPORT] = [(200, [{"chat": chat("x")["form"]["chat"]}])]


def test_whose_it_is_and_that_it_comes_once(webui: Box, world: World) -> None:
    takes_all(webui)
    world.chat("c1", "mine", {})
    stamp = {"gpubox": {"origin": "chatgpt:there", "updated_at": 5}}
    world.chat("c2", "brought", {}, user_id="u2", meta=json.dumps(stamp))
    done = bring(
        webui,
        chat("chatgpt:1"),
        chat("open-webui:z", "Other@example.com"),
        chat("open-webui:c1", "me@example.com"),
        chat("chatgpt:there", "other@example.com"),
        chat("chatgpt:there", "other@example.com", updated_at=6),
        chat("chatgpt:1"),
    )
    me, other = "me@example.com", "other@example.com"
    assert done == [("new", me), ("new", other), ("kept", me), ("kept", other), ("older", other), ("kept", me)]
    first, _ = webui.ui.to(*IMPORT)
    assert first["chats"][0]["meta"] == {"tags": ["x"], "gpubox": {"origin": "chatgpt:1", "updated_at": 5}}
    # Each by a token of its own user.
    bearers = [header for verb, path, _, header in webui.ui.asked if (verb, path) == IMPORT]
    claims = [json.loads(base64.urlsafe_b64decode(header.split(".")[1] + "==")) for header in bearers]
    assert [(claim["id"], claim["session_stamp"]) for claim in claims] == [("u1", "stamp-of-u1"), ("u2", "stamp-of-u2")]


def test_all_go_to_the_user_who_is_named(webui: Box, world: World) -> None:
    takes_all(webui)
    assert bring(webui, chat("chatgpt:1", "me@example.com"), email="other@example.com") == [
        ("new", "other@example.com")
    ]
    with pytest.raises(Trouble, match=r"no user has the e-mail `x@example\.com`; there is `me@example\.com`"):
        bring(webui, chat("chatgpt:1"), email="x@example.com")


def test_a_dry_run_asks_nobody(webui: Box, world: World) -> None:
    webui.service["state"] = "stopped"
    webui.write()
    assert bring(webui, chat("chatgpt:1"), chat("chatgpt:1"), dry=True) == [
        ("new", "me@example.com"),
        ("kept", "me@example.com"),
    ]
    assert webui.ui.asked == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((400, {"detail": "bad"}), "HTTP 400"),
        ((200, [{"chat": {"history": {"messages": {}}}}]), "0 of its 1 messages came in"),
    ],
)
def test_what_is_not_taken_is_said(webui: Box, world: World, answer: tuple[int, Any], why: str) -> None:
    webui.ui.answers[IMPORT] = [answer]
    (said,) = answers(Request(webui.root, "open-webui", None, False), iter([chat("chatgpt:1")]))
    assert said["state"] == "refused"
    assert why in said["why"]


def test_a_token_is_told_to_nobody_else(webui: Box, world: World) -> None:
    takes_all(webui)
    webui.service["pid"] = 1 << 22
    webui.write()
    with pytest.raises(Trouble, match="belongs to another program"):
        bring(webui, chat("chatgpt:1"))
    webui.service["state"] = "stopped"
    webui.write()
    with pytest.raises(Trouble, match="its service is stopped"):
        bring(webui, chat("chatgpt:1"))
    assert webui.ui.asked == []
