"""`python -m boxguard.snapshot DIRECTORY`: copy what exists only here to a disk that survives this box.

A program of its own, since a network disk that hangs cannot be waited for: the guard ends it when its time is over.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from boxctl import databases, files, manifest, worktrees
from boxctl.errors import BoxctlError
from boxctl.layout import find
from boxguard import settings as guard_settings

if TYPE_CHECKING:
    from boxctl.layout import Layout

_BLOCK = 1 << 20
_RECORD = "manifest.json"


class Source(NamedTuple):
    """One file to copy. `copy`: who has to make the copy, as in boxctl's manifest; `version` changes with the file."""

    path: Path
    size: int
    version: list[int]
    copy: str | None


class SnapshotError(Exception):
    """It could not be copied; the words say why."""


def main(arguments: list[str]) -> int:
    """Copy; the exit code. The last line on stdout is what came of it, in words."""
    settings = guard_settings.read(Path(arguments[0]) / "settings.json")
    try:
        words = snapshot(Path(settings.snapshot_to) / (settings.box or "box"), sources(find(), settings.paths))
    except (SnapshotError, BoxctlError, OSError) as error:
        sys.stdout.write(f"the snapshot in `{settings.snapshot_to}` failed: {error}\n")
        return 1
    sys.stdout.write(f"{words}\n")
    return 0


def sources(layout: Layout, paths: tuple[str, ...]) -> dict[str, Source]:
    """Every file to copy, by its name in the snapshot: what `boxctl manifest` lists, and what matches `paths`."""
    listed = manifest.listed(layout)["files"]
    found = {
        item["path"]: Source(Path(item["absolute"]), item["size"], list(item["version"]), item["copy"])
        for item in listed
    }
    for pattern in paths:
        for place in sorted(glob.glob(str(layout.root / pattern), recursive=True)):  # noqa: PTH207 - absolute patterns
            for path in _regular(Path(place)):
                inside = path.is_relative_to(layout.root)
                name = str(path.relative_to(layout.root)) if inside else f"elsewhere{path}"
                info = path.stat()
                how = "sqlite" if databases.is_database(str(path), info.st_size) else None
                version = [info.st_size, info.st_mtime_ns, info.st_ino]
                found.setdefault(name, Source(path, info.st_size, version, how))
    return found


def snapshot(target: Path, wanted: dict[str, Source]) -> str:
    """Copy every file of `wanted` below `target/files`; those that the last snapshot has already stay.

    `target/manifest.json` is written last: what it lists is whole. Raises `SnapshotError` and `OSError`.
    """
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    before = {item["path"]: item for item in (files.read_json(target / _RECORD) or {}).get("files", [])}
    kept = {
        name: before[name]
        for name, source in wanted.items()
        if name in before and before[name]["version"] == source.version and (target / "files" / name).exists()
    }
    new = {name: source for name, source in wanted.items() if name not in kept}
    size, free = sum(source.size for source in new.values()), shutil.disk_usage(target).free
    if size > free:
        raise SnapshotError(f"{size / 2**20:.0f} MiB to copy, and {free / 2**20:.0f} MiB free")
    entries = dict(kept)
    for name, source in sorted(new.items()):
        if entry := _copy(source, target / "files" / name):
            entries[name] = {"path": name, "version": source.version, **entry}
    listed = [entries[name] for name in sorted(entries)]
    files.write_json(target / _RECORD, {"at": files.utc(time.time()), "files": listed})
    return f"{len(listed)} files in `{target}`, {len(new)} of them new ({size / 2**20:.1f} MiB)"


def _copy(source: Source, target: Path) -> dict[str, Any] | None:
    """Copy whole or not at all; None when the file is gone meanwhile."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        if source.copy == "sqlite":
            databases.copy(str(source.path), partial)
        elif source.copy == "git":
            worktrees.bundle(str(source.path.parent), partial)
        else:
            _copy_bytes(source.path, partial)
    except FileNotFoundError:
        return None
    with partial.open("rb") as copy:
        os.fsync(copy.fileno())
        digest, size = hashlib.file_digest(copy, "sha256").hexdigest(), os.fstat(copy.fileno()).st_size
    partial.replace(target)
    return {"size": size, "sha256": digest}


def _copy_bytes(source: Path, target: Path) -> None:
    """Copy, and read back what was written: the disk may be a network away."""
    digest = hashlib.sha256()
    with source.open("rb") as stream, target.open("wb") as copy:
        while block := stream.read(_BLOCK):
            digest.update(block)
            copy.write(block)
    with target.open("rb") as copy:
        if hashlib.file_digest(copy, "sha256").digest() != digest.digest():
            raise SnapshotError(f"`{target}` is not what was written to it")


def _regular(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
