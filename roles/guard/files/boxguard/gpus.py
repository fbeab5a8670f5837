"""How much the GPUs have to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

_TIMEOUT = 30.0
_COMMAND = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]


class UnknownUseError(Exception):
    """There are GPUs, and what they do cannot be told."""


def use(devices: Path = Path("/dev")) -> list[float]:
    """Use of each GPU in percent; empty where there is none. Raises `UnknownUseError`.

    In AutoDL's mode without a GPU `nvidia-smi` is an empty file and there is no device.
    """
    if not any(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia*")):
        return []
    try:
        done = subprocess.run(_COMMAND, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnknownUseError(f"nvidia-smi: {error}") from error
    return parse(done.stdout) if done.returncode == 0 else _failed(done)


def parse(text: str) -> list[float]:
    """nvidia-smi's lines, one for each GPU. Raises `UnknownUseError` for `[N/A]` and the like."""
    try:
        found = [float(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise UnknownUseError(f"nvidia-smi says {text.strip()[:80]!r}") from error
    if not found:
        raise UnknownUseError("nvidia-smi says nothing")
    return found


def _failed(done: subprocess.CompletedProcess[str]) -> list[float]:
    words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[0]
    raise UnknownUseError(f"nvidia-smi ended with {done.returncode}: {words[:120]}")
