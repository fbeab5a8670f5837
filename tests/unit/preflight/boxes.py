"""Boxes for tests: a base, and over it what is particular to one case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gpubox.remote.facts import Facts

HERE = Path(__file__).parent


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` upon `base`: mappings are merged, everything else is replaced."""
    result = dict(base)
    for key, value in over.items():
        old = base.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def facts_of(case: dict[str, Any]) -> Facts:
    """The facts of a fixture: `base`, `facts` over it, and `cards` as nvidia-smi would list them."""
    facts = yaml.safe_load((HERE / "bases" / f"{case['base']}.yml").read_text(encoding="utf-8"))
    facts = merged(facts, case.get("facts", {}))
    if cards := case.get("cards"):
        total = cards["gib"] * 2**30
        card = {
            "name": cards["name"],
            "memory_total": total,
            "memory_free": cards.get("free_gib", cards["gib"]) * 2**30,
            "driver": facts["gpu"]["driver"],
            "compute_cap": cards["compute_cap"],
        }
        facts["gpu"]["cards"] = [{**card, "index": index} for index in range(cards["count"])]
        facts["gpu"]["device_nodes"] = cards["count"]
    return Facts.model_validate(facts)
