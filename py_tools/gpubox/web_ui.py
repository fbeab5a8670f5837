"""The web UI of a box: who signs in, where it runs and why, and `gpubox open`."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpubox import tunnels, web_ui_secrets
from gpubox.errors import AuthFailed, Failed, Unreachable, UsageError
from gpubox.places import box_of
from gpubox.status import status
from gpubox.web_ui_engines import HOME_BOX

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpubox.boxfile import BoxFile, WebUi

# A start takes 10 s on quiet cores, and a sign-in may have to wait for it, in seconds.
_PATIENCE = 120.0
_ANSWER = 10.0
_LOOK_AGAIN = 0.3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a box's web UI is reached, who signs in first, and where it runs and why, in a sentence."""

    name: str
    url: str
    email: str
    on: str
    why: str

    def as_dict(self) -> dict[str, str]:
        """The same for `--json`, without any secret."""
        return {"name": self.name, "url": self.url, "email": self.email, "on": self.on}


def have_secrets(name: str, box: BoxFile) -> bool:
    """See that the secrets of the box's web UI are kept here; whether they were made up just now.

    False, too, for a box without a web UI of its own. Raises `AuthFailed` when what is kept cannot be read.
    """
    ui = box.web_ui_settings
    return ui is not None and ui.on == "box" and web_ui_secrets.ensure(name)[1]


def place_of(name: str, box: BoxFile, urls: dict[str, str]) -> Place | None:
    """The place of the web UI whose tunnel is among `urls` (by service); None without one."""
    ui = box.web_ui_settings
    if ui is None or tunnels.WEB_UI not in urls:
        return None
    return Place(name, urls[tunnels.WEB_UI], ui.admin_email, ui.on, where_and_why(name))


def open_ui(name: str, *, say: Callable[[str], None]) -> Place:
    """Open the tunnel to the web UI of a box in the background; where it is then, once it answers.

    Raises `UsageError` for a box without one, `Failed` when it does not answer, and what the link raises.
    """
    ui = _settings(name)
    answer = status(name, say)
    service = next((item for item in answer["services"] if item["name"] == tunnels.WEB_UI), None)
    if service is None:
        raise UsageError(f"the web UI is not set up on `{name}` yet", where=name, hint=f"gpubox up {name}")
    if service["state"] in ("failed", "stopped"):
        why = f": {service['last_error']}" if service["last_error"] else ""
        hint = f"`gpubox logs {name} {tunnels.WEB_UI}` shows more; `gpubox up {name}` starts it again"
        raise Failed(f"the web UI is {service['state']}{why}", where=name, hint=hint)
    if service["last_error"]:
        say(f"note: {service['last_error']}")
    tunnel = tunnels.open_for(name, detach=True, say=say, answer=answer)
    forward = next(forward for forward in tunnel.forwards if forward.label == tunnels.WEB_UI)
    for words in _engines_down(answer):
        say(f"note: {words}")
    wait_until_it_answers(name, forward.local_port, say=say)
    return Place(name, tunnels.url_of(forward), ui.admin_email, ui.on, where_and_why(name))


def wait_until_it_answers(name: str, port: int, *, say: Callable[[str], None], patience: float = _PATIENCE) -> None:
    """Until the web UI behind `port` of this machine answers: it takes seconds after its box was started.

    Raises `Failed` after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    told = False
    while (trouble := _health(port)) is not None:
        if time.monotonic() > deadline:
            hint = f"`gpubox status {name}` shows how it is, `gpubox logs {name} {tunnels.WEB_UI}` what it says"
            raise Failed(f"the web UI does not answer: {trouble}", where=name, hint=hint)
        if not told:
            say("waiting for the web UI to start")
            told = True
        time.sleep(_LOOK_AGAIN)


def password(name: str) -> str:
    """The first admin's password as it is kept here. Raises `UsageError` when none is."""
    kept = web_ui_secrets.of(name)
    if kept is None:
        raise UsageError(
            f"no password of the web UI of `{name}` is kept here",
            where=name,
            hint=f"`gpubox up {name}` makes one up, `gpubox open {name} --set-password` takes yours",
        )
    return kept.password


def set_password(place: Place, given: str) -> None:
    """Keep `given` as the admin's password, once the web UI takes it.

    Raises `AuthFailed` when it does not, `Unreachable` when it does not answer: nothing is changed then.
    """
    if not given:
        raise UsageError("the password is empty", where=place.name)
    port = int(place.url.rpartition(":")[2])
    code = _sign_in(place.name, port, place.email, given)
    if code == 429:
        raise AuthFailed("the web UI wants no more sign-ins for now", where=place.name, hint="wait 3 minutes")
    if code != 200:
        raise AuthFailed(
            f"the web UI does not let `{place.email}` in with this password, so it is not kept",
            where=place.name,
            hint=f"sign in at {place.url} first; `web_ui.admin_email` in the box file names the admin",
        )
    web_ui_secrets.set_password(place.name, given)


def _settings(name: str) -> WebUi:
    box = box_of(name)
    ui = box.web_ui_settings if box is not None else None
    if ui is None:
        raise UsageError(
            f"the box file of `{name}` asks for no web UI",
            where=name,
            hint=f"add `web_ui: true`, then gpubox up {name}",
        )
    return ui


def where_and_why(name: str) -> str:
    """Where the web UI of a box runs, and what that means, in a sentence."""
    if name == HOME_BOX:
        return "the web UI runs on this machine, and only engines are on other boxes: accounts and chats stay here"
    return (
        "the web UI runs on the box, beside its engine: it needs nothing on this machine, and chats are on the box, too"
        f" (`gpubox backup {name}` and `gpubox down {name}` bring them home)"
    )


def _engines_down(answer: dict[str, Any]) -> list[str]:
    """A sentence for each engine of the box that does not answer: the page then shows no model."""
    from gpubox.status import ENGINES

    found = []
    for item in answer["services"]:
        if item["name"] in ENGINES and (item["healthy"] is False or item["state"] != "running"):
            why = f": {item['last_error']}" if item["last_error"] else ""
            found.append(f"the engine `{item['name']}` is {item['state']} and does not answer{why}")
    return found


def _health(port: int) -> str | None:
    """What keeps it from answering; None when it does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    else:
        return None if status == 200 else f"HTTP {status}"
    finally:
        connection.close()


def _sign_in(name: str, port: int, email: str, given: str) -> int:
    """The HTTP status of a sign-in. Raises `Unreachable`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        body = json.dumps({"email": email, "password": given}).encode()
        connection.request("POST", "/api/v1/auths/signin", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        hint = f"`gpubox status {name}` shows how it is"
        raise Unreachable(
            f"the web UI does not answer: {error or type(error).__name__}", where=name, hint=hint
        ) from None
    finally:
        connection.close()
