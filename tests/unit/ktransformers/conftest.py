"""The programs of the role `ktransformers`, as they lie in it."""

from __future__ import annotations

import sys
from pathlib import Path

# On a box they lie in <root>/lib. Those of flash_attn have the same rule for compilers.
for role in ("flash_attn", "ktransformers", "wheelhouse"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "roles" / role / "files"))
