"""What a connection of a transfer is asked for at once, and when further connections pay; decisions only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from gpubox.remote.transfer_part import SEGMENT, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gpubox.remote.transfer_item import Item

# Bytes up to which a file comes whole in one frame, and of all files in one request.
SMALL = 256 << 10
_BATCH = 2 << 20
_BATCH_FILES = 128
# What one request asks for of a segment: after a cut little, then more with each that came. A cut loses what `ssh`
# itself still holds, up to all that was asked for: on a line that is cut all the time that must not be much.
_CAUTIOUS = 64 << 10
_BOLDER = 4 << 10
# Seconds: a login takes half of one at 40 ms and costs 60 ms of CPU time at both ends, so that it has to bring more
# than it takes away. The rate of a line's first half second says little about it.
_FIRST_SECONDS = 0.5
_WORTH_SECONDS = 2.0


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


_File = TypeVar("_File", bound=_Sized)


@dataclass(slots=True, eq=False)
class Batch:
    """Small files; `size` in bytes."""

    items: list[Item] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True, eq=False)
class Range:
    """What is missing of a segment of a big file."""

    item: Item
    segment: Segment


Task = Batch | Range


@dataclass(slots=True)
class Pace:
    """How much one connection asks for at once of a segment, in bytes."""

    piece: int = SEGMENT

    def cut(self) -> None:
        """The line was cut."""
        self.piece = _CAUTIOUS

    def went_well(self) -> None:
        """A piece has come."""
        self.piece = min(SEGMENT, self.piece + _BOLDER)


def batches(items: Iterable[Item]) -> list[Batch]:
    """Small files, together as far as one request goes."""
    return [Batch(group, sum(item.size for item in group)) for group in groups(items)]


def groups(files: Iterable[_File]) -> list[list[_File]]:
    """What has a `size`, in groups of which each is one request."""
    made: list[list[_File]] = []
    size = 0
    for file in files:
        if not made or size + file.size > _BATCH or len(made[-1]) >= _BATCH_FILES:
            made.append([])
            size = 0
        made[-1].append(file)
        size += file.size
    return made


def worth_connecting(left: int, came: int, seconds: float) -> bool:
    """Whether logins of their own pay for further connections: so many bytes came in so many seconds, and are left.

    The channels of one connection have a window each, but share what TCP grants: on a line that loses packets several
    connections get several times as much.
    """
    return seconds >= _FIRST_SECONDS and left * seconds > _WORTH_SECONDS * came
