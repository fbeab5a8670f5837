"""Where finished models lie: all or nothing under the final name, known by key, each file with its SHA-256.

Needs the standard library only, so that a finished model is found without the training environment.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from .errors import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD = "training.json"


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finished(directory: Path, key: str) -> bool:
    """Whether `directory` holds the whole model of that key, every file as it was written."""
    try:
        record: dict[str, Any] = json.loads((directory / RECORD).read_text(encoding="utf-8"))
        files: dict[str, str] = record["files"]
        return record["key"] == key and all(sha256(directory / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False  # no model, half a model or a rotten one: in each case it has to be made


def write_record(directory: Path, key: str, record: dict[str, Any]) -> None:
    """Write the record of a model that lies complete in `directory`, as its last file."""
    files = {path.name: sha256(path) for path in sorted(directory.iterdir()) if path.name != RECORD}
    text = json.dumps({"key": key, **record, "files": files}, indent=2, ensure_ascii=False)
    (directory / RECORD).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def writing(final: Path) -> Iterator[Path]:
    """An empty directory beside `final` that takes its place at the end; on any error it is removed.

    Raises Busy when another process is writing the same model. What a killed process left is cleared away first.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (final.with_name(f".{final.name}.{what}") for what in ("partial", "old"))
    with _locked(final):
        if old.exists() and not final.exists():
            old.rename(final)  # killed between the two renames below
        for left in (partial, old):
            shutil.rmtree(left, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            _tidy(partial)
            if final.exists():
                final.rename(old)
            partial.rename(final)
        finally:
            for left in (partial, old):
                shutil.rmtree(left, ignore_errors=True)


def copy(source: Path, final: Path, key: str) -> bool:
    """Copy a finished model; False, and nothing written, when the source or the copy is not whole."""
    if not finished(source, key):
        return False
    with contextlib.suppress(_NotWhole), writing(final) as partial:
        for path in source.iterdir():
            shutil.copyfile(path, partial / path.name)
        if not finished(partial, key):
            raise _NotWhole
        return True
    return False


class _NotWhole(Exception):
    """Leaves `writing` without publishing; never seen outside."""


def _tidy(directory: Path) -> None:
    """Readable by whoever serves it (safetensors writes 0600), and on the disk before the name is given."""
    directory.chmod(0o755)
    for path in directory.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(final: Path) -> Iterator[None]:
    lock = final.with_name(f".{final.name}.lock")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"another process is writing `{final}`", hint="wait for it, or end it, then run this again"
            ) from error
        yield  # the file stays: taking it away could leave two processes with one lock each
