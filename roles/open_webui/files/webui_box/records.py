"""Objects over a pipe: JSON, cut into lines of a moderate length, so that nobody has to search megabytes for an end.

A line that begins with `+` is followed by more of the same object, one that begins with `=` is its last.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LINE = 60_000


def lines(record: dict[str, Any]) -> Iterator[str]:
    """The lines of one object, each with its newline. Only ASCII: a cut never falls into a character."""
    text = json.dumps(record, separators=(",", ":"))
    for start in range(0, len(text), _LINE):
        mark = "=" if start + _LINE >= len(text) else "+"
        yield f"{mark}{text[start : start + _LINE]}\n"


class Reader:
    """Lines in, without their newline; whole objects out. Raises `ValueError` for a line that is none of ours."""

    def __init__(self, on_record: Callable[[dict[str, Any]], None]) -> None:
        self._on_record = on_record
        self._parts: list[str] = []

    def feed(self, line: str) -> None:
        """Take one line."""
        mark, part = line[:1], line[1:]
        if mark not in {"+", "="}:
            raise ValueError(f"not a record: {line[:200]!r}")
        self._parts.append(part)
        if mark == "=":
            text = "".join(self._parts)
            self._parts.clear()
            self._on_record(json.loads(text))


def read(source: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Every object of a stream of lines. Raises `ValueError`."""
    found: list[dict[str, Any]] = []
    reader = Reader(found.append)
    for line in source:
        reader.feed(line.rstrip("\n"))
        yield from found
        found.clear()
