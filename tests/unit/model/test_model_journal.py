"""What of a file is there after kills and power cuts: the journal never says more than the disk has."""

from __future__ import annotations

import json
import os
import zlib
from typing import TYPE_CHECKING

import pytest

from model_fetch import journal
from model_fetch.listing import RemoteFile
from model_fetch.partial import Partial, Writer
from model_fetch.ranges import Ranges

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 64
FILE = RemoteFile("sub/w.bin", len(DATA), "a" * 64)


def partial(place: Path, file: RemoteFile = FILE) -> Partial:
    return Partial(file, place / "parts" / file.path, place / "final" / file.path)


def put(part: Partial, start: int, end: int) -> None:
    writer = Writer(part, start)
    writer.write(DATA[start:end])
    writer.flush()


def paths(place: Path) -> tuple[Path, Path]:
    return journal.names(place / "parts" / FILE.path)


def test_what_was_written_is_there_after_a_kill(tmp_path: Path) -> None:
    killed = partial(tmp_path)
    put(killed, 0, 1000)
    put(killed, 5000, 6000)
    assert partial(tmp_path).done == Ranges([(0, 1000), (5000, 6000)])


def test_bytes_that_a_power_cut_took_are_fetched_again(tmp_path: Path) -> None:
    cut = partial(tmp_path)
    put(cut, 0, 1000)
    cut.sync()
    put(cut, 1000, 3000)
    # The journal's lines came to the disk, the bytes they tell of did not.
    with paths(tmp_path)[0].open("r+b") as file:
        file.seek(2000)
        file.write(bytes(1000))
    assert partial(tmp_path).done == Ranges([(0, 1000)])


def test_what_is_safe_is_not_read_again(tmp_path: Path) -> None:
    cut = partial(tmp_path)
    put(cut, 0, 4000)
    cut.sync()
    # Rot in bytes that were safe is found by the file's own checksum, at the end.
    with paths(tmp_path)[0].open("r+b") as file:
        file.write(b"\xff")
    assert partial(tmp_path).done == Ranges([(0, 4000)])


def test_a_torn_line_counts_for_nothing(tmp_path: Path) -> None:
    cut = partial(tmp_path)
    put(cut, 0, 1000)
    with paths(tmp_path)[1].open("ab") as file:
        file.write(b"[1000, 20")
    assert partial(tmp_path).done == Ranges([(0, 1000)])


def test_lines_are_bytes_that_are_there(tmp_path: Path) -> None:
    """Whatever was torn away from the journal's end: what it still says is right."""
    first = partial(tmp_path)
    put(first, 0, 700)
    first.sync()
    put(first, 900, 1500)
    put(first, 700, 900)
    whole = paths(tmp_path)[1].read_bytes()
    for length in range(len(whole)):
        paths(tmp_path)[1].write_bytes(whole[:length])
        found = partial(tmp_path)
        data = paths(tmp_path)[0].read_bytes()
        assert all(data[start:end] == DATA[start:end] for start, end in found.done)
        found.close()
    paths(tmp_path)[1].write_bytes(whole)
    assert partial(tmp_path).done == Ranges([(0, 1500)])


@pytest.mark.parametrize(
    "other", [RemoteFile(FILE.path, len(DATA) + 1, "a" * 64), RemoteFile(FILE.path, len(DATA), "b" * 64)]
)
def test_another_version_of_the_file_begins_anew(tmp_path: Path, other: RemoteFile) -> None:
    put(partial(tmp_path), 0, 1000)
    assert partial(tmp_path, other).done.total == 0


def test_a_forecast_reads_the_journal_only(tmp_path: Path) -> None:
    put(partial(tmp_path), 0, 1000)
    assert journal.left(tmp_path / "parts" / FILE.path, len(DATA)) == 1000
    assert journal.left(tmp_path / "parts" / FILE.path, len(DATA) + 1) == 0
    assert journal.left(tmp_path / "parts/other", 5) == 0


def test_bytes_are_made_safe_now_and_then(tmp_path: Path) -> None:
    clock = [0.0]
    part = partial(tmp_path)
    path = tmp_path / "j"
    descriptor = os.open(paths(tmp_path)[0], os.O_RDWR)
    log = journal.Journal(path, descriptor, now=lambda: clock[0])
    log.begin(FILE)
    log.record(0, 10, zlib.crc32(bytes(10)))
    assert [json.loads(line) for line in path.read_text().splitlines()][-1] == [0, 10, zlib.crc32(bytes(10))]
    clock[0] = 6.0
    log.record(10, 20, zlib.crc32(bytes(10)))
    assert json.loads(path.read_text().splitlines()[-1]) == {"safe": 2}
    os.close(descriptor)
    part.close()


def test_a_file_of_the_right_size_is_verified_and_not_believed(tmp_path: Path) -> None:
    final = tmp_path / "final" / FILE.path
    final.parent.mkdir(parents=True)
    final.write_bytes(DATA)
    found = partial(tmp_path)
    assert found.whole
    assert not final.exists()
    while found.hash_on():
        pass
    assert found.hashed
    assert not found.right()
    found.finish()
    assert final.read_bytes() == DATA


def test_small_files_of_hugging_face_are_known_by_gits_checksum(tmp_path: Path) -> None:
    # `printf hello | git hash-object --stdin`
    file = RemoteFile("a.txt", 5, git="b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0")
    part = partial(tmp_path, file)
    writer = Writer(part, 0)
    writer.write(b"hellO")
    writer.flush()
    while part.hash_on():
        pass
    assert not part.right()
    part.forget()
    writer = Writer(part, 0)
    writer.write(b"hello")
    writer.flush()
    while part.hash_on():
        pass
    assert part.right()
    assert part.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
