"""Listed files that several processes send between them, each of them once."""

from __future__ import annotations

import os
import struct
from typing import Any

File = tuple[int, dict[str, Any]]

_NUMBER = struct.Struct("=I")
# Of one share at least: a pack of `boxctl send` is as large.
_BYTES = 256 << 10
_FILES = 256
# A pipe may take no more than a page, 4096 bytes: their numbers have to fit.
_SHARES_BY_SIZE, _SHARES_BY_COUNT = 500, 400


class Shares:
    """Those of `files` (rows of `manifest.listed`) that can be read as they are and have at most `small` bytes.

    Of two names of one file the first is meant. Made before the processes are forked that take from it.
    """

    def __init__(self, files: list[dict[str, Any]], small: int) -> None:
        self._shares = _grouped(_chosen(files, small))
        # What is read from a pipe is gone from it, at once: who dies takes one share along, and holds up nobody.
        self._numbers, full = os.pipe()
        os.write(full, b"".join(_NUMBER.pack(number) for number in range(len(self._shares))))
        os.close(full)

    def take(self) -> tuple[int, list[File]]:
        """A share that nobody has taken yet, by its number, each file with its place in the list; empty: none is left.

        They go in order: who gets one after the other without a gap is alone.
        """
        taken = os.read(self._numbers, _NUMBER.size)
        number = _NUMBER.unpack(taken)[0] if taken else len(self._shares)
        return number, self._shares[number] if taken else []


def _chosen(files: list[dict[str, Any]], small: int) -> list[File]:
    nodes: set[str] = set()
    chosen = []
    for number, file in enumerate(files):
        if file["copy"] is None and file["node"] not in nodes:
            nodes.add(file["node"])
            if file["size"] <= small:
                chosen.append((number, file))
    return chosen


def _grouped(files: list[File]) -> list[list[File]]:
    most_bytes = max(_BYTES, sum(file["size"] for _, file in files) // _SHARES_BY_SIZE)
    most_files = max(_FILES, len(files) // _SHARES_BY_COUNT)
    groups: list[list[File]] = []
    size = most_bytes
    for entry in files:
        if size >= most_bytes or len(groups[-1]) >= most_files:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += entry[1]["size"]
    return groups
