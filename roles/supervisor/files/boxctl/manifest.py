"""What exists only on this box: results, precious paths of services and jobs, the user's own, logs and runs."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxctl import files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boxctl.layout import Layout

_BLOCK = 2**20
# Variables of a run may hold keys and passwords; they come from the box file anyway.
_SECRET = {"vars.json"}


def manifest(layout: Layout) -> dict[str, Any]:
    """`{"files": [{"path", "absolute", "size", "sha256"}], "missing": [...]}`, sorted by path, sizes in bytes.

    `path` is relative to the root; of a file elsewhere it is `elsewhere/` and its absolute path. A file that still
    grows is described as long as it was when it was opened.
    """
    found: dict[str, Path] = {}
    missing = []
    for pattern in _precious(layout):
        places = [Path(place) for place in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 - absolute patterns
        if not places:
            missing.append(pattern)
        for place in places:
            for path in _regular(place, set()):
                found.setdefault(_relative(layout, path), path)
    entries = [entry for name in sorted(found) if (entry := _entry(name, found[name]))]
    return {"files": entries, "missing": sorted(missing)}


def _precious(layout: Layout) -> list[str]:
    patterns = [str(layout.logs), str(layout.converge), str(layout.results)]
    kept = files.read_json(layout.root / "keep.json") or {}
    patterns += [str(layout.root / pattern) for pattern in kept.get("globs", [])]
    for spec in (*layout.services.glob("*/service.json"), *layout.jobs.glob("*/job.json")):
        for pattern in (files.read_json(spec) or {}).get("precious", []):
            patterns.append(str(layout.root / pattern))
    return list(dict.fromkeys(patterns))


def _regular(place: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Regular files at or below `place`; links are followed, each directory once, sockets and the like left out."""
    try:
        info = place.stat()
    except OSError:
        return  # gone meanwhile, or a link to nothing
    if stat.S_ISREG(info.st_mode):
        if place.name not in _SECRET:
            yield place
        return
    identity = (info.st_dev, info.st_ino)
    if not stat.S_ISDIR(info.st_mode) or identity in seen:
        return
    seen.add(identity)
    for child in sorted(place.iterdir()):
        yield from _regular(child, seen)


def _relative(layout: Layout, path: Path) -> str:
    try:
        return str(path.relative_to(layout.root))
    except ValueError:
        return f"elsewhere{path}"


def _entry(name: str, path: Path) -> dict[str, Any] | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = left = os.fstat(file.fileno()).st_size
            while left > 0 and (block := file.read(min(_BLOCK, left))):
                digest.update(block)
                left -= len(block)
    except FileNotFoundError:
        return None
    return {"path": name, "absolute": str(path), "size": size - left, "sha256": digest.hexdigest()}
