"""`boxctl receive`: takes the files of a backup, over stdin and stdout of one SSH connection.

In the form of `boxctl.frames`. A file gets its name when its SHA-256 is right, and not before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from boxctl import databases, inuse
from boxctl.errors import BoxctlError
from boxctl.frames import Frames, serve
from boxctl.hashes import Hashes, identity, of_file

if TYPE_CHECKING:
    from boxctl.frames import Verb
    from boxctl.layout import Layout

_PIECE = 1 << 20


def main(layout: Layout) -> None:
    """Serve stdin and stdout."""
    receiver = _Receiver(layout, sys.stdin.buffer, Frames(sys.stdout.fileno()))
    serve("receive", receiver.verbs(), receiver.out, sys.stdin.buffer, root=str(layout.root))


class _Receiver:
    def __init__(self, layout: Layout, source: BinaryIO, out: Frames) -> None:
        self.out = out
        self._layout = layout
        self._source = source
        self._hashes = Hashes(layout.root / "hashes.jsonl")

    def verbs(self) -> dict[str, Verb]:
        return {
            "where": self._where,
            "look": self._look,
            "owners": self._owners,
            "stop": self._stop,
            "start": self._start,
            "ask": self._ask,
            "small": self._small,
            "segments": self._segments,
            "range": self._range,
            "keep": self._keep,
        }

    def _where(self, _request: dict[str, Any]) -> dict[str, Any]:
        home = os.path.expanduser("~")  # noqa: PTH111
        return {"root": str(self._layout.root), "data_dir": str(self._layout.root.parent), "home": home}

    def _look(self, request: dict[str, Any]) -> None:
        """What is there in place of each file: "missing", "same", "older", "newer" (and its time), "other"."""
        for index, (target, size, sha256, mtime_ns) in enumerate(request["files"]):
            self.out.json({"i": index, **self._compared(target, size, sha256, mtime_ns)})
        self._hashes.save()

    def _compared(self, target: str, size: int, sha256: str, mtime_ns: int) -> dict[str, Any]:
        try:
            info = os.stat(target)  # noqa: PTH116
            if not os.path.isfile(target):  # noqa: PTH113
                return {"state": "other", "mtime_ns": info.st_mtime_ns}
            if info.st_size == size and self._hash(target, info) == sha256 and not os.path.exists(f"{target}-wal"):  # noqa: PTH110
                return {"state": "same"}
            newest = info.st_mtime_ns
            if databases.is_database(target, info.st_size):
                newest = max(newest, databases.version(target)[1])
        except FileNotFoundError:
            return {"state": "missing"}
        return {"state": "newer" if newest > mtime_ns else "older", "mtime_ns": newest}

    def _hash(self, path: str, info: os.stat_result) -> str:
        if (known := self._hashes.get(path, identity(info))) is not None:
            return known
        sha256, size, info = of_file(path)
        if size == info.st_size:
            self._hashes.put(path, identity(info), sha256)
        return sha256

    def _owners(self, request: dict[str, Any]) -> dict[str, Any]:
        """Which services have files of these declared or open, and which other programs have them open."""
        return inuse.owners(self._layout, request["files"])

    def _stop(self, request: dict[str, Any]) -> None:
        from boxctl import services

        for name in request["services"]:
            services.stop(self._layout, name)

    def _start(self, request: dict[str, Any]) -> None:
        from boxctl import services

        for name in request["services"]:
            services.start(self._layout, name)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        from boxctl import ask

        return ask.ask(self._layout, request["program"], request["verb"], request["request"], request["timeout"])

    def _small(self, request: dict[str, Any]) -> None:
        """Whole files, their bytes behind the request in the same order."""
        for index, file in enumerate(request["files"]):
            data = self._read(file["size"])
            try:
                if hashlib.sha256(data).hexdigest() != file["sha256"]:
                    self.out.json({"i": index, "error": "it did not arrive whole"})
                    continue
                part = _part(file)
                part.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(data)
                _put(part, file)
            except BoxctlError as error:
                self.out.json({"i": index, **error.as_dict()})
            except OSError as error:
                self.out.json({"i": index, "error": error.strerror or str(error)})

    def _segments(self, request: dict[str, Any]) -> dict[str, Any]:
        """Which segments of a big file an earlier try has left here."""
        marks = _marks(_part(request["file"]))
        return {"there": list(marks.read_bytes()) if marks.exists() else []}

    def _range(self, request: dict[str, Any]) -> None:
        """One segment of a big file, its bytes behind the request."""
        part = _part(request["file"])
        left, offset = request["length"], request["offset"]
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._read(left)
            raise
        try:
            while left:
                data = self._read(min(left, _PIECE))
                left -= len(data)
                try:
                    offset += _write(handle, data, offset)
                except OSError:
                    self._read(left)
                    raise
        finally:
            os.close(handle)
        with open(os.open(_marks(part), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as marks:  # noqa: PTH123
            marks.seek(request["number"])
            marks.write(b"\1")

    def _keep(self, request: dict[str, Any]) -> dict[str, Any]:
        """Give a big file its name, now that all of it is here."""
        file = request["file"]
        part = _part(file)
        sha256, size, _ = of_file(part)
        if (size, sha256) != (file["size"], file["sha256"]):
            part.unlink()
            _marks(part).unlink(missing_ok=True)
            return {"error": "it did not arrive whole"}
        _put(part, file)
        _marks(part).unlink(missing_ok=True)
        return {}

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) < size:
            # The link was cut; nobody reads an answer.
            raise SystemExit(1)
        return data


def _write(handle: int, data: bytes, offset: int) -> int:
    """Write all of it: on a disk that is nearly full only a part may go at once."""
    view = memoryview(data)
    while view:
        wrote = os.pwrite(handle, view, offset)
        offset += wrote
        view = view[wrote:]
    return len(data)


def _part(file: dict[str, Any]) -> Path:
    target = Path(file["target"])
    return target.with_name(f".{target.name[:200]}.gpubox-{file['sha256'][:16]}")


def _marks(part: Path) -> Path:
    return part.with_name(f"{part.name}.there")


def _put(part: Path, file: dict[str, Any]) -> None:
    """The proven file, with its mode, owner and time, in place of what is there. Raises `OSError`, `BoxctlError`."""
    target = Path(file["target"])
    handle = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.getuid() == 0:
            with contextlib.suppress(PermissionError):
                os.fchown(handle, file["uid"], file["gid"])
        os.fchmod(handle, file["mode"])
        os.utime(handle, ns=(file["mtime_ns"], file["mtime_ns"]))
        os.fsync(handle)
    finally:
        os.close(handle)
    if file["copy"] == "sqlite":
        if users := inuse.open_by([str(target)]):
            part.unlink()
            raise BoxctlError(f"`{target}` is open in {users[0]}", hint="end that program, then restore again")
        # The log of the database that goes would be taken for the new one's.
        for side in databases.SIDES:
            Path(f"{target}{side}").unlink(missing_ok=True)
    part.replace(target)
