"""What must hold for the web UI and its agents."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpubox.boxfile.problem import Problem
from gpubox.boxfile.web_ui import agent_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.boxfile.models import BoxFile


def web_ui(box: BoxFile) -> Iterator[Problem]:
    """What must hold for `web_ui`."""
    ui = box.web_ui_settings
    if ui is None:
        return
    for index, engine in enumerate(ui.engines):
        path = ("web_ui", "engines", index, "url")
        if "@" in urlsplit(engine.url).netloc:
            yield Problem(path, "has a login in it; box files hold no secrets, use `api_key`")
        elif ";" in engine.url:
            yield Problem(path, "has a semicolon in it, which stands between two addresses in open-webui's settings")
    if ui.snapshots is not None and ui.on == "laptop":
        yield Problem(("web_ui", "snapshots"), "are of a web UI on the box; with `on: laptop` all chats are at home")
    # On a machine of one's own it may be there for boxes to come, and for the chats of those that were.
    if box.engine is None and not ui.engines and box.provider != "local":
        reads = ("engine", "web_ui.engines")
        yield Problem(("web_ui",), "has no engine to talk to; set `engine` or `web_ui.engines`", reads)


def agents(box: BoxFile) -> Iterator[Problem]:
    """What must hold for `agents`: open-webui would take most of these mistakes and show something else."""
    if box.agents and box.web_ui_settings is None:
        yield Problem(("agents",), "are for the web UI; add `web_ui: true`", ("web_ui",))
    seen: dict[str, str] = {}
    for index, agent in enumerate(box.agents):
        name = agent_id(agent.name)
        if name in seen:
            message = f"becomes `{name}` in the web UI, as `{seen[name]}` does; rename one"
            yield Problem(("agents", index, "name"), message)
        elif name == agent.base_model:
            yield Problem(("agents", index, "name"), "is the name of its own base model; give it another one")
        if agent.base_model is None and box.engine is None:
            message = "needs `base_model`: the box file has no engine whose model it could be"
            yield Problem(("agents", index), message, ("engine",))
        seen.setdefault(name, agent.name)
