"""Who has a file open or calls it his own: a database must not be replaced under a running program."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boxctl import files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from boxctl.layout import Layout


def owners(layout: Layout, paths: list[str]) -> dict[str, Any]:
    """`{"services": names of running services that declare one of `paths`, "others": programs that have one open}`."""
    declaring = []
    for spec in sorted(layout.services.glob("*/service.json")):
        patterns = [str(layout.root / pattern) for pattern in (files.read_json(spec) or {}).get("precious", [])]
        if any(_covers(pattern, path) for pattern in patterns for path in paths):
            declaring.append(spec.parent.name)
    running = _running(layout, declaring)
    return {"services": running, "others": [] if running else open_by(paths)}


def open_by(paths: Iterable[str]) -> list[str]:
    """Programs that have one of `paths`, or a database's side file, open: `process 123 (python3)`."""
    wanted = {os.path.realpath(path) for path in paths}
    users = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            held = {str(link.readlink()) for link in (place / "fd").iterdir()}
            if held & wanted:
                users.append(f"process {place.name} ({(place / 'comm').read_text().strip()})")
        except OSError:
            continue  # gone meanwhile, or somebody else's
    return users


def _covers(pattern: str, path: str) -> bool:
    return fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"{pattern.rstrip('/')}/*")


def _running(layout: Layout, names: list[str]) -> list[str]:
    if not names:
        return []
    from boxctl import services

    states = {view["name"]: view["state"] for view in services.views(layout)}
    return [name for name in names if states.get(name) in {"running", "starting", "backoff"}]
