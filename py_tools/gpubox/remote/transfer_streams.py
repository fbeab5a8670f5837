"""One `ssh` child per stream: the rest of one big file by `tail`, or many small files by `tar`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import subprocess
import tarfile
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from gpubox.remote import explain
from gpubox.remote.ssh_config import ssh_argv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gpubox.remote.login import Login

_BLOCK = 1 << 20
_CONNECTION_ENDED = 255
_LAST_PATIENCE = 30.0


@dataclass(slots=True)
class Incoming:
    """A file on its way: where it goes, where it grows until it is proven, and whether its fate is settled."""

    path: str
    size: int
    sha256: str
    target: Path
    part: Path
    settled: bool = False

    @property
    def so_far(self) -> int:
        """Bytes that an earlier try has brought, 0 or more."""
        return self.part.stat().st_size if self.part.exists() else 0

    def is_home(self) -> bool:
        """Whether the whole and right file has its final name already."""
        if not self.target.is_file() or self.target.stat().st_size != self.size:
            return False
        with self.target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256

    def keep(self) -> None:
        """Give the proven file its final name."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.part.replace(self.target)
        self.settled = True


class Streams:
    """Fetches files over connections of their own; `bad` names those that cannot come, and why.

    Methods raise `LinkLost` or `Unreachable` when a connection breaks (what came is kept), `AuthFailed` and
    `HostKeyChanged`, and may be called from several threads.
    """

    def __init__(self, login: Login, root: str, on_bytes: Callable[[int], None]) -> None:
        self.bad: dict[str, str] = {}
        self.stopped = threading.Event()
        self._login = login
        self._root = root
        self._on_bytes = on_bytes
        self._lock = threading.Lock()
        self._children: set[subprocess.Popen[bytes]] = set()

    def rest_of(self, item: Incoming) -> None:
        """Fetch what is missing of one file; what comes before a cut is kept."""
        begun_at = item.so_far
        digest = hashlib.sha256()
        with item.part.open("a+b") as part:
            part.seek(0)
            while known := part.read(_BLOCK):
                digest.update(known)
            command = f"tail -c +{begun_at + 1} -- {shlex.quote('./' + item.path)}"
            with self._child(command) as (child, said):
                got = self._copy(child.stdout, part, digest, item.size - begun_at)
                _to_disk(part)
                if begun_at + got < item.size:
                    _wait(child)
        if begun_at + got == item.size and digest.hexdigest() == item.sha256:
            item.keep()
        elif begun_at:
            # What an earlier try left may be of another file: once more, from the beginning.
            item.part.unlink()
            self._on_bytes(-got - begun_at)
        else:
            self._give_up(item, _words_on(item, said) or _difference(got, item.size))
            self._on_bytes(-got)

    def all_of(self, items: Sequence[Incoming]) -> None:
        """Fetch many files in one stream; a file that a cut interrupts comes again from its beginning."""
        waiting = {item.path: item for item in items}
        names = b"".join(os.fsencode(f"./{item.path}") + b"\0" for item in items)
        # `-h`: what is a symbolic link there comes home as the file that was hashed.
        with self._child("tar --null -T - -chf -", stdin=names) as (child, said):
            # A cut stream; the child's exit code says the same, and more.
            with contextlib.suppress(tarfile.TarError, EOFError):
                self._unpack(child.stdout, waiting)
            _wait(child)
        for item in waiting.values():
            if not item.settled:
                self._give_up(item, _words_on(item, said) or "the box did not send it")

    def stop(self) -> None:
        """End every child; whoever waits for one gets `LinkLost`."""
        with self._lock:
            self.stopped.set()
            for child in self._children:
                child.terminate()

    def _unpack(self, stream: IO[bytes] | None, waiting: dict[str, Incoming]) -> None:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                item = waiting.get(member.name.removeprefix("./"))
                if item is None or item.settled:
                    continue
                if member.islnk():
                    # The same file under a second name: tar sends it once.
                    self._link(item, waiting.get(member.linkname.removeprefix("./")))
                elif (source := archive.extractfile(member)) is not None:
                    self._small(item, source)

    def _small(self, item: Incoming, source: IO[bytes]) -> None:
        digest = hashlib.sha256()
        try:
            with item.part.open("wb") as part:
                self._copy(source, part, digest, item.size)
                _to_disk(part)
        except BaseException:
            # Cut in the middle: it comes again.
            self._on_bytes(-item.so_far)
            item.part.unlink()
            raise
        got = item.so_far
        if got == item.size and digest.hexdigest() == item.sha256:
            item.keep()
        else:
            self._on_bytes(-got)
            self._give_up(item, _difference(got, item.size))

    def _link(self, item: Incoming, first: Incoming | None) -> None:
        if first is not None and first.target.exists():
            with first.target.open("rb") as source:
                self._small(item, source)

    def _copy(self, source: IO[bytes] | None, sink: IO[bytes], digest: Any, limit: int) -> int:  # noqa: ANN401 - hashlib's type has no public name
        """Copy at most `limit` bytes (a log may have grown since it was hashed); how many came."""
        assert source is not None
        left = limit
        while left and (data := source.read(min(_BLOCK, left))):
            sink.write(data)
            digest.update(data)
            left -= len(data)
            self._on_bytes(len(data))
        return limit - left

    def _give_up(self, item: Incoming, reason: str) -> None:
        item.settled = True
        item.part.unlink(missing_ok=True)
        with self._lock:
            self.bad[item.path] = reason

    @contextlib.contextmanager
    def _child(self, command: str, *, stdin: bytes = b"") -> Iterator[tuple[subprocess.Popen[bytes], dict[str, str]]]:
        """Run `command` below the root on the box; afterwards `error` holds its last words when it failed there."""
        said: dict[str, str] = {}
        argv = ssh_argv(self._login, f"cd {shlex.quote(self._root)} && {command}", batch=True)
        with tempfile.TemporaryFile() as stderr, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            with self._lock:
                if self.stopped.is_set():
                    raise explain.link_lost(self._login.name, "it was stopped")
                child = subprocess.Popen(
                    argv, stdin=given, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
                )
                self._children.add(child)
            try:
                yield child, said
            finally:
                cut_off = self._end(child)
            stderr.seek(0)
            words = stderr.read().decode(errors="replace")
            if self.stopped.is_set():
                raise explain.link_lost(self._login.name, "it was stopped")
            if cut_off:
                return
            if child.returncode == _CONNECTION_ENDED:
                raise explain.from_openssh(words, self._login.name, self._login.endpoint, pinned=self._login.host_key)
            if child.returncode:
                said["error"] = words.strip()

    def _end(self, child: subprocess.Popen[bytes]) -> bool:
        """End a child; whether it had more to send than was asked for."""
        assert child.stdout is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.2)
        cut_off = child.poll() is None
        child.terminate()
        child.stdout.close()
        child.wait()
        with self._lock:
            self._children.discard(child)
        return cut_off


def _wait(child: subprocess.Popen[bytes]) -> None:
    """Wait for the exit code of a child whose output has ended: it tells a cut link from a short file."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_LAST_PATIENCE)


def _words_on(item: Incoming, said: dict[str, str]) -> str | None:
    """What the command on the box said of this file, else its last words."""
    lines = said.get("error", "").splitlines()
    about_it = [line for line in lines if f"{item.path}'" in line or f"{item.path}:" in line]
    return next(iter(about_it or lines[-1:]), None)


def _difference(got: int, size: int) -> str:
    return f"the box sent {got} of {size} bytes" if got != size else "its SHA-256 differs: it changed on the box"


def _to_disk(file: IO[bytes]) -> None:
    # The box may be given back as soon as this file counts as home.
    file.flush()
    os.fsync(file.fileno())
