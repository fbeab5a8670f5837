"""Pure decisions, by example: what state a service is in, where packages come from, which line says what went wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

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


@pytest.mark.parametrize("case", _cases("indexes"))
def test_package_index(case: dict[str, Any]) -> None:
    from index_env import variables

    assert variables(case.get("pip", ""), case.get("environ", {})) == case["variables"]


@pytest.mark.parametrize("case", _cases("logs"))
def test_last_error(case: dict[str, Any], tmp_path: Path) -> None:
    from boxctl.logs import last_error

    log = tmp_path / "x.log"
    log.write_text(case["log"])
    assert last_error(log) == case["error"]
