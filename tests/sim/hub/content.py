"""What a simulated hub holds: repositories, their commits, and files that need not lie on a disk."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BLOCK = 1 << 20
# What a hub keeps in LFS, and so hands out through its CDN; else what is bigger than this.
_LFS_NAMES = (".safetensors", ".gguf", ".bin", ".pt")
_LFS_SIZE = 1 << 20


class Blob(Protocol):
    """The bytes of one file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """Of all of them."""

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """The bytes from `start` to `stop`, in pieces of at most 1 MiB."""


@dataclass(frozen=True)
class Bytes:
    """Content in memory."""

    data: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """Of all of them."""
        return hashlib.sha256(self.data).hexdigest()

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """See `Blob`."""
        view = memoryview(self.data)
        for at in range(start, stop, _BLOCK):
            yield view[at : min(at + _BLOCK, stop)]


@dataclass(frozen=True)
class OnDisk:
    """A file of this machine; it must not change while it is served."""

    path: Path

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Of all of them."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """See `Blob`."""
        with self.path.open("rb") as file:
            file.seek(start)
            for at in range(start, stop, _BLOCK):
                yield file.read(min(_BLOCK, stop - at))


@dataclass(frozen=True)
class Made:
    """As many bytes as wanted of a stream that `seed` decides; no two of its blocks are alike, none takes memory."""

    seed: int
    size: int

    @cached_property
    def sha256(self) -> str:
        """Of all of them; about a second per GiB."""
        digest = hashlib.sha256()
        for piece in self.pieces(0, self.size):
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def _twice(self) -> memoryview:
        block = random.Random(self.seed).randbytes(_BLOCK)
        return memoryview(block + block)

    def pieces(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """See `Blob`."""
        at = start
        while at < stop:
            number, within = divmod(at, _BLOCK)
            # Odd, so that 2^20 blocks (1 TiB) begin at different places of the one that is kept.
            shift = (number * 654_323) % _BLOCK + within
            length = min(_BLOCK - within, stop - at)
            yield self._twice[shift : shift + length]
            at += length


@dataclass(frozen=True)
class Commit:
    """One state of a repository: path to content."""

    files: Mapping[str, Blob]

    @cached_property
    def id(self) -> str:
        """40 hex digits."""
        listing = "".join(f"{path} {blob.sha256}\n" for path, blob in sorted(self.files.items()))
        return hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()


@dataclass
class Repo:
    """`commits`: the newest is last. `token`: what a private one asks for. `tags`: name to number of a commit."""

    commits: list[Commit]
    token: str | None = None
    tags: dict[str, int] = field(default_factory=dict)

    def commit(self, revision: str) -> Commit | None:
        """Of a branch (`main`, `master`), a tag or a commit's id; None: there is none of that name."""
        if revision in ("main", "master"):
            return self.commits[-1]
        if revision in self.tags:
            return self.commits[self.tags[revision]]
        return next((commit for commit in self.commits if commit.id == revision), None)

    def push(self, files: Mapping[str, Blob | bytes]) -> str:
        """A further commit, with these files new or changed; its id."""
        self.commits.append(Commit({**self.commits[-1].files, **_blobs(files)}))
        return self.commits[-1].id


def repo(source: Path | Mapping[str, Blob | bytes], *, token: str | None = None) -> Repo:
    """A repository of a directory's files (hidden ones left out), or of these."""
    if not isinstance(source, Path):
        return Repo([Commit(_blobs(source))], token)
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    names = {path.relative_to(source): path for path in paths}
    kept = {name.as_posix(): OnDisk(path) for name, path in names.items() if not name.parts[0].startswith(".")}
    return Repo([Commit(kept)], token)


def in_lfs(path: str, blob: Blob) -> bool:
    """Whether the hub keeps it in LFS."""
    return path.endswith(_LFS_NAMES) or blob.size > _LFS_SIZE


def git_id(path: str, blob: Blob) -> str:
    """What git calls the content; of a file in LFS, that of the pointer to it."""
    if in_lfs(path, blob):
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{blob.sha256}\nsize {blob.size}\n"
        data = text.encode()
    else:
        data = b"".join(blob.pieces(0, blob.size))
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _blobs(files: Mapping[str, Blob | bytes]) -> dict[str, Blob]:
    return {path: Bytes(blob) if isinstance(blob, bytes) else blob for path, blob in files.items()}
