"""Prices, orders, balances and backups in the ledger."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from pydantic import ValidationError

from gpubox.errors import Refused, UnknownBox
from gpubox.ledger import Ledger, layout

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = Path(__file__).parent / "fixtures" / "layout-1.sql"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def ledger(tmp_path: Path, now: Now) -> Iterator[Ledger]:
    with Ledger(tmp_path / "ledger.sqlite3", now=now) as opened:
        yield opened


def test_money_and_times_come_back_exactly(ledger: Ledger) -> None:
    beijing = datetime(2026, 11, 2, 4, tzinfo=timezone(timedelta(hours=8)))
    written = ledger.add(
        "demo",
        "autodl",
        order="gpubox-demo-00000000",
        gpu="RTX 4090",
        gpu_count=4,
        region="westDC3",
        price_per_hour=Decimal("1.970"),
        stopped_per_hour=Decimal("0.0000001"),
        currency="CNY",
        budget=Decimal("12345678901234567890.12"),
        guard_at=beijing,
        powered_off_at=NOON,
        erase_at=NOON + timedelta(days=15),
    )
    read = ledger.get("demo")
    assert read == written
    assert str(read.price_per_hour) == "1.970"
    assert str(read.budget) == "12345678901234567890.12"
    assert read.guard_at == beijing
    assert read.guard_at is not None
    assert read.guard_at.tzinfo == UTC


@pytest.mark.parametrize(
    "fields",
    [
        {"price_per_hour": Decimal(-1), "currency": "CNY"},
        {"price_per_hour": Decimal("NaN"), "currency": "CNY"},
        {"price_per_hour": Decimal(1)},
        {"price_per_hour": Decimal(1), "currency": "元"},
        {"stopped_per_hour": Decimal(1)},
        {"guard_at": datetime(2026, 11, 1)},  # noqa: DTZ001
    ],
)
def test_what_is_no_money_or_no_time_is_a_defect_of_the_caller(fields: dict[str, object], ledger: Ledger) -> None:
    with pytest.raises(ValidationError):
        ledger.add("demo", "autodl", **fields)
    before = ledger.add("demo", "autodl", state="running", price_per_hour="1", currency="CNY")
    if "currency" in fields or "guard_at" in fields:
        with pytest.raises(ValidationError):
            ledger.update("demo", **fields)
    assert ledger.get("demo") == before


def test_power_says_more_than_the_state(ledger: Ledger, now: Now) -> None:
    ledger.add("demo", "autodl", state="running")
    now.at += timedelta(hours=1)
    off = ledger.update("demo", state="stopped", erase_at=now.at + timedelta(days=15))
    assert (off.powered_off_at, off.erase_at) == (now.at, now.at + timedelta(days=15))
    now.at += timedelta(hours=1)
    assert ledger.update("demo", state="stopped").powered_off_at == off.powered_off_at
    on = ledger.update("demo", state="running")
    assert (on.powered_off_at, on.erase_at) == (None, None)
    assert ledger.get("demo") == on


def test_no_two_boxes_have_one_order(ledger: Ledger) -> None:
    order = ledger.new_order("demo")
    assert re.fullmatch(r"gpubox-demo-[0-9a-f]{8}", order)
    assert ledger.by_order(order) is None
    record = ledger.add("demo", "autodl", order=order)
    assert ledger.by_order(order) == record
    ledger.add("plain", "attach")
    ledger.add("other", "attach")
    with pytest.raises(Refused, match=f"`{order}` was asked for already"):
        ledger.add("demo-2", "autodl", order=order)
    with pytest.raises(Refused, match=f"`{order}` was asked for already"):
        ledger.update("plain", order=order)
    assert ledger.find("demo-2") is None
    ledger.update("demo", state="released")
    with pytest.raises(Refused):
        ledger.add("demo", "autodl", order=order)
    assert ledger.by_order(order) is not None


def test_a_new_order_is_never_one_that_was(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Mock(side_effect=["aaaaaaaa", "aaaaaaaa", "bbbbbbbb"])
    monkeypatch.setattr("gpubox.ledger.store.secrets.token_hex", ends)
    ledger.add("demo", "autodl", order=ledger.new_order("demo"))
    assert ledger.new_order("demo") == "gpubox-demo-bbbbbbbb"


def test_a_box_is_found_by_what_its_provider_calls_it(ledger: Ledger) -> None:
    ledger.add("demo", "autodl", provider_ref="pro-1", state="running")
    ledger.add("other", "ec2", provider_ref="pro-1", state="running")
    assert ledger.update("demo", state="released") == ledger.by_ref("autodl", "pro-1")
    assert ledger.by_ref("autodl", "pro-2") is None
    assert ledger.by_ref("compshare", "pro-1") is None
    ledger.add("again", "autodl", provider_ref="pro-1", state="running")
    found = ledger.by_ref("autodl", "pro-1")
    assert found is not None
    assert found.name == "again"


def test_balances_are_kept_in_order(ledger: Ledger, now: Now) -> None:
    ledger.note_balance("autodl", Decimal("100.10"), "CNY")
    now.at += timedelta(hours=1)
    ledger.note_balance("ec2", Decimal("-3"), "USD")
    now.at += timedelta(hours=1)
    last = ledger.note_balance("autodl", Decimal("98.123"), "CNY")
    assert [str(balance.amount) for balance in ledger.balances("autodl")] == ["100.10", "98.123"]
    assert ledger.balances("autodl")[-1] == last
    assert last.at == now.at
    assert [balance.provider for balance in ledger.balances()] == ["autodl", "ec2", "autodl"]
    assert ledger.balances("compshare") == []
    with pytest.raises(ValidationError):
        ledger.note_balance("autodl", Decimal("Infinity"), "CNY")


def test_backups_belong_to_their_box(ledger: Ledger, now: Now) -> None:
    assert ledger.last_backup("demo") is None
    with pytest.raises(UnknownBox):
        ledger.note_backup("demo", Path("/home/me/b1"), files=1, size=2, sha256="a")
    ledger.add("demo", "autodl")
    assert ledger.last_backup("demo") is None
    ledger.note_backup("demo", Path("/home/me/b1"), files=1, size=2, sha256="a")
    now.at += timedelta(hours=1)
    second = ledger.note_backup("demo", Path("/home/me/资料"), files=3, size=2**40, sha256="b")
    assert ledger.last_backup("demo") == second
    assert (second.place, second.size, second.at) == (Path("/home/me/资料"), 2**40, now.at)
    ledger.update("demo", state="released")
    assert ledger.last_backup("demo") == second
    # Another box of the same name has not been backed up by that.
    ledger.add("demo", "autodl")
    assert ledger.last_backup("demo") is None
    assert ledger.last_backup("demo", any_box=True) == second


def test_money_and_times_in_an_audit_stay_exact(ledger: Ledger) -> None:
    ledger.add("demo", "autodl")
    ledger.audit(
        "demo",
        "create",
        "done",
        {
            "price": Decimal("1.970"),
            "since": NOON,
            "day": NOON.date(),
            "place": Path("/x"),
            "rows": ({"root_password": Decimal(1), "balance": Decimal("0.1")},),
        },
    )
    (audit,) = ledger.audits("demo")
    assert audit.at == NOON
    assert audit.detail == {
        "price": "1.970",
        "since": "2026-11-01T12:00:00+00:00",
        "day": "2026-11-01",
        "place": "/x",
        "rows": [{"root_password": "(hidden)", "balance": "0.1"}],
    }


def test_a_ledger_of_layout_1_keeps_everything(tmp_path: Path, now: Now) -> None:
    path = tmp_path / "ledger.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text())
    connection.row_factory = sqlite3.Row
    old = [dict(row) for row in connection.execute("SELECT * FROM boxes ORDER BY id")]
    audits = connection.execute("SELECT count(*) FROM audits").fetchone()[0]
    connection.close()
    assert (len(old), audits) == (4, 5)
    with Ledger(path) as ledger:
        boxes = sorted(ledger.boxes(include_released=True), key=lambda box: box.created_at)
        for row, box in zip(old, boxes, strict=True):
            told = box.model_dump(mode="json", include=set(row) - {"facts"})
            assert told == {key: row[key] for key in told}
        cheap, asleep, _, gone = boxes
        assert cheap.facts == {"gpus": [{"name": "RTX 4090"}], "note": "显卡"}
        assert [audit.action for audit in ledger.audits("cheap")] == ["add", "converge"]
        assert [audit.action for audit in ledger.audits("asleep")] == ["power_off"]
        # What was intended can be ordered; for what runs, the price can still be told.
        assert (cheap.order, asleep.order) == (None, None)
        assert re.fullmatch(r"gpubox-gone-[0-9a-f]{8}", gone.order or "")
        assert ledger.spending() == []
    now.at = cheap.created_at + timedelta(hours=3)
    with Ledger(path, now=now) as ledger:
        assert [(row.box, row.seconds) for row in ledger.unpriced()] == [("cheap", 3 * 3600)]
        ledger.update("cheap", price_per_hour="2", currency="CNY")
        assert ledger.spent("cheap") == 6
        assert ledger.spent("asleep") is None
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM audits").fetchone()[0] == audits
    assert connection.execute("PRAGMA user_version").fetchone()[0] == len(layout.MIGRATIONS)
    connection.close()
