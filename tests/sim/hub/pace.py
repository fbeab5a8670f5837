"""How fast a hub sends: so many bytes a second of one connection, and of all of them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Cap:
    """A budget of bytes a second, shared by all who ask; 0: none. A tenth of a second may be saved up."""

    def __init__(self, rate: Callable[[], float]) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size: int) -> float:
        """Books the bytes; how many seconds to wait before they may go out."""
        rate = self._rate()
        if rate <= 0:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - 0.1)
            at = self._free_at
            self._free_at += size / rate
        return max(0.0, at - now)
