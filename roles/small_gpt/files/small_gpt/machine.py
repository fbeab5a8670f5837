"""What this machine can do for a small training: cores, bf16, threads."""

from __future__ import annotations

import collections
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# A share of the speed that one thread had alone; several threads below it are worse than one.
_TOO_SLOW = 0.8
_WINDOW = 6  # steps, about a second


def has_bf16(cpuinfo: str | None = None) -> bool:
    """Whether the processor multiplies bf16 natively; elsewhere bf16 is emulated and slower than fp32."""
    text = _read("/proc/cpuinfo") if cpuinfo is None else cpuinfo
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", text) is not None


def cores() -> int:
    """Cores that this process may use: the affinity mask, cut by the cgroup's quota (a rented box shows the host's)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores(
        _read("/sys/fs/cgroup/cpu.max"),
        _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    )
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def cgroup_cores(cpu_max: str, cfs_quota: str, cfs_period: str) -> float | None:
    """The CPU limit of cgroup v2 (`cpu.max`) or v1 (quota and period) in cores; None where there is none."""
    words = cpu_max.split() or [cfs_quota.strip(), cfs_period.strip()]
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


class Threads:
    """How many threads compute: 1, unless more are asked for.

    One is the default because the last bits of the weights depend on the number, and because several fight badly when
    the cores are shared (measured: 450 tokens/s with 2, 2,500 with 1). So those that do worse than one did alone are
    given up for good by `watch`. `speed(n)` gives tokens per second with n threads.
    """

    def __init__(self, asked: int, speed: Callable[[int], float]) -> None:
        self.count = asked or 1
        self._recent: collections.deque[tuple[int, float]] = collections.deque(maxlen=_WINDOW)
        self._alone = speed(1) if self.count > 1 else 0.0

    def watch(self, tokens: int, seconds: float) -> bool:
        """A step is done; True when the threads have just been cut to one."""
        self._recent.append((tokens, seconds))
        if self.count == 1 or len(self._recent) < _WINDOW:
            return False
        now = sum(step[0] for step in self._recent) / sum(step[1] for step in self._recent)
        if now >= _TOO_SLOW * self._alone:
            return False
        self.count = 1
        return True


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
