"""Where the memory of a server lies: counted as the kernel tells it, and said when the nodes are not used alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kt_tools import numa

if TYPE_CHECKING:
    from pathlib import Path

GIB = 2**30
MAPS = """\
00400000 default file=/usr/bin/python3.11 mapped=3 N0=2 N1=1 kernelpagesize_kB=4
7f0000000000 default anon=1000 dirty=1000 N0=600 N1=400 kernelpagesize_kB=4
7f8000000000 bind:1 anon=3 dirty=3 N1=3 kernelpagesize_kB=2048
7fff00000000 default stack anon=1 dirty=1 N0=1
"""


def process(root: Path, pid: int, parent: int, maps: str | None) -> None:
    place = root / f"proc/{pid}"
    place.mkdir(parents=True)
    (place / "stat").write_text(f"{pid} (a (strange) name) S {parent} 1 1 0\n")
    if maps is not None:
        (place / "numa_maps").write_text(maps)


def test_a_process_and_all_below_it_are_counted(tmp_path: Path) -> None:
    process(tmp_path, 10, 1, None)
    process(tmp_path, 11, 10, MAPS)
    process(tmp_path, 12, 11, "7f00 default anon=1 N1=1 kernelpagesize_kB=4\n")
    process(tmp_path, 20, 1, MAPS)
    assert numa.spread(tmp_path, 10) == {0: 603 * 4096, 1: 402 * 4096 + 3 * 2048 * 1024}
    assert numa.spread(tmp_path, 99) == {}


@pytest.mark.parametrize(
    ("seen", "nodes", "copies", "words"),
    [
        ({0: 390 * GIB, 1: 388 * GIB}, [0, 1], True, ""),
        # As in upstream's reports of a NUMA flag that did nothing.
        ({0: 390 * GIB, 1: 4 * GIB}, [0, 1], True, "node 0 390 GiB, node 1 4 GiB), although each should hold"),
        ({0: 390 * GIB}, [0, 1], False, "node 1 0 GiB), and threads on the others"),
        ({0: 200 * GIB, 1: 190 * GIB}, [0, 1], False, ""),
        # The box has CPUs of one node only; a small server may lie anywhere; a kernel without NUMA tells nothing.
        ({0: 390 * GIB, 1: 4 * GIB}, [0], False, ""),
        ({0: 6 * GIB}, [0, 1], True, ""),
        ({}, [0, 1], True, ""),
    ],
)
def test_what_is_said(seen: dict[int, int], nodes: list[int], copies: bool, words: str) -> None:
    said = numa.verdict(seen, nodes, copies=copies)
    assert words in said
    assert bool(said) == bool(words)


def test_the_service_is_asked_for_by_its_name(tmp_path: Path) -> None:
    boxctl = tmp_path / "bin/boxctl"
    boxctl.parent.mkdir()
    boxctl.write_text('#!/bin/sh\necho \'{"services": [{"name": "web", "pid": 1}, {"name": "kt", "pid": null}]}\'\n')
    boxctl.chmod(0o755)
    assert numa.look(tmp_path, "kt", [0, 1], copies=True) == ""
    assert numa.look(tmp_path, "none", [0, 1], copies=True) == ""
    boxctl.write_text("#!/bin/sh\nexit 1\n")
    assert numa.look(tmp_path, "kt", [0, 1], copies=True) == ""
