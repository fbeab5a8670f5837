"""The resolver's decisions: one fixture file per box, `fixtures/<case>.yml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from gpubox.boxfile import BoxFile, load
from gpubox.builds import Plan, resolve, variables
from unit.preflight.boxes import facts_of

if TYPE_CHECKING:
    from gpubox.builds import Refusal, Warned

HERE = Path(__file__).parent
CASES = sorted((HERE / "fixtures").glob("*.yml"))
TEMPLATES = HERE.parents[2] / "templates" / "boxes"


def plan_of(path: Path) -> tuple[Plan, dict[str, Any]]:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert not case.keys() - {"about", "base", "facts", "cards", "box", "expect"}
    return resolve(facts_of(case), BoxFile.model_validate(case["box"])), case["expect"]


def agree(found: tuple[Refusal, ...] | tuple[Warned, ...], expected: list[dict[str, str]]) -> None:
    assert sorted(item.check for item in found) == sorted(item["check"] for item in expected), found
    for item in expected:
        assert any(
            one.check == item["check"] and item["says"] in one.message and item["fix"] in (one.fix or "")
            for one in found
        ), found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    plan, expect = plan_of(path)
    assert not expect.keys() - {
        "rows", "why", "refusals", "warnings", "requirements", "index_urls", "wheel", "variables", "decided"
    }  # fmt: skip
    agree(plan.refusals, expect.get("refusals", []))
    agree(plan.warnings, expect.get("warnings", []))
    assert plan.decided == expect.get("decided", True)
    for what, value in expect.get("rows", {}).items():
        assert [row.value for row in plan.rows if row.what == what and value in row.value], plan.rows
    for what, why in expect.get("why", {}).items():
        assert [row.why for row in plan.rows if row.what == what and why in row.why], plan.rows
    environments = {item.name: item for item in plan.environments}
    for name, wanted in expect.get("requirements", {}).items():
        assert list(environments[name].requirements) == wanted
    for name, url in expect.get("index_urls", {}).items():
        assert environments[name].index_url == url
    if "wheel" in expect:
        assert plan.flash_attn is not None
        assert plan.flash_attn.wheel == expect["wheel"]
    found = variables(plan)
    if plan.refusals:
        assert found == {}
    elif "variables" in expect:
        wanted = expect["variables"]
        assert {name: found.get(name) for name in wanted} == wanted
        assert wanted or not found


def test_there_are_enough_boxes() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", ["4090-vllm", "4090-ktransformers-r1", "4090-ollama", "autodl-4090-vllm"])
@pytest.mark.parametrize("driver", ["535.183.01", "550.54.15", "580.95.05"])
def test_starter_files_stand_up(name: str, driver: str) -> None:
    card = {"count": 1, "name": "NVIDIA GeForce RTX 4090", "gib": 24, "compute_cap": "8.9"}
    facts = facts_of({"base": "autodl-4090", "facts": {"gpu": {"driver": driver}}, "cards": card})
    plan = resolve(facts, load(TEMPLATES / f"{name}.yml"))
    assert plan.refusals == ()
    assert plan.decided
    assert plan.rows


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.yml")), ids=lambda path: path.stem)
def test_before_there_is_a_box(path: Path) -> None:
    plan = resolve(None, load(path))
    assert plan.refusals == ()
    assert not plan.decided
    assert variables(plan) == {}
