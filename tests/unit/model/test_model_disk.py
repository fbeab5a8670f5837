"""A disk that becomes full in the middle: everything stops cleanly, says what is missing, and goes on with room."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from model_fetch import disk, plan
from model_fetch.download import Download
from model_fetch.errors import DiskFull
from model_fetch.partial import Partial
from model_fetch.progress import Progress
from model_fetch.spec import from_json
from sim.hub import Made, hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_fetch.listing import RemoteFile

MB = 10**6
SIZE = 12 * MB


class Disk:
    """Takes 5 MB, and the rest once there is room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room, self.written = 5 * MB, 0
        self._write = Partial.write

        def write(partial: Partial, at: int, data: bytes) -> None:
            self.write(partial, at, data)

        monkeypatch.setattr(Partial, "write", write)
        monkeypatch.setattr(disk, "free", lambda _: max(0, self.room - self.written))

    def write(self, partial: Partial, at: int, data: bytes) -> None:
        if self.written + len(data) > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.written += len(data)
        self._write(partial, at, data)


class Listener(Progress):
    """Makes room when it is asked for, if it is told to."""

    def __init__(self, full: Disk, room: int) -> None:
        super().__init__("")
        self.full, self.room = full, room
        self.said: list[str] = []

    def say(self, words: str) -> None:
        self.said.append(words)
        if "waiting for room" in words:
            self.full.room = self.room


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def url() -> Iterator[str]:
    with hub({"o/m": {"w.bin": Made(3, SIZE)}}) as server:
        yield server.url


def download(url: str, place: Path, progress: Progress, wait: float) -> list[RemoteFile]:
    data = {"name": "m", "source": "modelscope", "id": "o/m", "models": str(place), "modelscope_endpoint": url}
    spec = from_json({**data, "disk_wait_seconds": wait, "min_free_bytes": 0, "other_sources": False}, {})
    wanted, _, ways = plan.make(spec)
    verified: list[RemoteFile] = []
    Download(spec, wanted, wanted.files, ways, progress, lambda file, _: verified.append(file)).run()
    return verified


def test_it_goes_on_when_there_is_room(full: Disk, url: str, tmp_path: Path) -> None:
    listener = Listener(full, 50 * MB)
    verified = download(url, tmp_path, listener, 60.0)
    assert [file.path for file in verified] == ["w.bin"]
    assert (tmp_path / "m/w.bin").stat().st_size == SIZE
    words = next(words for words in listener.said if "waiting for room" in words)
    assert words.startswith(f"the disk of `{tmp_path}/m` is full: ")
    assert " MB are missing" in words


def test_it_stops_when_there_is_none_and_keeps_what_came(full: Disk, url: str, tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"is full: .* MB are missing; what has come is kept; make room"):
        download(url, tmp_path, Listener(full, 5 * MB), 0.2)
    assert not (tmp_path / "m/w.bin").exists()
    before = full.written
    full.room = 50 * MB
    download(url, tmp_path, Listener(full, 50 * MB), 0.2)
    assert (tmp_path / "m/w.bin").stat().st_size == SIZE
    # A connection's last half second may be fetched again.
    assert full.written - before < SIZE
