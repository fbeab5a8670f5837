"""Sets of byte ranges: what of a file is there, and what is missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Range = tuple[int, int]


class Ranges:
    """Half-open ranges [start, end), kept sorted, apart and joined where they touch."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Ranges({list(self)})"

    @property
    def total(self) -> int:
        """Bytes in it."""
        return sum(self._ends) - sum(self._starts)

    @property
    def prefix(self) -> int:
        """How far it goes from byte 0 on without a gap."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def add(self, start: int, end: int) -> int:
        """Add a range; how many of its bytes were new."""
        if start >= end:
            return 0
        first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
        before = sum(self._ends[first:last]) - sum(self._starts[first:last])
        if first < last:
            start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
        self._starts[first:last], self._ends[first:last] = [start], [end]
        return end - start - before

    def gaps(self, size: int) -> Iterator[Range]:
        """What of [0, size) is not in it, in order."""
        at = 0
        for start, end in self:
            if start >= size:
                break
            if at < start:
                yield at, start
            at = end
        if at < size:
            yield at, size

    def copy(self) -> Ranges:
        """Another one with the same ranges."""
        other = Ranges()
        other._starts, other._ends = list(self._starts), list(self._ends)
        return other
