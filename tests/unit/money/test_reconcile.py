"""What came of an order that nobody lived to note."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Unreachable
from gpubox.ledger import Ledger
from gpubox.reconcile import GRACE, begun_at, decide, reconcile, settle

from .fakes import MemoryProvider, alive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """The ledger's time."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite3", now=clock) as opened:
        yield opened


def intend(ledger: Ledger, name: str = "demo", provider: str = "autodl") -> str:
    """A box whose create call began, and whose end nobody has noted."""
    order = ledger.new_order(name)
    ledger.add(name, provider, order=order, price_per_hour=Decimal(2), currency="CNY")
    ledger.audit(name, "create", "begun", {"order": order})
    return order


@pytest.mark.parametrize(
    ("ref", "seconds", "verdict"),
    [
        ("pro-1", 0, "rented"),
        ("pro-1", 9_000, "rented"),
        (None, 0, "wait"),
        (None, GRACE.total_seconds(), "wait"),
        (None, GRACE.total_seconds() + 1, "nothing"),
        (None, -60, "wait"),
    ],
)
def test_decisions(ref: str | None, seconds: float, verdict: str) -> None:
    assert decide(ref=ref, begun=NOON, now=NOON + timedelta(seconds=seconds)) == verdict


def test_a_box_that_was_rented_is_taken_into_the_ledger_and_billed_since_its_call(ledger: Ledger, clock: Clock) -> None:
    order = intend(ledger)
    clock.at += timedelta(hours=2)
    account = MemoryProvider().has(alive("pro-7", order))
    (settled,) = reconcile(ledger, account)
    assert (settled.name, settled.verdict, settled.ref) == ("demo", "rented", "pro-7")
    record = ledger.get("demo")
    assert (record.provider_ref, record.state) == ("pro-7", "running")
    assert ledger.audits("demo")[-1].outcome == "done"
    assert ledger.spent("demo") == 4
    assert reconcile(ledger, account) == []


def test_one_that_may_still_come_is_waited_for_and_then_closed(ledger: Ledger, clock: Clock) -> None:
    order = intend(ledger)
    account = MemoryProvider()
    clock.at += timedelta(seconds=30)
    (settled,) = reconcile(ledger, account)
    assert (settled.verdict, settled.at) == ("wait", NOON + GRACE)
    assert ledger.get("demo").state == "intended"
    clock.at = NOON + GRACE + timedelta(seconds=1)
    (settled,) = reconcile(ledger, account)
    assert settled.verdict == "nothing"
    assert ledger.find("demo") is None
    old = ledger.by_order(order)
    assert old is not None
    assert old.state == "released"
    assert ledger.spending() == []
    ledger.add("demo", "autodl", order=ledger.new_order("demo"))


def test_a_second_call_counts_from_its_own_begin(ledger: Ledger, clock: Clock) -> None:
    intend(ledger)
    clock.at += timedelta(hours=1)
    ledger.audit("demo", "create", "begun")
    assert begun_at(ledger.get("demo"), ledger.audits("demo")) == clock.at
    (settled,) = reconcile(ledger, MemoryProvider())
    assert settled.verdict == "wait"


def test_an_intent_whose_call_never_began_counts_from_the_intent(ledger: Ledger, clock: Clock) -> None:
    ledger.add("demo", "autodl", order=ledger.new_order("demo"))
    (settled,) = reconcile(ledger, MemoryProvider())
    assert settled.at == NOON + GRACE
    clock.at += GRACE * 2
    assert reconcile(ledger, MemoryProvider())[0].verdict == "nothing"


def test_what_another_process_is_just_renting_is_left_alone(ledger: Ledger, clock: Clock) -> None:
    intend(ledger)
    clock.at += GRACE * 2
    account = MemoryProvider()
    # flock is per open file: a second handle of this process is another one to the kernel.
    with ledger.lock("demo", shared=True):
        assert reconcile(ledger, account)[0].verdict == "busy"
        assert account.calls == []
        assert ledger.get("demo").state == "intended"
        # Who holds the lock says so, and settles it.
        assert reconcile(ledger, account, holding="demo")[0].verdict == "nothing"


def test_an_answer_that_does_not_come_settles_nothing(ledger: Ledger, clock: Clock) -> None:
    intend(ledger)
    clock.at += GRACE * 2
    with pytest.raises(Unreachable):
        reconcile(ledger, MemoryProvider(fails={"find": Unreachable("no route")}))
    assert ledger.get("demo").state == "intended"


def test_only_open_orders_of_that_provider_are_asked_for(ledger: Ledger, clock: Clock) -> None:
    intend(ledger, "other", "ec2")
    intend(ledger, "mine")
    ledger.add("rented", "autodl", order=ledger.new_order("rented"), provider_ref="pro-1", state="running")
    ledger.add("old", "autodl")
    asked: list[str] = []

    def find(order: str) -> str | None:
        asked.append(order)
        return None

    assert [one.name for one in settle(ledger, "autodl", find)] == ["mine"]
    assert [order.rsplit("-", 1)[0] for order in asked] == ["gpubox-mine"]
    assert settle(ledger, "autodl", find, holding="rented") == []


def test_a_box_settled_by_another_process_meanwhile_is_not_settled_twice(ledger: Ledger, clock: Clock) -> None:
    order = intend(ledger)

    def find_and_lose_the_race(_order: str) -> str | None:
        raise AssertionError("it was settled already")

    seen = ledger.get("demo")
    ledger.update("demo", provider_ref="pro-9", state="running")
    boxes = ledger.boxes

    class Stale(Ledger):
        def boxes(self, *, include_released: bool = False) -> list:  # type: ignore[type-arg]
            return [seen, *boxes()[1:]]

    with Stale(ledger.path, now=clock) as stale:
        (settled,) = settle(stale, "autodl", find_and_lose_the_race)
    assert (settled.order, settled.verdict) == (order, "busy")
    assert ledger.get("demo").provider_ref == "pro-9"
