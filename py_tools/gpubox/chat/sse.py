"""Server-sent events: what an engine streams an answer as."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def data(chunks: Iterable[bytes]) -> Iterator[str]:
    """The `data` of each event. Chunks may be cut anywhere, within a line or within a character.

    An event whose last line did not arrive whole is left out.
    """
    parts: list[bytes] = []
    for line in _lines(chunks):
        if line.startswith(b"data:"):
            parts.append(line[5:].removeprefix(b" "))
        elif not line and parts:
            yield b"\n".join(parts).decode("utf-8", errors="replace")
            parts = []
    if parts:
        yield b"\n".join(parts).decode("utf-8", errors="replace")


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r")
