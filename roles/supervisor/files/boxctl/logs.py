"""Logs: writing them with rotation, reading their end, finding the line that says what went wrong."""

from __future__ import annotations

import os
import re
import sys
import time
from typing import TYPE_CHECKING

from boxctl import files
from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from pathlib import Path

    from boxctl.layout import Layout

# Each start of a service or job is marked by a line that begins so.
MARK = "--- gpubox: "
_SIZE = 10 * 2**20
_KEPT = 3
_LINE = 500
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TROUBLE = re.compile(
    r"error|exception|fatal|fail|cannot|can't|could not|not found|no such|denied|refused|killed|panic|abort|traceback"
    r"|out of memory|no space|unrecognized|invalid|missing",
    re.IGNORECASE,
)
# Lines that speak of no trouble although such a word is in them: addresses of help pages, places in source files.
_NO_TROUBLE = re.compile(r"For further information visit |^\s*File \"|^\s*~*\^+~*\s*$|^Traceback |^\s*raise ")


class Rotating:
    """A log that is a new file for each run and after each 10 MiB; three older ones are kept as `.1` to `.3`.

    What cannot be written (a full disk) is dropped: a job does not end because its words are lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn()

    def write(self, data: bytes) -> None:
        """Append."""
        try:
            os.write(self._descriptor, data)
            if os.fstat(self._descriptor).st_size > _SIZE:
                os.close(self._descriptor)
                self._turn()
        except OSError:
            return

    def _turn(self) -> None:
        for number in range(_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number - 1}") if number > 1 else self._path
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number}"))
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def mark(name: str) -> str:
    """The line that marks a start."""
    return f"{MARK}{name} starts at {files.utc(time.time())}\n"


def last_error(path: Path, *, under_way: bool = False) -> str | None:
    """The last start's last line that looks like an error, else its last line; None when it said nothing.

    `under_way`: the last start has not ended. What it says before it comes to its own end, which may only be that it is
    loading, then does not hide what the one before ended with.
    """
    lines = _lines(path)
    said = [words for start in _starts(lines) if (words := _said(lines, start))]
    for words in said[: 2 if under_way else 1]:
        trouble = (line for line in reversed(words) if _TROUBLE.search(line) and not _NO_TROUBLE.search(line))
        if (line := next(trouble, None)) is not None:
            return line.strip()[:_LINE]
    return said[0][-1].strip()[:_LINE] if said else None


def last_line(path: Path) -> str | None:
    """The last line that is not empty; of a progress bar drawn with carriage returns its last state."""
    lines = [line for line in _lines(path, 4096) if line and not line.startswith(MARK)]
    return lines[-1][:_LINE] if lines else None


def show(layout: Layout, name: str, *, lines: int, follow: bool) -> None:
    """Write the last `lines` lines of a log to stdout, and with `follow` what comes, until stdout is closed."""
    path = layout.log(name)
    if not path.exists():
        there = sorted(item.stem for item in layout.logs.glob("*.log"))
        hint = f"there is: {', '.join(there) or 'none yet'}"
        raise BoxctlError(f"there is no log of `{name}`", hint=hint)
    with path.open("rb") as file:
        identity = os.fstat(file.fileno()).st_ino
        end = file.seek(0, os.SEEK_END)
        file.seek(_beginning(path, lines))
        sys.stdout.buffer.write(file.read(max(0, end - file.tell())))
    sys.stdout.buffer.flush()
    if follow:
        _follow(path, identity, end)


def _follow(path: Path, identity: int, offset: int) -> None:
    from boxctl.pipes import listened_to

    while listened_to(0.3):
        try:
            info = path.stat()
        except FileNotFoundError:
            continue
        if info.st_ino != identity or info.st_size < offset:  # rotated
            identity, offset = info.st_ino, 0
        if info.st_size > offset:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read()
            offset += len(data)
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def _said(lines: list[str], start: int) -> list[str]:
    """What one start said: up to the mark of the next."""
    rest = lines[start + 1 :] if lines and lines[start].startswith(MARK) else lines[start:]
    end = next((index for index, line in enumerate(rest) if line.startswith(MARK)), len(rest))
    return [line for line in rest[:end] if line]


def _beginning(path: Path, lines: int) -> int:
    """Offset of the line from which `lines` lines are left, found from the end in blocks."""
    size = path.stat().st_size
    block, found, position = 65536, 0, size
    with path.open("rb") as file:
        while position > 0:
            step = min(block, position)
            file.seek(position - step)
            data = file.read(step)
            for index in range(len(data) - 1, -1, -1):
                # The newline at the very end closes the last line, it does not begin one.
                if data[index] == 0x0A and position - step + index != size - 1:
                    found += 1
                    if found == lines:
                        return position - step + index + 1
            position -= step
    return 0


def _lines(path: Path, size: int = 65536) -> list[str]:
    text = _ESCAPES.sub("", files.tail(path, size).decode("utf-8", "replace"))
    return [line.rsplit("\r", 1)[-1].rstrip() for line in text.replace("\r\n", "\n").rstrip("\r").split("\n")]


def _starts(lines: list[str]) -> list[int]:
    """Where each start's output begins, the latest first; the last start may have said nothing yet."""
    return [index for index in range(len(lines) - 1, -1, -1) if lines[index].startswith(MARK)] + [0]
