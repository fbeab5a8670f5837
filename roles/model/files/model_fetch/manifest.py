"""`<directory>/.gpubox-model.json`: written last, so a model with a manifest is whole. And what is there before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_fetch import files, plan
from model_fetch.errors import Trouble
from model_fetch.journal import left

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_fetch.listing import RemoteFile
    from model_fetch.plan import Plan
    from model_fetch.spec import Spec

NAME = ".gpubox-model.json"
# What is on its way lies here, under the names that it will have.
PARTS = ".gpubox-part"
_BLOCK = 1 << 22


def read(directory: Path) -> Plan | None:
    """What is there whole; None when there is no manifest."""
    return _plan(files.read_json(directory / NAME))


def kept(directory: Path) -> Plan | None:
    """What an earlier run began to fetch."""
    return _plan(files.read_json(directory / PARTS / "plan.json"))


def _plan(data: dict[str, Any] | None) -> Plan | None:
    if data is None:
        return None
    try:
        return plan.from_json(data)
    except (KeyError, TypeError, ValueError):
        return None


def ready(spec: Spec) -> Plan | None:
    """The manifest of exactly what is asked for, when every file has its size; else None."""
    directory = Path(spec.directory)
    found = read(directory)
    if found is None or found.key != spec.key or sizes(directory, found):
        return None
    return found


def sizes(directory: Path, wanted: Plan) -> list[str]:
    """What is wrong with the files by their sizes; empty when nothing is."""
    return [words for file in wanted.files if (words := _size(directory, file))]


def checksums(directory: Path, wanted: Plan, tell: Callable[[RemoteFile], None] | None = None) -> list[str]:
    """What is wrong with the files by their sizes and SHA-256; reads all of them."""
    wrong = []
    for file in wanted.files:
        words = _size(directory, file)
        if not words and digest(directory / file.path) != file.sha256:
            words = f"`{directory / file.path}` has other bytes than when it was fetched (SHA-256 differs)"
        if words:
            wrong.append(words)
        if tell:
            tell(file)
    return wrong


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def _size(directory: Path, file: RemoteFile) -> str:
    path = directory / file.path
    try:
        size = path.stat().st_size
    except OSError:
        return f"`{path}` is missing"
    return "" if size == file.size else f"`{path}` has {size} bytes instead of {file.size}"


@dataclass(frozen=True, slots=True)
class There:
    """What of a plan is on the disk already, in bytes."""

    bytes: int
    missing: int


def there(directory: Path, wanted: Plan) -> There:
    """Whole files, and what the journals of begun ones say."""
    found = 0
    for file in wanted.files:
        path = directory / file.path
        if not _size(directory, file):
            found += file.size
        else:
            found += min(file.size, left(directory / PARTS / file.path, file.size))
        if path.is_dir():
            raise Trouble(f"`{path}` is a directory, and shall be a file", f"`rm -r {path}`")
    return There(found, wanted.bytes - found)
