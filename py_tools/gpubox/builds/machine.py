"""What of a box's facts decides about builds, with the box file's own words where the box is not there yet."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpubox.builds.matrix import matrix
from gpubox.builds.versions import Version, numbers

if TYPE_CHECKING:
    from gpubox.boxfile import BoxFile
    from gpubox.remote.facts import Facts

GIB = 2**30
# 6.0 GiB at the most for one compiler, measured; four fifths of the memory, so that the box lives on.
_SHARE = 0.8
_X86 = ("x86_64", "amd64")


@dataclass(frozen=True, slots=True)
class Machine:
    """A box as the resolver sees it. What is not known is empty or None, and then nothing is held against it."""

    known: bool
    arch: str = "x86_64"
    libc: str = "glibc"
    glibc: Version = ()
    glibcxx: Version = ()
    driver: Version = ()
    driver_text: str = ""
    capabilities: tuple[str, ...] = ()
    card: str = ""
    nvcc: str | None = None
    toolkits: tuple[tuple[str, str], ...] = ()
    gcc: str | None = None
    library_path: str = ""
    cpus: float = 0.0
    memory: float = 0.0
    os_name: str = "the box"
    gpu_less: bool = False

    @property
    def archs(self) -> tuple[str, ...]:
        """FLASH_ATTN_CUDA_ARCHS: kernels of a major version run on all cards of it, so 80 serves 86 and 89, too."""
        found = {str(numbers(capability)[0] * 10) for capability in self.capabilities}
        return tuple(sorted(found, key=int))

    @property
    def x86(self) -> bool:
        """Whether wheels for x86_64 run on it."""
        return self.arch in _X86

    def jobs(self, threads: int = 1) -> int:
        """Compilers at once: max(1, min(CPUs // threads, floor(0.8 * free memory / (6 GiB * threads))))."""
        each = matrix().estimate("flash-attn-memory") * threads
        return max(1, min(int(self.cpus) // threads, int(_SHARE * self.memory / each)))


def machine(facts: Facts | None, box: BoxFile) -> Machine:
    """The box behind `facts`; without facts what the box file says of it."""
    if facts is None:
        name = box.gpu.name if box.gpu else ""
        found = capability_of(name)
        return Machine(known=False, card=name, capabilities=(found,) if found else ())
    system, gpu = facts.system, facts.gpu
    capabilities = sorted(
        {card.compute_cap or capability_of(card.name) or "" for card in facts.gpus} - {""}, key=numbers
    )
    asked = box.gpu.name if box.gpu and not facts.gpus else ""
    if not capabilities and (guessed := capability_of(asked)):
        capabilities = [guessed]
    return Machine(
        known=True,
        arch=system.arch or "x86_64",
        libc=system.libc,
        glibc=numbers(system.libc_version) if system.libc == "glibc" else (),
        glibcxx=numbers(system.glibcxx),
        driver=numbers(gpu.driver),
        driver_text=gpu.driver or "",
        capabilities=tuple(capabilities),
        card=facts.gpus[0].name if facts.gpus else asked,
        nvcc=gpu.nvcc_version,
        toolkits=tuple((path.rpartition("-")[2], path) for path in gpu.toolkits),
        gcc=facts.compilers.gcc,
        library_path=system.ld_library_path or "",
        cpus=facts.cpu.effective,
        memory=float(facts.memory.available or facts.memory.effective),
        os_name=system.os_name or "the box",
        gpu_less=not facts.gpus,
    )


def capability_of(name: str) -> str | None:
    """Compute capability of a card by its name, as in "8.9"; None when the name is not known."""
    words = re.sub(r"(\d{4})(d|ti|super)\b", r"\1 \2", name.lower())
    found = [
        (len(known), row.capability) for row in matrix().cards for known in row.names if _holds(words, known.lower())
    ]
    return max(found)[1] if found else None


def _holds(name: str, known: str) -> bool:
    # "RTX 4090" also when a provider writes "4090" alone; "A10" must not be found in "A100".
    short = known.removeprefix("rtx ") if re.fullmatch(r"rtx \d{4}", known) else known
    return re.search(rf"(?<![a-z0-9]){re.escape(short)}(?![a-z0-9])", name) is not None
