"""Processes named by pid and start time, so that a pid that was given to somebody else is never signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_LOOK_AGAIN = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """One process, this one and no later one with its pid."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None when there is none, or only a zombie."""
        started = _started(pid)
        return cls(pid, started) if started is not None else None

    @classmethod
    def me(cls) -> Process:
        """This process."""
        me = cls.of(os.getpid())
        assert me is not None
        return me

    def alive(self) -> bool:
        """Whether it still runs."""
        return _started(self.pid) == self.started

    def end(self, patience: float) -> None:
        """SIGTERM, and SIGKILL after `patience` seconds; returns when it is gone."""
        for sign, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
            if not self.alive():
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, sign)
            deadline = time.monotonic() + seconds
            while self.alive() and time.monotonic() < deadline:
                time.sleep(_LOOK_AGAIN)


def _started(pid: int) -> str | None:
    if sys.platform == "linux":
        try:
            # The name in brackets may hold anything: what follows its last bracket is state and numbers.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    import psutil

    try:
        process = psutil.Process(pid)
        # Whole seconds: a corrected clock moves the rest.
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.0f}"
    except psutil.NoSuchProcess:
        return None
