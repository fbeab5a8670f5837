"""`gpubox backup` against `rsync -e ssh` and `scp -r`, over lines with and without delay."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Cost, interleaved, run, table
from benchmarks.rented import BoxFactory, Gpubox
from keeping.box import ROOT, enroll, fill, kept_box, python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.rented import TestBox

ROUND_TRIPS_MS = (0, 40)
GOAL = 2.0
BIG = 512 << 20
FILES, EACH = 5000, 16 << 10
# `scp` pays round trips for every file: so many times fewer are measured, and counted so many times.
_SHARE = 50
# Home is in memory where that is possible: the disk that everything here shares is not what is measured.
_MEMORY = Path("/dev/shm")


def main(rounds: int = 3) -> str:
    """Measure, and give the section of the report."""
    parts = [
        (
            "## Bringing data home\n\nThe whole command, from its start to its end, into an empty directory "
            "in memory; "
            f"medians of {rounds} rounds in turn. `gpubox backup` also compares the SHA-256 of every file and has all "
            "of it on disk when it ends; the others do neither. Goal: "
            f"{GOAL:.0f} times faster than the better of the others at 40 ms.\n"
        )
    ]
    for title, fill_box, scp_share in (
        (f"One file of {BIG >> 20} MiB", _one_big, 1),
        (f"{FILES} files of {EACH >> 10} KiB", _many_small, _SHARE),
    ):
        with _box(fill_box) as (tool, box):
            for milliseconds in ROUND_TRIPS_MS:
                box.delay(milliseconds / 2000)
                costs = interleaved(_cases(tool, scp_share), rounds)
                parts.append(_section(f"{title}, round trip {milliseconds} ms", costs))
    return "\n".join(parts)


@contextmanager
def _box(fill_box: Callable[[TestBox], None]) -> Iterator[tuple[Gpubox, TestBox]]:
    home = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="gpubox-bench-", dir=home) as directory, BoxFactory() as boxes:
        tool = Gpubox(Path(directory))
        # The ledger of `tool` is written by this process, too.
        os.environ["GPUBOX_HOME"] = str(tool.home / ".local" / "share" / "gpubox")
        try:
            box = kept_box(boxes, port=0)
            fill_box(box)
            enroll(box, "mybox", box.port)
            tool("backup", "mybox", "--dry-run")
            yield tool, box
        finally:
            del os.environ["GPUBOX_HOME"]
            tool.end()


def _one_big(box: TestBox) -> None:
    fill(box, f"{ROOT}/results/all/model.bin", BIG)


def _many_small(box: TestBox) -> None:
    python(
        box,
        f"""
import os
for number in range({FILES}):
    place = f"{ROOT}/results/{{'all' if number % {_SHARE} else 'share'}}/{{number // 100}}"
    os.makedirs(place, exist_ok=True)
    with open(f"{{place}}/{{number}}.json", "wb") as file:
        file.write(os.urandom({EACH}))
""",
    )


def _cases(tool: Gpubox, scp_share: int) -> dict[str, Callable[[], Cost]]:
    out = tool.directory / "out"
    config = tool.home / ".local/share/gpubox/boxes/mybox/ssh_config"
    results, share = f"gpubox-mybox:{ROOT}/results", "share" if scp_share > 1 else ""

    def fresh(argv: list[str]) -> Cost:
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return run(argv, env=tool.env, cwd=tool.directory)

    def scp() -> Cost:
        cost = fresh(["scp", "-F", str(config), "-q", "-r", f"{results}/{share}", str(out)])
        return Cost(cost.wall * scp_share, cost.cpu * scp_share, cost.peak_mib)

    return {
        "`gpubox backup`": lambda: fresh(tool.argv("backup", "mybox", "--declared", "--to", str(out))),
        "`rsync -a -e ssh`": lambda: fresh(["rsync", "-a", "-e", f"ssh -F {config}", f"{results}/", str(out)]),
        "`scp -r`" + (f", a share of 1/{scp_share}" if scp_share > 1 else ""): scp,
    }


def _section(title: str, costs: dict[str, Cost]) -> str:
    own, *others = costs.values()
    best = min(cost.wall for cost in others)
    size = BIG if "One" in title else FILES * EACH
    rows = [
        (name, f"{cost.wall:.2f}", f"{cost.wall / own.wall:.1f}", f"{size / cost.wall / 2**20:.0f}", f"{cost.cpu:.2f}")
        for name, cost in costs.items()
    ]
    head = ("way", "wall s", "ratio", "MiB/s", "CPU s here")
    missed = " The goal is missed." if title.endswith(" 40 ms") and best < GOAL * own.wall else ""
    return f"{title}: {best / own.wall:.1f} times faster than the better of the others.{missed}\n\n" + table(head, rows)


if __name__ == "__main__":
    print(main())
