"""What of a git work tree exists only here: changed and untracked files, commits that no remote has."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boxctl.errors import BoxctlError

if TYPE_CHECKING:
    from pathlib import Path

# Nothing of the repository's own is run, nothing in it is written, nobody is asked.
_GIT = ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_SECONDS = 20.0
_BUNDLE_SECONDS = 600.0
BUNDLE = "unpushed.git-bundle"
_ONLY_HERE = ("--all", "--not", "--remotes")


@dataclass(slots=True)
class WorkTree:
    """Paths are absolute. `clean`: tracked and unchanged; `dirty`: to the reason why it exists only here.

    `commits`: how many no remote has (stashes count); `size`: their bytes, about; `refs`: changes when they do.
    `trouble`: why git could not tell; then only the files' age does.
    """

    place: str
    clean: set[str] = field(default_factory=set)
    dirty: dict[str, str] = field(default_factory=dict)
    commits: int = 0
    size: int = 0
    refs: str = ""
    trouble: str | None = None


def look(place: str) -> WorkTree:
    """Ask git about the work tree at `place`; never raises, see `WorkTree.trouble`."""
    tree = WorkTree(place)
    try:
        tracked = _paths(place, _git(place, "ls-files", "-z"))
        for status, path in _changes(_git(place, "status", "--porcelain", "-z", "--untracked-files=all")):
            tree.dirty[os.path.join(place, path)] = "git: untracked" if status == "??" else "git: uncommitted"  # noqa: PTH118
        tree.clean = tracked - tree.dirty.keys()
        tree.commits = int(_git(place, "rev-list", "--count", *_ONLY_HERE) or 0)
        if tree.commits:
            tree.size = int(_git(place, "rev-list", "--objects", "--disk-usage", *_ONLY_HERE) or 0)
            refs = _git(place, "for-each-ref") + _git(place, "rev-parse", "--verify", "--quiet", "HEAD", codes=(0, 1))
            tree.refs = hashlib.sha256(refs).hexdigest()
    except FileNotFoundError:
        tree.trouble = "there is no git on this box"
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", b"") or b""
        words = said.decode(errors="replace").strip().splitlines()
        tree.trouble = words[-1] if words else str(error)
    if tree.trouble:
        tree.clean.clear()
    return tree


def bundle(place: str, target: Path) -> None:
    """Write the commits that no remote has into the git bundle `target`. Raises `BoxctlError`."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        _git(place, "bundle", "create", "--quiet", str(target), *_ONLY_HERE, seconds=_BUNDLE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        words = (getattr(error, "stderr", b"") or b"").decode(errors="replace").strip().splitlines()
        raise BoxctlError(
            f"git cannot bundle the unpushed commits of `{place}`: {words[-1] if words else error}",
            hint=f"push them, or look with `git -C {place} fsck`",
        ) from error


def _git(place: str, *words: str, seconds: float = _SECONDS, codes: tuple[int, ...] = (0,)) -> bytes:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [*_GIT, "-C", place, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        env=environment,
        check=False,
    )
    if done.returncode not in codes:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
    return done.stdout


def _paths(place: str, listed: bytes) -> set[str]:
    return {os.path.join(place, os.fsdecode(path)) for path in listed.split(b"\0") if path}  # noqa: PTH118


def _changes(listed: bytes) -> list[tuple[str, str]]:
    changes = []
    fields = iter(listed.split(b"\0"))
    for entry in fields:
        if not entry:
            continue
        status, path = entry[:2].decode(), os.fsdecode(entry[3:])
        changes.append((status, path))
        if status[0] in "RC":
            # The name that it had before.
            next(fields, None)
    return changes
