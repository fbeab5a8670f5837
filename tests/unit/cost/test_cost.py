"""`gpubox cost`: sums beside balances, as cases in `fixtures/*.yml`, and the command itself."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from gpubox import accounts, asking
from gpubox.cli.money import cost_command
from gpubox.cost import cost, moment
from gpubox.errors import AuthFailed, UsageError
from gpubox.ledger import Ledger, store
from gpubox.providers.base import Balance

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = sorted((Path(__file__).parent / "fixtures").glob("*.yml"))
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


class Account:
    """A provider that tells a balance, or none, or fails."""

    def __init__(self, answer: Balance | AuthFailed | None) -> None:
        self.answer = answer

    def balance(self) -> Balance | None:
        if isinstance(self.answer, AuthFailed):
            raise self.answer
        return self.answer


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The time that every ledger goes by: its one element."""
    at = [NOON]
    monkeypatch.setattr(store, "_utc_now", lambda: at[0])
    return at


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give this machine accounts: `configure(autodl=Balance(...))`."""

    def configured(**answers: Balance | AuthFailed | None) -> None:
        monkeypatch.setattr(accounts, "configured", lambda: list(answers))
        monkeypatch.setattr(asking, "provider", lambda name: Account(answers[name]))

    configured()
    return configured


def time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_sums_beside_balances(case: Path, now: list[datetime]) -> None:
    told: dict[str, Any] = yaml.safe_load(case.read_text())
    for number, box in enumerate(told["boxes"]):
        price = {"price_per_hour": box["price"], "currency": box["currency"]} if "price" in box else {}
        now[0] = time(box["from"])
        with Ledger() as ledger:
            ledger.add(f"box-{number}", box["provider"], state="running", **price)
            now[0] = time(box["to"])
            ledger.update(f"box-{number}", state="released")
    with Ledger() as ledger:
        for balance in told["balances"]:
            now[0] = time(balance["at"])
            ledger.note_balance(balance["provider"], Decimal(balance["amount"]), balance["currency"])
    now[0] = NOON
    found = cost(since=told.get("since"), offline=True)
    shown = [
        {
            "provider": account.provider,
            "fell": _text(account.fell),
            "reckoned": _text(account.reckoned),
            "difference": _text(account.difference),
            "rises": len(account.rises),
        }
        for account in found.accounts
    ]
    assert shown == told["accounts"]
    assert len(found.notes) == len(told["notes"]), found.notes
    for note, pattern in zip(found.notes, told["notes"], strict=True):
        assert re.search(pattern, note), note


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount.normalize():f}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7d", NOON - timedelta(days=7)),
        ("12h", NOON - timedelta(hours=12)),
        ("2w", NOON - timedelta(weeks=2)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T08:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
        ("2026-11-01T08:00+08:00", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_since_when(text: str, expected: datetime) -> None:
    assert moment(text, NOON) == expected


@pytest.mark.parametrize("text", ["yesterday", "", "7", "-7d", "99999999d", "2026-13-01", "7m"])
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is no time") as caught:
        moment(text, NOON)
    assert "2026-11-01" in str(caught.value.hint)


def two_boxes(now: list[datetime]) -> None:
    with Ledger() as ledger:
        now[0] = NOON - timedelta(days=2)
        ledger.add("zed", "autodl", state="running", price_per_hour="1.5", currency="CNY")
        ledger.add("abe", "ec2", state="running", price_per_hour="0.25", currency="USD")
        now[0] = NOON - timedelta(hours=36)
        ledger.update("zed", state="released")
        now[0] = NOON


def run(*args: str) -> tuple[str, str]:
    done = CliRunner().invoke(cost_command, [*args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_the_table_by_box_day_and_provider(now: list[datetime], configure: Callable[..., None]) -> None:
    two_boxes(now)
    assert run()[0].splitlines() == [
        "BOX    PROVIDER  SPENT",
        "abe    ec2       12.00 USD",
        "zed    autodl    18.00 CNY",
        "total  -         18.00 CNY",
        "total  -         12.00 USD",
    ]
    assert run("--by", "day")[0].splitlines() == [
        "DAY         SPENT",
        "2026-10-31  18.00 CNY",
        "2026-10-31  3.00 USD",
        "2026-11-01  6.00 USD",
        "2026-11-02  3.00 USD",
        "total       18.00 CNY",
        "total       12.00 USD",
    ]
    assert run("--by", "provider", "--since", "1d")[0].splitlines() == [
        "PROVIDER  SPENT",
        "ec2       6.00 USD",
        "total     6.00 USD",
    ]


def test_the_accounts_are_asked_and_their_answers_kept(now: list[datetime], configure: Callable[..., None]) -> None:
    two_boxes(now)
    refused = AuthFailed("the token was not accepted", hint="copy it anew")
    configure(autodl=Balance(Decimal("50.5"), "CNY"), ec2=None, compshare=refused)
    out, err = run("--json")
    told = json.loads(out)
    assert err == "warning: `compshare` could not be asked: the token was not accepted; fix: copy it anew\n"
    assert told["warnings"] == [err.removeprefix("warning: ").strip()]
    assert "`ec2` does not tell a balance to compare with" in told["notes"]
    (account,) = told["accounts"]
    assert (account["balance_now"], account["fell"]) == ("50.5", None)
    # An hour later more is gone than can be: the second answer is compared with the first, which was kept.
    now[0] += timedelta(hours=1)
    configure(autodl=Balance(Decimal("47.5"), "CNY"))
    out, err = run()
    assert "autodl   2026-11-02 12:00  2026-11-02 13:00  47.50 CNY  3.00  0.00      3.00" in out
    assert "3.00 CNY more than was reckoned" in err
    with Ledger() as ledger:
        assert [balance.amount for balance in ledger.balances("autodl")] == [Decimal("50.5"), Decimal("47.5")]


def test_offline_asks_nobody(now: list[datetime], configure: Callable[..., None]) -> None:
    configure(autodl=AuthFailed("asked"))
    assert "asked" in run()[1]
    assert run("--offline") == ("", "nothing was spent that the ledger knows of\n")


def test_json_has_the_shape_that_help_tells(now: list[datetime], configure: Callable[..., None]) -> None:
    two_boxes(now)
    with Ledger() as ledger:
        for hours, amount in ((40, 100), (30, 60), (20, 90)):
            now[0] = NOON - timedelta(hours=hours)
            ledger.note_balance("autodl", Decimal(amount), "CNY")
    now[0] = NOON
    told = json.loads(run("--json", "--by", "box")[0])
    assert told["until"] == "2026-11-02T12:00:00+00:00"
    assert told["lines"][0] == {"box": "abe", "provider": "ec2", "currency": "USD", "amount": "12"}
    assert told["totals"] == [{"currency": "CNY", "amount": "18"}, {"currency": "USD", "amount": "12"}]
    (account,) = told["accounts"]
    assert account == {
        "provider": "autodl",
        "currency": "CNY",
        "from": "2026-10-31T20:00:00+00:00",
        "to": "2026-11-01T16:00:00+00:00",
        "balance_then": "100",
        "balance_now": "90",
        "fell": "40",
        "reckoned": "6",
        "difference": "34",
        "rises": [
            {
                "from": "2026-11-01T06:00:00+00:00",
                "to": "2026-11-01T16:00:00+00:00",
                "rose": "30",
                "reckoned": "0",
            }
        ],
    }
    help_text = CliRunner().invoke(cost_command, ["--help"]).output
    for key in (*told, *account):
        assert f'"{key}"' in re.sub(r"\s+", "", help_text), key
