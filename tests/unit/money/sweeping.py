"""What the tests of `gpubox sweep` share."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubox.ledger import Ledger


ORDER = "gpubox-lost-0a1b2c3d"


def known(ledger: Ledger, name: str = "demo", ref: str = "pro-1", **fields: object) -> None:
    usual: dict[str, object] = {"state": "running", "price_per_hour": Decimal("1.98"), "currency": "CNY"}
    ledger.add(name, str(fields.pop("provider", "autodl")), provider_ref=ref, **{**usual, **fields})


def steps(ledger: Ledger, name: str) -> list[tuple[str, str]]:
    return [(audit.action, audit.outcome) for audit in ledger.audits(name)]
