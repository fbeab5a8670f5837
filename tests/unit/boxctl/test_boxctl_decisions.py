"""Pure decisions, by example: what state a service is in, where packages come from, which line says what went wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

_FIXTURES = Path(__file__).parent / "fixtures"


def _cases(kind: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['case']}")
        for path in sorted((_FIXTURES / kind).glob("*.yml"))
        for case in yaml.safe_load(path.read_text())
    ]


@pytest.mark.parametrize("case", _cases("states"))
def test_state_of_a_service(case: dict[str, Any]) -> None:
    from boxctl.states import Seen, service_state

    now = 10_000.0
    exits = [{"at": now - ago, "seconds": seconds, "exit_code": 1} for ago, seconds in case.get("exits", [])]
    seen = Seen(case["word"], case.get("keeper", True), exits, case.get("uptime"), case.get("healthy"))
    assert service_state(seen, now) == case["state"]


def test_a_full_disk_is_said_while_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from boxctl import files

    assert files.full(tmp_path) is None
    seen = os.statvfs(tmp_path)
    for blocks, words in ((0, "0 KiB free"), (100, f"{100 * seen.f_frsize // 1024} KiB free"), (seen.f_blocks, "")):
        rows = [*seen[:4], blocks, *seen[5:]]
        monkeypatch.setattr(os, "statvfs", lambda _path, rows=rows: os.statvfs_result(rows))
        assert words in (files.full(tmp_path) or "")
        assert bool(files.full(tmp_path)) == bool(words)


@pytest.mark.parametrize(
    ("ages", "seconds", "expected"),
    [([], 40, 0), ([1], 40, 0), ([60, 1], 40, 2), ([140, 60, 1], 40, 4), (range(9, 0, -1), 40, 60), ([60, 1], 5, 0)],
    ids=["none", "one", "two", "three", "many", "supervisord's own pauses"],
)
def test_pause_before_a_start(ages: Iterable[float], seconds: float, expected: float) -> None:
    from boxctl.states import pause

    exits = [{"at": 10_000.0 - ago, "seconds": seconds, "exit_code": 1} for ago in ages]
    assert pause(exits, 10, 10_000.0) == expected
    assert pause(exits, 10, 20_000.0) == 0


@pytest.mark.parametrize("case", _cases("indexes"))
def test_package_index(case: dict[str, Any]) -> None:
    from index_env import variables

    assert variables(case.get("pip", ""), case.get("environ", {})) == case["variables"]


@pytest.mark.parametrize("case", _cases("logs"))
def test_last_error(case: dict[str, Any], tmp_path: Path) -> None:
    from boxctl.logs import last_error

    log = tmp_path / "x.log"
    log.write_text(case["log"])
    assert last_error(log, under_way=case.get("under_way", False)) == case["error"]
