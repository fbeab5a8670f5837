"""Tells a person (stdout) and boxctl (the file named by $GPUBOX_PROGRESS) how far the training is."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

PERIOD = 0.5  # seconds between two lines of the file; boxctl looks once a second


class Progress:
    """Appends `{"label","done","total","unit",...}` lines, at most two a second, and every change of label at once."""

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._label = ""
        self._last = 0.0

    def step(self, label: str, done: int, total: int, **numbers: float) -> None:
        """One step is done. Further numbers (loss, tokens_per_s) travel along."""
        now = time.monotonic()
        if label == self._label and done < total and now - self._last < PERIOD:
            return
        self._label, self._last = label, now
        if self._path is not None:
            record = {"label": label, "done": done, "total": total, "unit": "step", **numbers}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def say(self, text: str) -> None:
        """One line for the log."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
