"""Run one program to its end with everything that it starts, and leave nothing behind.

This process becomes the reaper of all its descendants: what a program leaves behind, even in a session of its own
(torchrun's workers, a trainer whose wrapper died), falls to us, is found, and is ended.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from boxctl import processes

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# What the program itself left behind when it ended gets so long between TERM and KILL, in seconds.
_LEFTOVER_GRACE = 5.0
_TICK = 0.1


class Ending(NamedTuple):
    """How a program ended: its exit code (128 + signal as in a shell), and whether it had been asked to."""

    exit_code: int
    asked: bool


class Child:
    """One program. `grace`: seconds between TERM and KILL; `output` takes what it prints (else it prints where we do).

    TERM ends it with everything below it; USR1 kills all that at once. Raises `OSError` when `argv` cannot be run.
    """

    def __init__(
        self,
        argv: list[str],
        *,
        env: dict[str, str],
        cwd: str | None,
        grace: float,
        output: Callable[[bytes], None] | None = None,
    ) -> None:
        self._grace = grace
        self._output = output
        self._status: int | None = None
        self._asked = False
        self._deadline: float | None = None
        self._wakeup, wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for kind in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(kind, lambda _kind, _frame: None)
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        # A job's program leads a session of its own; a service's stays in our group, which supervisord kills in need.
        process = subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output else None,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=output is not None,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there is only one thread
        )
        self.pid = process.pid
        self._process = process  # held, so that its destructor does not reap for us
        self._pipe = process.stdout.fileno() if process.stdout else -1
        if self._pipe >= 0:
            os.set_blocking(self._pipe, False)

    def wait(self) -> Ending:
        """Wait until the program and everything that it left behind is gone."""
        while True:
            self._listen(self._patience())
            self._reap()
            expired = self._deadline is not None and time.monotonic() >= self._deadline
            if self._status is None and not expired:
                continue
            left = processes.descendants(os.getpid())
            if self._status is not None and not left:
                break
            if expired:
                for pid in left:
                    processes.send(pid, signal.SIGKILL)
            elif self._deadline is None:
                self._ask(left, min(self._grace, _LEFTOVER_GRACE))
        self._drain()
        self._process.returncode = exit_code(self._status)
        return Ending(self._process.returncode, self._asked)

    def _patience(self) -> float | None:
        if self._status is not None:
            return _TICK
        return None if self._deadline is None else max(_TICK, self._deadline - time.monotonic())

    def _ask(self, pids: list[int], grace: float) -> None:
        self._deadline = time.monotonic() + grace
        for pid in pids:
            processes.send(pid, signal.SIGTERM)

    def _listen(self, timeout: float | None) -> None:
        watched = [self._wakeup] + ([self._pipe] if self._pipe >= 0 else [])
        ready, _, _ = select.select(watched, [], [], timeout)
        if self._pipe in ready:
            self._take()
        if self._wakeup not in ready:
            return
        kinds = set(os.read(self._wakeup, 4096))
        if signal.SIGUSR1 in kinds:
            self._asked = True
            self._deadline = time.monotonic()
        if kinds & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} and not self._asked:
            self._asked = True
            self._ask(processes.descendants(os.getpid()) or [self.pid], self._grace)

    def _take(self) -> bool:
        try:
            data = os.read(self._pipe, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._pipe = -1
        elif self._output is not None:
            self._output(data)
        return bool(data)

    def _drain(self) -> None:
        while self._pipe >= 0 and self._take():
            pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.pid:
                self._status = status


def die_with_parent(kind: signal.Signals) -> None:
    """Get `kind` when the parent dies (Linux); for a wrapper, whose supervisord may be killed."""
    parent = os.getppid()
    prctl(_PR_SET_PDEATHSIG, kind)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), kind)


def prctl(option: int, value: int) -> None:
    """prctl(2) where there is one."""
    if _LIBC is not None:
        _LIBC.prctl(option, value, 0, 0, 0)


def exit_code(status: int | None) -> int:
    """A wait status as a shell's exit code."""
    if status is None:
        return 1
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _die_with_parent() -> None:
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
