"""Renting: one order, one box, whatever the provider's API does meanwhile."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import AuthFailed, NoStock, Refused, Unreachable
from gpubox.notify import Sent
from sim.autodl.account import PRICES

if TYPE_CHECKING:
    from sim.faults import FaultPlan

    from .conftest import Renter

HOURS = timedelta(hours=1)


def test_a_box_is_rented_once_and_known_from_the_moment_of_the_call(renter: Renter) -> None:
    begun = renter.sim.clock.now()
    record = renter.rent()
    (box,) = renter.sim.account.live()
    assert (record.state, record.provider_ref, record.order) == ("running", box.uuid, box.name)
    assert box.name.startswith("gpubox-mybox-")
    assert (record.gpu, record.gpu_count) == ("RTX 4090 D", 1)
    assert (record.price_per_hour, record.currency) == (Decimal("1.88"), "CNY")
    assert renter.audits("create") == ["begun", "done"]
    assert renter.sim.server.count("create") == 1
    # The guard is in the call itself, and somebody says so.
    assert "sleep 86400" in box.start_command
    assert record.guard_at is not None
    assert abs(record.guard_at - begun - 24 * HOURS) < timedelta(minutes=1)
    assert any("24 h" in note for note in renter.notes.notes)
    assert renter.ledger.balances("autodl")[-1].amount == 100

    renter.rent()
    assert renter.sim.server.count("create") == 1


def test_the_box_files_own_time_to_live_is_the_first_guard(renter: Renter) -> None:
    record = renter.rent(guard={"ttl": "8h"})
    (box,) = renter.sim.account.live()
    assert "sleep 28800" in box.start_command
    assert record.guard_at is not None
    assert renter.notes.notes == []


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(lambda faults: faults.drop("create"), id="no answer"),
        pytest.param(lambda faults: faults.garbage("create"), id="half an answer"),
    ],
)
def test_a_call_without_an_answer_that_was_heard_makes_one_box(renter: Renter, plan: object) -> None:
    plan(renter.sim.faults)  # type: ignore[operator]
    record = renter.rent()
    assert [box.uuid for box in renter.sim.account.live()] == [record.provider_ref]
    assert renter.sim.server.count("create") == 1
    assert record.guard_at is not None


def _drop(faults: FaultPlan) -> None:
    faults.drop("create", done=False)


def _error(faults: FaultPlan) -> None:
    faults.error("create")


def _http(faults: FaultPlan) -> None:
    faults.http("create")


def _html(faults: FaultPlan) -> None:
    faults.html("create")


@pytest.mark.parametrize("plan", [_drop, _error, _http, _html])
def test_a_call_that_was_not_heard_is_waited_out_and_rents_nothing(renter: Renter, plan: object) -> None:
    plan(renter.sim.faults)  # type: ignore[operator]
    begun = renter.sim.clock.now()
    with pytest.raises(Unreachable, match="nothing was rented"):
        renter.rent()
    # It was looked for as long as it may still come.
    assert renter.sim.clock.now() - begun >= timedelta(minutes=3)
    assert any("looking for the box for another" in detail for detail in renter.notes.details)
    assert renter.boxes() == []
    assert renter.ledger.find("mybox") is None
    assert renter.audits("create") == ["begun", "failed"]
    assert renter.rent().provider_ref is not None
    assert len(renter.boxes()) == 1


def test_a_box_of_a_run_that_was_killed_is_found_and_not_rented_again(renter: Renter) -> None:
    order = renter.ledger.new_order("mybox")
    renter.ledger.add("mybox", "autodl", order=order)
    renter.ledger.audit("mybox", "create", "begun", {"order": order})
    with renter.sim.account.lock:
        made = renter.sim.account.create(order, "4090D", 1, "westDC3", "")
    assert renter.rent().provider_ref == made.uuid
    assert renter.sim.server.count("create") == 0
    assert renter.audits("create") == ["begun", "done"]


def test_an_intent_that_nobody_was_asked_for_needs_no_waiting(renter: Renter) -> None:
    renter.ledger.add("mybox", "autodl", order=renter.ledger.new_order("mybox"))
    begun = renter.sim.clock.now()
    renter.rent()
    assert renter.sim.clock.now() - begun < timedelta(minutes=1)
    assert len(renter.boxes()) == 1


def test_when_nobody_can_tell_the_intent_stays(renter: Renter) -> None:
    renter.sim.faults.drop("create").drop("list", times=1 << 30)
    with pytest.raises(Unreachable, match="nobody can tell") as unclear:
        renter.rent()
    assert "gpubox sweep" in str(unclear.value.hint)
    assert renter.ledger.get("mybox").state == "intended"
    renter.sim.faults.restart()
    record = renter.rent()
    assert [box.uuid for box in renter.sim.account.live()] == [record.provider_ref]


def test_an_account_that_does_not_answer_is_asked_for_nothing(renter: Renter) -> None:
    renter.sim.faults.drop("balance", times=1 << 30)
    with pytest.raises(Unreachable):
        renter.rent()
    assert renter.sim.server.count("create") == 0
    assert renter.ledger.find("mybox") is None


def test_a_wrong_key_leaves_nothing_behind(renter: Renter) -> None:
    renter.sim.faults.error("create", code="AuthorizeFailed", message="登陆超时，请重新登录")
    with pytest.raises(AuthFailed):
        renter.rent()
    assert renter.ledger.find("mybox") is None
    assert renter.audits("create") == ["begun", "failed"]


def test_no_stock_is_said_at_once_without_wait(renter: Renter) -> None:
    renter.sim.faults.no_stock()
    with pytest.raises(NoStock) as none:
        renter.rent()
    assert "--wait 2h" in str(none.value.hint)
    assert renter.ledger.find("mybox") is None
    assert renter.sim.server.count("create") == 1


def test_stock_is_waited_for_with_longer_and_longer_pauses(renter: Renter) -> None:
    renter.sim.faults.no_stock(3000)
    begun = renter.sim.clock.now()
    renter.rent(wait=2 * HOURS)
    waited = (renter.sim.clock.now() - begun).total_seconds()
    assert 3000 < waited < 3300
    assert 10 < renter.sim.server.count("create") < 60
    assert len(renter.boxes()) == 1
    # Each call had a name of its own: no two calls can make two boxes of one name.
    asked = [call.parameters["instance_name"] for call in renter.sim.server.calls if call.operation == "create"]
    assert len(set(asked)) == len(asked)
    assert any("no stock; asked 3 times since" in detail for detail in renter.notes.details)


def test_who_waits_is_told(renter: Renter, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def send(title: str, words: str) -> Sent:
        told.append(f"{title}: {words}")
        return Sent()

    monkeypatch.setattr("gpubox.notify.send", send)
    renter.sim.faults.no_stock(600)
    renter.rent(wait=2 * HOURS)
    (words,) = told
    assert "got mybox" in words
    assert "RTX 4090 D x 1, 1.88 CNY an hour, after 1" in words
    # Nothing new was got, and nobody was waiting.
    renter.ledger.update("mybox", host=None)
    renter.rent(wait=2 * HOURS)
    renter.rent("other")
    assert len(told) == 1


def test_waiting_ends(renter: Renter) -> None:
    renter.sim.faults.no_stock()
    begun = renter.sim.clock.now()
    with pytest.raises(NoStock, match="waited 2 h and asked"):
        renter.rent(wait=2 * HOURS)
    assert timedelta(hours=2) <= renter.sim.clock.now() - begun < timedelta(hours=2, minutes=1)
    assert renter.ledger.find("mybox") is None


def test_a_call_without_an_answer_while_waiting_makes_one_box(renter: Renter) -> None:
    renter.sim.faults.no_stock(600).drop("create", nth=5, done=False).drop("list", times=3)
    renter.rent(wait=2 * HOURS)
    assert len(renter.boxes()) == 1


def test_ctrl_c_while_waiting_leaves_nothing(renter: Renter) -> None:
    renter.sim.faults.no_stock().act("create", lambda: os.kill(os.getpid(), signal.SIGINT), nth=4, done=False)
    with pytest.raises(KeyboardInterrupt):
        renter.rent(wait=2 * HOURS)
    assert renter.boxes() == []
    assert renter.ledger.find("mybox") is None
    assert renter.sim.server.count("create") == 4


def test_ctrl_c_in_the_very_call_gives_the_box_back(renter: Renter) -> None:
    renter.sim.faults.act("create", lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        renter.rent()
    assert renter.boxes() == []
    assert renter.ledger.find("mybox") is None
    assert renter.sim.server.operations()[-4:].count("release") == 1


def test_a_cap_is_held_before_anything_is_rented(renter: Renter) -> None:
    with pytest.raises(Refused, match=r"1\.88 CNY per hour now, more than `max_price: 1\.5`"):
        renter.rent(max_price=1.5)
    assert renter.sim.server.count("create") == 0
    assert renter.ledger.find("mybox") is None


def test_a_lower_price_is_waited_for(renter: Renter) -> None:
    with pytest.raises(NoStock, match="waited 60 min"):
        renter.rent(max_price=1.5, wait=HOURS)
    assert renter.sim.server.count("create") == 0


def test_a_box_that_turns_out_dearer_is_powered_off_and_said(renter: Renter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRICES, "4090D", 2500)
    with pytest.raises(Refused, match=r"costs 2\.50 CNY .* `max_price: 2`: it was powered off at once"):
        renter.rent(max_price=2)
    assert [box.status for box in renter.sim.account.live()] == ["shutdown"]
    assert renter.ledger.get("mybox").state == "stopped"
    # It is not powered on to find that out once more.
    with pytest.raises(Refused, match="it stays off"):
        renter.rent(max_price=2)
    assert renter.sim.server.count("power_on") == 0
    assert renter.rent(max_price=3).price_per_hour == Decimal("2.5")


def test_a_box_that_never_gets_ready_is_said_to_bill(renter: Renter) -> None:
    renter.sim.faults.drop("snapshot", times=1 << 30)
    with pytest.raises(Unreachable, match="is rented all the same, and bills") as stuck:
        renter.rent()
    assert "gpubox down mybox" in str(stuck.value.hint)
    assert renter.ledger.get("mybox").state == "running"
    renter.sim.faults.restart()
    assert renter.rent().host_key is not None
    assert len(renter.boxes()) == 1


def test_power_on_without_stock_says_what_becomes_of_the_disk(renter: Renter) -> None:
    record = renter.rent()
    renter.source.power_off(record)
    renter.ledger.update("mybox", state="stopped", erase_at=renter.sim.clock.now() + 15 * 24 * HOURS)
    renter.sim.faults.no_stock(900)
    with pytest.raises(NoStock, match="stays off with everything on its disk, and is deleted") as none:
        renter.rent()
    assert "gpubox up mybox --wait 2h" in str(none.value.hint)
    assert renter.ledger.get("mybox").state == "stopped"
    port = record.port
    again = renter.rent(wait=HOURS)
    assert again.state == "running"
    assert again.port != port
    assert len(renter.boxes()) == 1
