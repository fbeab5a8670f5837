"""Become the server, once it is certain that it can load what it needs. Also after a power cycle, on another host."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from . import fingerprint, gguf, machine

if TYPE_CHECKING:
    from pathlib import Path

# A path to another CUDA toolkit in it breaks torch itself: `undefined symbol: __nvJitLinkComplete_12_4`. The articles
# and KTransformers' own install guide export it; torch finds its libraries without.
_HARMFUL = "LD_LIBRARY_PATH"


def check(env: Path, *, built: bool, weights: Path | None) -> None:
    """Raises `Trouble` when the server would fail: another torch than it was built for, or GGUF files missing."""
    if built:
        flags = machine.read().flags
        fingerprint.compare(fingerprint.read(env), fingerprint.of_environment(env), flags)
    if weights is not None:
        gguf.look(weights)


def become(argv: list[str], keep: bool) -> NoReturn:
    """Replace this process by the server."""
    environment = {name: value for name, value in os.environ.items() if keep or name != _HARMFUL}
    environment.pop("PYTHONPATH", None)
    sys.stdout.flush()
    os.execve(argv[0], argv, environment)  # noqa: S606 -- the argv comes from the service's own specification
