"""Which offers fit: one fixture file per wish, `fixtures/offers/<case>.yml`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.cards import same_card
from gpubox.errors import UsageError
from gpubox.offers import gib, money
from gpubox.providers import Offer, Price, Wish
from gpubox.sifting import FILTERS, no_match, sift

HERE = Path(__file__).parent
CASES = sorted((HERE / "fixtures" / "offers").glob("*.yml"))
MARKET = yaml.safe_load((HERE / "markets" / "all.yml").read_text(encoding="utf-8"))


def offer(row: dict[str, Any]) -> Offer:
    said = row.get("price")
    price = Price(Decimal(str(said).split()[0]), str(said).split()[1]) if said else None
    return Offer(**{**row, "price": price})


def wish(fields: dict[str, Any]) -> Wish:
    ram, cap = fields.pop("ram", None), fields.pop("max_price", None)
    return Wish(**fields, ram_gib=gib(ram) if ram else None, max_price=Decimal(cap) if cap else None)


def name(found: Offer) -> str:
    return f"{found.provider} {found.gpu} x{found.gpu_count}"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert not case.keys() - {"about", "market", "wish", "matches", "order", "unsure", "fails", "nearest", "says"}
    wanted = wish(case["wish"])

    sifted = sift([offer(row) for row in case.get("market", MARKET)], wanted)

    found = [name(match.offer) for match in sifted.matches]
    if "order" in case:
        assert found == case["order"]
    assert sorted(found) == sorted(case.get("matches", case.get("order", [])))
    assert {name(match.offer): list(match.unsure) for match in sifted.matches if match.unsure} == case.get("unsure", {})
    assert [miss.filter for miss in sifted.misses] == case.get("fails", [])
    if "nearest" in case:
        assert sifted.nearest is not None
        assert name(sifted.nearest) == case["nearest"]
    if not sifted.to_rent:
        error = no_match(sifted, wanted)
        assert error.exit_code == 5
        assert error.hint
        for words in case["says"]:
            assert words in f"{error.message} {error.hint}"


def test_every_filter_has_a_case_that_it_fails() -> None:
    failed = {miss for path in CASES for miss in yaml.safe_load(path.read_text(encoding="utf-8")).get("fails", [])}
    assert failed == set(FILTERS)


def test_an_offer_that_came_twice_is_one() -> None:
    rows = [offer(row) for row in MARKET]
    assert sift(rows + rows, Wish(gpu="A10G", count=16)).looked_at == len(MARKET)


@pytest.mark.parametrize(
    ("wanted", "has", "vram", "same"),
    [
        ("4090", "NVIDIA GeForce RTX 4090", None, True),
        ("RTX4090", "4090", None, True),
        ("4090", "4090D", None, False),
        ("4090D", "RTX 4090 D", None, True),
        ("4090", "RTX 4090 Laptop GPU", None, False),
        ("3080ti", "RTX 3080 Ti", None, True),
        ("3080", "RTX 3080 Ti", None, False),
        ("4080S", "4080(S)-32G", None, True),
        ("4080", "4080(S)-32G", None, True),
        ("4080", "RTX 4080 SUPER", None, False),
        ("A100", "NVIDIA A100-SXM4-80GB", None, True),
        ("A100 PCIe", "NVIDIA A100-SXM4-80GB", None, False),
        ("A100-40G", "NVIDIA A100-SXM4-80GB", None, False),
        ("A100-80G", "A100", None, None),
        ("A100-80G", "A100", 79.6, True),
        ("A100-80G", "A100", 40, False),
        ("L40", "L40S", None, False),
        ("A6000", "RTX A6000", None, True),
        ("6000 Ada", "NVIDIA RTX 6000 Ada Generation", None, True),
        ("6000 Ada", "RTX A6000", None, False),
        ("RTX PRO 6000", "PRO6000-96G", None, True),
        ("RTX PRO 6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition", None, True),
        ("H100", "NVIDIA H100 80GB HBM3", None, True),
        ("V100-32GB", "Tesla V100-SXM2-32GB", None, True),
        ("V100", "Tesla V100S-PCIE-32GB", None, False),
        ("910B", "Ascend 910B", None, True),
        ("TITAN RTX", "TITAN V", None, False),
        ("NVIDIA", "NVIDIA L4", None, False),
    ],
)
def test_same_card(wanted: str, has: str, vram: float | None, same: bool | None) -> None:
    assert same_card(wanted, has, vram) is same


def test_sizes_and_prices() -> None:
    assert gib("480GB") == pytest.approx(447.03, abs=0.01)
    assert (gib("480"), gib("480 GiB"), gib("0.5tib")) == (480, 480, 512)
    assert money("9.50") == Decimal("9.50")
    for wrong in ("", "GB", "480MB", "-1GB", "0GB", "1e3GB"):
        with pytest.raises(UsageError):
            gib(wrong)
    for wrong in ("", "-1", "10CNY", "NaN", "1e9"):
        with pytest.raises(UsageError):
            money(wrong)
