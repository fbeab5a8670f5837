"""How a teardown finds out what would be lost: `fixtures/` says what is known, and what follows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.ledger import Audit, BackupRecord, BoxRecord
from gpubox.takedown import first_look, last_heard, still_saved

FIXTURES = Path(__file__).parent / "fixtures"


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(yaml.safe_load(path.read_text()), id=path.stem) for path in sorted((FIXTURES / kind).glob("*"))
    ]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-01 {text}").replace(tzinfo=UTC)


def audits(case: dict[str, Any]) -> list[Audit]:
    rows = [text.split() for text in case["audits"]]
    return [Audit(name="mybox", action=action, outcome="done", detail={}, at=moment(at)) for action, at in rows]


def backup(case: dict[str, Any]) -> BackupRecord | None:
    if "backup" not in case:
        return None
    return BackupRecord(name="mybox", at=moment(case["backup"]), place=Path("/b"), files=1, size=1, sha256="0" * 64)


@pytest.mark.parametrize("case", cases("looks"))
def test_looks(case: dict[str, Any]) -> None:
    known = {"own": True, "set_up": True, "saved": False, "discard": False}
    assert first_look(state=case["state"], **{k: case.get(k, usual) for k, usual in known.items()}) == case["look"]


@pytest.mark.parametrize("case", cases("saved"))
def test_saved(case: dict[str, Any]) -> None:
    off = moment(case["powered_off"]) if "powered_off" in case else None
    at = moment("08:00")
    record = BoxRecord(name="mybox", provider="autodl", powered_off_at=off, created_at=at, updated_at=at)
    assert still_saved(record, audits(case), backup(case)) is case["saved"]


def test_when_a_box_was_last_heard_of() -> None:
    case = {"audits": ["create 08:00", "converge 08:05", "power_off 12:00"]}
    assert last_heard(audits(case), None) == moment("08:05")
    assert last_heard(audits(case), backup({"backup": "09:00"})) == moment("09:00")
    assert last_heard([], None) is None
