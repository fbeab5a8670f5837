"""After a restore: what is read through the API is compared with the database; before one, what is here is told."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from unit.open_webui.conftest import REVISIONS
from webui_box import token
from webui_box.errors import Trouble
from webui_box.prove import judge, prove

if TYPE_CHECKING:
    from unit.open_webui.conftest import Box

OLD = Path(__file__).resolve().parents[2] / "keeping/fixtures/web-ui-0.11.4"
ADMIN = "me@example.com"


@pytest.fixture
def restored(webui: Box) -> Box:
    """The old database, whose admin is the role's; open-webui gives its chats out as they are."""
    data = webui.root / "open-webui/data"
    data.mkdir()
    (webui.root / "open-webui/secret-key").write_text("secret\n")
    (data / "webui.db").write_bytes(gzip.decompress((OLD / "webui.db.gz").read_bytes()))
    with contextlib.closing(sqlite3.connect(data / "webui.db")) as base, base:
        base.execute("UPDATE user SET email = ? WHERE role = 'admin'", (ADMIN,))
        base.execute("ALTER TABLE auth ADD COLUMN session_stamp TEXT")
        base.execute("UPDATE auth SET session_stamp = 'stamp of ' || id")
        for chat, title, text in base.execute("SELECT id, title, chat FROM chat").fetchall():
            given = {"title": title, "chat": {**json.loads(text), "share_mode": "continue"}}
            for message in given["chat"]["history"]["messages"].values():
                # 0.12 tells who wrote what, which 0.11 has not written down.
                message |= {"user_id": "u", "user": {"id": "u", "name": "U"}}
            webui.ui.answers["GET", f"/api/v1/chats/{chat}"] = [(200, given)]
    return webui


def asked(box: Box, **more: object) -> str:
    return json.dumps({"root": str(box.root), "service": "open-webui", "timeout": 60, **more})


def test_everybodys_last_chat_is_read_as_its_owner(restored: Box) -> None:
    done = prove(asked(restored))
    assert (done["admin"], done["users"], done["chats"], done["proved"]) == (ADMIN, 3, 2, 2)
    with contextlib.closing(sqlite3.connect(restored.root / "open-webui/data/webui.db")) as base:
        owners = dict(base.execute("SELECT '/api/v1/chats/' || id, user_id FROM chat").fetchall())
    seen = {path: claims(auth) for _, path, _, auth in restored.ui.asked if path in owners}
    assert {path: (claim["id"], claim["session_stamp"]) for path, claim in seen.items()} == {
        path: (owner, f"stamp of {owner}") for path, owner in owners.items()
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {"detail": "no"}), "stands in the database, and open-webui does not give it out"),
        (
            (200, {"title": "New Chat", "chat": {"history": {"messages": {}}}}),
            "otherwise than it stands in the database",
        ),
        ((400, {"detail": "broken"}), "open-webui refuses a chat: HTTP 400"),
    ],
)
def test_a_chat_that_does_not_come_out_is_named(restored: Box, answer: tuple[int, Any], words: str) -> None:
    for path in [path for path in restored.ui.answers if path[1].startswith("/api/v1/chats/")]:
        restored.ui.answers[path] = [answer]
    with pytest.raises(Trouble, match=words):
        prove(asked(restored))


def test_another_admin_is_named_before_anybody_tries_a_password(restored: Box) -> None:
    with contextlib.closing(sqlite3.connect(restored.root / "open-webui/data/webui.db")) as base, base:
        base.execute("UPDATE user SET email = 'you@example.com' WHERE role = 'admin'")
    with pytest.raises(Trouble, match=r"`me@example\.com` is no admin of this database, `you@example\.com` is"):
        prove(asked(restored))
    assert restored.ui.asked == []


def test_a_web_ui_tells_what_is_here_before_a_restore(restored: Box) -> None:
    told = judge(asked(restored, alembic=REVISIONS[0]))
    assert told == {"open_webui": "0.12.4", "fits": True, "users": 3, "chats": 2}
    assert judge(asked(restored, alembic="f" * 12))["fits"] is False
    (restored.root / "open-webui/data/webui.db").unlink()
    assert judge(asked(restored, alembic=None)) == {"open_webui": "0.12.4", "fits": True, "users": 0, "chats": 0}


def test_a_token_is_signed_as_its_kind_says() -> None:
    made = token.sign("secret", "u", 60)
    head, body, signature = made.split(".")
    mac = hmac.new(b"secret", f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == mac
    assert "session_stamp" not in claims(f"Bearer {made}")


def claims(bearer: str) -> dict[str, Any]:
    body = bearer.removeprefix("Bearer ").split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found
