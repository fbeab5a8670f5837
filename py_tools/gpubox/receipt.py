"""The receipt of a teardown: what was saved, what is gone, what it cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gpubox.words import counted, money

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from gpubox.ledger import Rate

JSON, TEXT = "receipt.json", "receipt.txt"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What `down` did, with what it checked. Times are ISO 8601, UTC; money is exact, as text, in `currency`.

    `hours`: rented in all; `hours_on`: of these, powered on. `spent`: the price over time, None when nobody has told
    the price; the balances are what the provider said. `verified`: every file at home has the SHA-256 that the box
    told. `processes_left` is None when nobody could look. `still_to_do`: what a person has to do; None when nothing.
    """

    name: str
    provider: str
    ref: str | None
    host: str | None
    port: int | None
    added_at: str
    down_at: str
    hours: float
    hours_on: float
    price_per_hour: str | None
    stopped_per_hour: str | None
    spent: str | None
    balance_before: str | None
    balance_after: str | None
    currency: str | None
    backup: str | None
    files: int
    size: int
    verified: bool
    discarded: bool
    processes_left: int | None
    released: bool
    still_to_do: str | None
    notes: tuple[str, ...] = ()
    results: str | None = None


def hours_on(rates: Sequence[Rate], until: datetime) -> float:
    """For how many hours a box was powered on."""
    ends = [*(rate.at for rate in rates[1:]), until]
    seconds = [
        (end - rate.at).total_seconds() for rate, end in zip(rates, ends, strict=False) if rate.state == "running"
    ]
    return sum(seconds) / 3600


def write(receipt: Receipt, place: Path) -> None:
    """Write it into the directory `place`, as JSON and as text. Raises `OSError`."""
    place.mkdir(parents=True, exist_ok=True)
    (place / JSON).write_text(json.dumps(asdict(receipt), indent=1, ensure_ascii=False) + "\n")
    (place / TEXT).write_text(as_text(receipt) + "\n")


def as_text(receipt: Receipt) -> str:
    """As a person reads it."""
    left = "unknown: the box was not asked" if receipt.processes_left is None else str(receipt.processes_left)
    rows = [
        ("added", receipt.added_at),
        ("taken down", receipt.down_at),
        ("rented for", f"{receipt.hours:.2f} h, powered on for {receipt.hours_on:.2f} h"),
        *_money(receipt),
        ("brought home", _saved(receipt)),
        *([("", receipt.backup)] if receipt.backup else []),
        ("left running", left),
        ("released", "yes, the provider no longer has it" if receipt.released else "no"),
        *(("note", note) for note in receipt.notes),
        *([("still to do", receipt.still_to_do)] if receipt.still_to_do else []),
    ]
    where = f", {receipt.host}:{receipt.port}" if receipt.host else ""
    lines = [f"  {title:<13} {value}" for title, value in rows]
    return "\n".join([f"receipt: {receipt.name} ({receipt.provider}{where})", *lines])


def _saved(receipt: Receipt) -> str:
    if receipt.discarded:
        return "nothing: given up with `--discard`"
    if receipt.backup is None:
        return "nothing: there was nothing to bring home"
    verified = "every SHA-256 verified" if receipt.verified else "not verified"
    return f"{counted(receipt.files, 'file')}, {receipt.size / 2**20:.1f} MiB, {verified}"


def _money(receipt: Receipt) -> list[tuple[str, str]]:
    """What is known of it."""
    rows = []
    if receipt.spent is not None:
        price = f", at {_amount(receipt.price_per_hour, receipt)} per hour" if receipt.price_per_hour else ""
        rows.append(("cost", f"{_amount(receipt.spent, receipt)}{price}"))
    if receipt.balance_before is not None and receipt.balance_after is not None:
        before, after = _amount(receipt.balance_before, receipt), _amount(receipt.balance_after, receipt)
        rows.append(("balance", f"{after}; {before} when the teardown began"))
    return rows


def _amount(exact: str | None, receipt: Receipt) -> str:
    return money(Decimal(exact or 0), receipt.currency)
