"""CPU seconds of `gpubox --help` beside `ansible --version` and `fab --help`."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from benchmarks.measure import interleaved, run, table

GOAL = 0.15


def main(rounds: int = 15) -> str:
    """Measure, and give the section of the report."""
    programs = Path(sys.executable).parent
    # A box of one's own has compiled bytecode; a variable that forbids writing it would measure the compiler.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    commands = {
        "`gpubox --help`": [str(programs / "gpubox"), "--help"],
        "`fab --help`": [str(programs / "fab"), "--help"],
        "`ansible --version`": [str(programs / "ansible"), "--version"],
    }
    for argv in commands.values():
        run(argv, env=env)  # once, so that bytecode is there
    costs = interleaved({name: partial(run, argv, env=env) for name, argv in commands.items()}, rounds)
    base = costs["`gpubox --help`"]
    rows = [
        (name, f"{cost.cpu:.3f}", f"{cost.cpu / base.cpu:.1f}", f"{cost.wall:.3f}", f"{cost.peak_mib:.0f}")
        for name, cost in costs.items()
    ]
    return f"## Start-up\n\nMedians of {rounds} runs in turn. Goal: {GOAL} CPU s.\n\n" + table(
        ("command", "CPU s", "ratio", "wall s", "peak MiB"), rows
    )


if __name__ == "__main__":
    print(main())
