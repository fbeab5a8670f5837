"""The web UI in a backup that goes onto a box: whether it may, what becomes of its secrets, and that it works there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox import backups, paths, web_ui_secrets
from gpubox.errors import Failed, Refused, RemoteCommandFailed
from gpubox.history import about as history

if TYPE_CHECKING:
    from pathlib import Path

    from gpubox.history.about import About
    from gpubox.remote.transfer_session import Session

_PROGRAM = "webui_box"
# As long as `up` waits for it: a slow box takes minutes to load open-webui, and an older database changes first.
_START_SECONDS = 600
_LOOK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class WebUi:
    """`about`: what the backup has. `service`: that of the box, None where no web UI is set up yet.

    `there`: the box's open-webui, or the one that `up` would put there. `blank`: nobody has written anything in it yet,
    so that nothing is lost when it goes. `proved`: what was found after the restore.
    """

    about: About
    service: str | None
    there: str
    blank: bool
    proved: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"about": self.about.as_dict(), "service": self.service, "there": self.there, "proved": self.proved}


def look(name: str, place: Path, session: Session) -> WebUi | None:
    """The web UI in the backup at `place`, and that of the box; None when the backup has none. Changes nothing.

    Raises `Refused` when the box's open-webui is older than the backup's, `Failed` for a database that is none.
    """
    files = place / backups.FILES
    if not (files / history.DATABASE).is_file():
        return None
    found = history.in_backup(files)
    here = _ask(session, "judge", {"alembic": found.alembic}, _LOOK_SECONDS)
    if here["service"] is None:
        return WebUi(found, None, _fitting(name, found, pinned(), fits=True, set_up=False), blank=False)
    there = _fitting(name, found, str(here["open_webui"]), fits=bool(here["fits"]), set_up=True)
    return WebUi(found, str(here["service"]), there, blank=here["users"] <= 1 and here["chats"] == 0)


def keep_secrets(name: str, place: Path) -> None:
    """Have this machine know the password and the key that belong to the backup's database: the next `up` brings them.

    A backup without them changes nothing. Raises what `web_ui_secrets` raises.
    """
    files = place / backups.FILES
    texts = [_text(files / path) for path in (history.ADMIN_PASSWORD, history.SECRET_KEY)]
    if all(texts):
        web_ui_secrets.replace(name, web_ui_secrets.Secrets(*texts))


def prove(name: str, session: Session) -> dict[str, Any]:
    """Wait for the restored web UI, sign in as its admin, read everybody's last chat and compare; what was found.

    Raises `Failed` naming what is wrong.
    """
    try:
        return _ask(session, "prove", {"timeout": _START_SECONDS}, _START_SECONDS + _LOOK_SECONDS)
    except RemoteCommandFailed as error:
        raise Failed(
            f"every file is on the box, but its web UI does not work with them: {error.message}",
            where=name,
            hint=error.hint or f"`gpubox logs {name} open-webui` says more; the same command proves it again",
        ) from error


def words(proved: dict[str, Any]) -> str:
    """What was proved, in one line."""
    read = f"the last chats of {proved['proved']} users are" if proved["proved"] != 1 else "the last chat is"
    chats = f"{read} as in the database" if proved["proved"] else "there is no chat in it"
    return f"`{proved['admin']}` signs in; {chats} (users: {proved['users']}, chats: {proved['chats']})"


def pinned() -> str:
    """The open-webui that this gpubox puts on boxes."""
    text = (paths.content() / "roles/open_webui/vars/versions.yml").read_text(encoding="utf-8")
    found = re.search(r'^open_webui_version: "([^"]+)"', text, re.MULTILINE)
    assert found is not None
    return found[1]


def _fitting(name: str, found: About, there: str, *, fits: bool, set_up: bool) -> str:
    if fits and (found.version is None or _numbers(found.version) <= _numbers(there)):
        return there
    backup = f"open-webui {found.version}" if found.version else f"a newer open-webui (tables {found.alembic})"
    box = f"`{name}` has open-webui {there}" if set_up else f"`gpubox up {name}` would bring open-webui {there}"
    ours = pinned()
    if set_up and found.version is not None and _numbers(found.version) <= _numbers(ours):
        hint = f"`gpubox up {name}` brings open-webui {ours} to it; then restore again"
    else:
        hint = f"`pip install --upgrade gpubox`, then `gpubox up {name}` brings a newer open-webui; then restore again"
    raise Refused(
        f"the chats of the backup were last used by {backup}, and {box}, which cannot read them: open-webui changes "
        "its tables and has no way back; nothing was written",
        where=name,
        hint=hint,
    )


def _ask(session: Session, verb: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    return session.call({"do": "ask", "program": _PROGRAM, "verb": verb, "request": request, "timeout": seconds})


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip() if file.is_file() else ""
