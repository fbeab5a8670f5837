"""Ending processes, and saying which cannot be ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from boxctl import lifecycle, processes
from boxctl.layout import Layout

if TYPE_CHECKING:
    import pytest

_LOOKS_TO_DIE = 3


class _Crowd:
    """At each look one more is born, and who was sent a signal dies a few looks later."""

    def __init__(self) -> None:
        self.looks_left: dict[int, int | None] = {}
        self._born = 0

    def look(self) -> list[int]:
        self._born += 1
        self.looks_left[self._born] = None
        self.looks_left = {pid: left and left - 1 for pid, left in self.looks_left.items() if left is None or left > 1}
        return list(self.looks_left)

    def send(self, pid: int, _kind: object) -> None:
        self.looks_left[pid] = _LOOKS_TO_DIE


def test_who_was_told_last_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = _Crowd()
    monkeypatch.setattr(processes, "_UNDEAD_AFTER", 0.3)
    monkeypatch.setattr(processes, "send", crowd.send)
    told = processes.end(crowd.look, grace=0)
    assert len(told) > _LOOKS_TO_DIE
    assert not crowd.looks_left.keys() & told


def test_who_cannot_be_ended_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_UNDEAD_AFTER", 0.1)
    monkeypatch.setattr(processes, "_DYING", 0.1)
    monkeypatch.setattr(processes, "send", lambda _pid, _kind: None)
    assert processes.end(lambda: [1], grace=0) == [1]


def test_who_ends_while_it_is_looked_at_is_nobody_to_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at its environment and the one at its command line, which is empty then."""
    looks = [[1, 2], [2]]
    monkeypatch.setattr(processes, "marked", lambda _marks: looks.pop(0))
    monkeypatch.setattr(processes, "command_words", lambda _pid: [])
    # The second one lives on, and has no command line at all.
    assert lifecycle._marked(Layout(Path("/root/gpubox"))) == [2]
