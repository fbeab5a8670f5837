"""The programs of the roles that build, on the path: on a box they lie in directories of their own."""

from __future__ import annotations

import sys
from pathlib import Path

ROLES = Path(__file__).resolve().parents[3] / "roles"
for role in ("python_env", "wheelhouse", "cuda_toolkit", "flash_attn"):
    sys.path.insert(0, str(ROLES / role / "files"))
