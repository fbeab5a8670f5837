"""Bringing files home from a box: over OpenSSH, several connections at once, each file proven by its SHA-256."""

from __future__ import annotations

import hashlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from gpubox.errors import LinkLost, TransferFailed, Unreachable
from gpubox.remote import ssh_config
from gpubox.remote.transfer_streams import Incoming, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gpubox.remote.login import Login

# One connection is bound by one core's cipher and by what a gateway grants a stream; more than four gain little.
_CONNECTIONS = 4
# Bytes from which on a file goes alone, keeping what came before a cut, and a group of small files is worth splitting.
_BIG = 64 << 20
# Bytes that stay free at home.
_SPARE = 64 << 20
_PARTS = ".gpubox-part"
_NAMED = 10
# Pauses between tries that bring nothing at all; whatever arrives begins the count anew.
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A file of a box: its path below the box's root, its bytes, its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def pull(
    login: Login,
    root: str,
    files: Sequence[ManifestFile],
    dest: Path,
    on_bytes: Callable[[int], None],
    *,
    big: int = _BIG,
) -> None:
    """Bring `files` from below `root` of the box to the same paths below `dest`, every one verified.

    What is already there and right is not fetched again, and of a file of `big` bytes or more a cut link keeps what
    came. Nothing unverified ever has its final name. `on_bytes` gets the bytes that came (or were there), negative
    when they have to come again; from one thread at a time. Raises `TransferFailed` naming the files that did not
    arrive whole, or the space that is missing; `AuthFailed`, `HostKeyChanged`, `Unreachable` for the link itself.
    """
    for file in files:
        _refuse_escape(login.name, file)
    counter = _Counter(on_bytes)
    parts = dest / _PARTS
    try:
        parts.mkdir(parents=True, exist_ok=True)
        missing = [item for file in files if not _is_home(item := _incoming(file, dest, parts), counter, big)]
        _check_space(login.name, missing, dest)
        # Every child reads it: written before there are several.
        ssh_config.write(login)
        streams = Streams(login, root, counter.add)
        _fetch_all(streams, _shared_out(missing, big), big)
        if not streams.bad:
            shutil.rmtree(parts)
    except OSError as error:
        raise TransferFailed(
            f"cannot write below `{dest}`: {error.strerror or error}",
            where=login.name,
            hint="make room, or choose another directory; what arrived is kept, nothing on the box was changed",
        ) from error
    if streams.bad:
        raise _failure(login.name, streams.bad)


class _Counter:
    """Hands the bytes of several threads on, one at a time."""

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self._on_bytes = on_bytes
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        if count:
            with self._lock:
                self._on_bytes(count)


def _refuse_escape(name: str, file: ManifestFile) -> None:
    path = PurePosixPath(file.path)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in file.path or path.parts[0] == _PARTS:
        raise TransferFailed(f"the box names a file outside of its directory: {file.path!r}", where=name)


def _incoming(file: ManifestFile, dest: Path, parts: Path) -> Incoming:
    key = hashlib.sha256(f"{file.path}\0{file.sha256}".encode()).hexdigest()[:32]
    return Incoming(file.path, file.size, file.sha256, dest / file.path, parts / key)


def _is_home(item: Incoming, counter: _Counter, big: int) -> bool:
    home = item.is_home()
    if home or item.size < big:
        # Small files come again from their beginning.
        item.part.unlink(missing_ok=True)
    counter.add(item.size if home else item.so_far)
    return home


def _check_space(name: str, missing: Sequence[Incoming], dest: Path) -> None:
    need = sum(item.size - item.so_far for item in missing)
    free = shutil.disk_usage(dest).free
    if missing and need + _SPARE > free:
        raise TransferFailed(
            f"`{dest}` has {free / 2**30:.1f} GiB free, and {need / 2**30:.1f} GiB are to come home",
            where=name,
            hint="make room, or choose a directory on another disk; nothing on the box was changed",
        )


def _shared_out(missing: Sequence[Incoming], big: int) -> list[list[Incoming]]:
    """What each stream fetches: a big file alone, the small ones in one group, or in some of like size."""
    small = sorted((item for item in missing if item.size < big), key=lambda item: -item.size)
    count = _CONNECTIONS if sum(item.size for item in small) >= big else 1
    groups: list[list[Incoming]] = [[] for _ in range(count)]
    sizes = [0] * count
    for item in small:
        least = sizes.index(min(sizes))
        groups[least].append(item)
        sizes[least] += item.size
    return [*([item] for item in missing if item.size >= big), *(group for group in groups if group)]


def _fetch_all(streams: Streams, groups: Sequence[list[Incoming]], big: int) -> None:
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            for done in as_completed([pool.submit(_fetch, streams, group, big) for group in groups]):
                done.result()
        finally:
            # After an error or Ctrl-C the other threads end at once; after success there is nothing left to stop.
            streams.stop()
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(streams: Streams, group: list[Incoming], big: int) -> None:
    """Fetch a group over as many connections as it takes; gives up after some that brought nothing."""
    fruitless = 0
    while left := [item for item in group if not item.settled]:
        had = (len(left), left[0].so_far)
        try:
            if left[0].size >= big:
                streams.rest_of(left[0])
            else:
                streams.all_of(left)
        except (LinkLost, Unreachable):
            now = [item for item in left if not item.settled]
            came = not now or (len(now), now[0].so_far) != had
            fruitless = 0 if came else fruitless + 1
            if streams.stopped.is_set() or fruitless > len(_PAUSES):
                raise
            streams.stopped.wait(_PAUSES[max(0, fruitless - 1)])


def _failure(name: str, bad: dict[str, str]) -> TransferFailed:
    shown = [f"  {path}: {reason}" for path, reason in sorted(bad.items())]
    more = [f"  and {len(shown) - _NAMED} more"] if len(shown) > _NAMED else []
    count = "1 file" if len(bad) == 1 else f"{len(bad)} files"
    return TransferFailed(
        "\n".join([f"{count} did not arrive whole:", *shown[:_NAMED], *more]),
        where=name,
        hint="what did arrive is kept; the same command fetches the rest (stop what still writes to them first)",
    )
