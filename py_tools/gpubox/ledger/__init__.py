"""The ledger: every box that was ever asked for, what was done with it, and what it cost."""

from __future__ import annotations

from gpubox.ledger.records import (
    Audit,
    BackupRecord,
    BalanceRecord,
    Bill,
    BoxRecord,
    BoxState,
    Outcome,
    Rate,
    Spending,
    Unpriced,
    check_name,
)
from gpubox.ledger.store import Ledger

__all__ = [
    "Audit",
    "BackupRecord",
    "BalanceRecord",
    "Bill",
    "BoxRecord",
    "BoxState",
    "Ledger",
    "Outcome",
    "Rate",
    "Spending",
    "Unpriced",
    "check_name",
]
