"""Waiting until a provider has what is wanted."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from gpubox.durations import in_words
from gpubox.errors import NoStock, Unreachable
from gpubox.providers.clock import WALL

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from gpubox.errors import GpuboxError
    from gpubox.providers.clock import Clock

T = TypeVar("T")

# In seconds. Cards come back one by one and are gone within the minute; a provider's API is not to be hammered either.
_FIRST, _LONGEST, _GROWTH = 10.0, 120.0, 1.5
# Many who wait for the same card shall not all ask at the same moment.
_JITTER = 0.25


def until_in_stock(
    attempt: Callable[[], T],
    *,
    wait: timedelta | None,
    say: Callable[[str], None],
    clock: Clock = WALL,
    chance: Callable[[], float] = random.random,
) -> T:
    """What `attempt` returns; while it raises `NoStock` it is made again, for as long as `wait`. None: once.

    A provider that cannot be reached meanwhile is waited for as well. `say` gets what is waited for and since when.
    Raises the last error of `attempt` when the time is over, and at once every other one.
    """
    begun = clock.now()
    pause, tries = _FIRST, 0
    while True:
        tries += 1
        try:
            return attempt()
        except (NoStock, Unreachable) as error:
            left = (wait or timedelta(0)) - (clock.now() - begun)
            if wait is None:
                raise
            if left <= timedelta(0):
                raise _given_up(error, wait, tries) from error
            sleep = min(pause * (1 + _JITTER * (2 * chance() - 1)), left.total_seconds())
            say(_waiting(error, begun=begun, until=begun + wait, tries=tries, sleep=sleep))
            clock.sleep(sleep)
            pause = min(pause * _GROWTH, _LONGEST)


def _waiting(error: GpuboxError, *, begun: datetime, until: datetime, tries: int, sleep: float) -> str:
    what = "no stock" if isinstance(error, NoStock) else "provider out of reach"
    often = "once" if tries == 1 else f"{tries} times"
    when = f"asked {often} since {_here(begun)}, again in {sleep:.0f} s, until {_here(until)}"
    return f"{what}; {when}: {error.message}"


def _given_up(error: GpuboxError, wait: timedelta, tries: int) -> GpuboxError:
    return type(error)(
        f"{error.message}; waited {in_words(wait)} and asked {tries} times",
        where=error.where,
        hint="wait longer, or ask for another card; `gpubox offers` shows what there is",
    )


def _here(moment: datetime) -> str:
    """A time of this machine's own zone."""
    return f"{moment.astimezone():%H:%M}"
