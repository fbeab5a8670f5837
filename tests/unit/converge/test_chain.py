"""The longest chain of a converge: one fixture per case in fixtures/chains."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gpubox.converge.chain import longest_chain
from gpubox.converge.events import Finished, Span, Story

CASES = sorted((Path(__file__).parent / "fixtures/chains").glob("*.yml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_chain(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    story = Story(begun=case["begun"])
    for task in case["tasks"]:
        jobs = tuple(Span(**job) for job in task.get("jobs", ()))
        story.finished.append(Finished(task["role"], task["task"], "ok", task["seconds"], task["ended"], jobs))

    chain = longest_chain(story)

    expect = case["expect"]
    if expect is None:
        assert chain is None
        return
    assert chain is not None
    assert chain.seconds == expect["seconds"]
    assert [[None if link.job else link.role, link.name, link.seconds] for link in chain.links] == expect["links"]
    assert chain.words() == expect["says"]
    assert expect["advice"] in (chain.advice or "")
