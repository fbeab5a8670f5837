"""Pulling a model: Ollama downloads, this watches.

Ollama goes on where it was when it is asked again, but it notes how far a part is only when the part ends or the client
goes (server/download.go of 0.32.7). Parts are of 100 MB to 1 GB and sixteen run at once, so a box that loses its power
would lose nearly all of a model. Hence the checkpoints: every now and then the connection is closed and opened again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ollama_fetch.errors import FetchError, TryAgainError
from ollama_fetch.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollama_fetch.api import Api
    from ollama_fetch.progress import Progress


class Limits(NamedTuple):
    """All in seconds. `stall`: without a byte until the connection is made anew. `budget`: without a byte until it is
    given up. `checkpoint`: between two notes of how far it is."""

    stall: float
    budget: float
    checkpoint: float


class _CheckpointError(Exception):
    """Time to let Ollama write down how far it is."""


class Watch:
    """What the lines of one pull add up to, over all its layers and all its tries."""

    def __init__(self, limits: Limits, patience: Patience, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._patience, self._clock = limits, patience, clock
        self._layers: dict[str, tuple[int, int]] = {}
        self._begun = clock()

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(done for done, _ in self._layers.values())

    @property
    def total(self) -> int:
        """Bytes of all layers heard of so far."""
        return sum(total for _, total in self._layers.values())

    def begin(self) -> None:
        """A try begins."""
        self._begun = self._clock()

    def see(self, event: dict[str, Any]) -> None:
        """One line. Raises `TryAgainError` for a stall, `_CheckpointError` when it is time for one."""
        digest = event.get("digest")
        if not digest:
            # Between layers nothing moves; a stall is something else.
            self._patience.moved(self.done)
            return
        self._layers[digest] = (int(event.get("completed") or 0), int(event.get("total") or 0))
        self._patience.moved(self.done)
        if self.done >= self.total:
            return
        tried = self._clock() - self._begun
        if min(self._patience.idle, tried) > self._limits.stall:
            raise TryAgainError(f"no byte for {self._limits.stall:.0f} s")
        if tried > self._limits.checkpoint and self._patience.idle < self._limits.stall / 2:
            raise _CheckpointError

    def silence(self, event: dict[str, Any]) -> float:
        """Seconds that may pass until the next line: while bytes come Ollama speaks every 60 ms; checking says none."""
        return self._limits.stall if event.get("digest") else max(self._limits.budget, self._limits.stall)


def pull(api: Api, model: str, limits: Limits, progress: Progress) -> None:
    """Have `model` in the store. Raises `FetchError`."""
    patience = Patience(limits.budget)
    watch = Watch(limits, patience)
    while True:
        try:
            watch.begin()
            _listen(api, model, watch, progress)
        except _CheckpointError:
            continue
        except TryAgainError as error:
            progress.say(f"pulling {model}: {error}; trying again")
            patience.again(error)
        except FetchError as error:
            raise FetchError(f"`{model}`: {error}") from error
        else:
            return


def _listen(api: Api, model: str, watch: Watch, progress: Progress) -> None:
    for event in api.stream("/api/pull", {"model": model}, watch.silence):
        status = str(event.get("status") or "")
        if status == "success":
            return
        watch.see(event)
        if event.get("digest"):
            progress.bytes(f"pulling {model}", watch.done, watch.total)
        else:
            progress.say(f"{model}: {status}")
    raise TryAgainError("Ollama broke off")
