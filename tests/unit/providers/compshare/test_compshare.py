"""Provider `compshare` against the simulated API: what every provider holds, and what CompShare is asked for."""

from __future__ import annotations

import base64
import sys
from decimal import Decimal

import pytest

from gpubox.boxfile import BoxFile
from gpubox.errors import AuthFailed, BoxFileError, Failed, NoStock, UnknownRegion, Unreachable, UsageError
from gpubox.providers.base import Price, Wish
from gpubox.providers.compshare import CompshareProvider
from sim.compshare import KEYS, Running, compshare
from sim.promises import Promises, World

from .world import NAME, asked, box_file, made, mute, only, order, provider_of, running, seeded


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


def test_a_region_that_it_does_not_have(provider: CompshareProvider) -> None:
    with pytest.raises(UnknownRegion, match="no region or zone `us-east-1`") as unknown:
        provider.offers(Wish(gpu="RTX 4090", region="us-east-1"))
    assert "cn-wlcb-01" in unknown.value.known
    assert provider.offers(Wish(gpu="RTX 4090", region="CN-WLCB"))
