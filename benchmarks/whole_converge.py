"""A converge of a fresh box with its wheels at hand: ours on the box against the same playbook over SSH."""

from __future__ import annotations

from benchmarks.measure import Cost, run, table
from benchmarks.rented import ROOT, ansible_env, playbook_argv, rented

ROUND_TRIPS_MS = (0, 40)
MEMORY_GOAL_MIB = 80


def main() -> str:
    """Measure, and give the section of the report."""
    rows = []
    peak = 0.0
    for milliseconds in ROUND_TRIPS_MS:
        ours, theirs = (fresh(milliseconds, way) for way in ("ours", "over SSH"))
        peak = max(peak, ours.peak_mib)
        rows.append((str(milliseconds), f"{ours.wall:.0f}", f"{theirs.wall:.0f}", f"{theirs.wall / ours.wall:.2f}"))
    return (
        "## A fresh box, wheels at hand\n\nEverything: the controller, two environments, the training, vLLM until it "
        "answers. One run each; wall seconds.\n\n"
        + table(("round trip, ms", "`gpubox up`", "`ansible-playbook` over SSH", "ratio"), rows)
        + f"\nMemory of the laptop side while it follows: {peak:.0f} MiB at its peak (goal: under {MEMORY_GOAL_MIB}).\n"
    )


def fresh(milliseconds: int, way: str) -> Cost:
    """One converge of a new box."""
    with rented() as (tool, _, line):
        line.delay(milliseconds / 2000)
        if way == "ours":
            cost = run(tool.argv("up", "mybox", "--no-tunnel"), env=tool.env, cwd=tool.directory)
        else:
            tool("doctor", "mybox")  # the inventory takes the box's facts from the ledger
            cost = run(playbook_argv(), env=ansible_env(tool), cwd=ROOT)
        line.delay(0)
    return cost


if __name__ == "__main__":
    print(main())
