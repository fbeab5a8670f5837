"""What goes wrong with backups in tests, and where things lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox import backups
from keeping.box import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from box.testbox import Proxy
    from gpubox.backup import Backup
    from gpubox.converge.progress import Board, Step

MIB = 1 << 20
RESULTS = f"{ROOT}/results"


def saved(done: Backup, path: str) -> Path:
    """A file of a backup."""
    return done.place / backups.FILES / path


def flip(path: Path, at: int) -> None:
    """One bit of a file that may not be written."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o400)


class Telling:
    """A board that somebody looks at who keeps its notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def changed(self, board: Board, step: Step) -> None:
        """Nothing."""

    def begin(self, board: Board) -> None:
        """Nothing."""

    def note(self, board: Board, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def end(self, board: Board) -> None:
        """Nothing."""


class Interrupting(Telling):
    """A board for a user who presses Ctrl-C when so many bytes have come."""

    def __init__(self, line: Proxy, size: int, *, way: str = "down") -> None:
        super().__init__()
        self._line = line
        self._size = size
        self._way = way

    def changed(self, board: Board, step: Step) -> None:
        """Ctrl-C."""
        if self._line.counts()[self._way] > self._size:
            raise KeyboardInterrupt


class Cutting(Telling):
    """A board for somebody who cuts the line once when so many bytes have gone up (or down)."""

    def __init__(self, line: Proxy, size: int, *, way: str = "up") -> None:
        super().__init__()
        self._way = way
        self.done = False
        self._line = line
        self._size = size

    def changed(self, board: Board, step: Step) -> None:
        """Cut it."""
        if not self.done and self._line.counts()[self._way] > self._size:
            self.done = self._line.cut() > 0
