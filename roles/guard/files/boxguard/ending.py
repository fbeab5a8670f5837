"""The way to power off: the user's command, everything stopped, the snapshot, and then the power."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from boxguard.settings import Settings

# So long the box may take to go off before the command is run again.
_OFF_TIMEOUT = 60.0
_SYNC_TIMEOUT = 30.0
_SUDO_TIMEOUT = 20.0


class Ran(NamedTuple):
    """How a program ended: None for the exit code of one that took too long, and its last line."""

    code: int | None
    last: str


class Ending:
    """The last steps of one box. `say` takes what is being done; a failure is told by the words it returns."""

    def __init__(self, settings: Settings, root: Path, place: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._root = root
        self._place = place
        self._say = say
        self.stopped: list[str] = []

    def before_stop(self, reason: str) -> list[str]:
        """Run the command, stop services and jobs, copy what exists only here; what went wrong, in sentences.

        Limited in time, whatever hangs: the money is limited, too.
        """
        settings, wrong = self._settings, []
        deadline = time.monotonic() + settings.before_stop_timeout
        if settings.command:
            self._say("the command of `before_stop`")
            env = {**os.environ, "GPUBOX_GUARD_REASON": reason}
            ran = run(["/bin/sh", "-c", settings.command], deadline - time.monotonic(), env=env, cwd=str(self._root))
            wrong += _trouble("the command of `before_stop`", ran)
        self._say("stopping jobs and services")
        wrong += self._stop_all()
        if settings.snapshot_to:
            self._say(f"copying what exists only here to `{settings.snapshot_to}`")
            argv = [sys.executable, "-s", "-P", "-m", "boxguard.snapshot", str(self._place)]
            ran = run(argv, max(1.0, deadline - time.monotonic()))
            wrong += [ran.last] if ran.code == 1 and ran.last else _trouble("the snapshot", ran)
        return wrong

    def resume(self) -> None:
        """Start the services again that were stopped: it stays on after all."""
        boxctl = str(self._root / "bin" / "boxctl")
        for name in self.stopped:
            run([boxctl, "service", "start", name], 120)
        self.stopped.clear()

    def power_off(self) -> str:
        """Ask the box to go off, and wait for that; words when it is still on."""
        run(["sync"], _SYNC_TIMEOUT)
        begun = time.monotonic()
        ran = run(list(self._settings.power_off), _OFF_TIMEOUT)
        time.sleep(max(0.0, min(_OFF_TIMEOUT, 10 * self._settings.interval) - (time.monotonic() - begun)))
        return f"the box is still on; `{self._settings.power_off[0]}` {_said(ran)}"

    def _stop_all(self) -> list[str]:
        from boxctl import jobs
        from boxctl.errors import BoxctlError
        from boxctl.layout import Layout
        from boxctl.rpc import Supervisord

        layout, own = Layout(self._root), os.environ.get("GPUBOX_SERVICE", "guard")
        try:
            up = [name for name, info in Supervisord(layout).processes().items() if info.get("pid")]
            work = [name for name in jobs.names(layout) if jobs.read(layout, name)["state"] == "running"]
        except (OSError, BoxctlError) as error:
            return [f"services and jobs cannot be stopped: {error}"]
        services = [name.removeprefix("service-") for name in up if name.startswith("service-")]
        self.stopped = [name for name in services if name != own]
        boxctl = str(self._root / "bin" / "boxctl")
        calls = [[boxctl, "job", "cancel", name] for name in work]
        calls += [[boxctl, "service", "stop", name] for name in self.stopped]
        return run_all(calls, self._settings.stop_timeout)


def powerless(settings: Settings) -> str | None:
    """Why the box cannot be powered off from within; None when it can, as far as that is told without doing it.

    Only root may, and who becomes root without a password, as the users of cloud images do.
    """
    if os.geteuid() == 0 or not any("sudo -n" in part for part in settings.power_off):
        return None
    ran = run(["sudo", "-n", "true"], _SUDO_TIMEOUT)
    if ran.code == 0:
        return None
    name = pwd.getpwuid(os.geteuid()).pw_name
    return f"`{name}` may not power it off: `sudo -n true` {_said(ran)}"


def run(argv: list[str], seconds: float, *, env: dict[str, str] | None = None, cwd: str | None = None) -> Ran:
    """Run a program to its end, or end it with all that it started after `seconds`; never raises."""
    process = _start(argv, env, cwd)
    return process if isinstance(process, Ran) else _finish(process, seconds)


def run_all(calls: list[list[str]], seconds: float) -> list[str]:
    """Run programs side by side; what went wrong, in sentences."""
    begun = time.monotonic()
    started = [(call, _start(call, None, None)) for call in calls]
    wrong = []
    for call, process in started:
        left = max(0.1, seconds - (time.monotonic() - begun))
        ran = process if isinstance(process, Ran) else _finish(process, left)
        wrong += _trouble(f"`{' '.join(call[1:])}`", ran)
    return wrong


def _said(ran: Ran) -> str:
    return f"ended with {ran.code}: {ran.last}" if ran.code is not None else "did not end"


def _start(argv: list[str], env: dict[str, str] | None, cwd: str | None) -> subprocess.Popen[str] | Ran:
    try:
        return subprocess.Popen(
            argv,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return Ran(127, f"{error.strerror}: {argv[0]}")


def _finish(process: subprocess.Popen[str], seconds: float) -> Ran:
    try:
        out, _ = process.communicate(timeout=max(0.1, seconds))
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # One that waits for a dead disk cannot be ended; it goes with the power.
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=2)
        return Ran(None, "")
    lines = [line for line in out.splitlines() if line.strip()]
    return Ran(process.returncode, lines[-1].strip()[:300] if lines else "")


def _trouble(what: str, ran: Ran) -> list[str]:
    if ran.code == 0:
        return []
    if ran.code is None:
        return [f"{what} took too long and was ended"]
    return [f"{what} ended with exit code {ran.code}: {ran.last or 'no message'}"]
