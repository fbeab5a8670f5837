"""`gpubox backup`: bring home what exists only on a box, consistent and proven, and only what is not there yet."""

from __future__ import annotations

from gpubox.backup.listing import Listed, Plan, plan
from gpubox.backup.story import Backup, backup, carry_out

__all__ = ["Backup", "Listed", "Plan", "backup", "carry_out", "plan"]
