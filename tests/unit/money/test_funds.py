"""How long the money lasts, and who is told when it does not."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from gpubox import funds, notify
from gpubox.errors import Unreachable
from gpubox.funds import lasts
from gpubox.ledger import Ledger
from gpubox.providers import Price

from .fakes import MemoryProvider, alive

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Done


@pytest.mark.parametrize(
    ("amount", "per_hour", "hours"),
    [("20", "2", 10), ("0", "2", 0), ("-3", "2", 0), ("20", "0", None), ("1", "0.000001", 10**6)],
)
def test_lasts(amount: str, per_hour: str, hours: float | None) -> None:
    assert lasts(Decimal(amount), Decimal(per_hour)) == (None if hours is None else timedelta(hours=hours))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages that were sent."""
    said: list[str] = []

    def send(title: str, words: str) -> notify.Sent:
        said.append(words)
        return notify.Sent(("json",), ("destination 1 (`json`) did not take it",))

    monkeypatch.setattr(notify, "send", send)
    return said


def test_a_balance_that_becomes_low_is_told_once(
    give: Callable[..., None], gpubox: Callable[..., Done], told: list[str]
) -> None:
    account = MemoryProvider(funds=Decimal(30)).has(alive("pro-1", price=Price(Decimal(2), "CNY")))
    give(account)
    assert "`autodl` has 30.00 CNY left, enough for 15 h\n" in gpubox("sweep").err
    assert told == []
    account.funds = Decimal(10)
    low = gpubox("sweep").err
    assert "warning: `autodl` has 10.00 CNY left, enough for 5 h\n" in low
    assert "warning: destination 1 (`json`) did not take it" in low
    assert told == ["The autodl account has 10 CNY left; at what runs now it lasts 5 h."]
    account.funds = Decimal(8)
    (left,) = json.loads(gpubox("sweep", "--json").out)["funds"]
    assert left == {"provider": "autodl", "amount": "8", "currency": "CNY", "hours": 4.0, "low": True}
    assert len(told) == 1
    with Ledger() as ledger:
        assert [one.amount for one in ledger.balances("autodl")] == [30, 10, 8]


def test_where_nothing_bills_no_balance_is_low(give: Callable[..., None], gpubox: Callable[..., Done]) -> None:
    give(MemoryProvider(funds=Decimal(0)).has(alive("pro-1", state="stopped", billing=False)))
    assert "left" not in gpubox("sweep").err


def test_an_account_that_does_not_say_its_balance_is_swept_all_the_same(
    give: Callable[..., None], gpubox: Callable[..., Done]
) -> None:
    account = MemoryProvider(fails={"balance": Unreachable("no answer")})
    give(account)
    done = gpubox("sweep")
    assert done.code == 0
    assert "warning: `autodl` could not be asked: no answer" in done.err
    assert timedelta(hours=1) < funds.LEAST
