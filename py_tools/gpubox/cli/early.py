"""The login of a backup, begun before the command line is read: it takes longer than all that has to be loaded here."""

from __future__ import annotations

import atexit
import contextlib
from typing import TYPE_CHECKING

from gpubox.remote.transfer_line import Shared

if TYPE_CHECKING:
    from collections.abc import Sequence

# With these it only looks, or needs no box.
_OTHER = {"--dry-run", "--verify", "--help"}
_begun: dict[str, Shared] = {}


def begin(words: Sequence[str]) -> None:
    """Log in to the box of `gpubox backup NAME ...`; `words` are those behind `backup`.

    Whatever hinders it, the command itself meets and explains.
    """
    if not words or words[0].startswith("-") or not _OTHER.isdisjoint(words):
        return
    with contextlib.suppress(OSError, ValueError):
        if (shared := Shared.early(words[0])) is not None:
            _begun[words[0]] = shared
            # Of a command line that is refused nobody takes it.
            atexit.register(_end)


def take(name: str) -> Shared | None:
    """The login to the box `name` that was begun, else one that begins now; None for a box that was never reached."""
    shared = _begun.pop(name, None)
    return shared if shared is not None else Shared.early(name)


def _end() -> None:
    while _begun:
        _begun.popitem()[1].close()
