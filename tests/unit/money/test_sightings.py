"""Whose the boxes are: one fixture file per case, `fixtures/sightings/<case>.yml`."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from gpubox.ledger import BoxRecord
from gpubox.providers import Alive, Price
from gpubox.sighting import Bill, Mark, Sighting, bills, changes, free_name, missing, ordered_for, sight

CASES = sorted((Path(__file__).parent / "fixtures" / "sightings").glob("*.yml"))
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def box(row: dict[str, Any]) -> Alive:
    fields = {"name": "", "state": "running", "billing": True, **row}
    if said := fields.pop("price", None):
        fields["price"] = Price(Decimal(said.split()[0]), said.split()[1])
    for moment in ("erase_at", "stopped_at"):
        if at := fields.pop(moment, None):
            fields[moment] = datetime.fromisoformat(at)
    return Alive(**fields)


def in_words(seen: Sighting) -> str:
    price = "unpriced" if seen.per_hour is None else str(seen.per_hour)
    rest = (" ALARM" if seen.alarming else "") + (f" was {seen.ledger_state}" if seen.ledger_state else "")
    return f"{seen.mark} {seen.name or '-'} {seen.ref} {price}{rest}"


def bill_in_words(bill: Bill) -> str:
    alarming = f" of which {bill.alarming} alarming" if bill.alarming else ""
    return f"{bill.per_hour} {bill.currency or '-'}{alarming}" + (f" {bill.unpriced} unpriced" if bill.unpriced else "")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert not case.keys() - {"about", "records", "lists", "sees", "bills", "learns", "missing"}
    records = [
        BoxRecord.model_validate({"created_at": NOW, "updated_at": NOW, **row}) for row in case.get("records", [])
    ]
    lists = {provider: [box(row) for row in rows] for provider, rows in case["lists"].items()}

    seen = sight(lists, records)

    assert [in_words(one) for one in seen] == case["sees"]
    assert [bill_in_words(one) for one in bills(seen)] == case.get("bills", [])
    assert [one.name for one in missing(lists, records, records)] == case.get("missing", [])
    assert [in_words(one) for one in sight(lists, reversed(records))] == case["sees"]
    if "learns" in case:
        learned = {
            record.name: {key: str(value) for key, value in found.items()}
            for record in records
            for one in lists[record.provider]
            if one.ref == record.provider_ref and (found := changes(record, one))
        }
        assert learned == case["learns"]


def test_every_mark_has_a_case() -> None:
    seen = {line.split()[0] for path in CASES for line in yaml.safe_load(path.read_text(encoding="utf-8"))["sees"]}
    assert seen == set(get_args(Mark))


def test_a_box_that_was_given_back_meanwhile_is_not_missing() -> None:
    before = BoxRecord(
        name="demo", provider="autodl", provider_ref="pro-1", state="running", created_at=NOW, updated_at=NOW
    )
    after = before.model_copy(update={"state": "released"})
    assert missing({"autodl": []}, [before], [after]) == []
    assert missing({"autodl": []}, [before], [before]) != []
    assert missing({"autodl": []}, [], [before]) == [], "it was rented after the list was made"


def test_names() -> None:
    assert ordered_for("gpubox-demo-0a1b2c3d") == "demo"
    assert ordered_for("gpubox-gpubox-x-00000000-0a1b2c3d") == "gpubox-x-00000000"
    assert ordered_for("gpubox--0a1b2c3d") is None
    seen = Sighting("autodl", box({"ref": "pro-76576c61fdf1"}), "unknown", None, None, None)
    assert free_name(seen, set()) == "autodl-pro-76576c61fdf1"
    assert free_name(seen, {"autodl-pro-76576c61fdf1", "autodl-pro-76576c61fdf1-2"}) == "autodl-pro-76576c61fdf1-3"
    odd = Sighting("ec2", box({"ref": "机器/_"}), "unknown", None, None, None)
    assert free_name(odd, set()) == "ec2-box"
    named = Sighting("ec2", box({"ref": "i-1"}), "forgotten", "x" * 40, None, None)
    assert free_name(named, {"x" * 40}) == "x" * 36 + "-2"
