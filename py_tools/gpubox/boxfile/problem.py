"""A broken rule of a box file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpubox.boxfile.mistakes import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """A broken rule: the field to show it at, the sentence, and the other fields that it was concluded from."""

    path: Path
    message: str
    reads: tuple[str, ...] = ()
