"""Progress lines for `boxctl`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

_EVERY_S = 0.5


class Progress:
    """Writes to the file named by `$GPUBOX_PROGRESS`; the label alone also to the log."""

    def __init__(self) -> None:
        self._path = os.environ.get("GPUBOX_PROGRESS")
        self._label = ""
        self._last = 0.0

    def say(self, label: str) -> None:
        """A step that has no figures."""
        self._write({"label": label}, now=True)

    def bytes(self, label: str, done: int, total: int) -> None:
        """So many bytes of so many; at most two lines a second, and always the last."""
        self._write({"label": label, "done": done, "total": total, "unit": "B"}, now=done >= total)

    def _write(self, line: dict[str, object], *, now: bool) -> None:
        changed = line["label"] != self._label
        if changed:
            self._label = str(line["label"])
            sys.stdout.write(f"{self._label}\n")
            sys.stdout.flush()
        if not (now or changed) and time.monotonic() - self._last < _EVERY_S:
            return
        self._last = time.monotonic()
        if self._path:
            with Path(self._path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
