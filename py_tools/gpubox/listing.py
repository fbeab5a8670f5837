"""`gpubox ls`: every box of the ledger with its power and its money, without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gpubox.ledger import Ledger
from gpubox.ledger.rates import total
from gpubox.words import exact

if TYPE_CHECKING:
    from datetime import datetime

    from gpubox.ledger import BackupRecord, Bill, BoxRecord


@dataclass(frozen=True, slots=True)
class Listed:
    """A box as the ledger knows it at `now`. `per_hour`: what it costs at this moment, None when nobody has told.

    `in_doubt`: it was asked for, and whether it was rented has not been written down: its provider knows.
    """

    record: BoxRecord
    now: datetime
    per_hour: Decimal | None
    spent: Decimal | None
    budget_left: Decimal | None
    backup: BackupRecord | None
    in_doubt: bool

    @property
    def endpoint(self) -> str | None:
        """`root@host:22`."""
        record = self.record
        return f"{record.user}@{record.host}:{record.port}" if record.host else None

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: every field of the ledger but the facts, and what is reckoned; money as exact strings."""
        fields = self.record.model_dump(mode="json", exclude={"facts"})
        backup = self.backup.model_dump(mode="json", exclude={"name"}) if self.backup is not None else None
        return {
            **fields,
            "endpoint": self.endpoint,
            "age_s": round((self.now - self.record.created_at).total_seconds()),
            "per_hour": exact(self.per_hour),
            "spent": exact(self.spent),
            "budget_left": exact(self.budget_left),
            "in_doubt": self.in_doubt,
            "last_backup": backup,
        }


def boxes(*, include_released: bool = False) -> list[Listed]:
    """Every box of the ledger, by name; released ones too when asked for. Asks no network."""
    with Ledger() as ledger:
        now = ledger.now()
        return [_listed(ledger, bill, now) for bill in ledger.bills(include_released=include_released)]


def _listed(ledger: Ledger, bill: Bill, now: datetime) -> Listed:
    record = bill.record
    spent = total(bill.rates, now)
    live = record.state != "released"
    return Listed(
        record=record,
        now=now,
        per_hour=bill.rates[-1].per_hour if bill.rates else None,
        spent=spent,
        budget_left=None if record.budget is None else record.budget - (spent or Decimal(0)),
        backup=ledger.last_backup(record.name) if live else None,
        in_doubt=record.state == "intended" and _asked(ledger, record),
    )


def _asked(ledger: Ledger, record: BoxRecord) -> bool:
    """Whether a create call was begun whose end is not known."""
    calls = [audit for audit in ledger.audits(record.name) if audit.action == "create"]
    return bool(calls) and calls[-1].outcome != "failed"
