"""Directories for the disks of boxes, which vanish even when their owner was killed.

Each has a lock file beside it, held as long as the owner lives; a directory whose lock can be had is a dead one's.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Scratch:
    """One directory of this process. `name` is unique on the machine and names the box's cgroups too."""

    def __init__(self, root: Path) -> None:
        self.name = f"gpubox-test-{secrets.token_hex(6)}"
        self.path = root / self.name
        self._lock_path = root / f"{self.name}.lock"
        self._lock: IO[str] | None = _taken(self._lock_path)
        if self._lock is None:
            raise RuntimeError(f"{self._lock_path} was swept away; try again")
        self.path.mkdir(mode=0o755)

    def remove(self) -> None:
        """Removes the directory, then its lock."""
        remove_tree(self.path)
        self._lock_path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def sweep(root: Path, also: Callable[[str], None]) -> list[str]:
    """Removes what dead owners left in `root`, calling `also` with each one's name; returns the names."""
    swept = []
    for lock_path in sorted(root.glob("gpubox-test-*.lock")):
        lock = _taken(lock_path)
        if lock is None:
            continue
        with lock:
            also(lock_path.stem)
            remove_tree(root / lock_path.stem)
            lock_path.unlink(missing_ok=True)
        swept.append(lock_path.stem)
    return swept


def remove_tree(path: Path) -> None:
    """`rm -rf`. Overlay work directories have mode 0, which matters to nobody but an ordinary user's rmtree."""

    def retry(function: Callable[..., object], name: str, _: object) -> None:
        Path(name).parent.chmod(stat.S_IRWXU)
        if Path(name).is_dir() and not Path(name).is_symlink():
            Path(name).chmod(stat.S_IRWXU)
        function(name)

    if path.exists():
        shutil.rmtree(path, onerror=retry)


def _taken(path: Path) -> IO[str] | None:
    """The lock file, locked; None when another process holds it or it is gone."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    file.close()
    return None
