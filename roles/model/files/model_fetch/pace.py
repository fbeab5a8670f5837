"""How many connections: more while the total speed grows, fewer where it does not. Pure; the clock is given."""

from __future__ import annotations

# An interval that is shorter measures slow starts and not speeds.
_INTERVAL = 1.5
# Growth that counts: what twice the connections must bring at least, or they only take from each other.
_GAIN = 1.12
# Both ways are tried again after so many seconds: lines and hubs change.
_AGAIN = 60.0


class Pace:
    """`target` connections, from `start` to `most`. Tell it the bytes so far with `feed`."""

    def __init__(self, most: int, *, start: int = 4, now: float = 0.0) -> None:
        self._most = max(1, most)
        self.target = min(start, self._most)
        self._at, self._bytes = now, 0
        self._before: tuple[int, float] | None = None  # connections and speed, one step down
        self._settled: float | None = None
        self.speed = 0.0

    def feed(self, now: float, total: int, active: int) -> int:
        """`total` bytes came since the start, `active` connections are at work; the new target.

        Decides only from intervals in which all wanted connections were at work: at the end there are fewer pieces.
        """
        passed = now - self._at
        if passed < _INTERVAL:
            return self.target
        speed = max(0.0, (total - self._bytes) / passed)
        self._at, self._bytes, self.speed = now, total, speed
        if speed <= 0 or active < self.target:
            self._before = None
        elif self._settled is not None:
            if now - self._settled >= _AGAIN:
                self._settled = None
        else:
            self._decide(now, speed)
        return self.target

    def _decide(self, now: float, speed: float) -> None:
        if self._before is not None and speed < self._before[1] * _GAIN:
            # It brought nothing: back to where it was as fast with fewer.
            self.target, self._settled = self._before[0], now
            self._before = None
        elif self.target < self._most:
            self._before = (self.target, speed)
            self.target = min(self._most, 2 * self.target)
        else:
            self._settled, self._before = now, None
