"""What ends a box of CompShare, and what it then costs: power, planned stops, releases, the account's money."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import Failed, Refused
from gpubox.providers.base import Balance, Price
from sim.compshare import Running, compshare

if TYPE_CHECKING:
    from datetime import datetime

    from gpubox.providers.compshare import CompshareProvider


from .world import NAME, asked, box_file, made, mute, only, order, provider_of, running, seeded


def test_a_box_that_runs_is_not_released(sim: Running, provider: CompshareProvider) -> None:
    one = running(sim, provider)
    with pytest.raises(Refused, match="only what is powered off"):
        provider.release(one)
    assert sim.server.count("TerminateCompShareInstance") == 0
    assert provider.state(one) == "running"


def test_a_box_with_a_disk_of_somebody_is_not_released(sim: Running, provider: CompshareProvider) -> None:
    one = running(sim, provider)
    provider.power_off(one)
    only(sim).data_disks.append(500)
    with pytest.raises(Refused, match=r"bsm-0 \(500 GB\)"):
        provider.release(one)
    assert sim.server.count("TerminateCompShareInstance") == 0
    only(sim).data_disks.clear()
    provider.release(one)
    assert provider.state(one) == "gone"
    assert "ReleaseUDisk" not in asked(sim, "TerminateCompShareInstance")


@pytest.mark.parametrize("code", ["8903", "9999"])
def test_an_operation_under_way_is_waited_for(sim: Running, provider: CompshareProvider, code: str) -> None:
    one = running(sim, provider)

    def busy(action: str, times: int) -> None:
        sim.faults.restart().error(action, times=times, code=code, message="InstanceOperationInProgress")

    before = sim.clock.slept
    busy("StopCompShareInstance", 90)
    provider.power_off(one)
    assert provider.state(one) == "stopped"
    assert sim.clock.slept - before > 300
    busy("StartCompShareInstance", 3)
    provider.power_on(one)
    provider.power_off(one)
    busy("TerminateCompShareInstance", 3)
    provider.release(one)
    assert provider.state(one) == "gone"


def test_a_box_that_was_paid_as_spot_is_forced_off(sim: Running, provider: CompshareProvider) -> None:
    one = made(sim, seeded(sim, charge="Spot").ref)
    provider.power_off(one)
    assert provider.state(one) == "stopped"
    with pytest.raises(Refused, match="Spot"):
        provider.guard_until(one, sim.clock.now() + timedelta(hours=1))


@pytest.mark.parametrize("locked", [True, False])
def test_the_stop_is_planned_with_the_box_and_comes_with_nobody_there(locked: bool) -> None:
    with compshare(lock_at_create=locked) as sim:
        provider = provider_of(sim)
        begun = sim.clock.now()
        one = made(sim, provider.create(order(after=timedelta(hours=2))))
        assert (only(sim).stop_at is None) == locked
        provider.ready(one, mute)
        assert only(sim).stop_at == begun + timedelta(hours=2) == provider.guarded_until(one)
        sim.clock.advance((begun + timedelta(hours=2, seconds=5) - sim.clock.now()).total_seconds())
        box = only(sim)  # no call of ours in between
        assert (box.state, sim.account.billing()) == ("Stopping", [box.ref])
        sim.clock.advance(minutes=1)
        assert sim.account.billing() == []
        assert sim.account.bill(box.ref) < Decimal("1.66") * Decimal("2.02")


def test_a_stop_that_the_crashed_process_could_not_plan_is_planned_from_the_ledger(sim: Running) -> None:
    one = made(sim, provider_of(sim).create(order(after=timedelta(hours=2))))
    until = sim.clock.now() + timedelta(hours=3)
    provider_of(sim).ready(one.model_copy(update={"guard_at": until}), mute)
    assert only(sim).stop_at == until


@pytest.mark.parametrize("fault", ["lie", "error"])
def test_a_box_whose_stop_cannot_be_planned_is_not_handed_over(
    sim: Running, provider: CompshareProvider, fault: str
) -> None:
    one = made(sim, provider.create(order(after=timedelta(hours=2))))
    plan = sim.faults.restart()
    if fault == "lie":
        plan.lie("UpdateCompShareStopScheduler", times=plan.ALWAYS)
    else:
        plan.error("UpdateCompShareStopScheduler", times=plan.ALWAYS, code="230", message="not available")
    for _ in range(2):
        with pytest.raises(Failed):
            provider.ready(one, mute)
    plan.restart()
    provider.ready(one, mute)
    assert only(sim).stop_at is not None


def test_the_stop_is_moved_and_taken_back(sim: Running, provider: CompshareProvider) -> None:
    one = running(sim, provider)
    now: datetime = sim.clock.now()
    assert provider.guard_until(one, now + timedelta(hours=5)) == only(sim).stop_at
    soon = provider.guard_until(one, now)  # the least that CompShare takes
    assert soon is not None
    assert timedelta(minutes=5) < soon - now < timedelta(minutes=7)
    assert provider.guard_until(one, None) is None
    assert only(sim).stop_at is None
    sim.clock.advance(hours=24)
    assert provider.state(one) == "running"


@pytest.mark.parametrize("hidden", [True, False])
def test_a_box_prepares_without_its_gpu(hidden: bool) -> None:
    with compshare(hide_without_gpu=hidden) as sim:
        provider = provider_of(sim)
        assert provider.can_prepare_without_gpu
        one = running(sim, provider)
        provider.power_off(one)
        provider.power_on_without_gpu(one)
        rented = provider.ready(one, mute)
        assert rented.price is not None
        assert rented.price.per_hour == Decimal("0.15")
        assert provider.state(one) == "running"
        assert [row.ref for row in provider.alive()] == [one.provider_ref] == [provider.find(NAME)]
        provider.power_off(one)
        provider.power_on(one)
        rented = provider.ready(one, mute)
        assert rented.price is not None
        assert rented.price.per_hour == Decimal("1.66")


def test_a_card_that_cannot_go_without_is_told(sim: Running, provider: CompshareProvider) -> None:
    one = running(sim, provider, box_file("3080Ti", image="compshareImage-torch"))
    provider.power_off(one)
    with pytest.raises(Refused, match="3080Ti") as caught:
        provider.power_on_without_gpu(one)
    assert "prepare" in str(caught.value.hint)
    assert provider.state(one) == "stopped"


def test_what_is_off_costs_its_disk_and_is_erased_after_a_week(sim: Running, provider: CompshareProvider) -> None:
    one = running(sim, provider, box_file(system_disk_gb=300))
    provider.power_off(one)
    (alive,) = provider.alive()
    assert alive.billing
    assert alive.price == Price(Decimal("1.76"), "CNY", Decimal("0.1"))
    assert alive.erase_at is not None
    assert timedelta(days=6) < alive.erase_at - sim.clock.now() < timedelta(days=7, minutes=1)
    sim.clock.advance(days=8)
    assert provider.state(one) == "gone"


def test_the_balance_falls_and_is_warned_of(sim: Running, provider: CompshareProvider) -> None:
    assert provider.balance() == Balance(Decimal("100.00"), "CNY")
    running(sim, provider)
    sim.clock.advance(hours=55)
    left = provider.balance()
    assert left is not None
    assert left.amount == (100 - sum(sim.server.app.bills().values(), Decimal(0))).quantize(Decimal("0.01"))
    assert left.amount < 10
    assert [finding.level for finding in provider.check()] == ["ok", "warning"]


def test_an_account_in_arrears_gets_no_box(sim: Running, provider: CompshareProvider) -> None:
    one = running(sim, provider)
    sim.clock.advance(hours=70)
    assert provider.state(one) == "running"
    sim.clock.advance(hours=2)
    provider.power_off(one)
    with pytest.raises(Failed, match="arrears") as caught:
        provider.power_on(one)
    assert "order_list" in str(caught.value.hint)
