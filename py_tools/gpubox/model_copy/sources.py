"""What there is to copy: the files of a directory here, or of one on another box, and their SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox.errors import TransferFailed, UsageError
from gpubox.remote import explain
from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpubox.remote.login import Login

_READERS = 4
_BEGIN = "gpubox-list"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the model: path below its directory, size in bytes, and when it was changed there."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies on another box, and the SHA-256 that the hub said of what was fetched there: by path and size."""

    files: list[Source]
    sums: dict[tuple[str, int], str]


def in_folder(folder: Path) -> list[Source]:
    """The files of a directory of this machine. Raises `UsageError` when it is none."""
    if not folder.is_dir():
        raise UsageError(
            f"there is no directory `{folder}`",
            where="model.folder",
            hint="paths in a box file are relative to where `gpubox` is started",
        )
    found = []
    for place, directories, names in os.walk(folder, followlinks=True):
        directories[:] = [name for name in directories if not _hidden(name)]
        for name in names:
            path = Path(place) / name
            if not _hidden(name) and path.is_file():
                info = path.stat()
                found.append(Source(path.relative_to(folder).as_posix(), info.st_size, info.st_mtime_ns))
    return found


def on_box(login: Login, directory: str) -> Listing:
    """The files of a directory on another box. Raises `UsageError` when it is none, and what the link raises."""
    quoted = shlex.quote(directory)
    # A login may say a few words before. The two names are the role model's: what it fetched, and what it is fetching.
    command = (
        f"cd -- {quoted} || exit 9; echo {_BEGIN}; cat .gpubox-model.json 2>/dev/null; printf '\\0'; "
        "[ ! -e .gpubox-part/plan.json ] || printf unfinished; printf '\\0'; "
        "find -L . -name '.?*' -prune -o -type f -printf '%s %T@ %P\\0'"
    )
    done = subprocess.run(ssh_argv(login, command, batch=True), capture_output=True, timeout=600, check=False)
    if done.returncode == 9:
        raise UsageError(
            f"there is no directory `{directory}` on `{login.name}`",
            where="model.path",
            hint=f"`gpubox ssh {login.name} -- ls {quoted}` looks there",
        )
    if done.returncode != 0:
        raise _ssh_failed(login, done)
    text = done.stdout.decode(errors="surrogateescape").partition(f"{_BEGIN}\n")[2]
    manifest, unfinished, *rows = text.split("\0")[:-1]
    if unfinished:
        raise UsageError(
            f"`{directory}` on `{login.name}` is still being fetched, or its download was cut off",
            where="model.path",
            hint=f"`gpubox up {login.name}` ends that first",
        )
    return Listing([_row(row) for row in rows], _sums(manifest))


def chosen(files: Sequence[Source], include: Sequence[str], where: str) -> list[Source]:
    """Those that a glob of `include` matches, sorted. Raises `UsageError` for a glob that matches none, or no file."""
    for glob in include:
        if not any(fnmatchcase(file.path, glob) for file in files):
            raise UsageError(f"no file in {where} matches `{glob}`", where="model.include", hint=_some(files))
    kept = [file for file in files if not include or any(fnmatchcase(file.path, glob) for glob in include)]
    if not kept:
        raise UsageError(f"there is no file in {where}", where="model", hint="name the directory that has config.json")
    if strange := [file.path for file in kept if "\n" in file.path or "\\" in file.path]:
        raise UsageError(f"a file in {where} has a name that cannot be sent: {strange[0]!r}", where="model")
    return sorted(kept, key=lambda file: file.path)


def hashes_in_folder(folder: Path, files: Sequence[Source], done: Callable[[int], None]) -> dict[str, str]:
    """SHA-256 of these; `done` gets the size of each as it is known."""

    def one(file: Source) -> tuple[str, str]:
        with (folder / file.path).open("rb") as handle:
            return file.path, hashlib.file_digest(handle, "sha256").hexdigest()

    known = {}
    with ThreadPoolExecutor(_READERS) as pool:
        for file, (path, sha256) in zip(files, pool.map(one, files), strict=True):
            known[path] = sha256
            done(file.size)
    return known


def hashes_on_box(
    login: Login, directory: str, listing: Listing, files: Sequence[Source], done: Callable[[int], None]
) -> dict[str, str]:
    """The same, from the manifest of the other box, else computed there."""
    known = {file.path: sha256 for file in files if (sha256 := listing.sums.get((file.path, file.size)))}
    sizes = {file.path: file.size for file in files if file.path not in known}
    return known | (_computed(login, directory, sizes, done) if sizes else {})


def _computed(login: Login, directory: str, sizes: dict[str, int], done: Callable[[int], None]) -> dict[str, str]:
    names = "\0".join(sizes).encode(errors="surrogateescape")
    command = f"cd -- {shlex.quote(directory)} && xargs -0 -r -n 1 -P {_READERS} sha256sum -b --"
    known = {}
    for line in _lines(login, command, names):
        sha256, star, path = line.partition(" *")
        if star and path in sizes:
            known[path] = sha256
            done(sizes[path])
    if missing := set(sizes) - set(known):
        raise TransferFailed(
            f"`{sorted(missing)[0]}` in `{directory}` cannot be read",
            where=login.name,
            hint=f"`gpubox ssh {login.name} -- ls -l {shlex.quote(directory)}` shows whose it is",
        )
    return known


def _lines(login: Login, command: str, stdin: bytes) -> Iterator[str]:
    child = subprocess.Popen(
        ssh_argv(login, command, batch=True), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(stdin)
        child.stdin.close()
        for line in child.stdout:
            yield line.decode(errors="surrogateescape").rstrip("\n")
        said = child.stderr.read()
        # 123: a file could not be read, which the caller sees.
        if child.wait() not in (0, 123):
            raise _ssh_failed(login, subprocess.CompletedProcess(command, child.returncode, b"", said))
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def _ssh_failed(login: Login, done: subprocess.CompletedProcess[bytes]) -> Exception:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return explain.link_lost(login.name, said[-1] if said else f"`ssh` ended with exit code {done.returncode}")


def _row(row: str) -> Source:
    size, time, path = row.split(" ", 2)
    whole, _, part = time.partition(".")
    return Source(path, int(size), int(whole) * 10**9 + int((part + "0" * 9)[:9]))


def _sums(manifest: str) -> dict[tuple[str, int], str]:
    try:
        return {(file["path"], file["size"]): file["sha256"] for file in json.loads(manifest)["files"]}
    except (ValueError, KeyError, TypeError):
        return {}


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _some(files: Sequence[Source]) -> str:
    return "there is " + ", ".join(f"`{file.path}`" for file in sorted(files, key=lambda file: file.path)[:5])
