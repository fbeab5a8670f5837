"""Puts chats into a web UI by its own API, each once: `request` and then one record for each chat on stdin.

A chat is known again by its origin, which stands in its `meta` as {"gpubox": {"origin", "updated_at"}}.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from webui_box import ports, token
from webui_box.database import glanced
from webui_box.errors import Trouble
from webui_box.records import lines, read

if TYPE_CHECKING:
    from collections.abc import Iterator

STAMP = "gpubox"
# A long chat is written message by message.
_TIMEOUT = 300.0
_TOKEN_SECONDS = 3600


@dataclass(frozen=True)
class Request:
    """Into the web UI of the gpubox root `root`; `email`: all chats to this user. `dry`: only say what would be."""

    root: Path
    service: str
    email: str | None
    dry: bool

    @property
    def place(self) -> Path:
        """Where the web UI's lasting things lie."""
        return self.root / "open-webui"


def main() -> None:
    """Read stdin, write a record for each chat as soon as it is settled. Raises `Trouble`."""
    incoming = read(sys.stdin)
    first = next(incoming, None)
    if first is None or first.get("type") != "request":
        raise Trouble("nothing was asked")
    request = Request(Path(first["root"]), first["service"], first["email"], bool(first["dry"]))
    for answer in answers(request, incoming):
        sys.stdout.writelines(lines(answer))
        sys.stdout.flush()


def answers(request: Request, incoming: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """`{"origin", "state": new|kept|older|refused, "user", "why"}` for each chat. Raises `Trouble`."""
    people = _People(request)
    known = _known(request.place)
    port = None if request.dry else _port(request)
    for chat in incoming:
        user = people.of(chat.get("email"))
        there = known.get((user["id"], chat["origin"]))
        answer = {"origin": chat["origin"], "user": user["email"], "why": None}
        if there is not None:
            newer = (chat["form"].get("updated_at") or 0) > there
            yield {**answer, "state": "older" if newer else "kept"}
            continue
        form = _stamped(chat)
        if port is not None:
            bearer = token.sign(people.secret, user["id"], _TOKEN_SECONDS, stamp=user["stamp"])
            why = _post(port, bearer, form)
            if why is not None:
                yield {**answer, "state": "refused", "why": why}
                continue
        known[user["id"], chat["origin"]] = form.get("updated_at") or 0
        yield {**answer, "state": "new"}


class _People:
    """Who gets a chat: the one asked for, else who has the same e-mail, else the first admin."""

    def __init__(self, request: Request) -> None:
        with glanced(request.place / "data" / "webui.db") as database:
            query = "SELECT id, email, role FROM user ORDER BY created_at, id"
            users = [dict(row) for row in database.execute(query).fetchall()]
            for user in users:
                user["stamp"] = token.stamp_of(database, user["id"])
        self._by_email = {str(user["email"]).lower(): user for user in users}
        admins = [user for user in users if user["role"] == "admin"]
        if request.email is None and not admins:
            raise Trouble("this web UI has no admin yet; name a user with --user")
        self._all = None if request.email is None else self._named(request.email)
        self._admin = admins[0] if admins else None
        self.secret = token.secret_in(request.place / "secret-key")

    def of(self, email: str | None) -> dict[str, Any]:
        found = self._all or self._by_email.get((email or "").lower()) or self._admin
        assert found is not None
        return found

    def _named(self, email: str) -> dict[str, Any]:
        if (found := self._by_email.get(email.lower())) is None:
            known = ", ".join(f"`{name}`" for name in self._by_email) or "nobody"
            raise Trouble(f"no user has the e-mail `{email}`; there is {known}")
        return found


def _known(place: Path) -> dict[tuple[str, str], float]:
    """(user, origin) -> when the chat was last changed there, in seconds: of brought chats and of those made here."""
    found: dict[tuple[str, str], float] = {}
    with glanced(place / "data" / "webui.db") as database:
        for row in database.execute("SELECT id, user_id, meta, updated_at FROM chat"):
            found[row["user_id"], f"open-webui:{row['id']}"] = row["updated_at"] or 0
            try:
                stamp = json.loads(row["meta"] or "{}").get(STAMP) or {}
                found[row["user_id"], str(stamp["origin"])] = float(stamp.get("updated_at") or 0)
            except (ValueError, TypeError, AttributeError, KeyError):
                continue
    return found


def _stamped(chat: dict[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = chat["form"]
    stamp = {"origin": chat["origin"], "updated_at": form.get("updated_at")}
    return {**form, "meta": {**(form.get("meta") or {}), STAMP: stamp}}


def _port(request: Request) -> int:
    """The port of open-webui. A token is told to our own process only: another could be listening there."""
    argv = [str(request.root / "bin" / "boxctl"), "status"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"`{' '.join(argv)}` fails: {done.stderr.strip()[-300:]}")
    services = {item["name"]: item for item in json.loads(done.stdout)["services"]}
    service = services.get(request.service, {})
    if service.get("state") != "running" or not service.get("healthy"):
        state = service.get("state", "absent")
        raise Trouble(f"the web UI does not answer (its service is {state}), and chats come in by its own API")
    port, pid = int(service["port"]), int(service["pid"])
    owners = ports.listeners(port)
    if owners and not any(ports.descends(owner, pid) for owner in owners):
        raise Trouble(f"port {port} belongs to another program than the web UI")
    return port


def _post(port: int, bearer: str, form: dict[str, Any]) -> str | None:
    """Why open-webui did not take it; None when it did, with every message. Raises `Trouble` when it is gone."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {bearer}"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
    try:
        connection.request("POST", "/api/v1/chats/import", json.dumps({"chats": [form]}).encode(), headers)
        response = connection.getresponse()
        status, text = response.status, response.read()
        answer = json.loads(text or b"null")
    except (OSError, http.client.HTTPException) as error:
        raise Trouble(f"the web UI went away: {error or type(error).__name__}") from None
    except ValueError:
        return f"HTTP {status}: {text[:200].decode(errors='replace')}"
    finally:
        connection.close()
    if status in {401, 403}:
        detail = answer.get("detail") if isinstance(answer, dict) else answer
        raise Trouble(f"the web UI does not let this user in, or not import (HTTP {status}: {str(detail)[:200]})")
    if status != 200 or not isinstance(answer, list) or len(answer) != 1:
        return f"HTTP {status}: {json.dumps(answer, ensure_ascii=False)[:300]}"
    came, given = len(_messages(answer[0])), len(_messages(form))
    return None if came == given else f"{came} of its {given} messages came in"


def _messages(form: dict[str, Any]) -> dict[str, Any]:
    found = ((form.get("chat") or {}).get("history") or {}).get("messages")
    return found if isinstance(found, dict) else {}
