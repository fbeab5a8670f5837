"""What the guard says, in one line and in the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gpubox import guard
from gpubox.errors import Unreachable
from gpubox.ledger import BoxRecord, Ledger

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
VIEW: dict[str, Any] = {
    "stage": "watching", "why": None, "fires_at": None, "guard_at": None, "idle_s": None, "busy": [], "unknown": [],
    "limits": {"ttl": None, "idle": None, "budget": None, "warn": 600.0}, "looked_at": NOW.timestamp(), "running": True,
}  # fmt: skip


def _in(**span: float) -> float:
    return (NOW + timedelta(**span)).timestamp()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guard_at": _in(hours=8)}, "guard: powers off in 8 h at the latest"),
        ({"limits": {"idle": 1800.0}, "idle_s": 1500.0}, "guard: idle for 25 min of 30 min"),
        ({"limits": {"idle": 1800.0}, "busy": ["job train"]}, "guard: in use (job train)"),
        ({"limits": {"idle": 1800.0}}, "guard: off when idle for 30 min"),
        (
            {"limits": {"idle": 1800.0}, "unknown": ["nvidia-smi ended with 9"]},
            "guard: in use (nvidia-smi ended with 9)",
        ),
        (
            {"stage": "warned", "why": "nothing has used it for 30 min", "fires_at": _in(minutes=4)},
            "guard: powers off in 4 min: nothing has used it for 30 min",
        ),
        ({"stage": "stopping", "doing": "power off"}, "guard: powering off (power off)"),
        ({"stage": "off"}, "guard: switched off, so nothing powers this box off"),
        ({"stage": "dead", "running": False}, "guard: does not run, so nothing powers this box off"),
        ({"guard_at": _in(hours=8), "powerless": "`me` may not"}, "guard: cannot power this box off, `me` may not"),
    ],
)
def test_line(changes: dict[str, Any], words: str) -> None:
    assert guard.line({**VIEW, **changes}, NOW) == words


def test_a_guard_that_has_never_looked() -> None:
    assert guard.line({"stage": "starting", "running": True}, NOW) == "guard: has not looked at the box yet"


def test_the_ledger_keeps_when_it_powers_off() -> None:
    at = datetime(2026, 3, 4, 13, 6, 8, tzinfo=UTC)
    with Ledger() as ledger:
        ledger.add("a", "attach")
        assert guard.note(ledger, "a", {**VIEW, "guard_at": at.timestamp() - 0.4}).guard_at == at
        updated = ledger.get("a").updated_at
        # Every look at the box is no write.
        assert guard.note(ledger, "a", {**VIEW, "guard_at": at.timestamp() + 0.3}).updated_at == updated
        for view in (None, {**VIEW, "stage": "off", "guard_at": at.timestamp()}):
            assert guard.note(ledger, "a", view).guard_at is None


@pytest.mark.parametrize(
    ("changes", "spent", "told"),
    [
        ({"limits": {"budget": 20.0}, "spent": 4.0}, "5", True),
        ({"limits": {"budget": 20.0}, "spent": 4.99}, "5", False),
        ({"limits": {"budget": None}, "spent": 0.0}, "5", False),
    ],
)
def test_the_guard_is_told_the_cost_where_that_matters(changes: dict[str, Any], spent: str, *, told: bool) -> None:
    assert guard._disagree({**VIEW, **changes}, Decimal(spent)) is told


class Planner:
    """A provider that stops boxes by itself."""

    def __init__(self, planned: datetime | None) -> None:
        self.planned = planned
        self.asked: list[datetime | None] = []

    def guarded_until(self, record: BoxRecord) -> datetime | None:
        return self.planned

    def guard_until(self, record: BoxRecord, when: datetime | None) -> datetime | None:
        if self.asked:
            raise Unreachable("no answer")
        self.asked.append(when)
        self.planned = when
        return when


@pytest.mark.parametrize(
    ("view", "planned", "asked"),
    [
        # What the guard does before it powers off takes its time.
        ({"guard_at": _in(hours=8)}, NOW + timedelta(hours=8), [NOW + timedelta(hours=8, minutes=30)]),
        ({"guard_at": _in(hours=8, minutes=1)}, NOW + timedelta(hours=8, minutes=30), []),
        ({"guard_at": None}, NOW + timedelta(hours=24), [None]),
        ({"stage": "off", "guard_at": _in(hours=8)}, NOW + timedelta(hours=8), [None]),
        # One that cannot power it off leaves its provider's stop as the last resort, unless a person wants none.
        ({"guard_at": None, "powerless": "x"}, NOW + timedelta(hours=24), []),
        ({"stage": "off", "guard_at": None, "powerless": "x"}, NOW + timedelta(hours=24), [None]),
        # One that does not run, or is about to power off, moves nothing.
        ({"stage": "dead", "guard_at": _in(hours=8)}, NOW + timedelta(hours=1), []),
        ({"stage": "stopping", "guard_at": _in(hours=8)}, NOW + timedelta(hours=1), []),
    ],
)
def test_the_providers_own_stop_comes_after_the_guards(
    view: dict[str, Any], planned: datetime, asked: list[datetime | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Planner(planned)
    monkeypatch.setattr(guard, "provider", lambda _: source)
    with Ledger() as ledger:
        ledger.add("a", "compshare")
        assert guard.settle(ledger, "a", {**VIEW, **view}) is None
        assert source.asked == asked
        if asked:
            source.planned = NOW
            trouble = guard.settle(ledger, "a", {**VIEW, "guard_at": _in(hours=50)})
            assert trouble is not None
            assert "no answer" in trouble


def test_a_guard_that_cannot_end_the_bill_is_told_with_what_mends_it() -> None:
    assert guard.weakness("mybox", None) is None
    assert guard.weakness("mybox", VIEW) is None
    words = str(guard.weakness("mybox", {**VIEW, "powerless": "`ubuntu` may not power it off"}))
    assert "`ubuntu` may not power it off" in words
    assert "visudo" in words
