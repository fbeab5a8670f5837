"""Power at AutoDL: requests that are lost, refused or late, and what has to hold all the same."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Failed, Unreachable
from sim.autodl import Running, autodl
from sim.promises import record

from .world import ORDER, paper, provider_of

if TYPE_CHECKING:
    from gpubox.providers.autodl import AutodlProvider


def test_endpoint_and_password_are_others_after_every_power_change(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    first = provider.ready(box, print)
    assert (first.endpoint.host, first.endpoint.port) == ("127.0.0.1", paper(sim).port)
    assert first.password == paper(sim).password
    assert "password" not in repr(first)
    provider.power_off(box)
    provider.power_on(box)
    second = provider.ready(box, print)
    assert second.password == paper(sim).password != first.password
    assert second.endpoint.port == paper(sim).port


def test_running_is_not_ready_before_the_ssh_server_greets(sim: Running, provider: AutodlProvider) -> None:
    sim.machines.deaf_seconds = 120  # type: ignore[attr-defined]
    said: list[str] = []
    box = record("autodl", provider.create(ORDER))
    begun = sim.clock.now()
    rented = provider.ready(box, said.append)
    assert (sim.clock.now() - begun).total_seconds() >= 120
    assert said == [
        "AutoDL makes the box",
        "AutoDL starts the box",
        "the box runs; its SSH server does not answer yet",
    ]
    assert rented.price is not None
    assert rented.price.per_hour == Decimal("1.88")
    assert rented.price.currency == "CNY"


def test_a_start_that_takes_too_long_says_that_it_may_bill(sim: Running, provider: AutodlProvider) -> None:
    sim.machines.deaf_seconds = 1e9  # type: ignore[attr-defined]
    with pytest.raises(Unreachable, match="SSH server does not answer yet") as caught:
        provider.ready(record("autodl", provider.create(ORDER)), print)
    assert "gpubox ls" in str(caught.value.hint)


def test_a_power_off_while_the_box_starts_is_lost_and_asked_again(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.power_off(box)
    assert provider.state(box) == "stopped"
    assert sim.server.count("power_off") >= 2
    assert sim.account.billing() == []


def test_a_power_off_that_is_refused_while_the_box_stops_is_no_failure(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    # Another gpubox asked between our look and our request.
    sim.faults.restart().act("power_off", lambda: sim.account.power_off(str(box.provider_ref)), done=False)
    provider.power_off(box)
    assert provider.state(box) == "stopped"


def test_a_power_off_that_is_always_refused_ends_with_its_words(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.faults.restart().error("power_off", times=sim.faults.ALWAYS, code="BadRequest", message="不行")
    with pytest.raises(Unreachable, match="BadRequest: 不行"):
        provider.power_off(box)
    assert sim.server.count("power_off") == 3


def test_release_is_refused_for_a_box_that_runs(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    with pytest.raises(Failed, match="请在实例关机状态下执行释放操作") as caught:
        provider.release(box)
    assert caught.value.hint == "gpubox stop NAME"
    assert provider.state(box) == "running"
    provider.power_off(box)
    provider.release(box)
    provider.release(box)  # gone already
    assert provider.state(box) == "gone"


def test_a_power_on_whose_answer_is_lost_is_looked_for(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    provider.power_off(box)
    sim.faults.restart().drop("power_on")
    provider.power_on(box)
    assert sim.server.count("power_on") == 1
    provider.ready(box, print)
    assert paper(sim).boots == 2


def test_a_power_on_that_never_arrived_is_made_again(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    provider.power_off(box)
    sim.faults.restart().drop("power_on", done=False)
    provider.power_on(box)
    assert provider.state(box) == "starting"
    provider.power_off(box)
    sim.faults.restart().http("power_on", times=2)
    with pytest.raises(Unreachable, match="HTTP 500"):
        provider.power_on(box)


def test_a_power_on_right_after_a_power_off_waits_for_its_end(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.account.power_off(str(box.provider_ref))
    assert provider.state(box) == "stopping"
    provider.power_on(box)
    assert provider.state(box) == "starting"


def test_a_box_that_went_off_by_itself_bills_no_more(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    sim.clock.advance(hours=1)
    paper(sim).shut_down_by_itself()
    assert provider.state(box) == "stopped"
    spent = sim.account.bill(str(box.provider_ref))
    sim.clock.advance(days=1)
    assert sim.account.bill(str(box.provider_ref)) == spent
    assert Decimal("1.88") < spent < Decimal("1.90")


def test_a_box_that_goes_off_while_it_starts_is_a_failure(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    sim.clock.advance(8)
    assert provider.state(box) == "starting"
    sim.machines.deaf_seconds = 1e9  # type: ignore[attr-defined]
    sim.faults.act("snapshot", paper(sim).shut_down_by_itself)
    with pytest.raises(Failed, match="went off while it was starting"):
        provider.ready(box, print)


def test_a_box_hangs_on_an_account_without_money(provider: AutodlProvider) -> None:
    with autodl(deposit=Decimal("0.30")) as sim:
        poor = provider_of(sim)
        box = record("autodl", poor.create(ORDER))
        with pytest.raises(Unreachable, match="AutoDL starts the box") as caught:
            poor.ready(box, print)
        assert "0.30 CNY left" in str(caught.value.hint)


def test_money_falls_with_time_and_ends_the_box(sim: Running, provider: AutodlProvider) -> None:
    box = record("autodl", provider.create(ORDER))
    provider.ready(box, print)
    before = provider.balance()
    sim.clock.advance(hours=10)
    after = provider.balance()
    assert before is not None
    assert after is not None
    assert before.amount - after.amount == pytest.approx(Decimal("18.8"), abs=Decimal("0.002"))
    sim.clock.advance(hours=50)
    assert provider.state(box) == "stopped"
    assert sim.account.billing() == []
