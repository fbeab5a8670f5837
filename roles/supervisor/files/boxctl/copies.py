"""Copies that have to be made before something can be read: of a database by SQLite, of commits by git."""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

from boxctl import databases
from boxctl.hashes import Hashes, of_file
from boxctl.layout import checked

if TYPE_CHECKING:
    from pathlib import Path

    from boxctl.layout import Layout

# A client that was killed may come back for its copies; after so many seconds it will not.
_KEPT_SECONDS = 86400.0


def make(layout: Layout, hashes: Hashes, token: str, path: str, how: str, listed: list[int]) -> dict[str, Any]:
    """Make the copy of `path` and say where it is: `{"source", "size", "sha256"}`. Raises `BoxctlError`, `OSError`.

    `token` names the client: two that are at work do not take each other's copies away. `listed` is the version of
    `path` in the manifest.
    """
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    target = _place(layout) / checked(token) / name
    if how == "sqlite":
        before = databases.version(path)
        databases.copy(path, target)
        settled = before == databases.version(path)
    else:
        from boxctl import worktrees

        worktrees.bundle(os.path.dirname(path), target)  # noqa: PTH120
        # Named by its refs: what came in since then has it made anew the next time.
        before, settled = (listed[0], listed[1], listed[2], listed[3]), True
    sha256, size, _ = of_file(target)
    if settled:
        hashes.put(path, before, sha256)
        hashes.save()
    return {"source": str(target), "size": size, "sha256": sha256}


def remove(layout: Layout, token: str) -> None:
    """Remove the copies that were made for a client."""
    if _place(layout).is_dir():
        _remove(_place(layout) / checked(token))


def prune(layout: Layout) -> None:
    """Remove what clients that never came back have left."""
    place = _place(layout)
    if place.is_dir():
        for left in place.iterdir():
            if time.time() - left.stat().st_mtime > _KEPT_SECONDS:
                _remove(left)


def _remove(place: Path) -> None:
    import shutil

    shutil.rmtree(place, ignore_errors=True)


def _place(layout: Layout) -> Path:
    return layout.root / "snapshots"
