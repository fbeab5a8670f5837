"""What a build may use of the box: the container's share of CPUs and memory, by cgroup v1 or v2; and the rule."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GIB = 1 << 30
# cicc's peak for the largest units (backward, head size 128, bf16), one architecture, measured on 2.8.3 with nvcc 13.0.
# Upstream's own measurements give 3.2 to 5.0 GiB for each thread on average (its pull request 2079).
UNIT = 6 * GIB
SHARE = 0.8
# cgroup v1 writes "no limit" as the largest multiple of a page.
_NONE = 1 << 60


@dataclass(frozen=True)
class Machine:
    """CPUs that may be used, and bytes: `available` on the machine, `limit` and `used` of the cgroup (page cache that
    can go at once is not counted as used)."""

    cpus: float
    available: int
    total: int
    limit: int | None = None
    used: int = 0

    @property
    def free(self) -> int:
        """Bytes until something gets killed."""
        return self.available if self.limit is None else min(self.available, self.limit - self.used)

    @property
    def size(self) -> int:
        """Bytes that there are at all."""
        return self.total if self.limit is None else min(self.total, self.limit)

    @property
    def reserve(self) -> int:
        """Bytes that stay free: a twentieth, at least 256 MiB and at most 8 GiB."""
        return min(max(self.size // 20, GIB // 4), 8 * GIB)


def jobs(machine: Machine, *, threads: int = 1, at_most: int | None = None) -> int:
    """Compilers at the same time: `min(cpus / threads, 0.8 * free / (6 GiB * threads))`, at least one."""
    wanted = min(int(machine.cpus / threads), int(SHARE * machine.free / (UNIT * threads)))
    return max(1, wanted if at_most is None else min(wanted, at_most))


def read(root: Path, affinity: int | None = None) -> Machine:
    """The machine below `root` (`/`). `affinity`: CPUs that this process may run on; left out, the system is asked."""
    memory = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines() if ":" in line)
    available, total = (int(memory[name].split()[0]) * 1024 for name in ("MemAvailable", "MemTotal"))
    cpus = float(affinity if affinity is not None else len(os.sched_getaffinity(0)))
    limits = []
    for level in _levels(root):
        if quota := _quota(level):
            cpus = min(cpus, quota)
        if limit := _limit(level):
            limits.append(limit)
    if not limits:
        return Machine(cpus, available, total)
    limit_bytes, used = min(limits, key=lambda pair: pair[0] - pair[1])
    return Machine(cpus, available, total, limit_bytes, used)


def kills(root: Path) -> int:
    """How often the kernel has killed for want of memory in this cgroup."""
    count = 0
    for level in _levels(root):
        for name in ("memory.events", "memory.oom_control"):
            fields = dict(line.split() for line in _text(level / name).splitlines() if len(line.split()) == 2)
            count = max(count, int(fields.get("oom_kill", 0)))
    return count


def _levels(root: Path) -> Iterator[Path]:
    """Directories of this process' cgroups and of those above, as far as they can be seen."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and not {"memory", "cpu"} & set(controllers.split(",")):
            continue
        bases = [mount / name for name in (controllers, *controllers.split(","))] if controllers else [mount]
        for base in (base for base in dict.fromkeys(bases) if base.is_dir()):
            # In a container the path is often the host's and not to be found; then the mount itself is the group.
            parts = [part for part in path.split("/") if part]
            yield from (base.joinpath(*parts[:n]) for n in range(len(parts), -1, -1))
            break


def _quota(level: Path) -> float | None:
    """CPUs by the time quota of a group."""
    quota, _, period = _text(level / "cpu.max").partition(" ")
    if not quota:
        quota, period = _text(level / "cpu.cfs_quota_us"), _text(level / "cpu.cfs_period_us")
    try:
        return int(quota) / int(period) if int(quota) > 0 else None
    except (ValueError, ZeroDivisionError):
        return None  # "max", or no such group


def _limit(level: Path) -> tuple[int, int] | None:
    """Memory limit and use of a group in bytes."""
    for limit_name, used_name, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit, used = _text(level / limit_name), _text(level / used_name)
        if limit.isdigit() and used.isdigit() and int(limit) < _NONE:
            stat = dict(line.split() for line in _text(level / "memory.stat").splitlines() if len(line.split()) == 2)
            return int(limit), max(0, int(used) - int(stat.get(cache, 0)))
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
