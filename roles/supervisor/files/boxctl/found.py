"""Files that nobody declared and that may exist only here: dirty git work trees, and what appeared since the set-up.

Looked for below the data disk and the home directory, never on another disk mounted there (network storage outlives
the box), for a limited time, and not in what can be made again (docs/backup.md has the list).
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boxctl import worktrees
from boxctl.caches import CACHES, HOME_CACHES, HOME_FILES, HUBS, MARKS, OWN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from boxctl.layout import Layout
    from boxctl.worktrees import WorkTree

_MOST = 200_000
NEWER = "newer than the box's set-up"


@dataclass(slots=True)
class Findings:
    """`files`: path to the reason why it is listed; `trees`: work trees with commits that no remote has.

    `incomplete`: sentences on what was not looked at.
    """

    files: dict[str, str] = field(default_factory=dict)
    trees: list[WorkTree] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)


def since(layout: Layout) -> float:
    """When gpubox came to this box, in seconds since 1970: the oldest sign of it that is left."""
    signs: list[Path] = []
    for pattern in ("bundles/*/.complete", "converge/*/run.json", "bin/*", "lib/*", "services/*/*", "jobs/*/*", "*.*"):
        signs += layout.root.glob(pattern)
    # A file's own time may be that of the tar it came in; the inode's is of this disk.
    times = [info.st_ctime for sign in signs if (info := _lstat(str(sign)))]
    return min(times, default=0.0)


def search(layout: Layout, *, seconds: float, known: set[tuple[int, int]]) -> Findings:
    """Look for at most `seconds`. `known` are the device and inode of what is declared already."""
    walk = _Walk(layout, time.monotonic() + seconds, known)
    walk.run(_tops(layout))
    return walk.findings


def _tops(layout: Layout) -> list[str]:
    tops = [str(layout.root.parent)]
    home = os.path.expanduser("~")  # noqa: PTH111
    if home.startswith("/") and os.path.dirname(home) != home:  # noqa: PTH120 - not the whole disk
        tops.append(home)
    return tops


class _Walk:
    def __init__(self, layout: Layout, deadline: float, known: set[tuple[int, int]]) -> None:
        self.findings = Findings()
        self._root = str(layout.root)
        self._home = os.path.expanduser("~")  # noqa: PTH111
        self._deadline = deadline
        self._since = since(layout)
        self._known = known
        self._seen: set[tuple[int, int]] = set()

    def run(self, tops: Iterable[str]) -> None:
        queue: deque[tuple[str, int, WorkTree | None]] = deque()
        for top in tops:
            if info := _lstat(top):
                queue.append((top, info.st_dev, None))
        while queue:
            if time.monotonic() > self._deadline or len(self.findings.files) >= _MOST:
                self._cut_short(queue)
                return
            place, device, tree = queue.popleft()
            info = _lstat(place)
            if info is None or (info.st_dev, info.st_ino) in self._seen:
                continue
            self._seen.add((info.st_dev, info.st_ino))
            queue.extend((child, device, below) for child, below in self._directory(place, device, tree))

    def _directory(self, place: str, device: int, tree: WorkTree | None) -> list[tuple[str, WorkTree | None]]:
        """Take the files of one directory, and return its subdirectories that are to be looked at."""
        try:
            with os.scandir(place) as listed:
                entries = list(listed)
        except OSError as error:
            self.findings.incomplete.append(f"`{place}` cannot be read: {error.strerror}")
            return []
        names = {entry.name for entry in entries}
        if names & MARKS and place != self._home:
            return []
        if ".git" in names:
            tree = self._tree(place)
        downloads = _downloads(place, names)
        below: list[tuple[str, WorkTree | None]] = []
        for entry in entries:
            try:
                info = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    if info.st_dev == device and not self._skipped(place, entry.name, tree):
                        below.append((entry.path, tree))
                elif entry.is_file(follow_symlinks=False) and not self._own_file(place, entry.name):
                    self._file(entry.path, info, tree, downloads.get(entry.name, 0.0))
            except OSError:
                continue  # gone meanwhile
        return below

    def _file(self, path: str, info: os.stat_result, tree: WorkTree | None, fetched: float) -> None:
        if (info.st_dev, info.st_ino) in self._known:
            return
        reason = tree.dirty.get(path) if tree else None
        if reason is None:
            if (tree and path in tree.clean) or info.st_mtime <= fetched:
                return
            if max(info.st_mtime, info.st_ctime) <= self._since:
                return
            reason = NEWER
        self.findings.files[path] = reason

    def _tree(self, place: str) -> WorkTree:
        tree = worktrees.look(place)
        if tree.trouble:
            self.findings.incomplete.append(f"git cannot tell what of `{place}` exists only here: {tree.trouble}")
        if tree.commits:
            self.findings.trees.append(tree)
        return tree

    def _skipped(self, place: str, name: str, tree: WorkTree | None) -> bool:
        if name in CACHES or name.startswith(HUBS):
            return True
        if name == ".git":
            # Where git tells, its commits come as a bundle; else the whole of it may exist only here.
            return tree is None or tree.trouble is None
        if place == self._root:
            return name in OWN
        return os.path.relpath(os.path.join(place, name), self._home) in HOME_CACHES  # noqa: PTH118

    def _own_file(self, place: str, name: str) -> bool:
        return (place == self._home and name in HOME_FILES) or (place == self._root and name in OWN)

    def _cut_short(self, queue: deque[tuple[str, int, WorkTree | None]]) -> None:
        shown = ", ".join(f"`{place}`" for place, _, _ in list(queue)[:3])
        self.findings.incomplete.append(
            f"the search was ended early, after {len(self._seen)} directories and {len(self.findings.files)} files; "
            f"{len(queue)} directories were not looked at, such as {shown}"
        )


def _downloads(place: str, names: set[str]) -> dict[str, float]:
    """Files here that a hub's client has fetched, and when: unchanged since then they can be fetched again."""
    fetched: dict[str, float] = {}
    if ".cache" in names:
        notes = os.path.join(place, ".cache", "huggingface", "download")  # noqa: PTH118
        try:
            with os.scandir(notes) as listed:
                for entry in listed:
                    if entry.name.endswith(".metadata"):
                        # Written right after its file.
                        fetched[entry.name.removesuffix(".metadata")] = entry.stat().st_mtime + 1
        except OSError:
            pass
    if ".msc" in names and (info := _lstat(os.path.join(place, ".msc"))):  # noqa: PTH118
        # ModelScope's list of what it has fetched into this directory.
        fetched |= dict.fromkeys(names - fetched.keys(), info.st_mtime)
    return fetched


def _lstat(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
