"""The ledger: every box that was ever asked for, what was done with it, and what it cost."""

from __future__ import annotations

from gpubox.ledger.records import (
    Audit,
    BackupRecord,
    BalanceRecord,
    BoxRecord,
    BoxState,
    Outcome,
    Spending,
    Unpriced,
    check_name,
)
from gpubox.ledger.store import Ledger

__all__ = [
    "Audit",
    "BackupRecord",
    "BalanceRecord",
    "BoxRecord",
    "BoxState",
    "Ledger",
    "Outcome",
    "Spending",
    "Unpriced",
    "check_name",
]
