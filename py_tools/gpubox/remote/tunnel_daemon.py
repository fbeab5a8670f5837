"""`python -m gpubox.remote.tunnel_daemon STATEFILE`: keeps one `ssh` child with all forwards of a box running.

Reads its wish beside the state file again and again: new forwards restart the child, no owner left ends it all.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpubox.errors import AuthFailed, GpuboxError
from gpubox.remote import explain, tunnel_files
from gpubox.remote.process import Process
from gpubox.remote.ssh_config import alias
from gpubox.remote.tunnel_files import State, Wish

_TICK = 0.25
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0
# `ssh` prints it when the login is done and every port is bound: it runs LocalCommand after that.
_CONNECTED = b"connected"
_STDERR_KEPT = 4000


def main() -> int:
    """Run until stopped or no longer wanted; the exit code."""
    directory = Path(sys.argv[1]).parent
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    daemon = _Daemon(directory)
    try:
        return daemon.run()
    finally:
        daemon.end_child()


class _Daemon:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._child: subprocess.Popen[bytes] | None = None
        self._stderr = b""
        self._connected = False
        self._reconnects = 0
        self._was_connected = False
        self._state: State | None = None

    def run(self) -> int:
        pause = _FIRST_PAUSE
        while (wish := self._wish()) is not None:
            self._start(wish)
            if not self._watch(wish):
                self.end_child()
                continue
            error = explain.from_openssh(self._words(), wish.name, wish.endpoint, pinned=wish.pinned)
            if isinstance(error, AuthFailed):
                self._report(wish, "failed", error)
                return 1
            pause = _FIRST_PAUSE if self._connected else min(pause * 2, _LONGEST_PAUSE)
            self._report(wish, "reconnecting" if self._was_connected else "connecting", error)
            self._wait(pause)
        return 0

    def end_child(self) -> None:
        """Stop the `ssh` child, if there is one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()

    def _wish(self) -> Wish | None:
        """The wish as it is now; None when nobody wants anything any more: then the files are gone, too."""
        wish = tunnel_files.read_wish(self._directory)
        if wish is not None and wish.wanted:
            return wish
        with tunnel_files.lock():
            # Somebody may have become an owner in between.
            wish = tunnel_files.read_wish(self._directory)
            if wish is not None and wish.wanted:
                return wish
            self.end_child()
            tunnel_files.forget(self._directory)
        return None

    def _start(self, wish: Wish) -> None:
        self.end_child()
        self._stderr, self._connected = b"", False
        interval, count = wish.alive
        options = [
            "BatchMode=yes",
            "ExitOnForwardFailure=yes",
            f"ServerAliveInterval={interval}",
            f"ServerAliveCountMax={count}",
            "PermitLocalCommand=yes",
            f"LocalCommand=echo {_CONNECTED.decode()}",
        ]
        argv = ["ssh", "-F", str(self._directory / "ssh_config"), "-N"]
        argv += [word for option in options for word in ("-o", option)]
        argv += [word for forward in wish.forwards for word in ("-L", forward.option)]
        self._child = subprocess.Popen(
            [*argv, alias(wish.name)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C", "SHELL": "/bin/sh"},
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one thread only
        )
        if self._state is None:
            self._report(wish, "connecting", None)

    def _watch(self, wish: Wish) -> bool:
        """Follow the child; True when it ended by itself, False when another one is wanted, or none."""
        child = self._child
        assert child is not None
        assert child.stdout is not None
        assert child.stderr is not None
        errors = child.stderr.fileno()
        with selectors.DefaultSelector() as selector:
            for handle in (child.stdout.fileno(), errors):
                selector.register(handle, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select(_TICK)]
                for handle in ready:
                    if not self._take(wish, os.read(handle, 4096), is_error=handle == errors):
                        selector.unregister(handle)
                # Somebody that the child started may hold its stderr open: a quiet turn is the end as well.
                if child.poll() is not None and not (ready and selector.get_map()):
                    return True
                now = self._wish()
                if now is None or (now.forwards, now.alive) != (wish.forwards, wish.alive):
                    return False

    def _take(self, wish: Wish, data: bytes, *, is_error: bool) -> bool:
        if is_error:
            self._stderr = (self._stderr + data)[-_STDERR_KEPT:]
        elif _CONNECTED in data:
            self._reconnects += self._was_connected
            self._connected = self._was_connected = True
            self._report(wish, "connected", None)
        return bool(data)

    def _words(self) -> str:
        """What `ssh` said."""
        return self._stderr.decode(errors="replace")

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._wish() is not None:
            time.sleep(_TICK)

    def _report(self, wish: Wish, state: str, error: GpuboxError | None) -> None:
        """Write the state, and a line of log when it says something new."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = self._state
        changed = before is None or (before.state, before.last_error) != (state, error and error.message)
        if changed:
            print(now, wish.name, state, error.message if error else "", file=sys.stderr, flush=True)  # noqa: T201
        self._state = State(
            daemon=Process.me(),
            child=Process.of(self._child.pid) if self._child else None,
            state=state,
            since=now if before is None or before.state != state else before.since,
            reconnects=self._reconnects,
            # The last reason stays readable after the link is back.
            last_error=error.message if error else (before.last_error if before else None),
            hint=error.hint if error else None,
            kind=type(error).__name__ if error else None,
            forwards=wish.forwards,
            taken=explain.taken_port(self._words()) if error else None,
        )
        tunnel_files.write(self._directory / tunnel_files.STATE, self._state)


def _die_with_parent() -> None:
    """A daemon that is killed hard takes its `ssh` along (Linux; elsewhere the next opener ends a left one)."""
    if sys.platform != "linux":
        return
    import ctypes

    set_death_signal: Any = ctypes.CDLL(None).prctl
    with contextlib.suppress(AttributeError):
        set_death_signal(1, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
