"""A box with `on: laptop` as the web UI on this machine is to see it: its engine's port here, keys and agents."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gpubox import web_ui_engines
from gpubox.boxfile import WebUi
from gpubox.converge.variables import role_variables
from gpubox.converge.variables.common import secret
from gpubox.converge.variables.open_webui import served_model
from gpubox.remote.facts import Facts
from gpubox.status import engine
from gpubox.web_ui_engines import Engine, Member

if TYPE_CHECKING:
    from typing import Any

    from gpubox.boxfile import BoxFile
    from gpubox.ledger import BoxRecord
    from gpubox.remote.tunnel import OpenTunnel


def member_of(record: BoxRecord, box: BoxFile, tunnel: OpenTunnel | None, answer: dict[str, Any]) -> Member:
    """The box as the web UI is to see it. Raises `UsageError` for an API key that nobody has ever given."""
    ui = box.web_ui_settings or WebUi()
    environ = {**_kept(record.name, box), **os.environ}
    facts = Facts.model_validate(record.facts) if record.facts else None
    variables = role_variables(
        box, root=record.root or "", data_dir=record.data_dir or "", facts=facts, record=record, environ=environ
    )
    service = engine(answer)
    forwards = tunnel.forwards if tunnel is not None else ()
    port = next((part.local_port for part in forwards if service and part.label == service["name"]), None)
    served = served_model(box, variables)
    further = (Engine(one.url, secret(one.api_key, environ) if one.api_key else None) for one in ui.engines)
    return Member(
        box=record.name,
        life=record.created_at.isoformat(),
        web_ui_port=ui.port,
        admin_email=ui.admin_email,
        port=port,
        api_key=str(variables.get(f"{box.engine}_api_key") or "") or None,
        further=tuple(further),
        agents={
            agent.name: {**agent.model_dump(mode="json", exclude_none=True), "base_model": agent.base_model or served}
            for agent in box.agents
        },
    )


def _kept(name: str, box: BoxFile) -> dict[str, str]:
    """API keys of the box's engines from the last time, by their variables: a new terminal has none of them."""
    known, ui = web_ui_engines.member(name), box.web_ui_settings
    if known is None or ui is None:
        return {}
    own = getattr(getattr(box, box.engine or "", None), "api_key", None)
    by_url = {engine.url: engine.api_key for engine in known.further}
    named = {one.api_key: by_url.get(one.url) for one in ui.engines} | {own: known.api_key}
    return {variable: key for variable, key in named.items() if variable and key}
