"""What happens: lines for the job's log, and progress for whoever watches ($GPUBOX_PROGRESS)."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_EVERY = 1.0


class Progress:
    """`done` and `total` are bytes, `speed` bytes per second. A full disk shall not end a download by its progress."""

    def __init__(self, path: str | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path if path is not None else os.environ.get("GPUBOX_PROGRESS", "")
        self._now = now
        self._last: tuple[float, str] = (float("-inf"), "")

    def say(self, words: str) -> None:
        """A line for the log."""
        sys.stdout.write(words + "\n")
        sys.stdout.flush()

    def tell(self, label: str, done: int | None = None, total: int | None = None, **numbers: float) -> None:
        """How far it is; at most once a second for one label."""
        then, said = self._last
        now = self._now()
        if label == said and now - then < _EVERY:
            return
        self._last = (now, label)
        line: dict[str, object] = {"label": label}
        if done is not None:
            line |= {"done": done, "total": total, "unit": "B"}
        line |= {name: round(number, 1) for name, number in numbers.items()}
        if self._path:
            try:
                with open(self._path, "a", encoding="utf-8") as file:  # noqa: PTH123  # once a second
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            except OSError:
                self._path = self._path if os.path.isdir(os.path.dirname(self._path) or ".") else ""  # noqa: PTH112, PTH120
