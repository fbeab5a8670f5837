"""Variables of the role `open_webui`, for a web UI on the box."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from gpubox import web_ui_engines, web_ui_secrets
from gpubox.converge.variables.common import secret
from gpubox.durations import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpubox.boxfile import BoxFile, WebUi
    from gpubox.boxfile.web_ui import Agent
    from gpubox.ledger import BoxRecord

# Network storage that a provider mounts on every box of a region. AutoDL's has to be asked for once, on its website.
_SURVIVING = {"autodl": "/root/autodl-fs/gpubox-web-ui"}


def variables(
    box: BoxFile, record: BoxRecord | None, engine: Mapping[str, object], environ: Mapping[str, str]
) -> dict[str, object]:
    """What the box file says of the web UI; nothing when it has none, or has it on this machine.

    `engine`: the variables of the engine's role. The secrets are those kept here under the box's name, if there are
    any; without them the role makes up its own, which lie on the box. Raises `UsageError` for an API key that is not
    in `environ`, and `AuthFailed` for secrets that cannot be read.
    """
    ui = box.web_ui_settings
    if ui is None or ui.on != "box":
        return {}
    kept = web_ui_secrets.of(record.name) if record is not None else None
    if record is not None and record.name == web_ui_engines.HOME_BOX:
        # Keys of engines on other boxes are kept here, and in nobody's environment.
        environ = {**environ, **web_ui_engines.keys()}
    return {
        "gpubox_web_ui": True,
        "open_webui_port": ui.port,
        "open_webui_local_ports": list(ui.local_ports),
        "open_webui_admin_email": ui.admin_email,
        "open_webui_engines": _engines(box, ui, engine, environ),
        "open_webui_agents": [_agent(agent, served_model(box, engine)) for agent in box.agents],
        **_snapshots(box, ui, record),
        **(
            {"open_webui_admin_password": kept.password, "open_webui_secret_key": kept.secret_key}
            if kept is not None
            else {}
        ),
    }


def served_model(box: BoxFile, engine: Mapping[str, object]) -> str:
    """Name under which the engine of the box lists its (first) model; empty without an engine.

    `engine`: the variables of its role, whose defaults are repeated here.
    """
    match box.engine:
        case "vllm":
            path = PurePosixPath(str(engine.get("vllm_model_path", "")))
            return str(engine.get("vllm_served_model_name") or path.name)
        case "ktransformers":
            return str(engine.get("ktransformers_model_name", ""))
        case "ollama" if box.served_names:
            # Ollama's own API takes a name without its tag; its list of models, which open-webui reads, has the tag.
            name = box.served_names[0]
            return name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        case _:
            return ""


def _engines(box: BoxFile, ui: WebUi, engine: Mapping[str, object], environ: Mapping[str, str]) -> list[dict[str, str]]:
    found = []
    if box.engine is not None and box.engine_port is not None:
        own = {"url": f"http://127.0.0.1:{box.engine_port}/v1"}
        key = engine.get(f"{box.engine}_api_key")
        found.append({**own, "api_key": str(key)} if key else own)
    for further in ui.engines:
        keyed = {"api_key": secret(further.api_key, environ)} if further.api_key else {}
        found.append({"url": further.url, **keyed})
    return found


def surviving(box: BoxFile, ui: WebUi) -> str | None:
    """Directory on a disk that outlives the box, for snapshots: the box file's, else the provider's network disk."""
    if ui.snapshots is None:
        return None
    return ui.snapshots.to or _SURVIVING.get(box.provider)


def _snapshots(box: BoxFile, ui: WebUi, record: BoxRecord | None) -> dict[str, object]:
    to = surviving(box, ui)
    if ui.snapshots is None or to is None:
        return {}
    named = {"open_webui_snapshots_name": record.name} if record is not None else {}
    seconds = int(duration(ui.snapshots.every).total_seconds())
    return {"open_webui_snapshots_to": to, "open_webui_snapshots_every": seconds, **named}


def _agent(agent: Agent, served: str) -> dict[str, Any]:
    fields = agent.model_dump(mode="json", exclude_none=True)
    return {**fields, "base_model": agent.base_model or served}
