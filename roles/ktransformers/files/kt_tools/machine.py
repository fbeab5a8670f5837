"""What this box may really use: CPUs, cores, memory and NUMA nodes inside its cgroup, not those of its host."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flash_build import machine as limits

# What `-march=native` of gcc 12 turns on besides vectors and what every x86-64 has ("x86 Options" of its manual).
_VECTORS = ("avx", "amx", "fma", "f16c")
_SCALARS = (
    "abm", "adx", "aes", "bmi1", "bmi2", "cldemote", "clflushopt", "clwb", "clzero", "fsgsbase", "gfni", "lahf_lm",
    "movbe", "movdir64b", "movdiri", "pclmulqdq", "popcnt", "ptwrite", "rdpid", "rdrand", "rdseed", "serialize",
    "sha_ni", "sse4_1", "sse4_2", "sse4a", "ssse3", "tbm", "vaes", "vpclmulqdq", "waitpkg", "xop", "xsavec", "xsaveopt",
    "xsaves",
)  # fmt: skip


@dataclass(frozen=True)
class Machine:
    """Sizes in bytes. `cpus`: logical CPUs, capped by the quota. `physical`: cores among them, capped as well."""

    cpus: int
    physical: int
    nodes: list[int]
    memory: int
    available: int
    flags: list[str] = field(default_factory=list)
    glibc: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def read(root: Path = Path("/")) -> Machine:
    """This box. `root`: where /proc and /sys are, for tests."""
    allowed = _allowed(root)
    share = limits.read(root, len(allowed))
    cores = {_core(root, cpu) for cpu in allowed}
    return Machine(
        cpus=max(1, int(share.cpus)),
        physical=max(1, min(len(cores), int(share.cpus))),
        nodes=_nodes(root, allowed),
        memory=share.size,
        available=max(0, share.free),
        flags=_flags(root),
        glibc=platform.libc_ver()[1],
    )


def compilers(cpus: int, available: int) -> int:
    """How many compilers may run at once, by the rule of the role `flash_attn`."""
    return limits.jobs(limits.Machine(cpus, available, available))


def cpu_infer(recipe: str, cpus: int, physical: int) -> int:
    """Threads that compute experts.

    classic: workers and the main thread spin, and one that waits for a CPU stalls all; so two cores fewer than there
    are (doc/en/install.md: "ideally total number of cores - 2"). current: workers are pinned, one to a core
    (kt-kernel's README: physical cores), and two CPUs stay for SGLang.
    """
    if recipe == "classic":
        return max(1, physical - 2)
    return max(1, min(physical, cpus - 2))


def _allowed(root: Path) -> set[int]:
    """CPUs of the affinity, which a cpuset narrows too."""
    if root == Path("/"):
        return set(os.sched_getaffinity(0))
    return _ranges(_text(root / "sys/devices/system/cpu/online"))


def _core(root: Path, cpu: int) -> tuple[str, str]:
    """Which core a CPU is of, and of which socket."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    core = _text(topology / "core_id")
    return (_text(topology / "physical_package_id"), core) if core else ("cpu", str(cpu))


def _nodes(root: Path, allowed: set[int]) -> list[int]:
    """NUMA nodes with a CPU of ours; one where the kernel shows none."""
    found = []
    for node in (root / "sys/devices/system/node").glob("node[0-9]*"):
        if _ranges(_text(node / "cpulist")) & allowed:
            found.append(int(node.name[4:]))
    return sorted(found) or [0]


def _flags(root: Path) -> list[str]:
    """What a compiler may use of the CPU, as /proc/cpuinfo names it."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("flags"):
            words = line.partition(":")[2].split()
            return sorted(word for word in words if word.startswith(_VECTORS) or word in _SCALARS)
    return []


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _ranges(text: str) -> set[int]:
    """`0-3,8` is {0, 1, 2, 3, 8}."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
