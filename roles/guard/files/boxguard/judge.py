"""Pure: does anybody or anything use the box? "Cannot tell" is never no."""

from __future__ import annotations

from typing import NamedTuple


class Seen(NamedTuple):
    """What one look at the box showed. None: cannot be told, and `unknown` says why.

    `jobs`: state by name. `requests`: being answered now. `counters`: of the engines, only ever compared with the look
    before. `gpus`: use of each in percent; empty where there is none.
    """

    sessions: int | None
    jobs: dict[str, str] | None
    requests: int | None
    counters: dict[str, float]
    gpus: list[float] | None
    unknown: list[str]


class Use(NamedTuple):
    """Who uses the box, in words, and what cannot be told. Both empty: it is idle."""

    busy: list[str]
    unknown: list[str]

    @property
    def idle(self) -> bool:
        """Whether it is certain that nothing uses the box."""
        return not self.busy and not self.unknown


def judge(seen: Seen, before: dict[str, float] | None, gpu_percent: float) -> Use:
    """Who uses the box; `before` are the counters of the last look, None when there was none."""
    busy = []
    if seen.sessions:
        busy.append(_several(seen.sessions, "SSH session"))
    running = sorted(name for name, state in (seen.jobs or {}).items() if state == "running")
    busy += [f"job {name}" for name in running]
    if seen.requests:
        busy.append(f"{_several(seen.requests, 'request')} in flight")
    if before is not None and any(before.get(name, 0.0) != value for name, value in seen.counters.items()):
        busy.append("requests since the last look")
    busy += [
        f"GPU {number} at {percent:.0f}%"
        for number, percent in enumerate(seen.gpus or [])
        if percent >= max(gpu_percent, 1)
    ]
    unknown = list(seen.unknown)
    gaps = {"sessions": seen.sessions, "jobs": seen.jobs, "requests": seen.requests, "GPUs": seen.gpus}
    if not unknown:
        # Whoever cannot tell should say why; if not, it is not idle all the same.
        unknown = [f"cannot tell the {name}" for name, value in gaps.items() if value is None]
    return Use(busy, unknown)


def _several(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
