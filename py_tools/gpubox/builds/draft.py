"""A plan in the making: what engines add to, and what is the same for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpubox.builds import flash_attn, nvcc
from gpubox.builds.conflicts import Combination, clashes
from gpubox.builds.matrix import matrix
from gpubox.builds.plan import FlashAttention, Nvcc, Plan, Refusal, Row, Step, Warned
from gpubox.builds.versions import numbers

if TYPE_CHECKING:
    from gpubox.boxfile.models import FlashAttn
    from gpubox.builds.machine import Machine
    from gpubox.builds.plan import Environment


@dataclass
class Draft:
    """Rows, refusals, warnings and steps, in the order in which they were found."""

    it: Machine
    engine: str | None
    environments: list[Environment] = field(default_factory=list)
    flash: FlashAttention | None = None
    nvcc: Nvcc | None = None
    refusals: list[Refusal] = field(default_factory=list)
    warnings: list[Warned] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)
    decided: bool = True

    def row(self, what: str, value: str, why: str) -> None:
        """One line of the table."""
        self.rows.append(Row(what, value, why))

    def refuse(self, check: str, message: str, fix: str) -> None:
        """It cannot be."""
        self.refusals.append(Refusal(check, message, fix))

    def judge(self, combination: Combination) -> None:
        """Refuse or warn of everything in `combination` that does not go together."""
        for clash in clashes(combination):
            if clash.level == "error":
                self.refuse(clash.rule, clash.message, clash.fix)
            else:
                self.warnings.append(Warned(clash.rule, clash.message, clash.fix))

    def download(self, what: str, estimate: str, disk: float, why: str, *, chain: str = "environment") -> None:
        """A step that mostly fetches: its bytes by the matrix, its time by the rate of the matrix."""
        size, rate = matrix().estimate(estimate), matrix().estimate("rate")
        self.steps.append(Step(what, size / rate, size, disk, why, chain))

    def add_flash_attn(self, environment: Environment, asked: FlashAttn | None, prefer: str | None = None) -> None:
        """flash-attn for `environment`, and the nvcc for it where it is compiled."""
        choice = flash_attn.choose(self.it, environment, asked, prefer=prefer)
        if choice.found is None:
            if choice.refusal is not None:
                self.refusals.append(choice.refusal)
            return
        found = choice.found
        self.flash = found
        if found.build == "wheel":
            self.row("flash-attn", found.wheel, choice.why)
            self.download("flash-attn's wheel", "flash-attn-wheel", 6e8, "size of the release's wheel")
            return
        flags = f"{found.version} from source, FLASH_ATTN_CUDA_ARCHS={';'.join(found.archs)}, NVCC_THREADS=1"
        self.row("flash-attn", flags, choice.why)
        if self.it.known:
            by = "the box file's limit" if found.max_jobs and found.jobs == found.max_jobs else self._rule()
            self.row("MAX_JOBS", str(found.jobs), by)
        work = matrix().estimate("flash-attn-unit") * found.units * len(found.archs)
        seconds = work / found.jobs if self.it.known and not self.it.gpu_less else None
        why = f"{found.units} units, about {work:.0f} s of a core, {found.jobs} at once"
        self.steps.append(Step("compile flash-attn", seconds, 0, 1e9, why))

    def add_nvcc(self, wanted: Combination, what: str) -> None:
        """The compiler for what is built on the box, once for all of it."""
        if self.nvcc is not None:
            return
        found, why, refusal = nvcc.choose(self.it, wanted)
        if refusal is not None:
            self.refusals.append(refusal)
        if found is None:
            return
        self.nvcc = found
        self.row("nvcc", f"{found.version} ({found.how})", f"for {what}: {why}")
        if found.how != "system":
            size = matrix().estimate(f"nvcc-{found.how}")
            self.download(f"nvcc {found.version}", f"nvcc-{found.how}", 2.5 * size, found.name, chain="toolkit")

    def plan(self) -> Plan:
        """It is done."""
        seen = dict.fromkeys(self.refusals)
        return Plan(
            engine=self.engine,
            environments=tuple(self.environments),
            flash_attn=self.flash,
            nvcc=self.nvcc,
            refusals=tuple(seen),
            warnings=tuple(dict.fromkeys(self.warnings)),
            rows=tuple(self.rows),
            steps=tuple(self.steps),
            decided=self.decided,
            choices=self.choices,
        )

    def combination(self, packages: dict[str, str], environment: Environment, needs_glibc: str) -> Combination:
        """What comes together in `environment` on this box, compilers left out."""
        return Combination(
            packages=packages,
            python=environment.python,
            cuda=environment.cuda or "",
            abi=environment.abi,
            driver=self.it.driver,
            glibc=self.it.glibc,
            needs_glibc=numbers(needs_glibc),
            library_path=self.it.library_path,
            gcc=self.it.gcc or "",
        )

    def _rule(self) -> str:
        free = self.it.memory / 2**30
        return f"{self.it.cpus:g} CPUs, and 6 GiB for each of {0.8 * free:.0f} GiB (four fifths of what is free)"
