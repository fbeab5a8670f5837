"""`gpubox down` of an empty box: seconds, and calls of the provider's API, against the simulated AutoDL."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.measure import Cost, run, table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from gpubox.ledger import Ledger  # noqa: E402
from sim.autodl import Running, autodl  # noqa: E402 - found by the line above
from sim.clock import SimClock  # noqa: E402
from sim.machines import PaperMachines  # noqa: E402

# How long the provider takes to power a box off, in seconds: at once, and as AutoDL does.
STOPPING = (0.0, 5.0)


def main(rounds: int = 3) -> str:
    """Measure, and give the section of the report."""
    rows = [_row(seconds, rounds) for seconds in STOPPING]
    head = ("the provider powers off in", "wall s", "of it waiting for that", "CPU s", "calls", "which")
    return (
        f"## `down` of an empty box\n\nThe simulated AutoDL on this machine; medians of {rounds} rounds. From the plan "
        "to the receipt: power off, see that it is off, release, see that it is gone, look for a second, balance.\n\n"
    ) + table(head, rows)


def _row(stopping: float, rounds: int) -> tuple[str, ...]:
    costs: list[Cost] = []
    calls: Counter[str] = Counter()
    for _ in range(rounds):
        clock = SimClock(rate=1.0)
        paper = PaperMachines(clock, deaf_seconds=0.0)
        with (
            tempfile.TemporaryDirectory(prefix="gpubox-bench-") as place,
            autodl(machines=paper, clock=clock, stopping_seconds=stopping) as sim,
        ):
            costs.append(_down(sim, Path(place)))
            calls = Counter(sim.server.operations())
    wall = statistics.median(cost.wall for cost in costs)
    which = ", ".join(f"{name} {count}" for name, count in calls.most_common())
    cpu = statistics.median(cost.cpu for cost in costs)
    return f"{stopping:g} s", f"{wall:.2f}", f"{stopping:.2f}", f"{cpu:.2f}", str(calls.total()), which


def _down(sim: Running, place: Path) -> Cost:
    env = {**os.environ, **sim.environment, "GPUBOX_HOME": str(place / "home"), "GPUBOX_CACHE": str(place / "cache")}
    with sim.account.lock:
        made = sim.account.create("gpubox-mybox-00000000", "4090D", 1, "westDC3", "")
    sim.clock.advance(60)
    with Ledger(place / "home" / "ledger.sqlite3") as ledger:
        ledger.add("mybox", "autodl", order=made.name)
        ledger.audit("mybox", "create", "done", {"ref": made.uuid})
        ledger.update("mybox", provider_ref=made.uuid, state="running")
    cost = run([sys.executable, "-m", "gpubox", "down", "mybox", "--yes"], env=env, cwd=place)
    assert sim.account.live() == []
    return cost


if __name__ == "__main__":
    print(main())
