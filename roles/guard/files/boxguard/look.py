"""One look at the box: sessions, jobs, requests, GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from boxctl import files, jobs
from boxctl.errors import BoxctlError
from boxctl.rpc import Supervisord
from boxguard import gpus, metrics, ollama, sessions
from boxguard.judge import Seen

if TYPE_CHECKING:
    from boxctl.layout import Layout
    from boxguard.settings import Settings


class _Requests(NamedTuple):
    number: int | None
    counters: dict[str, float]


def look(layout: Layout, settings: Settings) -> Seen:
    """What can be seen now. What cannot is None, with the reason in `unknown`."""
    unknown: list[str] = []
    try:
        people = sessions.count(sessions.table(), settings.ssh_server)
        if people is None:
            unknown.append("the processes of others cannot be seen, so nobody knows who is logged in")
    except OSError as error:
        people = None
        unknown.append(f"the table of processes cannot be read: {error.strerror}")
    try:
        work: dict[str, str] | None = {name: str(jobs.read(layout, name)["state"]) for name in jobs.names(layout)}
    except (OSError, BoxctlError, ValueError, KeyError) as error:
        work = None
        unknown.append(f"the jobs cannot be read: {error}")
    requests = _requests(layout, settings, unknown)
    try:
        cards: list[float] | None = gpus.use()
    except gpus.UnknownUseError as error:
        cards = None
        unknown.append(f"the GPUs' use cannot be read: {error}")
    return Seen(people, work, requests.number, requests.counters, cards, unknown)


def _requests(layout: Layout, settings: Settings, unknown: list[str]) -> _Requests:
    try:
        places = [*_services(layout), *((url, url, _port(url)) for url in settings.metrics_urls)]
    except (OSError, BoxctlError) as error:
        unknown.append(f"the services cannot be read: {error}")
        return _Requests(None, {})
    number: int | None = 0
    counters = {}
    for name, url, port in places:
        try:
            engine = metrics.ask(url)
            if engine is not None:
                counters[name] = engine.counter
            elif (used := ollama.last_use(port)) is not None:
                counters[name] = used
            found = engine.requests if engine is not None else metrics.connections(port)
        except metrics.SilentError as error:
            unknown.append(f"`{name}` does not say how many requests it has: {error}")
            number = None
            continue
        number = None if number is None else number + found
    return _Requests(number, counters)


def _services(layout: Layout) -> list[tuple[str, str, int]]:
    """Name, address of the metrics and port of each service that runs and has a port."""
    running = {name for name, info in Supervisord(layout).processes().items() if info.get("pid")}
    found = []
    for path in sorted(layout.services.glob("*/service.json")):
        name, port = path.parent.name, (files.read_json(path) or {}).get("port")
        if port and f"service-{name}" in running:
            found.append((name, f"http://127.0.0.1:{port}/metrics", int(port)))
    return found


def _port(url: str) -> int:
    from urllib.parse import urlsplit

    return urlsplit(url).port or (443 if url.startswith("https") else 80)
