"""How many compilers a box survives: cgroups as files, the rule, and what stays free."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flash_build import machine

CASES = sorted((Path(__file__).parent / "machine").glob("*.yml"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_jobs(path: Path, tmp_path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    for name, text in case["files"].items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = machine.read(tmp_path, case["affinity"])
    assert found.free // machine.GIB == case["free_gib"]
    assert {threads: machine.jobs(found, threads=threads) for threads in case["jobs"]} == case["jobs"]
    assert machine.jobs(found, at_most=1) == 1
    # What the rule allows leaves what the watcher wants to stay free, unless a single compiler is too many.
    most = machine.jobs(found)
    assert most == 1 or found.free - most * machine.UNIT >= found.reserve


def test_what_stays_free() -> None:
    def reserve(gib: float) -> float:
        size = int(gib * machine.GIB)
        return machine.Machine(cpus=1, available=size, total=size).reserve / machine.GIB

    assert [reserve(gib) for gib in (1, 20, 480)] == [0.25, 1, 8]


def test_this_machine() -> None:
    found = machine.read(Path("/"))
    assert 0 < found.free <= found.size
    assert found.cpus > 0
    assert machine.kills(Path("/")) >= 0


def test_kills_are_counted_by_either_version(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("5:memory:/\n")
    (group / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert machine.kills(tmp_path) == 3
    unified = tmp_path / "two"
    (unified / "proc/self").mkdir(parents=True)
    (unified / "sys/fs/cgroup").mkdir(parents=True)
    (unified / "proc/self/cgroup").write_text("0::/\n")
    (unified / "sys/fs/cgroup/memory.events").write_text("low 0\nmax 12\noom 1\noom_kill 2\n")
    assert machine.kills(unified) == 2
