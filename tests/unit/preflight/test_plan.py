"""Preflight's decisions: one fixture file per box, `fixtures/<case>.yml`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gpubox import paths
from gpubox.boxfile import BoxFile
from gpubox.builds.matrix import matrix
from gpubox.preflight import Finding, Findings, data_dir, plan, root, vllm_build
from gpubox.preflight.findings import blocker, ok, warning
from gpubox.remote.facts import Facts

from .boxes import facts_of

HERE = Path(__file__).parent
CASES = sorted((HERE / "fixtures").glob("*.yml"))


def agree(found: tuple[Finding, ...], expected: list[dict[str, str]]) -> None:
    assert sorted(item.check for item in found) == sorted(item["check"] for item in expected), found
    for item in expected:
        of_check = [finding for finding in found if finding.check == item["check"]]
        assert any(
            item.get("says", "") in finding.message and item.get("fix", "") in (finding.fix or "")
            for finding in of_check
        ), of_check


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    unknown = case.keys() - {"about", "base", "facts", "cards", "box", "expect"}
    assert not unknown
    facts = facts_of(case)
    box = BoxFile.model_validate(case["box"]) if case.get("box") else None
    expect = case["expect"]
    assert not expect.keys() - {"blockers", "warnings", "ok", "says", "data_dir", "build"}

    findings = plan(facts, box)

    agree(findings.blockers, expect.get("blockers", []))
    agree(findings.warnings, expect.get("warnings", []))
    well = [item for item in findings.items if item.level == "ok"]
    assert set(expect.get("ok", [])) <= {item.check for item in well}
    for item in expect.get("says", []):
        assert any(item["check"] == other.check and item["says"] in other.message for other in findings.items), findings
    if "data_dir" in expect:
        assert data_dir(facts, box) == expect["data_dir"]
        assert root(facts, box) == expect["data_dir"] + "/gpubox"
    if "build" in expect:
        assert vllm_build(facts, box) == expect["build"]
    assert all(item.fix for item in findings.blockers)


def test_there_are_enough_boxes() -> None:
    assert len(CASES) >= 24


def test_versions_are_those_that_the_role_pins() -> None:
    path = paths.content() / "roles" / "vllm" / "vars" / "versions.yml"
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["vllm_versions"] == {
        row.build: row.version for row in matrix().vllm_pins
    }


def test_order_and_json() -> None:
    findings = Findings.of([ok("c", "well"), warning("b", "hm"), blocker("a", "no", "do"), warning("d", "hm")])
    assert [item.check for item in findings.items] == ["a", "b", "d", "c"]
    assert [item.check for item in findings.warnings] == ["b", "d"]
    shown = json.loads(json.dumps(findings.as_dicts()))
    assert shown[0] == {"level": "blocker", "check": "a", "message": "no", "fix": "do"}


def test_facts_survive_the_ledger() -> None:
    facts = facts_of(yaml.safe_load((HERE / "fixtures" / "port-taken.yml").read_text(encoding="utf-8")))
    again = Facts.model_validate(json.loads(json.dumps(facts.model_dump(mode="json"))))
    assert again == facts
    assert again.holders == {8000: "jupyter-lab (pid 412)"}
