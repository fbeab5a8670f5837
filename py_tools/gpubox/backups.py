"""Backups at home: where they lie, what stands in their manifest, and whether every byte is still what it was.

`<below>/<box>/<time>/` holds `files/` (as on the box), `manifest.json` and `SHA256SUMS`. A directory with such a name
is whole: what is under way lies in `.partial` beside it, and is renamed when the manifest has been written.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpubox.errors import Failed, Refused, UsageError
from gpubox.words import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT = Path("gpubox-backups")
FILES, MANIFEST, SUMS, PARTIAL, PARTS = "files", "manifest.json", "SHA256SUMS", ".partial", "parts"
_FORMAT = 1
_READERS = 4


class Saved(NamedTuple):
    """One file of a backup: `path` below `files/`, where it was on the box, bytes, and why it was taken along."""

    path: str
    absolute: str
    size: int
    sha256: str
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    kind: str
    reason: str
    copy: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. `root`, `data_dir`, `home` are the box's. `notes`: what was not taken, and why.

    `beside`: what lies beside the manifest and was made of the files, by name with its SHA-256.
    """

    name: str
    made_at: str
    root: str
    data_dir: str
    home: str
    files: tuple[Saved, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    beside: tuple[tuple[str, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a backup that is not what it was."""

    path: str
    reason: str


def newest(below: Path, name: str) -> Path | None:
    """The newest whole backup of a box; None when there is none."""
    place = below / name
    if not place.is_dir():
        return None
    whole = [entry for entry in place.iterdir() if not entry.name.startswith(".") and (entry / MANIFEST).is_file()]
    return max(whole, key=lambda entry: entry.name, default=None)


def fresh_name(place: Path, at: datetime) -> Path:
    """A directory in `place` for a backup made `at` that time; no other has it."""
    stem = f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    target, count = place / stem, 1
    while target.exists():
        count += 1
        target = place / f"{stem}-{count}"
    return target


def read(place: Path) -> Manifest:
    """The manifest of the backup at `place`. Raises `UsageError` for what is no whole backup."""
    try:
        data = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        if data.pop("format") != _FORMAT:
            raise UsageError(f"`{place}` was made by another gpubox", hint="pip install --upgrade gpubox")
        manifest = Manifest(
            name=data["name"],
            made_at=data["made_at"],
            root=data["root"],
            data_dir=data["data_dir"],
            home=data["home"],
            files=tuple(Saved(**file) for file in data["files"]),
            missing=tuple(data["missing"]),
            notes=tuple(data["notes"]),
            beside=tuple((str(name), str(sha256)) for name, sha256 in data.get("beside", [])),
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"`{place}` is no backup, or one that was not finished: it has no `{MANIFEST}`",
            hint="name a directory such as `gpubox-backups/NAME/20261122T093000Z`",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"the manifest of `{place}` cannot be read: {error}", where=str(place / MANIFEST)) from error
    for path in (*(file.path for file in manifest.files), *(name for name, _ in manifest.beside)):
        refuse_escape(manifest.name, path)
    return manifest


def write(place: Path, manifest: Manifest) -> str:
    """Write manifest and sums into `place`, on disk when it returns; the manifest's SHA-256. Raises `OSError`."""
    head = _head(manifest)
    # A line for each file: a person can read it, and thousands of them cost little.
    files = ",\n  ".join(json.dumps(file._asdict()) for file in manifest.files)
    text = f'{{"format": {_FORMAT},\n {json.dumps(head)[1:-1]},\n "files": [\n  {files}\n]}}\n'.encode()
    sha256 = hashlib.sha256(text).hexdigest()
    _to_disk(place / SUMS, _sums(manifest, sha256))
    _to_disk(place / MANIFEST, text)
    return sha256


def verify(place: Path, on_bytes: Callable[[int], None] = lambda _: None) -> tuple[Manifest, tuple[Damage, ...]]:
    """Read every byte of the backup at `place` and compare; what is damaged or missing. Raises `UsageError`.

    `on_bytes` gets the bytes that were read, from several threads.
    """
    try:
        manifest = read(place)
        sha256 = hashlib.sha256((place / MANIFEST).read_bytes()).hexdigest()
        sums = (place / SUMS).read_bytes()
    except FileNotFoundError:
        return manifest, (Damage(SUMS, "it is missing"),)
    damages = []
    if sums != _sums(manifest, sha256):
        rotten = MANIFEST if f"{sha256}  {MANIFEST}\n".encode() not in sums else SUMS
        damages.append(Damage(rotten, f"`{MANIFEST}` and `{SUMS}` do not agree"))

    def look(file: Saved) -> Damage | None:
        reason = difference(place / FILES / file.path, file.size, file.sha256, on_bytes)
        return Damage(f"{FILES}/{file.path}", reason) if reason else None

    for name, sha256 in manifest.beside:
        reason = altered(place / name, sha256)
        damages += [Damage(name, reason)] if reason else []
    with ThreadPoolExecutor(_READERS) as pool:
        damages += [damage for damage in pool.map(look, manifest.files) if damage]
    return manifest, tuple(damages)


def checked(place: Path, on_bytes: Callable[[int], None] = lambda _: None) -> Manifest:
    """`verify`, raising `Failed` with the names of what is damaged."""
    manifest, damages = verify(place, on_bytes)
    if damages:
        what = "1 file of the backup is not what it was:"
        if len(damages) > 1:
            what = f"{len(damages)} files of the backup are not what they were:"
        raise Failed(
            "\n".join([what, *shortened([f"{damage.path}: {damage.reason}" for damage in damages])]),
            where=str(place),
            hint=f"while the box still has them: `gpubox backup {manifest.name}` fetches them again",
        )
    return manifest


def difference(path: Path, size: int, sha256: str, on_bytes: Callable[[int], None] = lambda _: None) -> str | None:
    """Why the file at `path` is not the one of that size and hash; None when it is."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            has = os.fstat(file.fileno()).st_size
            if has != size:
                return f"it has {has} of {size} bytes"
            while data := file.read(1 << 20):
                digest.update(data)
                on_bytes(len(data))
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return None if digest.hexdigest() == sha256 else "its SHA-256 differs"


def altered(path: Path, sha256: str) -> str | None:
    """Why the small file at `path` is not the one of that hash; None when it is."""
    try:
        return None if hashlib.sha256(path.read_bytes()).hexdigest() == sha256 else "its SHA-256 differs"
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"


def refuse_escape(name: str, path: str) -> None:
    """Raise `Failed` for a path that would leave the directory it is meant for."""
    if not path.strip("/.") or path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise Failed(f"a file's name leads outside of its directory: {path!r}", where=name)


def succeed(old: Path, new: Path) -> tuple[str, ...]:
    """Remove the backup at `old` when the one at `new` has a file for each of its files; those that it lacks, if any.

    Raises `UsageError` for what is no backup, `OSError`.
    """
    there = {file.path for file in read(new).files}
    lacking = tuple(file.path for file in read(old).files if file.path not in there)
    if not lacking and old.resolve() != new.resolve():
        shutil.rmtree(old)
    return lacking


@contextlib.contextmanager
def alone(place: Path) -> Iterator[None]:
    """Hold the directory of one box's backups; no lock is left behind. Raises `Refused` when another process has it."""
    lock = place / ".lock"
    handle = _locked(lock)
    try:
        yield
    finally:
        # Before it is let go: whoever has opened it meanwhile sees that it is no longer there, and makes another.
        lock.unlink(missing_ok=True)
        os.close(handle)


def _locked(lock: Path) -> int:
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if lock.stat().st_ino == os.fstat(handle).st_ino:
                    return handle
        except BlockingIOError as error:
            os.close(handle)
            raise Refused(
                f"another gpubox is making a backup into `{lock.parent}`", hint="wait for it, or end it"
            ) from error
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def flush(place: Path) -> None:
    """Have everything on disk that was written to the file system of `place`."""
    import ctypes

    handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(place))
    finally:
        os.close(handle)


def _sums(manifest: Manifest, sha256: str) -> bytes:
    """As `sha256sum` writes them, so that a person needs nothing else to look: `sha256sum --check SHA256SUMS`."""
    lines = [f"{sha256}  {MANIFEST}\n", *(f"{of}  {name}\n" for name, of in manifest.beside)]
    for file in manifest.files:
        name = f"{FILES}/{file.path}"
        mark = "\\" if "\\" in name or "\n" in name else ""
        escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{mark}{file.sha256}  {escaped}\n")
    return os.fsencode("".join(lines))


def put_beside(place: Path, name: str, data: bytes) -> tuple[str, str]:
    """Write a file where the manifest will be, on disk when it returns; its entry of `beside`. Raises `OSError`."""
    _to_disk(place / name, data)
    return name, hashlib.sha256(data).hexdigest()


def _to_disk(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def as_dict(manifest: Manifest) -> dict[str, Any]:
    """For `--json`."""
    return {**_head(manifest), "files": [file._asdict() for file in manifest.files]}


def _head(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "made_at": manifest.made_at,
        "root": manifest.root,
        "data_dir": manifest.data_dir,
        "home": manifest.home,
        "size": manifest.size,
        "missing": manifest.missing,
        "notes": manifest.notes,
        "beside": manifest.beside,
    }
