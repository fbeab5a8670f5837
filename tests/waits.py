"""Waiting for what happens elsewhere: often looked at, and ended by a generous limit only when a test fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def until(condition: Callable[[], object], what: str = "it", seconds: float = 60.0, *, pause: float = 0.05) -> None:
    """Return when `condition` holds; fails, naming `what`, after `seconds`. It is looked at every `pause` seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for: {what}"
        time.sleep(pause)
