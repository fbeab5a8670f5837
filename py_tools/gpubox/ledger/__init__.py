"""The ledger: every box that was ever asked for, and what was done with it."""

from __future__ import annotations

from gpubox.ledger.records import Audit, BoxRecord, BoxState, Outcome, check_name
from gpubox.ledger.store import Ledger

__all__ = ["Audit", "BoxRecord", "BoxState", "Ledger", "Outcome", "check_name"]
