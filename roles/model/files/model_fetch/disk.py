"""Room on the data disk, before the first byte and while they come."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from model_fetch.errors import DiskFull
from model_fetch.words import size

if TYPE_CHECKING:
    from pathlib import Path


def free(directory: Path) -> int:
    """Bytes that a user may still write where `directory` is or will be. Raises `OSError`."""
    found = os.statvfs(existing(directory))
    return found.f_bavail * found.f_frsize


def existing(directory: Path) -> Path:
    """The directory, or the nearest one above it that is there."""
    return next(path for path in (directory, *directory.parents) if path.exists())


def device(directory: Path) -> int:
    """Which disk it is on."""
    return existing(directory).stat().st_dev


def check(needed: int, directory: Path, free_bytes: int, keep: int) -> None:
    """Raises `DiskFull` when `needed` bytes do not fit beside the `keep` ones that stay free. Pure."""
    usable = max(0, free_bytes - keep)
    if needed <= usable:
        return
    raise DiskFull(
        f"`{directory}` needs {size(needed)}, {size(usable)} are free: {size(needed - usable)} are missing",
        "make room or enlarge the data disk, take a smaller quantization, or set `data_dir` in the box file",
    )
