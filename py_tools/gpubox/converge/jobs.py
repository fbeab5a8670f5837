"""A job of a box as its followers see it: how far, how fast, how long still."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

# Speed is taken over so many seconds: long enough to be steady, short enough to show a stall.
_WINDOW = 20.0
_SHORTEST = 1.0
# Beyond that the time left is a guess that helps nobody, in seconds.
_LONGEST_LEFT = 48 * 3600.0

# Figures of a report that have a place of their own in its line.
_PLACED = ("label", "done", "total", "unit", "speed", "seconds_left", "state", "started", "ended", "files", "of")


@dataclass(slots=True)
class Job:
    """What a job has reported so far. `state` as in `boxctl status`; times in seconds, by the box's clock."""

    name: str
    progress: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    started: float | None = None
    ended: float | None = None
    _samples: deque[tuple[float, float]] = field(default_factory=deque)

    def take(self, report: dict[str, Any], *, now: float | None = None) -> None:
        """Fold one report in; `now`: seconds of a steady clock of this machine."""
        self.progress = report
        self.state = str(report.get("state", "running"))
        self.started, self.ended = seconds_of(report.get("started")), seconds_of(report.get("ended"))
        done = report.get("done")
        if not isinstance(done, int | float):
            self._samples.clear()
            return
        now = time.monotonic() if now is None else now
        if self._samples and done < self._samples[-1][1]:
            self._samples.clear()  # It counts something else now.
        self._samples.append((now, float(done)))
        while len(self._samples) > 2 and now - self._samples[1][0] >= _WINDOW:
            self._samples.popleft()

    def speed(self, now: float | None = None) -> float | None:
        """Units per second, the job's own word first; None before that can be known."""
        own = self.progress.get("speed")
        if isinstance(own, int | float):
            return float(own)
        if len(self._samples) < 2 or self.state != "running":
            return None
        now = time.monotonic() if now is None else now
        last, after = self._samples[-1]
        if now - last >= _WINDOW:
            return 0.0
        first, before = next((s for s in reversed(self._samples) if now - s[0] >= _WINDOW), self._samples[0])
        return (after - before) / (now - first) if now - first >= _SHORTEST else None

    def left(self, now: float | None = None) -> float | None:
        """Seconds until it is done, at its speed of now; None when that cannot be told."""
        own = self.progress.get("seconds_left")
        if isinstance(own, int | float):
            return float(own)
        done, total, speed = self.progress.get("done"), self.progress.get("total"), self.speed(now)
        if not isinstance(done, int | float) or not isinstance(total, int | float) or not speed:
            return None
        left = max(0.0, total - done) / speed
        return left if left <= _LONGEST_LEFT else None


def job_words(progress: dict[str, Any], *, speed: float | None = None, left: float | None = None) -> str:
    """One line of a job's progress: label, how far, how fast, how long still, and its further figures."""
    parts = [str(progress.get("label", "")).strip()]
    done, total = progress.get("done"), progress.get("total")
    unit = str(progress.get("unit", "")).strip()
    if isinstance(done, int | float):
        whole = total if isinstance(total, int | float) else None
        parts.append(_how_far(done, whole, unit))
    if isinstance(files := progress.get("files"), int) and isinstance(of := progress.get("of"), int) and of > 1:
        parts.append(f"{files} of {of} files")
    if speed is not None and unit == "B":
        parts.append(f"{_bytes(speed)}/s" if speed >= 1 else "nothing comes")
    if left is not None:
        parts.append(f"{clock(left)} left")
    for key, value in progress.items():
        if key not in _PLACED and isinstance(value, int | float) and not isinstance(value, bool):
            parts.append(f"{key} {_number(value)}")
    return " · ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """`4.2 s`, `1:05 min` or `2:03:07 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h"


def seconds_of(moment: object) -> float | None:
    """A moment of the box (`2026-11-22T11:09:30Z`, or seconds since 1970) in seconds since 1970; None for none."""
    if isinstance(moment, int | float):
        return float(moment)
    if not isinstance(moment, str):
        return None
    try:
        return datetime.fromisoformat(moment).timestamp()
    except ValueError:
        return None


def _how_far(done: float, total: float | None, unit: str) -> str:
    if unit == "B":
        return f"{_bytes(done)} of {_bytes(total)}" if total is not None else _bytes(done)
    return f"{_number(done)}{f' of {_number(total)}' if total is not None else ''} {unit}".strip()


def _bytes(amount: float) -> str:
    """As hubs and network lines count: 1 GB is 10^9 bytes."""
    for size, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if amount >= size:
            return f"{amount / size:.1f} {name}" if amount < 100 * size else f"{amount / size:.0f} {name}"
    return f"{amount:.0f} B"


def _number(value: float) -> str:
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value)}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
