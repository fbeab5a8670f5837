"""After the start: wait until open-webui really works, bring its agents in line, look at its engines."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webui_box import agents, engines, ports, version
from webui_box.api import Api, Pending
from webui_box.errors import Trouble
from webui_box.served import Served
from webui_box.start import Place

_EVERY = 0.5
# How long the web UI may not show the models of an engine that answers, in seconds.
_MODELS_PATIENCE = 60.0


@dataclass(frozen=True)
class Request:
    """What the role wants. `dry`: nothing is changed and nothing waited for. `verify`: a difference is an error."""

    root: Path
    service: str
    place: Place
    port: int
    email: str
    timeout: float
    agents: list[dict[str, Any]] = field(default_factory=list)
    dry: bool = False
    verify: bool = False

    @classmethod
    def read(cls, text: str) -> Request:
        """The request from its JSON text."""
        values = json.loads(text)
        return cls(**{**values, "root": Path(values["root"]), "place": Place(Path(values["place"]))})


def settle(request: Request) -> dict[str, Any]:
    """`{"changed", "agents": {id: what was done}, "models": [...], "notes": [...]}`. Raises `Trouble`."""
    agents.check(request.agents)
    api = Api(request.port)
    patience = 0.0 if request.dry else request.timeout
    deadline = time.monotonic() + patience
    if request.dry and _state(request) != "running":
        done = {agents.agent_id(agent): "created" for agent in request.agents}
        return {"changed": bool(done), "agents": done, "models": [], "notes": ["the service does not run"]}
    wait(request, api, deadline)
    if not request.dry:
        version.note(request.place.path, version.Program.at(Served.read(request.root, request.service).command))
    done = _bring_in_line(request, api)
    if request.verify and done:
        raise Trouble(f"agents are not as they shall be: {', '.join(done)}; converge this box again")
    notes, up = engines.look(request.root, request.service)
    models = api.models()
    # An engine that has them and a web UI that does not understand it: more time does not help.
    deadline = min(deadline, time.monotonic() + _MODELS_PATIENCE)
    while up and not models and time.monotonic() < deadline:
        time.sleep(_EVERY)
        models = api.models()
    if up and not models:
        raise Trouble(f"{', '.join(up)} has models, and open-webui shows none; `boxctl logs {request.service}`")
    return {"changed": bool(done), "agents": done, "models": models, "notes": notes}


def wait(request: Request, api: Api, deadline: float) -> None:
    """Until it is up, is ours, and lets the admin in. Raises `Trouble`."""
    while True:
        try:
            # A password is told to our own process only.
            if api.healthy() and _is_ours(request):
                api.sign_in(request.email, request.place.admin_password)
                return
            last = "it is not healthy yet"
        except Pending as error:
            last = str(error)
        state = _state(request)
        if state in {"failed", "stopped", "absent"}:
            raise Trouble(f"service `{request.service}` is {state}: {_reason(request)}")
        if time.monotonic() >= deadline:
            raise Trouble(f"open-webui was not ready within {request.timeout:g} s: {last}")
        time.sleep(_EVERY)


def _bring_in_line(request: Request, api: Api) -> dict[str, str]:
    done: dict[str, str] = {}
    for agent in request.agents:
        existing = api.agent(agents.agent_id(agent))
        wanted = agents.form(agent, existing)
        if not agents.differs(wanted, existing):
            continue
        done[wanted["id"]] = "created" if existing is None else "updated"
        if request.dry or request.verify:
            continue
        if existing is None:
            api.create(wanted)
        else:
            api.update(wanted)
    return done


def _is_ours(request: Request) -> bool:
    owners = ports.listeners(request.port)
    pid = _service(request).get("pid")
    # Nobody can be named where there is no /proc; the service has then checked the port before its start.
    return not owners or (pid is not None and any(ports.descends(owner, int(pid)) for owner in owners))


def _state(request: Request) -> str:
    return str(_service(request).get("state", "absent"))


def _reason(request: Request) -> str:
    return str(_service(request).get("last_error") or "it said nothing")


def _service(request: Request) -> dict[str, Any]:
    argv = [str(request.root / "bin" / "boxctl"), "status"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"`{' '.join(argv)}` fails: {done.stderr.strip()[-300:]}")
    services: list[dict[str, Any]] = json.loads(done.stdout)["services"]
    return next((service for service in services if service["name"] == request.service), {})
