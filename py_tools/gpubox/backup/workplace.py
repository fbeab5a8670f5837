"""The directory in which a backup is made, and what is left in it when that goes wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from gpubox import backups

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gpubox.converge.progress import Board


@contextlib.contextmanager
def workplace(place: Path, board: Board) -> Iterator[None]:
    """Make and hold `place`, where the backups of one box lie.

    When what is done in it fails or is interrupted, the bytes that are here stay for the next try, and `board` notes
    where. When there are none, nothing is left of it. Raises `Refused` when another process holds it, `OSError`.
    """
    made = [each for each in (place, *place.parents) if not each.exists()]
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        with backups.alone(place), _tidied(place / backups.PARTIAL, board):
            yield
    except BaseException:
        for each in made:
            # Not when something is in it.
            with contextlib.suppress(OSError):
                each.rmdir()
        raise


@contextlib.contextmanager
def _tidied(partial: Path, board: Board) -> Iterator[None]:
    try:
        yield
    except BaseException:
        kept = _kept_in(partial)
        if kept:
            board.note(f"{kept / 2**20:.1f} MiB are kept in `{partial}`: the same command goes on from there")
        else:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _kept_in(partial: Path) -> int:
    """Bytes of files that are here, and what the parts of others take up: those have their full size at once."""
    kept = 0
    for directory, _, names in os.walk(partial / backups.FILES):
        kept += sum(os.lstat(f"{directory}/{name}").st_size for name in names)
    for directory, _, names in os.walk(partial / backups.PARTS):
        kept += sum(os.lstat(f"{directory}/{name}").st_blocks * 512 for name in names)
    return kept
