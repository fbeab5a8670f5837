"""What a hub says that a repository holds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from model_fetch.errors import Unreachable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file: size in bytes, and SHA-256, or where the hub tells none of a small file, git's SHA-1 of the blob."""

    path: str
    size: int
    sha256: str = ""
    git: str = ""

    def contradicts(self, other: RemoteFile) -> bool:
        """Whether another hub speaks of other bytes. Checksums of two kinds say nothing about each other."""
        pairs = ((self.sha256, other.sha256), (self.git, other.git))
        return self.size != other.size or any(one and two and one != two for one, two in pairs)

    def as_json(self) -> dict[str, Any]:
        """For the plan and the manifest."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256, **({"git": self.git} if self.git else {})}


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit. `revision`: the full commit where the hub told it (`pinned`), else what was asked."""

    revision: str
    pinned: bool
    files: tuple[RemoteFile, ...]


def file(path: object, size: object, *, sha256: object = "", git: object = "", hub: str) -> RemoteFile:
    """A file of a listing. Raises `Unreachable` for one that no hub would list: outside of the directory, no size."""
    if not isinstance(path, str) or not isinstance(size, int) or size < 0:
        raise Unreachable(f"{hub} lists a file without a path or a size: {str(path)[:80]!r}")
    if not path or path.startswith("/") or "\\" in path or {"", ".", ".."} & set(path.split("/")) or "\0" in path:
        raise Unreachable(f"{hub} lists a path that leads out of the model's directory: {path[:80]!r}")
    checked = str(sha256 or "").lower()
    blob = str(git or "").lower()
    return RemoteFile(
        path, size, checked if _SHA256.fullmatch(checked) else "", blob if _COMMIT.fullmatch(blob) else ""
    )


def is_commit(revision: object) -> bool:
    """Whether it is a full commit SHA."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None
