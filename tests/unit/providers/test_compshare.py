"""Provider `compshare` against the simulated API: what every provider holds, and CompShare's own ways."""

from __future__ import annotations

import base64
import sys
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import AuthFailed, BoxFileError, Failed, NoStock, Refused, Unreachable, UsageError
from gpubox.providers.base import Balance, Order, Price, Wish
from gpubox.providers.compshare import CompshareProvider
from sim.compshare import KEYS, Running, compshare
from sim.compshare.account import Wanted
from sim.promises import Promises, World, record
from sim.server import Response

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from gpubox.ledger import BoxRecord
    from sim.compshare.account import Box

NAME = "gpubox-box-00000001"


@pytest.fixture
def sim() -> Iterator[Running]:
    with compshare() as running:
        yield running


@pytest.fixture
def provider(sim: Running) -> CompshareProvider:
    return provider_of(sim)


@pytest.fixture
def world(sim: Running, provider: CompshareProvider) -> World:
    return World(
        provider=provider,
        stranger=CompshareProvider(clock=sim.clock, url=sim.url, keys=(KEYS[0], "wrong")),
        box=box_file(),
        server=sim.server,
        faults=sim.faults,
        clock=sim.clock,
        live=lambda: [box.ref for box in sim.account.live()],
        billing=sim.account.billing,
        create="CreateCompShareInstance",
        start="StartCompShareInstance",
        stop="StopCompShareInstance",
        release="TerminateCompShareInstance",
        looks=("DescribeCompShareInstance",),
    )


class TestPromises(Promises):
    """Those of every provider."""

    def test_no_stock_rents_nothing(self, world: World) -> None:
        world.faults.no_stock(60)
        with pytest.raises(NoStock) as caught:
            world.rent()
        assert caught.value.hint
        assert world.live() == []
        assert world.server.count(world.create) == 0  # stock is asked for first
        world.clock.advance(61)
        assert world.running().provider_ref in world.live()


def provider_of(sim: Running) -> CompshareProvider:
    return CompshareProvider(clock=sim.clock, url=sim.url, keys=KEYS)


def box_file(gpu: str = "RTX 4090", count: int = 1, max_price: float | None = None, **section: object) -> BoxFile:
    return BoxFile.model_validate(
        {
            "provider": "compshare",
            "gpu": {"name": gpu, "count": count},
            "max_price": max_price,
            "compshare": section or None,
        }
    )


def order(box: BoxFile | None = None, after: timedelta | None = None) -> Order:
    return Order(NAME, box or box_file(), after)


def mute(_: str) -> None:
    """Takes what `ready` waits for."""


def made(sim: Running, ref: str) -> BoxRecord:
    return record("compshare", ref)


def running(sim: Running, provider: CompshareProvider, box: BoxFile | None = None) -> BoxRecord:
    one = made(sim, provider.create(order(box)))
    provider.ready(one, mute)
    return one


def only(sim: Running) -> Box:
    (box,) = sim.account.live()
    return box


def asked(sim: Running, action: str) -> dict[str, Any]:
    """The parameters of the last call of that action."""
    return [call.parameters for call in sim.server.calls if call.operation == action][-1]


def seeded(sim: Running, name: str = "by hand", project: str = "org-main", charge: str = "Postpay") -> Box:
    """A box that somebody made without gpubox."""
    size, image = (1, 14, 48), "compshareImage-torch"
    return sim.account.create(Wanted(name, project, "cn-sh2", "cn-sh2-01", "5090", size, image, charge, 100))


def test_keys_and_address_come_from_the_environment(sim: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sim.environment.items():
        monkeypatch.setenv(name, value)
    assert CompshareProvider(clock=sim.clock).alive() == []


def test_without_a_key_the_first_call_names_where_it_may_be(sim: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COMPSHARE_PUBLIC_KEY", raising=False)
    monkeypatch.delenv("COMPSHARE_PRIVATE_KEY", raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    with pytest.raises(AuthFailed) as caught:
        CompshareProvider(clock=sim.clock, url=sim.url).alive()
    assert "COMPSHARE_PUBLIC_KEY" in str(caught.value.hint)


def test_without_the_sdk_the_extra_is_named(sim: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ucloud.core.client", None)
    with pytest.raises(Failed) as caught:
        provider_of(sim).alive()
    assert caught.value.hint == "pip install 'gpubox[compshare]'"


def test_a_box_is_paid_by_the_second_and_named_after_its_order(sim: Running, provider: CompshareProvider) -> None:
    provider.create(order())
    call = asked(sim, "CreateCompShareInstance")
    assert call["ChargeType"] == "Postpay"
    assert call["Name"] == NAME
    assert call["MaxCount"] == "1"
    assert "Quantity" not in call
    # The smallest box of the card, with the smallest image that goes with it, where it is cheapest.
    assert (call["Zone"], call["GpuType"], call["CPU"], call["Memory"]) == ("cn-wlcb-01", "4090", "8", "32768")
    assert call["CompShareImageId"] == "compshareImage-cuda"
    assert only(sim).wanted.charge == "Postpay"


def test_the_box_file_chooses(sim: Running, provider: CompshareProvider) -> None:
    box = box_file(
        "4090", 2, zone="cn-sh2-01", image="compshareImage-vm", charge="Day", system_disk_gb=300,
        cpu_platform="Intel/Auto", firewall="firewall-mine",
    )  # fmt: skip
    ref = provider.create(order(box))
    call = asked(sim, "CreateCompShareInstance")
    assert ref.startswith("uhost-")
    assert (call["Region"], call["Zone"], call["GPU"], call["Quantity"]) == ("cn-sh2", "cn-sh2-01", "2", "1")
    assert (call["Disks.0.Size"], call["Disks.0.IsBoot"]) == ("300", "true")
    assert (call["MinimalCpuPlatform"], call["SecurityGroupId"]) == ("Intel/Auto", "firewall-mine")
    rented = provider.ready(made(sim, ref), mute)
    # 3.76 an hour x 22 hours for a day of the box, and 200 GB that are not free.
    assert rented.price is not None
    assert rented.price.per_hour == (Decimal("82.72") / 24 + Decimal("0.1")).quantize(Decimal("0.0001"))
    assert rented.price.stopped_per_hour == rented.price.per_hour  # paid in advance
    assert provider.alive()[0].billing


def test_more_memory_is_found_and_too_much_is_told(sim: Running, provider: CompshareProvider) -> None:
    provider.create(order(box_file(ram_gib=60)))
    assert asked(sim, "CreateCompShareInstance")["Memory"] == "65536"
    with pytest.raises(UsageError, match="largest box with 1") as caught:
        provider.create(order(box_file(ram_gib=200)))
    assert "`gpu.count: 4`" in str(caught.value.hint)
    assert len(sim.account.live()) == 1


@pytest.mark.parametrize(
    ("box", "error", "words"),
    [
        (box_file("RTX 9090"), UsageError, "did you mean `4090`|rents no"),
        (box_file("H100"), UsageError, "rents no `H100`"),
        (box_file("4090", 3), UsageError, "only with 1, 2, 4 or 8"),
        (box_file("5090", zone="cn-nowhere-01"), UsageError, "no zone"),
        (box_file("4090", zone="cn-sh2-01", charge="Dynamic"), UsageError, "does not take this box file"),
        (box_file("3080 Ti", image="compshareImage-cuda"), Failed, "does not go with this card"),
        (box_file("4090", max_price=1.0), NoStock, "costs 1.66.*`max_price` is 1.0"),
        (BoxFile.model_validate({"provider": "compshare"}), BoxFileError, "names none"),
    ],
)
def test_what_cannot_be_rented_is_told_before_anything_is(
    sim: Running, provider: CompshareProvider, box: BoxFile, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        provider.create(order(box))
    assert caught.value.hint  # type: ignore[attr-defined]
    assert sim.server.count("CreateCompShareInstance") == 0


def test_of_two_cards_of_one_name_the_plain_one(sim: Running, provider: CompshareProvider) -> None:
    provider.create(order(box_file("RTX 4090 48GB")))
    assert asked(sim, "CreateCompShareInstance")["GpuType"] == "4090_48G"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (226601, Failed), (226602, Failed), (226603, Failed), (226604, NoStock), (226605, Failed),
        (226606, AuthFailed), (8095, Failed), (8333, NoStock), (8357, NoStock), (8429, Failed), (8433, Unreachable),
        (171, AuthFailed), (172, AuthFailed), (292, AuthFailed), (299, AuthFailed), (230, Failed), (77, Failed),
    ],
)  # fmt: skip
def test_every_no_is_typed_and_keeps_its_words(
    sim: Running, provider: CompshareProvider, code: int, error: type[Exception]
) -> None:
    sim.faults.error("CreateCompShareInstance", code=str(code), message="原因 why")
    with pytest.raises(error, match=f"原因 why.*RetCode {code}") as caught:
        provider.create(order())
    assert type(caught.value) is error or issubclass(type(caught.value), error)
    assert sim.account.live() == []
    assert sim.server.count("CreateCompShareInstance") == 1


def test_a_box_that_nobody_heard_of_is_found_by_its_name_when_the_list_has_it() -> None:
    with compshare(list_seconds=20) as sim:
        provider = provider_of(sim)
        sim.faults.drop("CreateCompShareInstance")
        with pytest.raises(Unreachable):
            provider.create(order())
        assert provider.find(NAME) is None
        sim.clock.advance(20)
        assert provider.find(NAME) == only(sim).ref
        assert sim.server.count("CreateCompShareInstance") == 1


@pytest.mark.parametrize("answer", [None, [], {}, {"RetCode": "0"}, {"UHostSet": []}])
def test_what_is_no_answer_is_silence(
    sim: Running, provider: CompshareProvider, monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(sim.server.app, "answer", lambda _: Response.of(answer))
    with pytest.raises(Unreachable, match="no answer of its"):
        provider.alive()


def test_a_box_that_the_list_does_not_show_yet_is_not_gone() -> None:
    with compshare(list_seconds=60) as sim:
        provider = provider_of(sim)
        one = made(sim, provider.create(order()))
        assert provider.state(one) == "starting"
        assert provider.ready(one, mute).ref == one.provider_ref


def test_a_create_that_was_a_lie_ends_and_bills_nothing(sim: Running, provider: CompshareProvider) -> None:
    sim.faults.lie("CreateCompShareInstance")
    one = made(sim, provider.create(order()))
    with pytest.raises(Failed, match="does not have this box"):
        provider.ready(one, mute)
    assert provider.state(one) == "gone"
    assert sim.account.billing() == []


def test_find_reads_every_page_and_says_when_there_are_two(provider: CompshareProvider) -> None:
    with compshare(quota=1000) as sim:
        provider = provider_of(sim)
        boxes = [seeded(sim, name=NAME if number == 7 else f"other-{number}") for number in range(230)]
        assert provider.find(NAME) == boxes[7].ref
        assert len(provider.alive()) == 230
        assert sim.server.count("DescribeCompShareInstance") > 6
        seeded(sim, name=NAME)
        with pytest.raises(Failed, match="two boxes have the name of one order"):
            provider.find(NAME)


def test_boxes_of_other_projects_and_regions_are_alive_and_can_be_released(
    sim: Running, provider: CompshareProvider
) -> None:
    other = seeded(sim, project="org-other")
    (alive,) = provider.alive()
    assert (alive.ref, alive.name, alive.region, alive.gpu, alive.gpu_count) == (
        other.ref, "by hand", "cn-sh2-01", "5090", 1,
    )  # fmt: skip
    one = made(sim, other.ref)
    assert provider.state(one) == "starting"
    provider.power_off(one)  # what starts is awaited
    provider.release(one)
    assert provider.alive() == []


def test_keys_that_may_not_list_projects_still_work() -> None:
    with compshare(sees_projects=False, sees_money=False) as sim:
        provider = provider_of(sim)
        running(sim, provider)
        assert provider.balance() is None
        assert [finding.level for finding in provider.check()] == ["ok", "ok"]


def test_ready_tells_where_and_with_which_password_and_what_it_costs(sim: Running, provider: CompshareProvider) -> None:
    said: list[str] = []
    one = made(sim, provider.create(order()))
    rented = provider.ready(one, said.append)
    box = only(sim)
    assert rented.password == box.password
    assert rented.endpoint.port == box.machine.port
    assert rented.price == Price(Decimal("1.66"), "CNY", Decimal("0.0"))
    assert "CompShare says: Initializing" in said
    assert box.password not in repr(rented)
    provider.power_off(one)
    provider.power_on(one)
    again = provider.ready(one, mute)
    assert again.endpoint.port == box.machine.port != rented.endpoint.port


def test_an_image_that_cannot_be_installed_ends_and_can_be_released() -> None:
    with compshare(bad_images=("compshareImage-cuda",)) as sim:
        provider = provider_of(sim)
        one = made(sim, provider.create(order()))
        with pytest.raises(Failed, match="could not install the image"):
            provider.ready(one, mute)
        with pytest.raises(Failed, match="cannot start"):
            provider.power_on(one)
        provider.power_off(one)
        provider.release(one)
        assert provider.state(one) == "gone"


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


# The provider's own guard: its planned stop.


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


# Without a GPU.


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


# Money.


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


def test_offers_tell_price_memory_and_stock_for_each_sensible_number_of_cards(
    sim: Running, provider: CompshareProvider
) -> None:
    found = provider.offers(Wish(gpu="4090", ram_gib=200, region="cn-wlcb"))
    plain = [offer for offer in found if offer.sku == "4090"]
    # One card has too little memory, two have, and four have enough.
    assert [(offer.gpu_count, offer.ram_gib) for offer in plain] == [(1, 64.0), (2, 128.0), (4, 256.0)]
    assert {offer.region for offer in found} == {"cn-wlcb-01"}
    assert {offer.in_stock for offer in found} == {True}
    assert plain[0].price == Price(Decimal("1.82"), "CNY", Decimal("0.0"))
    assert plain[0].vram_gib == 24.0
    sim.faults.no_stock(None, "4090")
    assert {offer.in_stock for offer in provider.offers(Wish(gpu="4090")) if offer.sku == "4090"} == {False}


def test_offers_of_all_cards_ask_no_stock(sim: Running, provider: CompshareProvider) -> None:
    found = provider.offers(Wish())
    assert {(offer.region, offer.sku) for offer in found} == {
        ("cn-wlcb-01", "4090"), ("cn-wlcb-01", "4090_48G"), ("cn-wlcb-01", "3080Ti"),
        ("cn-sh2-01", "4090"), ("cn-sh2-01", "5090"),
    }  # fmt: skip
    assert {offer.in_stock for offer in found} == {None}
    assert sim.server.count("CheckCompShareResourceCapacity") == 0
    assert sim.server.count("CreateCompShareInstance") == 0


# Secrets.


def test_neither_keys_nor_passwords_are_shown(
    sim: Running, provider: CompshareProvider, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    one = running(sim, provider)
    password = only(sim).password
    sim.faults.restart().garbage("DescribeCompShareInstance", times=sim.faults.ALWAYS)
    with pytest.raises(Unreachable) as caught:
        provider.state(one)
    shown = "".join((*capfd.readouterr(), caplog.text, repr(caught.value), str(caught.value.__cause__)))
    for secret in (KEYS[1], password, base64.b64encode(password.encode()).decode()):
        assert secret not in shown
