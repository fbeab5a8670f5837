"""A connection that brings nothing, or next to nothing, is not waited for. Pure; the clock is given."""

from __future__ import annotations

from model_fetch.errors import Cut

# Bytes per second. The limit of ModelScope's own client (MODELSCOPE_DOWNLOAD_MIN_BYTES_PER_SECOND).
FLOOR = 1024


class Watch:
    """`seconds` without a byte, or twice as long below 1 kB/s, are too long."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._last = now
        self._mark, self._brought = now, 0

    def left(self, now: float) -> float:
        """Seconds that the next byte may take."""
        return max(0.0, self._last + self._seconds - now)

    def feed(self, now: float, size: int) -> None:
        """`size` bytes came. Raises `Cut` when they come too slowly."""
        self._last = now
        self._brought += size
        passed = now - self._mark
        if passed < 2 * self._seconds:
            return
        if self._brought < FLOOR * passed:
            raise Cut(f"only {self._brought} bytes came in {passed:.0f} s")
        self._mark, self._brought = now, 0


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: 0.5, 1, 2, ... at most 30."""
    return float(min(30.0, 0.5 * 2 ** max(0, failures - 1)))
