"""The clock that providers wait by, so that a test can move it instead of waiting."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock(Protocol):
    """What time it is, and letting it pass."""

    def now(self) -> datetime:
        """Aware, UTC."""

    def sleep(self, seconds: float) -> None:
        """Return when that much time has passed."""


class Wall:
    """The time of this machine."""

    def now(self) -> datetime:
        """Aware, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


WALL: Clock = Wall()


def pauses(clock: Clock, limit: float, *, first: float = 0.25, longest: float = 5.0) -> Iterator[float]:
    """Yield the seconds waited so far, sleeping between two of them; ends when `limit` seconds have passed.

    The pauses grow from `first` to `longest` seconds: what is quick is seen quickly, what is slow is not hammered.
    At least two looks are taken, however far the clock jumped meanwhile (a laptop that was closed).
    """
    begun = clock.now()
    pause, looks = first, 0
    while True:
        waited = (clock.now() - begun).total_seconds()
        if waited > limit and looks >= 2:
            return
        yield waited
        looks += 1
        clock.sleep(min(pause, longest))
        pause *= 1.5
