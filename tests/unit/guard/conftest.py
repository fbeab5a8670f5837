"""The guard's own code, as it lies in its role."""

from __future__ import annotations

import sys
from pathlib import Path

ROLES = Path(__file__).resolve().parents[3] / "roles"

# On a box both lie in <root>/lib.
for place in (ROLES / "guard" / "files", ROLES / "supervisor" / "files"):
    sys.path.insert(0, str(place))
