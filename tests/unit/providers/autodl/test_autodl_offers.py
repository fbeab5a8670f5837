"""What AutoDL rents, under which names, and what an account may do."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.boxfile import load
from gpubox.boxfile.autodl import GpuSpec
from gpubox.boxfile.autodl_cards import CARDS, card, cards_like, unknown_card
from gpubox.boxfile.starters import write_starter
from gpubox.errors import AuthFailed, UnknownRegion
from gpubox.providers.autodl import AutodlProvider
from gpubox.providers.base import Wish
from sim.autodl import TOKEN, autodl
from sim.autodl.account import PRICES

if TYPE_CHECKING:
    from pathlib import Path

    from sim.autodl import Options, Running


def provider_of(sim: Running, token: str = TOKEN) -> AutodlProvider:
    return AutodlProvider(clock=sim.clock, url=sim.url, token=token)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("RTX 4090 D", "4090D"),
        ("4090d", "4090D"),
        ("NVIDIA GeForce RTX 4090 D", "4090D"),
        ("RTX 4090-D", "4090D"),
        ("RTX 4090 48G", "v-48g"),
        ("4090-48GB", "v-48g"),
        ("vGPU-48GB", "v-48g"),
        ("vGPU-48GB-350W", "v-48g-350w"),
        ("vGPU-32GB", "v-32g-p"),
        ("RTX 4080 S 32G", "v-32g-p"),
        ("RTX 5090", "5090-p"),
        ("NVIDIA RTX PRO 6000", "pro6000-p"),
        ("PRO6000-96G", "pro6000-p"),
        ("NVIDIA H800", "h800"),
        ("h800", "h800"),
    ],
)
def test_a_card_is_known_by_the_names_that_people_use(name: str, spec: str) -> None:
    found = card(name)
    assert found is not None
    assert found.spec == spec


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("RTX 4090", 'no "RTX 4090"; did you mean `RTX 4090 D` or `RTX 4090 48G`?'),
        ("RTX 3090", 'no "RTX 3090"; did you mean `RTX 3090 48G`?'),
        ("RTX5091", "did you mean `RTX 5090`?"),
        ("TPU v5 pod", 'no "TPU v5 pod"'),
        ("", 'no ""'),
    ],
)
def test_another_card_gets_the_ones_that_are_like_it(name: str, said: str) -> None:
    assert card(name) is None
    assert said in unknown_card(name)


def test_every_card_has_an_id_that_the_box_file_knows_and_no_name_means_two() -> None:
    assert [one.spec for one in CARDS] == list(GpuSpec.__args__)  # type: ignore[attr-defined]
    assert set(PRICES) == {one.spec for one in CARDS}
    names = [name for one in CARDS for name in (one.spec, one.name, *one.other_names)]
    assert all(card(name) is not None for name in names)
    assert [card(name) for name in names] == [one for one in CARDS for _ in (one.spec, one.name, *one.other_names)]
    assert cards_like(None) == list(CARDS)
    assert cards_like("") == []


def test_memory_comes_by_the_card_so_more_memory_is_more_cards() -> None:
    with autodl() as sim:
        found = provider_of(sim).offers(Wish(gpu="4090 D", ram_gib=480, region="westDC3"))
        assert [(one.gpu_count, one.ram_gib, one.vcpus, one.vram_gib) for one in found] == [
            (1, 120, 16, 24),
            (2, 240, 32, 48),
            (3, 360, 48, 72),
            (4, 480, 64, 96),
        ]
        assert [one.price.per_hour for one in found if one.price] == [Decimal("1.88") * n for n in (1, 2, 3, 4)]
        assert all("hosts differ" in str(one.note) and "2026-09" in str(one.note) for one in found)


def test_offers_are_by_card_and_data_centre() -> None:
    with autodl() as sim:
        provider = provider_of(sim)
        everything = provider.offers(Wish())
        assert len(everything) == len(CARDS) * 2
        assert {one.region for one in everything} == {"westDC3", "beijingDC2"}
        assert {one.gpu_count for one in everything} == {1}
        assert {one.provider for one in everything} == {"autodl"}
        assert [one.sku for one in provider.offers(Wish(gpu="4090", region="beijingDC2"))] == ["4090D", "v-48g"]
        assert [one.gpu_count for one in provider.offers(Wish(gpu="H800", count=3, region="westDC3"))] == [3]
        assert provider.offers(Wish(gpu="A100")) == []
        with pytest.raises(UnknownRegion, match="no boxes in `us-east-1`") as unknown:
            provider.offers(Wish(region="us-east-1"))
        assert unknown.value.hint == "use `westDC3` or `beijingDC2`"
        unpriced = [one for one in everything if one.price is None]
        assert {one.sku for one in unpriced} == {"v-48g", "v-48g-350w", "v-32g-p"}


def test_stock_is_told_where_it_may_be_asked() -> None:
    with autodl(idle={"RTX 4090D": 2, "RTX 5090": 0}) as sim:
        provider = provider_of(sim)
        stock = {
            (name, count): provider.offers(Wish(gpu=name, count=count, region="westDC3"))[0]
            for name, count in (("4090D", 2), ("4090D", 3), ("5090", 1), ("H800", 1))
        }
        # The query does not count Pro boxes: cards there are a good sign, none there says nothing.
        assert [offer.in_stock for offer in stock.values()] == [True, None, None, None]
        assert "2 cards idle" in str(stock["4090D", 3].note)
        assert "0 cards idle" in str(stock["5090", 1].note)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"enterprise": False}, "enterprise"), ({}, "the stock query failed")],
    ids=["no-permission", "broken"],
)
def test_offers_do_without_the_stock_query(settings: Options, said: str) -> None:
    with autodl(**settings) as sim:
        sim.faults.http("gpu_stock", times=sim.faults.ALWAYS)
        if settings:
            sim.faults.restart()
        found = provider_of(sim).offers(Wish(gpu="5090"))
        assert [one.in_stock for one in found] == [None, None]
        assert all("only trying tells" in str(one.note) for one in found)
        assert said in str(found[0].note) or "may not use" in str(found[0].note)


def test_offers_with_a_wrong_token_say_so() -> None:
    with autodl() as sim, pytest.raises(AuthFailed, match="developer token"):
        provider_of(sim, "wrong").offers(Wish(gpu="5090"))


@pytest.mark.parametrize(
    ("settings", "token", "levels"),
    [
        ({}, TOKEN, ["ok", "ok", "ok", "ok"]),
        ({"deposit": Decimal(3)}, TOKEN, ["ok", "warning", "ok", "ok"]),
        ({"enterprise": False}, TOKEN, ["ok", "ok", "ok", "warning"]),
        ({"real_name": False}, TOKEN, ["ok", "ok", "blocker", "ok"]),
        ({}, "wrong", ["blocker"]),
    ],
    ids=["well", "little-money", "no-enterprise", "no-real-name", "wrong-token"],
)
def test_an_account_is_judged(settings: Options, token: str, levels: list[str]) -> None:
    with autodl(**settings) as sim:
        findings = provider_of(sim, token).check()
        assert [finding.level for finding in findings] == levels
        assert all(finding.fix for finding in findings if finding.level != "ok")
        assert set(sim.server.operations()) <= {"balance", "list", "gpu_stock"}


def test_the_starter_rents_a_card_that_there_is(tmp_path: Path) -> None:
    box = load(write_starter("mybox", "autodl-4090-vllm", tmp_path))
    assert box.provider == "autodl"
    assert box.gpu is not None
    found = card(box.gpu.name)
    assert found is not None
    assert found.spec == "4090D"
