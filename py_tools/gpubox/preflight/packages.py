"""What the resolver refuses or warns of: versions, wheels and compilers that do not go together on this box."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpubox.builds import resolve
from gpubox.preflight.findings import Finding, blocker, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpubox.preflight.case import Case

# What the other checks say in their own words already.
_SAID = {
    "vllm": {"driver", "compute-capability", "libc", "architecture"},
    "ktransformers": {"libc", "architecture", "compilers"},
    "ollama": {"libc"},
}


def fit(case: Case) -> Iterator[Finding]:
    """Every refusal and warning of the resolver's plan."""
    if case.box is None or case.box.engine is None or case.gpu_less or case.facts.system.libc == "musl":
        return
    plan = resolve(case.facts, case.box)
    said = _SAID[case.box.engine]
    for refusal in plan.refusals:
        if refusal.check not in said:
            yield blocker(refusal.check, refusal.message, refusal.fix)
    for warned in plan.warnings:
        yield warning(warned.check, warned.message, warned.fix)
    if not plan.refusals:
        yield ok("packages", "; ".join(f"{row.what} {row.value}" for row in plan.rows[:3]))
