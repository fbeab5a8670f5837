"""Agents (open-webui's own word: workspace models): what there is against what is wanted. Pure."""

from __future__ import annotations

import re
from typing import Any

from webui_box.errors import Trouble

# In an agent's `meta`: which of its parameters are ours, so that one that is no longer wanted goes.
_STAMP = "gpubox"


def agent_id(agent: dict[str, Any]) -> str:
    """Its id: the name in lower case, blanks as dashes. Other scripts stay: `诗人` is an id."""
    return re.sub(r"\s+", "-", str(agent["name"]).strip().lower())


def check(agents: list[dict[str, Any]]) -> None:
    """Raise `Trouble` for agents that open-webui would take and not show."""
    seen: dict[str, str] = {}
    for agent in agents:
        name = agent_id(agent)
        if name in seen:
            raise Trouble(f"the agents `{seen[name]}` and `{agent['name']}` have the same id `{name}`; rename one")
        if name == agent["base_model"]:
            raise Trouble(f"the agent `{agent['name']}` has the name of its own base model; give it another name")
        seen[name] = str(agent["name"])


def form(agent: dict[str, Any], existing: dict[str, Any] | None) -> dict[str, Any]:
    """What open-webui is to be told. Of an agent that is there, everything stays that we do not set."""
    wanted = dict(agent.get("parameters") or {})
    if agent.get("system_prompt"):
        wanted["system"] = agent["system_prompt"]
    was = existing or {"meta": {}, "params": {}}
    ours = set((was["meta"].get(_STAMP) or {}).get("parameters", []))
    return {
        "id": agent_id(agent),
        "name": agent["name"],
        "base_model_id": agent["base_model"],
        "meta": {**was["meta"], _STAMP: {"parameters": sorted(wanted)}},
        "params": {key: value for key, value in was["params"].items() if key not in ours} | wanted,
        "is_active": True,
    }


def differs(wanted: dict[str, Any], existing: dict[str, Any] | None) -> bool:
    """Whether open-webui has to be told."""
    return existing is None or any(existing.get(field) != value for field, value in wanted.items())
