"""Starts the server of a local box and waits until it listens."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpubox.errors import Failed, Unreachable
from gpubox.providers.local_box.layout import BoxDir, Running

_START_S = 60.0


def start(box: BoxDir, *, timeout: float = _START_S) -> Running:
    """Start the server, detached from this process and its terminal; returns when it listens.

    Raises `Failed` with the server's own words when it does not start, `Unreachable` after `timeout` seconds.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as answer:
        try:
            launcher = _launch(box, writing)
        except OSError as error:
            raise _not_started(box, f"`{sys.executable}`: {error.strerror}") from error
        finally:
            os.close(writing)
        line = _line(answer.fileno(), timeout)
        if line is None:
            with suppress(ProcessLookupError):
                os.killpg(launcher.pid, 9)
        launcher.wait()
    if line is None:
        raise Unreachable(
            f"the server of the local box did not listen within {timeout:.0f} s",
            where=str(box.log_file),
            hint="this machine may be very busy: try again",
        )
    if not line:
        raise _not_started(box, _last_words(box))
    told: dict[str, Any] = json.loads(line)
    if "error" in told:
        raise _not_started(box, told["error"], told["hint"])
    return Running.model_validate(told)


def _launch(box: BoxDir, ready: int) -> subprocess.Popen[bytes]:
    environment = box.environment()
    # Where gpubox is imported from a path that only PYTHONPATH names, the server must find it too; sessions need not.
    if here := os.environ.get("PYTHONPATH"):
        environment["PYTHONPATH"] = here
    with box.log_file.open("ab") as log:
        box.log_file.chmod(0o600)
        return subprocess.Popen(
            [sys.executable, "-m", "gpubox.providers.local_box", str(box.path), str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=box.home,
            pass_fds=(ready,),
            start_new_session=True,
        )


def _line(descriptor: int, timeout: float) -> bytes | None:
    """One line from a pipe; empty when its other end was closed, None after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    data = b""
    while not data.endswith(b"\n"):
        readable, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not readable:
            return None
        chunk = os.read(descriptor, 65536)
        if not chunk:
            return b""
        data += chunk
    return data


def _last_words(box: BoxDir) -> str:
    lines = Path(box.log_file).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it ended without a word"


def _not_started(box: BoxDir, why: str, hint: str | None = None) -> Failed:
    return Failed(
        f"the server of the local box did not start: {why}",
        where=str(box.log_file),
        hint=hint or f"its log has more: `{box.log_file}`",
    )
