"""Runs on the box that a model is copied to; standard library only, sent there as this one file.

`python on_box.py look|fetch|note` reads one line of JSON: `{"directory", "files": [{"path", "size", "mtime_ns",
"sha256"}], ...}`. `look` prints `{"there": {path: sha256}, "parts": bytes, "free": bytes}`; `fetch` gets what is
missing from what `serving.serve_script` says: with `"ssh": argv` over connections of its own, else over stdin and
stdout; `note` writes down what is there, and takes away what an earlier copy had and this one has not. Progress and
errors are lines of JSON on stderr. Exit codes: 0 done, 1 failed, 75 the link was cut, 76 no way to the other box.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HELLO = b"gpubox-serve-1\n"
CUT, NO_WAY = 75, 76
NOTES = ".gpubox-copied.json"
_PART = ".gpubox-part"
_LOCK = ".gpubox-copied.lock"
_PIECE = 1 << 20
# Small: what was not told before a cut counts as a try that brought nothing.
_SAY_EVERY = 1 << 20
# A login that says a few words before the answer is put up with.
_GREETING = 1 << 16
# Left free on the disk.
_SPARE = 64 << 20


class Cut(Exception):
    """The other end hung up."""


class Failed(Exception):
    """With the sentence for the person."""


def main() -> None:
    """See the module."""
    spec = json.loads(sys.stdin.buffer.readline())
    directory = Path(spec["directory"])
    try:
        if sys.argv[1] == "look":
            print(json.dumps(look(directory, spec["files"])))  # noqa: T201
        elif sys.argv[1] == "fetch":
            with _alone(directory):
                fetch(directory, spec["files"], spec.get("ssh"), spec.get("connections", 1))
        else:
            note(directory, spec["files"])
    except Cut as error:
        say({"cut": str(error)})
        sys.exit(NO_WAY if str(error) == "no way" else CUT)
    except Failed as error:
        say({"error": str(error)})
        sys.exit(1)
    except OSError as error:
        say({"error": f"cannot write below `{directory}`: {error.strerror or error}"})
        sys.exit(1)


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """One at a time: after a cut the one before may still be writing what it has got."""
    with (directory / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(words: dict[str, Any]) -> None:
    """One line for the other machine."""
    sys.stderr.write(json.dumps(words) + "\n")
    sys.stderr.flush()


def look(directory: Path, files: list[dict[str, Any]]) -> dict[str, Any]:
    """What was proven before and has not been touched since, here and at its source, and the room for the rest.

    A file whose `sha256` is given is read when it has the right size: an earlier copy may have ended before it noted.
    """
    known = _notes(directory)
    there = {}
    for file in files:
        noted = known.get(file["path"])
        same = noted and all(noted[name] == file[name] for name in ("size", "mtime_ns"))
        if noted and same and noted["here"] == _stamp(directory / file["path"]):
            there[file["path"]] = noted["sha256"]
        elif _is_there(directory, file):
            there[file["path"]] = file["sha256"]
    parts = sum(_size(_part(directory, file)) for file in files if file["path"] not in there)
    return {"there": there, "parts": parts, "free": shutil.disk_usage(_first_that_is(directory)).free}


def fetch(directory: Path, files: list[dict[str, Any]], ssh: list[str] | None, connections: int) -> None:
    """Everything that is not here yet; every file's SHA-256 is compared before it gets its name."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    for file in sorted(files, key=lambda file: -file["size"]):
        waiting.put(file)
    counter = _Counter()
    if ssh is None:
        _drain(directory, waiting, _Link(sys.stdin.buffer, sys.stdout.buffer), counter)
        return
    errors: list[BaseException] = []
    workers = [
        threading.Thread(target=_over_ssh, args=(directory, waiting, ssh, counter, errors))
        for _ in range(min(connections, len(files)))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    counter.flush()
    for error in sorted(errors, key=lambda error: isinstance(error, Cut)):
        raise error


def note(directory: Path, files: list[dict[str, Any]]) -> None:
    """Write down what was proven; what an earlier copy brought and its source has no more goes."""
    old = _notes(directory)
    notes = {}
    for file in files:
        here = _stamp(directory / file["path"])
        if here is None or here[0] != file["size"]:
            raise Failed(f"`{file['path']}` is not there, or is not whole")
        notes[file["path"]] = {name: file[name] for name in ("size", "mtime_ns", "sha256")} | {"here": here}
    for path in set(old) - set(notes):
        (directory / path).unlink(missing_ok=True)
    temporary = directory / f"{NOTES}.new"
    temporary.write_text(json.dumps(notes))
    temporary.replace(directory / NOTES)


class _Link:
    """Requests out, bytes in."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        seen = 0
        while (line := source.readline(_GREETING)) != HELLO:
            seen += len(line)
            if not line or seen > _GREETING:
                raise Cut("no way")

    def ask(self, start: int, length: int, path: str) -> None:
        try:
            # `tail -c +N` counts from 1.
            self._sink.write(f"get {start + 1} {length} {path}\n".encode())
            self._sink.flush()
        except OSError as error:
            raise Cut("it hung up") from error

    def read(self, length: int) -> bytes:
        data = self._source.read(min(length, _PIECE))
        if not data:
            raise Cut("it hung up")
        return data


class _Counter:
    """Says every so often how many bytes came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def add(self, size: int) -> None:
        with self._lock:
            self._count += size
            if self._count >= _SAY_EVERY:
                self._tell()

    def flush(self) -> None:
        with self._lock:
            self._tell()

    def _tell(self) -> None:
        say({"bytes": self._count})
        self._count = 0


def _over_ssh(
    directory: Path,
    waiting: queue.SimpleQueue[dict[str, Any]],
    ssh: list[str],
    counter: _Counter,
    errors: list[BaseException],
) -> None:
    try:
        child = subprocess.Popen(ssh, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        errors.append(Cut("no way"))
        return
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        _drain(directory, waiting, _Link(child.stdout, child.stdin), counter)
    except (Cut, Failed, OSError) as error:
        errors.append(error)
    finally:
        child.kill()
        child.wait()


def _drain(directory: Path, waiting: queue.SimpleQueue[dict[str, Any]], link: _Link, counter: _Counter) -> None:
    while True:
        try:
            file = waiting.get_nowait()
        except queue.Empty:
            counter.flush()
            return
        for _ in range(2):
            if _one(directory, file, link, counter):
                break
        else:
            raise Failed(f"`{file['path']}` came twice with another SHA-256 than its source says: {file['sha256']}")


def _one(directory: Path, file: dict[str, Any], link: _Link, counter: _Counter) -> bool:
    if _is_there(directory, file):
        return True
    part = _part(directory, file)
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab") as sink:
        at = sink.tell()
        if at > file["size"]:
            sink.truncate(at := 0)
        room = shutil.disk_usage(directory).free - _SPARE
        if file["size"] - at > room:
            missing = (file["size"] - at - room) / 2**30
            raise Failed(f"the disk of `{directory}` is full: {missing:.1f} GiB are missing for `{file['path']}`")
        if at < file["size"]:
            link.ask(at, file["size"] - at, file["path"])
        while at < file["size"]:
            data = link.read(file["size"] - at)
            sink.write(data)
            at += len(data)
            counter.add(len(data))
        sink.flush()
        os.fsync(sink.fileno())
    if _sha256(part) != file["sha256"]:
        part.unlink()
        counter.add(-file["size"])
        return False
    part.replace(directory / file["path"])
    return True


def _is_there(directory: Path, file: dict[str, Any]) -> bool:
    path = directory / file["path"]
    return "sha256" in file and _size(path) == file["size"] and path.is_file() and _sha256(path) == file["sha256"]


def _sha256(path: Path) -> str:
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _part(directory: Path, file: dict[str, Any]) -> Path:
    # Named after its content: what an older version of it left is not gone on with.
    place: Path = directory / file["path"]
    return place.with_name(f".{place.name[:200]}.{file.get('sha256', '')[:12]}{_PART}")


def _stamp(path: Path) -> list[int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return [info.st_size, info.st_mtime_ns]


def _size(path: Path) -> int:
    stamp = _stamp(path)
    return stamp[0] if stamp else 0


def _notes(directory: Path) -> dict[str, Any]:
    try:
        notes: dict[str, Any] = json.loads((directory / NOTES).read_text())
    except (OSError, ValueError):
        return {}
    return notes


def _first_that_is(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


if __name__ == "__main__":
    main()
