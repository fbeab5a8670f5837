"""Which files of a repository are wanted: one fixture per case in fixtures/choose."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from model_fetch import choose, disk, words
from model_fetch.errors import Asked, DiskFull
from model_fetch.listing import RemoteFile

CASES = sorted((Path(__file__).parent / "fixtures/choose").glob("*.yml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_choose(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    files = [RemoteFile(name, int(float(size))) for name, size in case["files"].items()]
    if "error" not in case:
        assert [file.path for file in choose.choose(files, **case["ask"])] == case["wanted"]
        return
    with pytest.raises(Asked) as caught:
        choose.choose(files, **case["ask"])
    missing = [words for words in case["error"] if words not in str(caught.value)]
    assert not missing, str(caught.value)


def test_there_are_cases() -> None:
    assert len(CASES) >= 25


def test_room_is_asked_for_before_the_first_byte() -> None:
    disk.check(100, Path("/data/m"), 100, 0)
    with pytest.raises(DiskFull) as caught:
        disk.check(404_100_000_000, Path("/data/m"), 31_000_000_000, 0)
    assert "`/data/m` needs 404.1 GB, 31.0 GB are free: 373.1 GB are missing" in str(caught.value)
    with pytest.raises(DiskFull, match=r"needs 100 bytes, 0 bytes are free: 100 bytes are missing"):
        disk.check(100, Path("/data/m"), 150, 200)


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (999_600, "1.0 MB"), (31e6, "31.0 MB"), (404.1e9, "404.1 GB")],
)
def test_sizes_are_said_as_disks_are_sold(amount: float, said: str) -> None:
    assert words.size(amount) == said
