"""Progress of a job: JSON lines in the file that `$GPUBOX_PROGRESS` names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Progress:
    """Appends lines; says nothing where nobody listens, and nothing twice."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._last = ""

    def tell(self, label: str, **numbers: float | str) -> None:
        """What is done now; `done`, `total` and `unit` are optional."""
        line = json.dumps({"label": label, **numbers})
        if self._path is None or line == self._last:
            return
        self._last = line
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
