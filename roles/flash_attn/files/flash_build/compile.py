"""The whole build: as many compilers as fit, fewer when they do not, and what was compiled is never compiled again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flash_build import machine
from wheelhouse.check import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash_build.attempt import Outcome

_ERROR = re.compile(r"(?:\berror\s*:|\bError\b|\bfatal\b|RuntimeError|No such file).*", re.IGNORECASE)


def compile_all(run: Callable[[int], Outcome], jobs: int, now: Callable[[], machine.Machine]) -> Outcome:
    """Run the build until it is done, each time with what fitted the last time. Raises `Trouble` when it cannot be.

    `run(jobs)` is one try; ninja goes on where the one before has ended.
    """
    while True:
        outcome = run(jobs)
        if outcome.code == 0:
            return outcome
        if not outcome.ended and not outcome.oom:
            raise Trouble(explain(outcome.said))
        if jobs == 1:
            raise Trouble(_too_small(outcome, now()))
        # What was ended did not fit beside the rest. The kernel's choice says less: half of them.
        jobs = max(1, jobs - outcome.ended if outcome.ended else jobs // 2)


def explain(said: list[str]) -> str:
    """One line about a build that failed for another reason than memory: what, and what mends it."""
    text = "".join(said)
    if mismatch := re.search(
        r"detected CUDA version \(?([\d.]+)\)? mismatches the version .*?\(?([\d.]+)\)?\.", text, re.S
    ):
        return (
            f"the compiler is of CUDA {mismatch[1]} and torch of CUDA {mismatch[2]}: "
            f"set `flash_attn_cuda` to {'.'.join(mismatch[2].split('.')[:2])}"
        )
    if "No space left on device" in text:
        return "the disk is full: free space there, or set `data_dir` in the box file to a larger disk"
    if "unsupported GNU version" in text:
        return "the box's g++ is too new for this nvcc: run the role `cuda_toolkit`, which says which one to install"
    lines = [line.strip() for line in said if _ERROR.search(line)]
    last = lines[0] if lines else next((line.strip() for line in reversed(said) if line.strip()), "it said nothing")
    return f"FlashAttention does not compile: {last[:300]}"


def _too_small(outcome: Outcome, now: machine.Machine) -> str:
    took = f", the last one took {outcome.peak / machine.GIB:.1f} GiB" if outcome.peak else ""
    return (
        f"one compiler alone does not fit into the {now.size / machine.GIB:.1f} GiB of this box{took}: a "
        f"unit takes up to {machine.UNIT // machine.GIB} GiB. What is compiled is kept; go on with more memory, or set "
        "`flash_attn.build: wheel` with a torch that a published wheel fits"
    )
