"""What boxes cost, as stories: `fixtures/bills/*.yml` say what happened when, and what it comes to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpubox.ledger import Ledger

CASES = sorted((Path(__file__).parent / "fixtures" / "bills").glob("*.yml"))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_bills(case: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = yaml.safe_load(case.read_text())
    now = datetime.min.replace(tzinfo=UTC)
    with Ledger(tmp_path / "ledger.sqlite3", now=lambda: now) as ledger:
        for step in told["story"]:
            now = moment(step["at"])
            since = moment(step["since"]) if "since" in step else None
            if "add" in step:
                fields = dict(step["add"])
                ledger.add("demo", fields.pop("provider"), since, **fields)
            elif "update" in step:
                ledger.update("demo", since, **step["update"])
            else:
                ledger.audit("demo", step["audit"], "begun")
        now = moment(told["until"])
        spent = None if told["spent"] is None else Decimal(told["spent"])
        assert ledger.spent("demo") == spent
        rows = ledger.spending(moment(told["since"]) if "since" in told else None)
        assert {row.day.isoformat(): str(row.amount.normalize()) for row in rows} == {
            day: str(Decimal(amount).normalize()) for day, amount in told["days"].items()
        }
        assert {row.currency for row in rows} <= {told.get("currency", "CNY")}
        assert {(row.box, row.provider) for row in rows} <= {("demo", told["story"][0]["add"]["provider"])}
        hours = sum(row.seconds for row in ledger.unpriced()) / 3600
        assert hours == told.get("unpriced_hours", 0)


def test_a_running_box_goes_on_billing_while_one_looks(tmp_path: Path) -> None:
    now = moment("2026-11-01 10:00")
    with Ledger(tmp_path / "ledger.sqlite3", now=lambda: now) as ledger:
        ledger.add("demo", "autodl", state="running", price_per_hour=Decimal("0.1"), currency="CNY")
        for _ in range(10):
            now += timedelta(hours=1)
        assert ledger.spent("demo") == Decimal(1)
        ledger.update("demo", state="released")
        now += timedelta(days=1)
        assert ledger.spent("demo") == Decimal(1)
    with Ledger(tmp_path / "ledger.sqlite3", now=lambda: now) as ledger:
        assert ledger.spent("demo") == Decimal(1)
        assert ledger.spent("never") is None


def test_spending_of_several_boxes_is_by_day_then_name(tmp_path: Path) -> None:
    now = moment("2026-11-01 12:00")
    with Ledger(tmp_path / "ledger.sqlite3", now=lambda: now) as ledger:
        ledger.add("zed", "autodl", state="running", price_per_hour="1", currency="CNY")
        ledger.add("abe", "ec2", state="running", price_per_hour="2", currency="USD")
        now += timedelta(days=1)
        rows = [(row.day.day, row.box, row.provider, row.currency, row.amount) for row in ledger.spending()]
    assert rows == [
        (1, "abe", "ec2", "USD", Decimal(24)),
        (1, "zed", "autodl", "CNY", Decimal(12)),
        (2, "abe", "ec2", "USD", Decimal(24)),
        (2, "zed", "autodl", "CNY", Decimal(12)),
    ]
