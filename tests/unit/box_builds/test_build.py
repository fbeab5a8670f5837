"""The build itself, with stand-ins for ninja and the compiler: memory runs out, compilers die, code is broken."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flash_build import attempt as attempts
from flash_build import units
from flash_build.compile import compile_all, explain
from flash_build.machine import GIB, Machine
from flash_build.ninja import Count
from wheelhouse.check import Trouble

if TYPE_CHECKING:
    from flash_build.attempt import Outcome

HERE = Path(__file__).parent
UNITS = 8
NINJA_FILE = "".join(f"build out/unit{n}.o: cuda_compile /source/unit{n}.cu\n" for n in range(UNITS))


class Build:
    """A source directory as torch leaves it, where each compiler seems to take 6 of `memory` GiB."""

    def __init__(self, place: Path, memory: int) -> None:
        self.place, self.memory = place, memory
        self.temporary = place / "build/temp"
        (self.temporary / "out").mkdir(parents=True)
        (place / "alive").mkdir()
        (place / "bin").mkdir()
        (self.temporary / "build.ninja").write_text(NINJA_FILE)
        shutil.copy(HERE / "unit_standin.py", place / "unit.py")
        # Not by way of `env`: the kernel names a process after what was run first.
        (place / "bin/ninja").write_text(f"#!{sys.executable}\n{(HERE / 'ninja_standin.py').read_text()}")
        (place / "bin/ninja").chmod(0o755)
        (place / "setup.py").write_text(
            "import os, subprocess, sys\n"
            f"sys.exit(subprocess.run(['{place}/bin/ninja', '-v', '-j', os.environ['MAX_JOBS']], "
            "cwd='build/temp').returncode)\n"
        )
        self.fits(2)
        self.crowd = 0
        self.count = Count(place)
        self.told: list[dict[str, object]] = []
        self.jobs: list[int] = []

    def fits(self, number: int) -> None:
        (self.place / "fits").write_text(str(number))

    def tell(self, label: str, **numbers: float | str) -> None:
        self.told.append({"label": label, **numbers})

    def machine(self) -> Machine:
        alive = sum(units.runs(int(path.name)) for path in (self.place / "alive").iterdir())
        if len(self.calls()) < self.crowd:
            alive = 0
        free = (self.memory - 6 * alive) * GIB
        return Machine(cpus=8, available=free, total=self.memory * GIB)

    def kills(self) -> int:
        return int((self.place / "kills").exists())

    def run(self, jobs: int) -> Outcome:
        self.jobs.append(jobs)
        (self.place / "crowd").write_text(str(self.crowd))
        path = f"{self.place / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
        return attempts.attempt(
            [sys.executable, "setup.py"], source=self.place, environment={"PATH": path}, jobs=jobs, count=self.count,
            progress=self, read=self.machine, kills=self.kills,
        )  # fmt: skip

    def calls(self) -> list[str]:
        calls = self.place / "calls"
        return [Path(line).stem for line in calls.read_text().splitlines()] if calls.exists() else []


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    monkeypatch.setattr(attempts, "PULSE", 0.05)
    return Build(tmp_path, memory=16)


def test_too_many_compilers_are_made_fewer_and_nothing_is_compiled_twice_that_was_done(
    build: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    build.crowd = 4
    outcome = compile_all(build.run, 4, build.machine)
    assert outcome.code == 0
    # Of 4, two fit into 16 GiB: two were ended, and the rest was built by two at once.
    assert build.jobs == [4, 2]
    assert len(list((build.temporary / "out").glob("*.o"))) == UNITS
    calls = build.calls()
    twice = {unit for unit in calls if calls.count(unit) > 1}
    assert len(calls) == UNITS + 2
    assert len(twice) == 2
    said = capfd.readouterr().out
    assert "ended the youngest of 4 compilers" in said
    assert "8 of 8 compiled" in said
    assert build.count.done == build.count.total == UNITS
    assert any(line.get("total") == UNITS and line.get("jobs") == 4 for line in build.told)


def test_what_fits_is_left_alone(build: Build) -> None:
    assert compile_all(build.run, 2, build.machine).code == 0
    assert build.jobs == [2]
    assert len(build.calls()) == UNITS


def test_the_kernel_was_quicker(build: Build) -> None:
    """Somebody else took the memory between two looks, and the kernel has killed a compiler."""
    build.fits(-1)

    def run(jobs: int) -> Outcome:
        outcome = build.run(jobs)
        build.fits(8)
        (build.place / "kills").unlink(missing_ok=True)
        return outcome

    build.memory = 1000
    assert compile_all(run, 8, build.machine).code == 0
    assert build.jobs == [8, 4]


def test_a_box_that_is_too_small_says_so(build: Build) -> None:
    build.fits(-1)

    def run(jobs: int) -> Outcome:
        (build.place / "kills").unlink(missing_ok=True)
        return build.run(jobs)

    with pytest.raises(Trouble, match=r"one compiler alone does not fit into the 16\.0 GiB of this box"):
        compile_all(run, 2, build.machine)
    assert build.jobs == [2, 1]


def test_broken_code_is_no_want_of_memory(build: Build) -> None:
    build.fits(8)
    (build.place / "broken").write_text("flash.h(12): error: identifier `foo` is undefined\n")
    with pytest.raises(Trouble, match=r"does not compile: .*identifier `foo` is undefined"):
        compile_all(build.run, 2, build.machine)
    assert build.jobs == [2]


def test_a_build_that_was_killed_goes_on(build: Build) -> None:
    """The first five were compiled by a process that is gone; progress counts them."""
    for number in range(5):
        (build.temporary / f"out/unit{number}.o").write_text("")
    assert compile_all(build.run, 2, build.machine).code == 0
    assert sorted(build.calls()) == ["unit5", "unit6", "unit7"]
    assert build.count.done == UNITS


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "RuntimeError:\nThe detected CUDA version (13.0) mismatches the version used to compile\nPyTorch (12.8).\n",
            "the compiler is of CUDA 13.0 and torch of CUDA 12.8: set `flash_attn_cuda` to 12.8",
        ),
        ("fatal error: error writing to /tmp/x.s: No space left on device\n", "the disk is full"),
        ("#error -- unsupported GNU version! gcc versions later than 12\n", "too new for this nvcc"),
        ("ModuleNotFoundError: No module named 'wheel'\n", "does not compile: ModuleNotFoundError: No module named"),
        ("", "it said nothing"),
    ],
)
def test_explanations(said: str, sentence: str) -> None:
    assert sentence in explain(said.splitlines(keepends=True))
