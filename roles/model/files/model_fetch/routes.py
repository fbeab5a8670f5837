"""Ways to a hub: directly, by the box's own proxy, by AutoDL's network turbo; which hub, and which way, is measured."""

from __future__ import annotations

import os
import queue
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from model_fetch import hubs
from model_fetch.errors import Asked, Denied, Trouble, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from model_fetch.hubs import Hub
    from model_fetch.listing import RemoteFile
    from model_fetch.spec import Settings

T = TypeVar("T")

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
# What the turbo's script sets besides: its proxy signs with a certificate of its own.
_TURBO = (*_PROXIES, "HTTP_PROXY", "SSL_CERT_FILE", "CURL_CA_BUNDLE")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(eq=False, slots=True)
class Route:
    """A hub and a way to it. `environment`: proxies of the child that fetches, and of nothing else; None: no proxy."""

    hub: Hub
    via: str = ""
    environment: Mapping[str, str] | None = None
    # The commit, and the branch for a hub that lists commits and does not hand out files by them.
    revision: str = ""
    branch: str = ""
    # Of another hub than the one that was asked for: its files.
    listed: Mapping[str, RemoteFile] | None = None
    # Failures in a row, of whatever file; false: it sends whole files only.
    strikes: int = 0
    ranges: bool = True

    def refuses(self, file: RemoteFile) -> str:
        """Why there is no use in asking it for that file; empty when there is."""
        if self.listed is None:
            return ""
        other = self.listed.get(file.path)
        if other is None:
            return "does not list it"
        return "lists other bytes" if file.contradicts(other) else ""

    def __str__(self) -> str:
        host = urlsplit(self.hub.endpoint).netloc
        words = self.hub.label if host in self.hub.label else f"{self.hub.label} ({host})"
        return f"{words} {self.via}".rstrip()


def routes(source: str, settings: Settings, environ: Mapping[str, str] = os.environ) -> list[Route]:
    """Every way to the hub of that name and its mirror, the likely ones first.

    ModelScope is never asked by way of the turbo, which slows it down (and has it not in its `no_proxy`).
    """
    hub = hubs.hub_of(source, settings)
    found = [Route(hub)]
    own = {name: environ[name] for name in _PROXIES if environ.get(name)}
    if not _loopback(hub) and any("no_proxy" not in name.lower() for name in own):
        found.append(Route(hub, "by the box's own proxy", own))
    if source != "huggingface":
        return found
    if not _loopback(hub) and (fast := turbo(settings.network_turbo)):
        found.append(Route(hub, "by the network turbo", fast))
    if other := hubs.mirror(settings):
        found.append(Route(other))
        if len(own) > 0 and not _loopback(other) and any("no_proxy" not in name.lower() for name in own):
            found.append(Route(other, "by the box's own proxy", own))
    return found


def turbo(script: str) -> dict[str, str]:
    """The proxies that AutoDL's script sets, without setting them here; empty where there is no such script."""
    if not script or not Path(script).is_file():
        return {}
    try:
        done = subprocess.run(
            ["bash", "-c", '. "$0" >/dev/null 2>&1; env -0', script],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (pair.partition("=") for pair in done.stdout.decode(errors="replace").split("\0"))
    found = {name: value for name, _, value in pairs if name in _TURBO and value != os.environ.get(name)}
    return found if any("_proxy" in name.lower() and "no_proxy" not in name.lower() for name in found) else {}


def first(ways: Sequence[Route], ask: Callable[[Route], T]) -> tuple[Route, T]:
    """The first good answer of all ways, asked at once. A definite no (not there, not allowed) is one only of all.

    Raises what went wrong at the most telling of them.
    """
    if len(ways) == 1:
        return ways[0], ask(ways[0])
    answers: queue.SimpleQueue[tuple[Route, T | BaseException]] = queue.SimpleQueue()

    def run(way: Route) -> None:
        try:
            answers.put((way, ask(way)))
        except BaseException as error:  # noqa: BLE001  # raised again below, in the thread that waits
            answers.put((way, error))

    # Daemons: nobody waits for a line that is dead once another one has answered.
    for way in ways:
        threading.Thread(target=run, args=(way,), daemon=True).start()
    errors: list[Trouble] = []
    while len(errors) < len(ways):
        way, answer = answers.get()
        if isinstance(answer, Trouble):
            errors.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            return way, answer
    raise most_telling(errors)


def most_telling(errors: Sequence[Trouble]) -> Trouble:
    """Of several ways' errors the one that says most: what a hub says itself before what a network says."""
    for kind in (Denied, Asked):
        if found := [error for error in errors if isinstance(error, kind)]:
            return found[0]
    return errors[0] if len(errors) == 1 else Unreachable("no way to the hub: " + "; ".join(map(str, errors)))


def _loopback(hub: Hub) -> bool:
    return urlsplit(hub.endpoint).hostname in _LOOPBACK
