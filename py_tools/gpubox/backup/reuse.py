"""Files that are at home already, from an older backup or from one that was cut off: proven, then linked or copied."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections import defaultdict
from typing import TYPE_CHECKING

from gpubox import backups

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gpubox.backups import Manifest

# Linux's ioctl that has two files share their blocks (linux/fs.h).
_FICLONE = 0x40049409


class Reuse:
    """What could be taken from here instead of from the box. Used by several threads."""

    def __init__(self, partial: Path, old: Path | None, manifest: Manifest | None) -> None:
        self.rotten: list[Path] = []
        self._partial = partial
        with os.scandir(partial) as entries:
            self._begun = any(entries)
        self._by_hash: dict[str, list[Path]] = defaultdict(list)
        self._size_of: dict[str, int] = {}
        if old is not None and manifest is not None:
            for file in manifest.files:
                self._by_hash[file.sha256].append(old / backups.FILES / file.path)
                self._size_of[file.sha256] = file.size
        self._sizes = set(self._size_of.values())

    def nothing(self) -> bool:
        """Whether nothing is here at all."""
        return not self._begun and not self._sizes

    def may_have(self, path: str, size: int) -> bool:
        """Whether it is worth to ask for the hash of a file before it is fetched."""
        if size in self._sizes:
            return True
        if not self._begun:
            return False
        try:
            return (self._partial / path).stat().st_size == size
        except OSError:
            return False

    def size_of(self, sha256: str) -> int | None:
        """Bytes of a file of the older backup, by its hash."""
        return self._size_of.get(sha256)

    def take(self, path: str, size: int, sha256: str) -> bool:
        """Have the file `path` of the new backup be one that is here, if there is such a one; every byte is read.

        Copies that are not what they were go to `rotten`. Raises `OSError` when it cannot be written.
        """
        target = self._partial / path
        if backups.difference(target, size, sha256) is None:
            return True
        for source in self._by_hash.get(sha256, ()):
            if backups.difference(source, size, sha256) is not None:
                self.rotten.append(source)
                continue
            with contextlib.suppress(FileNotFoundError):
                target.unlink()
            link_or_copy(source, target)
            return True
        return False


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where links are not possible. Raises `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        # Another disk, or a file system without links. Blocks are shared where that is possible.
        with source.open("rb") as old, open(target, "xb", opener=_private) as new:
            try:
                fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            except OSError:
                shutil.copyfileobj(old, new, 1 << 20)
            info = os.fstat(old.fileno())
            os.utime(new.fileno(), ns=(info.st_mtime_ns, info.st_mtime_ns))


def remove_strays(files: Path, wanted: Iterable[str]) -> None:
    """Remove what an earlier try has left below `files` and the box no longer has."""
    keep = set(wanted)
    for directory, _, names in os.walk(files, topdown=False):
        for name in names:
            path = os.path.join(directory, name)  # noqa: PTH118 - names that are no text
            if os.path.relpath(path, files) not in keep:
                os.unlink(path)  # noqa: PTH108
        if directory != str(files):
            with contextlib.suppress(OSError):
                os.rmdir(directory)  # noqa: PTH106 - not when something is in it


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o400)
