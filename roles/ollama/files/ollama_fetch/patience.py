"""How long to go on trying: as long as there is progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ollama_fetch.errors import FetchError, TryAgainError

if TYPE_CHECKING:
    from collections.abc import Callable

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0


class Patience:
    """A budget of seconds without progress, that progress resets.

    `moved` is told of every byte count; only a higher one than ever before is progress.
    """

    def __init__(self, budget: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget, self._clock = budget, clock
        self._since, self._most = clock(), -1
        self._wait = _FIRST_WAIT_S

    def moved(self, done: int) -> None:
        """So many bytes are there."""
        if done > self._most:
            self._most, self._since, self._wait = done, self._clock(), _FIRST_WAIT_S

    @property
    def idle(self) -> float:
        """Seconds since the last progress."""
        return self._clock() - self._since

    def again(self, error: TryAgainError, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait before the next try. Raises `FetchError` when the budget is spent."""
        if self.idle + self._wait > self._budget:
            raise FetchError(f"{error}; nothing came for {self.idle:.0f} s") from error
        sleep(self._wait)
        self._wait = min(2 * self._wait, _LONGEST_WAIT_S)
