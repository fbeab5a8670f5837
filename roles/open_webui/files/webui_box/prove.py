"""After a restore: the admin signs in, and everybody's last chat is read through the API and compared."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webui_box import engines, settle, token, version
from webui_box.api import Api
from webui_box.database import glanced
from webui_box.errors import Trouble
from webui_box.served import Served
from webui_box.start import Place

if TYPE_CHECKING:
    import sqlite3

# Whoever has more users than this is proven by those who wrote last.
_MOST = 50
_TOKEN_SECONDS = 600
# Of text: null bytes and halves of characters.
_NOTHING = re.compile("[\\0\\ud800-\\udfff]")
# Of a message: what open-webui 0.12 adds to what an older one has written, or keeps from those whose chat it is not.
_ITS_OWN = ("user", "user_id", "meta")


@dataclass(frozen=True)
class _Last:
    """A user's last chat, as it stands in the database."""

    user: str
    email: str
    stamp: str | None
    chat: str
    title: str
    messages: dict[str, Any]


def judge(text: str) -> dict[str, Any]:
    """Before a restore of a database: `{"open_webui", "fits", "users", "chats"}` of what is here.

    Asked with `{"root", "service", "alembic"}` as JSON: the revision of that database's tables. Raises `Trouble`.
    """
    asked = json.loads(text)
    served = Served.read(Path(asked["root"]), asked["service"])
    program = version.Program.at(served.command)
    fits = asked["alembic"] is None or asked["alembic"] in program.revisions
    here = {"users": 0, "chats": 0}
    if version.revision_of(served.place / version.DATABASE) is not None:
        with glanced(served.place / version.DATABASE) as base:
            here = {
                "users": base.execute("SELECT count(*) FROM user").fetchone()[0],
                "chats": base.execute("SELECT count(*) FROM chat").fetchone()[0],
            }
    return {"open_webui": program.version, "fits": fits, **here}


def prove(text: str) -> dict[str, Any]:
    """`{"admin", "users", "chats", "proved", "title", "notes"}`: `proved` users' last chats are as in the database.

    Asked with `{"root", "service", "timeout"}` as JSON. Raises `Trouble` naming what is wrong.
    """
    asked = json.loads(text)
    served = Served.read(Path(asked["root"]), asked["service"])
    place = Place(served.place)
    request = settle.Request(served.root, served.service, place, served.port, served.email, float(asked["timeout"]))
    with glanced(served.place / version.DATABASE) as base:
        _need_admin(base, served.email)
    settle.wait(request, Api(served.port), time.monotonic() + request.timeout)
    version.note(served.place, version.Program.at(served.command))
    with glanced(served.place / version.DATABASE) as base:
        users = base.execute("SELECT count(*) FROM user").fetchone()[0]
        chats = base.execute("SELECT count(*) FROM chat").fetchone()[0]
        last = _last_of_each(base)
    secret = token.secret_in(place.secret_key)
    for each in last:
        _compare(Api(served.port, token.sign(secret, each.user, _TOKEN_SECONDS, stamp=each.stamp)), each)
    return {
        "admin": served.email,
        "users": users,
        "chats": chats,
        "proved": len(last),
        "title": last[0].title if last else None,
        "notes": engines.look(served.root, served.service)[0],
    }


def _need_admin(base: sqlite3.Connection, email: str) -> None:
    """Before anybody tries to sign in: open-webui counts wrong tries."""
    admins = [str(row[0]) for row in base.execute("SELECT email FROM user WHERE role = 'admin' ORDER BY created_at")]
    if email.lower() not in [admin.lower() for admin in admins]:
        known = ", ".join(f"`{admin}`" for admin in admins) or "nobody"
        raise Trouble(
            f"`{email}` is no admin of this database, {known} is: write that as `admin_email` into `web_ui` of the "
            "box file, and bring the box up again"
        )


def _last_of_each(base: sqlite3.Connection) -> list[_Last]:
    """Everybody's chat that was changed last; who wrote last comes first."""
    query = """
        SELECT user.id AS user, user.email, chat.id, chat.title, chat.chat, max(chat.updated_at) AS at
        FROM chat JOIN user ON user.id = chat.user_id GROUP BY user.id ORDER BY at DESC LIMIT ?
    """
    return [
        _Last(
            user=row["user"],
            email=row["email"],
            stamp=token.stamp_of(base, row["user"]),
            chat=row["id"],
            title=row["title"],
            messages=_messages(json.loads(row["chat"])),
        )
        for row in base.execute(query, (_MOST,)).fetchall()
    ]


def _compare(api: Api, last: _Last) -> None:
    answer = api.chat(last.chat)
    what = f"the last chat of `{last.email}` ({last.title!r})"
    if answer is None:
        raise Trouble(f"{what} stands in the database, and open-webui does not give it out")
    if answer["title"] != last.title or _messages(answer["chat"]) != last.messages:
        raise Trouble(f"{what} comes out of open-webui otherwise than it stands in the database")


def _messages(chat: dict[str, Any]) -> dict[str, Any]:
    """What was said, as the person who reads it has it: the same from the database and from the API."""
    found: dict[str, Any] = (chat.get("history") or {}).get("messages") or {}
    said = {name: {key: message[key] for key in message if key not in _ITS_OWN} for name, message in found.items()}
    return {name: _clean(message) for name, message in said.items()}


def _clean(value: Any) -> Any:  # noqa: ANN401 - JSON is what it is
    """Without what open-webui leaves out of all that it gives."""
    match value:
        case str():
            return _NOTHING.sub("", value)
        case dict():
            return {key: _clean(item) for key, item in value.items()}
        case list():
            return [_clean(item) for item in value]
        case _:
            return value
