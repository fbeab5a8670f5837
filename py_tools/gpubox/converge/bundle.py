"""The playbooks, roles and plugins as one content-addressed tar, uploaded only when the box lacks it."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shlex
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpubox import paths
from gpubox.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.remote.host import Host

_DIRECTORIES = ("playbooks", "roles", "templates", "inventories")
_FILES = ("ansible.cfg",)
_KEPT_ON_BOX = 3


@dataclass(frozen=True, slots=True)
class Bundle:
    """A built bundle: the SHA-256 of its contents, its tar.gz on this machine, and that file's size in bytes."""

    sha256: str
    path: Path
    size: int


def build() -> Bundle:
    """Build the bundle, or find it in the cache; the same contents always give the same name.

    Raises `Failed` when playbooks or roles are missing or the cache cannot be written.
    """
    members = sorted(_members())
    if not any(name.startswith("playbooks/") for name, _ in members):
        raise Failed(
            f"no playbooks in `{paths.content()}`", hint="install gpubox again: `pip install --force-reinstall gpubox`"
        )
    digest = hashlib.sha256()
    for name, source in members:
        digest.update(f"{name}\0{_mode(source):o}\0".encode())
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    sha256 = digest.hexdigest()
    directory = paths.cache_dir() / "bundles"
    path = directory / f"{sha256}.tar.gz"
    if not path.exists():
        directory.mkdir(exist_ok=True)
        _write(members, path)
        _prune(directory, keep=path)
    return Bundle(sha256, path, path.stat().st_size)


def upload(host: Host, root: str, bundle: Bundle) -> bool:
    """Put `bundle` under `<root>/bundles/<sha256>` unless it is there; whether it had to be sent."""
    target = f"{root}/bundles/{bundle.sha256}"
    quoted = shlex.quote(target)
    there = host.run(
        f"umask 077; mkdir -p {shlex.quote(root + '/bundles')} && if test -e {quoted}/.complete; then echo yes; fi",
        retry=True,
    )
    if there.stdout.strip() == "yes":
        return False
    host.put(bundle.path, f"{target}.tar.gz")
    host.run(unpack_script(target), timeout=120, retry=True)
    return True


def unpack_script(target: str) -> str:
    """What makes the directory `target` of `target`.tar.gz on the box, in sh, and keeps the newest few beside it."""
    return _UNPACK.format(target=shlex.quote(target), kept=_KEPT_ON_BOX)


# Unpacked beside and renamed, so that a link that drops in the middle leaves no half bundle under the final name. Two
# clients may do this at once, and a lost answer has it done twice: whoever finds the bundle there is content.
_UNPACK = """umask 077
t={target}; part="$t.part.$$"
trap 'rm -rf "$part"' EXIT
there() {{ test -e "$t/.complete"; }}
unpack() {{
    mkdir "$part" && tar -xzf "$t.tar.gz" -C "$part" && touch "$part/.complete" || return 1
    if test -e "$t" && ! there; then rm -rf "$t"; fi
    # Into the other client's bundle, when that one was quicker just now.
    mv "$part" "$t" && rm -rf "$t/${{part##*/}}"
}}
there || unpack || there || exit 1
rm -f "$t.tar.gz"
cd "$(dirname "$t")"
# What a killed client has left; not what another one is just bringing.
find . -maxdepth 1 \\( -name '*.tar.gz*' -o -name '*.part.*' \\) -mmin +60 -exec rm -rf {{}} +
ls -1t | grep -v '[.]' | tail -n +$(({kept} + 1)) | while read -r old; do rm -rf "./$old"; done"""


def _members() -> Iterator[tuple[str, Path]]:
    """Every file of the bundle as (name inside, place here)."""
    base = paths.content()
    for directory in _DIRECTORIES:
        yield from _walk(base / directory, directory)
    for name in _FILES:
        yield name, base / name
    package = Path(__file__).resolve().parent.parent
    yield from _walk(package, "py_tools/gpubox")


def _walk(top: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    for directory, subdirectories, files in os.walk(top):
        subdirectories[:] = [name for name in subdirectories if name not in ("__pycache__", "_content")]
        for file in files:
            if not file.endswith((".pyc", ".pyo")):
                path = Path(directory) / file
                yield f"{prefix}/{path.relative_to(top).as_posix()}", path


def _mode(source: Path) -> int:
    return 0o755 if os.access(source, os.X_OK) else 0o644


def _write(members: list[tuple[str, Path]], path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}")
    try:
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, source in members:
                data = source.read_bytes()
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), _mode(source)
                tar.addfile(info, io.BytesIO(data))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Failed(
            f"cannot write the bundle `{path}`: {error.strerror}", hint="free some space, or set `GPUBOX_CACHE`"
        ) from error


def _prune(directory: Path, *, keep: Path) -> None:
    """Keep the newest few bundles of this machine's cache."""
    packed = sorted(directory.glob("*.tar.gz"), key=lambda file: file.stat().st_mtime, reverse=True)
    for old in packed[_KEPT_ON_BOX:]:
        if old != keep:
            old.unlink(missing_ok=True)
