"""A clock that tests move."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class SimClock:
    """Stands still unless moved; with `rate` it runs that many times as fast as this machine's clock besides.

    It is a `gpubox.providers.clock.Clock`: given to a provider, its `sleep` moves the time and returns at once. May be
    used from several threads.
    """

    def __init__(self, start: datetime = datetime(2026, 3, 1, 8, tzinfo=UTC), *, rate: float = 0.0) -> None:
        self._now = start
        self._rate = rate
        self._seen = time.monotonic()
        self._lock = threading.Lock()
        self.slept = 0.0

    def now(self) -> datetime:
        """Aware, UTC."""
        with self._lock:
            seen = time.monotonic()
            self._now += timedelta(seconds=(seen - self._seen) * self._rate)
            self._seen = seen
            return self._now

    def advance(self, seconds: float = 0.0, *, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0) -> None:
        """Let that much time pass at once."""
        with self._lock:
            self._now += timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)

    def sleep(self, seconds: float) -> None:
        """The same, and counted in `slept`: what a provider waited."""
        self.slept += seconds
        self.advance(seconds)
