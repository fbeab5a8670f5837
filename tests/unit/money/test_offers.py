"""`gpubox offers`, with accounts in memory."""

from __future__ import annotations

import json
import threading
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox.errors import AuthFailed, NoStock, Refused, UnknownRegion, Unreachable
from gpubox.offers import offers
from gpubox.providers import Offer, Price, Wish

from .fakes import MemoryProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done


def of_autodl(**fields: object) -> MemoryProvider:
    market = [
        Offer(
            "autodl", "v-24g", "RTX 4090", count, Price(count * Decimal("1.98"), "CNY"), ram_gib=120.0 * count, vcpus=16
        )
        for count in (1, 2, 4)
    ]
    return MemoryProvider("autodl", market=market, **fields)  # type: ignore[arg-type]


def of_ec2(**fields: object) -> MemoryProvider:
    offer = Offer("ec2", "g6e.xlarge", "L40S", 1, Price(Decimal("1.861"), "USD"), 32, 4, 44.7, "580.1", "13.0", "us-1")
    return MemoryProvider("ec2", market=[offer], **fields)  # type: ignore[arg-type]


def test_the_table_shows_what_comes_with_the_cards(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(of_autodl(), of_ec2())
    done = gpubox("offers", "--gpu", "4090", "--ram", "480GB")
    assert done.code == 0
    head, row = done.out.splitlines()
    assert head.split()[:4] == ["PROVIDER", "GPU", "PRICE/H", "RAM"]
    assert row.split() == [
        "autodl",
        "RTX",
        "4090",
        "x4",
        "7.92",
        "CNY",
        "480",
        "GiB",
        "(4",
        "x",
        "120)",
        "16",
        "?",
        "try",
    ]
    assert head.split()[4:] == ["VCPU", "VRAM", "IN", "STOCK"], "some columns are left out where no offer fills them"
    assert done.err == ""
    both = gpubox("offers").out.splitlines()
    assert "580.1/13.0" in both[1] + both[2]
    assert "?/?" in both[1] + both[2]


def test_notes_stand_below_the_table_once(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    account = MemoryProvider(
        market=[
            Offer("autodl", "a", "RTX 4090", 1, Price(Decimal(2), "CNY"), note="seen in March; hosts differ"),
            Offer("autodl", "b", "RTX 5090", 1, Price(Decimal(3), "CNY"), note="hosts differ"),
            Offer("autodl", "c", "H20", 1, Price(Decimal(4), "CNY")),
        ]
    )
    give(account)
    done = gpubox("offers")
    assert [line.split()[-1] for line in done.out.splitlines()] == ["NOTE", "1,2", "2", "try"]
    assert done.err == "note 1: seen in March\nnote 2: hosts differ\n"


def test_what_cannot_be_checked_comes_last_and_is_said(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    autodl = of_autodl()
    autodl.market.append(Offer("autodl", "v-48g", "RTX 4090 48G", 1, Price(Decimal(1), "CNY")))
    give(autodl)
    done = gpubox("offers", "--gpu", "4090", "--ram", "480GB", "--region", "westDC3")
    assert [line.split()[3] for line in done.out.splitlines()[1:]] == ["x4", "48G"]
    assert "RAM" in done.out
    assert done.err == (
        "not sure: 1 of 2 offers may fit or not, for their ram is not said\n"
        "not sure: 2 of 2 offers may fit or not, for their region is not said\n"
    )


def test_json_and_one_provider(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    autodl, ec2 = of_autodl(), of_ec2()
    give(autodl, ec2)
    done = gpubox("offers", "--provider", "ec2", "--json")
    assert done.code == 0
    answer = json.loads(done.out)
    assert [row["sku"] for row in answer["offers"]] == ["g6e.xlarge"]
    assert answer["offers"][0]["price_per_hour"] == "1.861"
    assert answer["offers"][0]["in_stock"] is None
    assert answer["asked"] == ["ec2"]
    assert autodl.calls == []


def test_no_match_says_the_filter_and_the_nearest(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(of_autodl(), of_ec2())
    done = gpubox("offers", "--gpu", "4090", "--ram", "480GB", "--max-price", "5", "--json")
    assert done.code == 5
    answer = json.loads(done.out)
    assert answer["offers"] == []
    assert answer["nearest"]["gpu_count"] == 4
    assert [(miss["filter"], miss["has"], miss["passing"]) for miss in answer["misses"]] == [("price", "7.92 CNY/h", 3)]
    assert "RTX 4090 x4" in done.err
    assert "--max-price" in done.err


def test_a_card_that_the_provider_writes_otherwise_is_found(give: Callable[..., None]) -> None:
    """A provider that sifts by its own words answers nothing to `4090 24GB`; the whole list is then asked for."""
    autodl = of_autodl()
    give(autodl)
    found = offers(Wish(gpu="rtx4090"))
    assert [match.offer.gpu_count for match in found.sifted.matches] == [1]
    assert autodl.calls == [("offers", "rtx4090"), ("offers", "")]


def test_one_account_that_fails_is_a_warning(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(of_autodl(fails={"offers": AuthFailed("the token is not valid", hint="make a new one")}), of_ec2())
    done = gpubox("offers")
    assert done.code == 0
    assert "L40S" in done.out
    assert done.err == "warning: `autodl` could not be asked: the token is not valid; fix: make a new one\n"


def test_when_no_account_answers_it_is_no_empty_table(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(of_autodl(fails={"offers": AuthFailed("the token is not valid")}))
    assert gpubox("offers").code == 4
    give(of_autodl(fails={"offers": Unreachable("no route")}))
    assert gpubox("offers", "--gpu", "4090").code == 5


def test_without_an_account_it_says_how_to_give_a_key(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give()
    done = gpubox("offers")
    assert done.code == 4
    assert "AUTODL_TOKEN" in done.err


def test_accounts_are_asked_at_once_and_one_that_hangs_is_left(give: Callable[..., None]) -> None:
    hangs = threading.Event()
    give(of_autodl(waits=hangs), of_ec2())
    begun = time.monotonic()
    found = offers(Wish(), limit=0.5)
    hangs.set()
    assert time.monotonic() - begun < 30
    assert [match.offer.provider for match in found.sifted.matches] == ["ec2"]
    assert "did not come within 0.5 s" in found.warnings[0]


def test_a_defect_of_a_provider_is_not_passed_over(give: Callable[..., None]) -> None:
    broken = of_autodl()
    broken.market = None  # type: ignore[assignment]
    give(broken, of_ec2())
    with pytest.raises(TypeError):
        offers(Wish())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--gpu", "NVIDIA"), "names no card"),
        (("--ram", "much"), "480GB"),
        (("--max-price", "10CNY"), "--max-price 10"),
        (("--provider", "autodi"), "did you mean `autodl`"),
        (("--provider", "attach"), "nothing is rented from `attach`"),
        (("--count", "0"), "--count"),
    ],
)
def test_bad_wishes(give: Callable[..., None], gpubox: Callable[..., Done], args: tuple[str, ...], words: str) -> None:
    give(of_autodl())
    done = gpubox("offers", *args)
    assert done.code == 2
    assert words in done.err


def test_a_refusal_of_one_provider_is_its_own_exit_code(give: Callable[..., None]) -> None:
    give(of_autodl(fails={"offers": Refused("this account may not ask for offers")}))
    with pytest.raises(Refused):
        offers(Wish())
    give(of_autodl(fails={"offers": NoStock("nothing today")}))
    with pytest.raises(NoStock):
        offers(Wish())


def nowhere(name: str, *known: str) -> UnknownRegion:
    return UnknownRegion(f"{name} has no such region", hint=f"use {known[0]}", known=known)


def test_a_region_of_another_provider_is_no_fault_of_an_account(
    give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    give(of_autodl(fails={"offers": nowhere("AutoDL", "westDC3")}), of_ec2())
    done = gpubox("offers", "--region", "us-1")
    assert (done.code, done.err) == (0, "")
    assert "L40S" in done.out


def test_a_region_that_nobody_has_is_bad_input(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    ec2 = of_ec2(fails={"offers": nowhere("AWS", "us-east-1", "eu-west-1")})
    give(of_autodl(fails={"offers": nowhere("AutoDL", "westDC3")}), ec2)
    done = gpubox("offers", "--region", "us-esat-1")
    assert done.code == 2
    assert "no account has a region `us-esat-1`; did you mean `us-east-1`?" in done.err
    assert "autodl: westDC3; ec2: us-east-1, eu-west-1" in done.err
    give(ec2)
    done = gpubox("offers", "--region", "nowhere")
    assert (done.code, "AWS has no such region" in done.err) == (2, True)
