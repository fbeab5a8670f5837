"""A box is gone when its provider's list says so, and not before."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Failed, Refused, Unreachable
from gpubox.releasing import UNTIL_GONE, bill, give_back
from sim.clock import SimClock

from .fakes import MemoryProvider, alive

if TYPE_CHECKING:
    from gpubox.ledger import BoxRecord, Ledger


def known(ledger: Ledger, **fields: object) -> BoxRecord:
    usual: dict[str, object] = {"state": "running", "price_per_hour": Decimal("1.98"), "currency": "CNY"}
    return ledger.add("demo", "autodl", provider_ref="pro-1", **{**usual, **fields})


def steps(ledger: Ledger) -> list[tuple[str, str]]:
    return [(audit.action, audit.outcome) for audit in ledger.audits("demo")]


def quiet(_words: str) -> None:
    """Nobody listens."""


def test_it_is_powered_off_released_and_seen_to_be_gone(ledger: Ledger) -> None:
    account, clock = MemoryProvider().has(alive("pro-1"), alive("pro-2")), SimClock()
    gone = give_back(ledger, known(ledger), account, say=quiet, clock=clock)
    assert gone.state == "released"
    assert list(account.boxes) == ["pro-2"]
    assert [call for call, _ in account.calls] == ["state", "power_off", "release", "state"]
    assert steps(ledger) == [
        ("power_off", "begun"),
        ("power_off", "done"),
        ("release", "begun"),
        ("release", "done"),
        ("gone", "done"),
    ]
    assert clock.slept == 0


def test_what_is_gone_already_is_only_closed(ledger: Ledger) -> None:
    account = MemoryProvider()
    assert give_back(ledger, known(ledger), account, say=quiet).state == "released"
    assert [call for call, _ in account.calls] == ["state"]


def test_a_stopped_one_is_not_powered_off_again(ledger: Ledger) -> None:
    account = MemoryProvider().has(alive("pro-1", state="stopped", billing=False))
    give_back(ledger, known(ledger, state="stopped"), account, say=quiet, clock=SimClock())
    assert ("power_off", "pro-1") not in account.calls


def test_a_release_that_is_a_lie_is_no_release(ledger: Ledger) -> None:
    account, clock = MemoryProvider(sticky={"pro-1"}).has(alive("pro-1")), SimClock()
    with pytest.raises(Refused) as told:
        give_back(ledger, known(ledger), account, say=quiet, clock=clock)
    assert "still lists it" in told.value.message
    assert "gpubox down demo" in (told.value.hint or "")
    assert clock.slept >= UNTIL_GONE
    assert ledger.get("demo").state == "stopped"
    assert steps(ledger)[-1] == ("release", "failed")
    account.sticky.clear()
    assert give_back(ledger, ledger.get("demo"), account, say=quiet, clock=clock).state == "released"


def test_a_failing_step_says_what_still_bills(ledger: Ledger) -> None:
    account = MemoryProvider(fails={"power_off": Unreachable("no answer", hint="look at your network")})
    account.has(alive("pro-1"))
    with pytest.raises(Unreachable) as told:
        give_back(ledger, known(ledger), account, say=quiet)
    assert told.value.message == "no answer; the box is not gone, and bills (1.98 CNY per hour)"
    assert told.value.hint == "look at your network"
    assert ledger.get("demo").state == "running"
    assert steps(ledger) == [("power_off", "begun"), ("power_off", "failed")]


def test_a_no_to_the_release_of_what_is_gone_is_well(ledger: Ledger) -> None:
    """The answer to the first call was lost, and the second one finds nothing to release."""

    class Gone(MemoryProvider):
        def release(self, record: BoxRecord) -> None:
            self.boxes.clear()
            raise Failed("no such box")

    account = Gone().has(alive("pro-1"))
    assert give_back(ledger, known(ledger), account, say=quiet, clock=SimClock()).state == "released"


def test_a_no_to_the_release_of_what_is_there_is_told(ledger: Ledger) -> None:
    account = MemoryProvider(fails={"release": Failed("not now")}).has(alive("pro-1"))
    with pytest.raises(Failed, match="not now; the box is not gone"):
        give_back(ledger, known(ledger), account, say=quiet, clock=SimClock())


def test_what_it_bills_is_that_of_its_state(ledger: Ledger) -> None:
    record = known(ledger, stopped_per_hour=Decimal("0.02"))
    assert bill(record) == "1.98 CNY per hour"
    assert bill(record.model_copy(update={"state": "stopped"})) == "0.02 CNY per hour"
    assert bill(record.model_copy(update={"price_per_hour": None})) == "at a price that is not known"
